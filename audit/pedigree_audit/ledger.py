# SPDX-License-Identifier: Apache-2.0
"""The ledger's file: append-only SQLite with a hash chain and one writer.

A batch is one transaction with ``synchronous=FULL``: when :meth:`Ledger.append`
returns, its entries survive the loss of power.  Triggers refuse every change of what
is there; they stop accidents, and the hash chain shows the rest (docs/audit.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pedigree.digests import Digest, canonical_json
from pedigree.errors import LedgerError, quote
from pedigree.ledger.chain import EMPTY, ChainVerifier, Head, Record, make_record
from pedigree.ledger.entry import format_time, validate
from pedigree.ledger.facets import facets_of
from pedigree_audit.storage import (
    APPLICATION_ID,
    COLUMNS,
    INSERT,
    SCHEMA_VERSION,
    TABLES,
    highest_seq,
    iterate,
    translated,
)

BUSY_TIMEOUT_MS = 5_000
START_CHECK_ENTRIES = 1_000
"""Last entries whose chain is recomputed before anything is added to it."""


class Outcome(StrEnum):
    """What became of one entry.  Closed set; part of the protocol."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """The ledger holds this entry already."""
    CONFLICT = "conflict"
    """The ledger holds another entry with this key; this one is kept out."""
    REFUSED = "refused"
    """It is not an entry."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one entry of a batch.

    Attributes:
        key: Its key, cut to 512 characters; empty if it has none.
        outcome: What became of it.
        kind: Its kind; empty if refused.
        seq: Its place, or that of the entry which has its key; None if refused.
        reason: For conflict and refusal: a stable token.
        message: And a sentence.
    """

    key: str
    outcome: Outcome
    kind: str = ""
    seq: int | None = None
    reason: str = ""
    message: str = ""


class Ledger:
    """One ledger, opened for writing; no second one can be opened on its file."""

    def __init__(self, path: Path) -> None:
        """Open the ledger, and make it if there is none.

        Args:
            path: The file; its folder must exist.

        Raises:
            LedgerError: Another process has it (``LedgerInUse``), it is no ledger
                (``LedgerUnreadable``), or its end is not what was written
                (``ChainBroken``): nothing is ever appended to a broken chain.
        """
        self.path = path
        self._lock = threading.Lock()
        self._lock_file = _exclusive(path)
        try:
            with translated(path, "be opened", "LedgerUnreadable"):
                self._database = sqlite3.connect(
                    path, isolation_level=None, check_same_thread=False
                )
        except BaseException:
            os.close(self._lock_file)
            raise
        try:
            with translated(path, "be opened", "LedgerUnreadable"):
                self._prepare()
            self._head = self._checked_head()
        except BaseException:
            self._database.close()
            os.close(self._lock_file)
            raise

    def _prepare(self) -> None:
        execute = self._database.execute
        execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        identity = tuple(
            execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        empty = execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not empty and identity != (APPLICATION_ID, SCHEMA_VERSION):
            raise LedgerError(
                f"{quote(str(self.path))} is not a ledger of this version: it has the "
                f"marks {identity}, wanted {(APPLICATION_ID, SCHEMA_VERSION)}",
                reason="LedgerUnreadable",
            )
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=FULL")
        if empty:
            self._database.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")

    def _checked_head(self) -> Head:
        """The head, after recomputing the chain of the last entries."""
        head = self._stored_head()
        first = max(head.entries - START_CHECK_ENTRIES, 0)
        before = EMPTY
        if first:
            row = self._database.execute(
                "SELECT seq, chain_hash FROM ledger WHERE seq = ?", (first,)
            ).fetchone()
            before = self._head_of(row) if row else EMPTY
        verifier = ChainVerifier()
        verifier.head = before
        for record in iterate(self._database, after=before.entries):
            verifier.feed(record)
        fault = verifier.fault
        if fault is None and verifier.head == head and not self._tail_is_missing(head):
            return head
        what = f"entry {fault.seq}: {fault.reason}" if fault else "entries are missing"
        raise LedgerError(
            f"ledger {quote(str(self.path))} is broken at its end: {what}",
            reason="ChainBroken",
            hint="keep the file for inspection (pedigree audit verify --db FILE) and "
            "start with a new one or a backup; producers keep what is not delivered",
        )

    def _tail_is_missing(self, head: Head) -> bool:
        return highest_seq(self._database) > head.entries

    @property
    def head(self) -> Head:
        """After the last entry that is durable."""
        return self._head

    def append(
        self, entries: Sequence[object], *, producer: str, now: datetime
    ) -> list[Appended]:
        """Append a batch in one transaction: all of it becomes durable, or none.

        Args:
            entries: What a producer sent; anything.
            producer: Who it is, authenticated.
            now: When it was received.

        Returns:
            What became of each, in order.

        Raises:
            LedgerError: Nothing was stored (``DiskFull``, ``StorageFailed`` or
                ``ChainBroken``); the producer sends the batch again.
        """
        received_at = format_time(now)
        checked = [_checked(entry) for entry in entries]
        with self._lock, translated(self.path, "be written", "StorageFailed"):
            head = self._stored_head()
            if head != self._head:
                raise LedgerError(
                    f"ledger {quote(str(self.path))} was changed by someone else: its "
                    f"head is {head}, wanted {self._head}",
                    reason="ChainBroken",
                )
            results = []
            with self._transaction():
                for entry in checked:
                    if isinstance(entry, Appended):
                        results.append(entry)
                        continue
                    result, head = self._append(entry, head, producer, received_at)
                    results.append(result)
        return results

    def _append(
        self, entry: dict[str, Any], head: Head, producer: str, received_at: str
    ) -> tuple[Appended, Head]:
        key, kind, body_hash = entry["key"], entry["kind"], _body_hash(entry)
        row = self._database.execute(
            "SELECT seq, body_hash FROM ledger WHERE key = ?", (key,)
        ).fetchone()
        if row is not None and row[1] == body_hash:
            return Appended(key, Outcome.DUPLICATE, kind, row[0]), head
        if row is not None:
            return (
                Appended(
                    key,
                    Outcome.CONFLICT,
                    kind,
                    row[0],
                    "KeyReused",
                    f"entry {row[0]} has this key and says something else",
                ),
                head,
            )
        record = make_record(head, entry, producer=producer, received_at=received_at)
        self._insert(entry, record, body_hash)
        appended = Appended(key, Outcome.STORED, kind, record.seq)
        return appended, Head(record.seq, record.chain_hash)

    def _insert(
        self, entry: Mapping[str, Any], record: Record, body_hash: bytes
    ) -> None:
        facets = facets_of(entry)
        self._database.execute(
            INSERT,
            (
                record.seq,
                entry["key"],
                record.leaf,
                record.leaf_hash.raw,
                record.chain_hash.raw,
                body_hash,
                *(getattr(facets, name) for name in COLUMNS),
            ),
        )
        values = [("digest", value) for value in facets.digests]
        values += [("ancestor", value) for value in facets.ancestors]
        self._database.executemany(
            "INSERT INTO facets VALUES (?, ?, ?)",
            [(record.seq, *value) for value in values],
        )

    def _stored_head(self) -> Head:
        row = self._database.execute(
            "SELECT seq, chain_hash FROM ledger ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        return EMPTY if row is None else self._head_of(row)

    def _head_of(self, row: Sequence[Any]) -> Head:
        try:
            return Head(row[0], Digest(row[1].hex()))
        except (AttributeError, ValueError) as error:
            raise LedgerError(
                f"ledger {quote(str(self.path))} has no chain hash in row {row[0]}",
                reason="ChainBroken",
            ) from error

    def count_by_kind(self) -> dict[str, int]:
        """How many entries of each kind there are."""
        with self._lock, translated(self.path, "be read", "StorageFailed"):
            rows = self._database.execute(
                "SELECT kind, count(*) FROM ledger GROUP BY kind"
            )
            return dict(rows.fetchall())

    def size_bytes(self) -> int:
        """Size of the file and its write-ahead log."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close it and let go of the lock; twice is fine."""
        with self._lock:
            self._database.close()
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:  # SQLite may have ended it already
                self._database.execute("ROLLBACK")
            # Read back, because a COMMIT that failed may have been durable after all.
            self._head = self._stored_head()


def _checked(entry: object) -> dict[str, Any] | Appended:
    try:
        return validate(entry)
    except LedgerError as error:
        key = entry.get("key") if isinstance(entry, dict) else None
        return Appended(
            key[:512] if isinstance(key, str) else "",
            Outcome.REFUSED,
            reason=error.reason,
            message=error.message[:512],
        )


def _body_hash(entry: Mapping[str, Any]) -> bytes:
    """Identity of what an entry says, apart from when.

    A step repeated after a crash is judged again at another time: the same entry.
    """
    said = {name: value for name, value in entry.items() if name != "time"}
    return hashlib.sha256(canonical_json(said)).digest()


def _exclusive(path: Path) -> int:
    """Take the lock that makes this process the only writer, until it ends."""
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(
            f"ledger {quote(str(path))} cannot be opened: {error}",
            reason="LedgerUnreadable",
            hint="check that its folder exists and is writable",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LedgerError(
            f"ledger {quote(str(path))} is in use by another process",
            reason="LedgerInUse",
            hint="a ledger has one writer; stop the other audit service first",
        ) from error
    return descriptor
