# SPDX-License-Identifier: Apache-2.0
"""What the API sends and takes, as OpenAPI documents it.

Answers are written by hand for speed and byte-exactness (records must show the very
bytes that were hashed); a test holds them against these models.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pedigree.ledger.form import ENTRY_MAX_BYTES

BATCH_MAX_ENTRIES = 256
BODY_MAX_BYTES = 4 * 1024 * 1024

_DIGEST = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EntryBatch(_Model):
    """Entries to append, oldest first."""

    entries: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=BATCH_MAX_ENTRIES,
        description="Ledger entries of schema pedigree.dev/ledger-entry/v1, at most "
        f"{ENTRY_MAX_BYTES} bytes each; the whole body at most {BODY_MAX_BYTES} bytes.",
    )


class EntryResult(_Model):
    """What became of one entry."""

    key: str = Field(description="The entry's key; empty if it has none.")
    result: Literal["stored", "duplicate", "conflict", "refused"] = Field(
        description="stored: durable now. duplicate: was durable before. conflict: "
        "another entry has this key; kept out. refused: not a ledger entry."
    )
    seq: int | None = Field(description="Its place, or that of the entry with its key.")
    reason: str = Field(description="KeyReused, EntryInvalid, or empty.")
    message: str = Field(description="The reason as a sentence, or empty.")


class AppendAnswer(_Model):
    """One result for each entry sent, in the same order."""

    results: list[EntryResult]
    entries: int = Field(description="Entries in the ledger afterwards.")
    head: str = Field(description="Chain hash of the last one.")


class LedgerRecord(_Model):
    """One place in the ledger, with everything needed to verify it."""

    entry: dict[str, Any] = Field(description="The entry as it was stored.")
    producer: str = Field(description="Authenticated user that sent it.")
    received_at: str = Field(alias="receivedAt", description="When, RFC 3339 UTC.")
    seq: int = Field(description="Its number, from 1 without gaps.")
    leaf_hash: str = Field(
        alias="leafHash",
        description="SHA-256 of 0x00 and the canonical JSON of the four fields above.",
    )
    chain_hash: str = Field(
        alias="chainHash",
        description="SHA-256 of 0x03, the chain hash before it and the leaf hash.",
    )


class RecordPage(_Model):
    """Some records, and how to get more."""

    items: list[LedgerRecord]
    next_cursor: str | None = Field(
        alias="nextCursor",
        description="Send it as cursor, with the same filters, for the next page; null "
        "on the last page.",
    )


def _filter(description: str) -> Any:
    return Field(default=None, max_length=1024, description=description)


class RecordQuery(_Model):
    """Filters, all of which must hold; unknown ones are refused."""

    kind: str | None = _filter("Admission or Judgement.")
    namespace: str | None = _filter("Of the object.")
    name: str | None = _filter("Of the object.")
    uid: str | None = _filter("Of the object.")
    decision: str | None = _filter("Allow, Warn, Hold or Deny.")
    result: str | None = _filter("Of the verdict: Pass, Warn, Fail ...")
    reason: str | None = _filter("Of the verdict: LineageDenied ...")
    user: str | None = _filter("Who asked, for admissions.")
    digest: str | None = _filter("A model has this digest or root digest, sha256:HEX.")
    ancestor: str | None = _filter("A model descends from this reference.")
    since: str | None = _filter("Decided then or later: RFC 3339 time or date, UTC.")
    until: str | None = _filter("Decided before then.")
    order: Literal["asc", "desc"] = Field(
        default="desc", description="By number in the ledger."
    )
    limit: int = Field(default=100, ge=1, le=500, description="Records per page.")
    cursor: str | None = _filter("nextCursor of the page before.")


class LedgerHead(_Model):
    """The state of the whole ledger in one value; keep it elsewhere."""

    entries: int
    head: str = _DIGEST


class FaultFound(_Model):
    """Where the ledger is broken first."""

    seq: int
    reason: str = Field(
        description="SequenceBroken, LeafChanged, ChainChanged, LeafUnreadable, "
        "IndexChanged, TailMissing or HistoryChanged."
    )
    message: str


class VerifyAnswer(_Model):
    """What recomputing the chain found."""

    ok: bool
    entries: int = Field(description="Entries found intact, from the first.")
    head: str = Field(description="Chain hash after them.")
    first_bad: FaultFound | None = Field(alias="firstBad")


class ErrorBody(_Model):
    """Why a request was not done."""

    reason: str = Field(description="Stable CamelCase token.")
    message: str
    hint: str = ""


class ErrorAnswer(_Model):
    """Every answer that is not a success looks like this."""

    error: ErrorBody
