# SPDX-License-Identifier: Apache-2.0
"""The hash chain that makes the ledger tamper-evident.

A *leaf* is the canonical JSON of ``{"entry", "producer", "receivedAt", "seq"}``::

    leafHash_n  = SHA-256(0x00 || leaf_n)                    RFC 6962, section 2.1
    chainHash_0 = SHA-256("")
    chainHash_n = SHA-256(0x03 || chainHash_(n-1) || leafHash_n)

``seq`` counts from 1 without gaps.  The leaf hash is that of a Merkle log, so that one
can be laid over the same leaves later; 0x03 keeps chain hashes apart from RFC 6962's
leaves (0x00) and nodes (0x01).

Whoever can rewrite the whole file can also make it consistent again, or cut off its
end.  Only a *head* (entries, hash) kept elsewhere shows that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pedigree.digests import Digest, canonical_json, sha256
from pedigree.errors import LedgerError, quote

LEAF_FIELDS = frozenset({"entry", "producer", "receivedAt", "seq"})


@dataclass(frozen=True, slots=True)
class Head:
    """The state of a whole ledger in one value.

    Attributes:
        entries: How many there are; the ``seq`` of the last one.
        hash: Chain hash of the last one.
    """

    entries: int
    hash: Digest

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"entries": self.entries, "head": str(self.hash)}

    def __str__(self) -> str:
        return f"{self.entries}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read ``ENTRIES:sha256:HEX``, as :meth:`__str__` writes it.

        Raises:
            LedgerError: The text is anything else (reason ``HeadInvalid``).
        """
        entries, _, digest = text.partition(":")
        try:
            if not (entries.isascii() and entries.isdecimal() and len(entries) < 17):
                raise ValueError("entries is no number")
            return cls(int(entries), Digest.parse(digest))
        except ValueError as error:
            raise LedgerError(
                f"ledger head is {quote(text)}, wanted ENTRIES:sha256:HEX",
                reason="HeadInvalid",
            ) from error


EMPTY = Head(0, sha256(b""))


@dataclass(frozen=True, slots=True)
class Record:
    """One place in the ledger.

    Attributes:
        seq: Its number, from 1.
        leaf: The canonical bytes that are hashed.
        leaf_hash: As stored or sent next to the leaf.
        chain_hash: As stored or sent next to the leaf.
    """

    seq: int
    leaf: bytes
    leaf_hash: Digest
    chain_hash: Digest

    def to_line(self) -> bytes:
        """JSON with the leaf's bytes in front and both hashes behind, no line end.

        The last 172 bytes are the hashes; the rest and a brace are the leaf.
        """
        tail = f',"leafHash":"{self.leaf_hash}","chainHash":"{self.chain_hash}"}}'
        return self.leaf[:-1] + tail.encode("ascii")

    def to_dict(self) -> dict[str, Any]:
        """The same, parsed."""
        line: dict[str, Any] = json.loads(self.to_line())
        return line


def make_record(
    head: Head, entry: Mapping[str, Any], *, producer: str, received_at: str
) -> Record:
    """The record that follows a head."""
    seq = head.entries + 1
    leaf = canonical_json(
        {"entry": entry, "producer": producer, "receivedAt": received_at, "seq": seq}
    )
    hashed = leaf_hash(leaf)
    return Record(seq, leaf, hashed, next_hash(head.hash, hashed))


def record_from_dict(value: object) -> Record:
    """Read what the service sends and ``export`` writes.

    The leaf is made again from its values, so hashes are checked against what is
    shown and not against bytes that come along.

    Raises:
        LedgerError: It is no record (reason ``RecordInvalid``).
    """
    try:
        if not isinstance(value, dict):
            raise TypeError(f"it is a {type(value).__name__}, wanted a map")
        fields = dict(value)
        hashes = [Digest.parse(fields.pop(name)) for name in ("leafHash", "chainHash")]
        if fields.keys() != LEAF_FIELDS or type(fields["seq"]) is not int:
            raise ValueError(f"it has the fields {sorted(fields)[:8]}")
        return Record(fields["seq"], canonical_json(fields), hashes[0], hashes[1])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise LedgerError(
            f"ledger record {quote(value, 120)} cannot be read: "
            f"{type(error).__name__}: {error}",
            reason="RecordInvalid",
        ) from error


def record_from_row(row: Sequence[Any]) -> Record:
    """Read a row ``seq, leaf, leaf_hash, chain_hash`` of the ledger's file.

    Raises:
        LedgerError: Someone put values there that no record has (``RecordInvalid``).
    """
    seq, leaf, *hashes = row[:4]
    try:
        hashed, chained = (Digest(value.hex()) for value in hashes)
        body = leaf.encode() if isinstance(leaf, str) else leaf
        if not isinstance(body, bytes):
            raise TypeError(f"the leaf is a {type(leaf).__name__}")
        return Record(seq, body, hashed, chained)
    except (AttributeError, TypeError, ValueError) as error:
        raise LedgerError(
            f"ledger row {seq} holds no record: {error}", reason="RecordInvalid"
        ) from error


def leaf_hash(leaf: bytes) -> Digest:
    """RFC 6962 hash of one leaf."""
    return Digest(hashlib.sha256(b"\x00" + leaf).hexdigest())


def next_hash(previous: Digest, leaf: Digest) -> Digest:
    """Chain hash after one more leaf."""
    return Digest(hashlib.sha256(b"\x03" + previous.raw + leaf.raw).hexdigest())


class FaultReason(StrEnum):
    """What is wrong with a ledger.  Closed set."""

    SEQUENCE_BROKEN = "SequenceBroken"
    """An entry is missing, doubled or in another's place."""
    LEAF_CHANGED = "LeafChanged"
    """The entry is not the one that was hashed."""
    CHAIN_CHANGED = "ChainChanged"
    """The entry does not follow the one before it."""
    LEAF_UNREADABLE = "LeafUnreadable"
    INDEX_CHANGED = "IndexChanged"
    """The columns that queries use do not say what the entry says."""
    TAIL_MISSING = "TailMissing"
    """There are fewer entries than there once were."""
    HISTORY_CHANGED = "HistoryChanged"
    """The chain is whole, but it is not the one the known head was taken from."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a ledger is broken first."""

    seq: int
    reason: FaultReason
    message: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"seq": self.seq, "reason": str(self.reason), "message": self.message}


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a verification found.

    Attributes:
        entries: How many entries were found intact.
        head: Chain hash after them.
        first_bad: Where it is broken first; None if it is intact.
    """

    entries: int
    head: Digest
    first_bad: Fault | None

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return self.first_bad is None

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ChainReport:
        """Read the JSON form.

        Raises:
            KeyError, TypeError, ValueError: It is not one.
        """
        bad = value["firstBad"]
        fault = bad and Fault(bad["seq"], FaultReason(bad["reason"]), bad["message"])
        report = cls(value["entries"], Digest.parse(value["head"]), fault)
        if value["ok"] is not report.ok:
            raise ValueError(f"ok is {value['ok']!r}, firstBad {bad!r}")
        return report

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "head": str(self.head),
            "firstBad": None if self.first_bad is None else self.first_bad.to_dict(),
        }


class ChainVerifier:
    """Recomputes a chain, one record at a time; holds two hashes, not the ledger.

    Attributes:
        head: After the records that were intact.
        fault: The first thing wrong; nothing is looked at after it.
    """

    def __init__(self, *known: Head) -> None:
        """Begin at the first entry.

        Args:
            *known: Heads of this ledger that were kept elsewhere.
        """
        self.head = EMPTY
        self.fault: Fault | None = None
        self._known = known
        self._compare_known()

    def feed(self, record: Record) -> bool:
        """Take the next record and say whether all is well so far."""
        if self.fault is not None:
            return False
        wanted = self.head.entries + 1
        hashed = leaf_hash(record.leaf)
        chained = next_hash(self.head.hash, hashed)
        if record.seq != wanted or _seq_of(record.leaf) not in (wanted, None):
            self._fail(
                FaultReason.SEQUENCE_BROKEN,
                f"found the entry numbered {_seq_of(record.leaf)} in row {record.seq}",
            )
        elif hashed != record.leaf_hash:
            self._fail(
                FaultReason.LEAF_CHANGED,
                f"leaf hash is {hashed}, recorded was {record.leaf_hash}",
            )
        elif chained != record.chain_hash:
            self._fail(
                FaultReason.CHAIN_CHANGED,
                f"chain hash is {chained}, recorded was {record.chain_hash}",
            )
        elif _seq_of(record.leaf) is None:
            self._fail(FaultReason.LEAF_UNREADABLE, "the leaf is not a ledger record")
        else:
            self.head = Head(wanted, chained)
            self._compare_known()
        return self.fault is None

    def reject(self, reason: FaultReason, message: str) -> None:
        """Add a fault that the caller found after the last record fed."""
        if self.fault is None:
            self._fail(reason, message)

    def finish(self) -> ChainReport:
        """All records were fed; the verdict on them."""
        once = max((known.entries for known in self._known), default=0)
        if self.fault is None and self.head.entries < once:
            self._fail(
                FaultReason.TAIL_MISSING,
                f"the ledger ends after {self.head.entries} entries, "
                f"once it had {once}",
            )
        return ChainReport(self.head.entries, self.head.hash, self.fault)

    def _compare_known(self) -> None:
        for known in self._known:
            if self.head.entries == known.entries and self.head != known:
                self.fault = Fault(
                    self.head.entries,
                    FaultReason.HISTORY_CHANGED,
                    f"chain hash is {self.head.hash}, the known head says {known.hash}",
                )

    def _fail(self, reason: FaultReason, message: str) -> None:
        self.fault = Fault(self.head.entries + 1, reason, message)


def _seq_of(leaf: bytes) -> int | None:
    """The number in a leaf, from its last bytes: ``..."seq":7}``."""
    _, found, digits = leaf[-32:].rpartition(b'"seq":')
    number = digits[:-1]
    if not found or not number.isdigit() or not digits.endswith(b"}"):
        return None
    return int(number)
