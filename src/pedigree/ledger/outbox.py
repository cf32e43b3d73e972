# SPDX-License-Identifier: Apache-2.0
"""The outbox: entries written down here before anyone is answered.

A SQLite file next to the process that decides.  When :meth:`Outbox.append` returns,
the entry survives the death of the process (``kill -9``).  It survives the loss of
power only after the next checkpoint, because ``synchronous=NORMAL`` leaves flushing to
the operating system; waiting for the disk would cost every admission some
milliseconds.  Any number of threads and processes may use one file.

It does not send anything: see :mod:`pedigree.ledger.delivery`.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pedigree.errors import LedgerError, quote
from pedigree.ledger.entry import encode

MAX_ENTRIES = 100_000
"""Entries waiting at once: at 4 KiB each 400 MB, and hours of a busy cluster."""
REMEMBERED = 100_000
"""Keys kept after delivery, so that an append repeated after a crash is a no-op."""
BUSY_TIMEOUT_MS = 5_000
BACKSTOP_PAGES = 10_000
"""40 MB of write-ahead log; ordinarily :meth:`Outbox.checkpoint` keeps it small."""

log = logging.getLogger(__name__)

_WAITING, _PARKED, _DELIVERED = 0, 1, 2
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  state INTEGER NOT NULL DEFAULT 0,  -- waiting 0, parked 1, delivered 2
  appended_at REAL NOT NULL,  -- seconds since 1970
  body BLOB,                  -- canonical JSON; gone once delivered
  reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS by_state ON entries (state, id);
CREATE TABLE IF NOT EXISTS tally (state INTEGER PRIMARY KEY, entries INTEGER NOT NULL);
INSERT OR IGNORE INTO tally VALUES (0, 0), (1, 0), (2, 0);
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON entries BEGIN
  UPDATE tally SET entries = entries + 1 WHERE state = new.state;
END;
CREATE TRIGGER IF NOT EXISTS moved AFTER UPDATE OF state ON entries BEGIN
  UPDATE tally SET entries = entries - 1 WHERE state = old.state;
  UPDATE tally SET entries = entries + 1 WHERE state = new.state;
END;
CREATE TRIGGER IF NOT EXISTS forgotten AFTER DELETE ON entries BEGIN
  UPDATE tally SET entries = entries - 1 WHERE state = old.state;
END;
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry that waits for delivery.

    Attributes:
        key: Its idempotency key.
        body: Its canonical JSON.
        appended_at: When it was appended, in seconds since 1970.
    """

    key: str
    body: bytes
    appended_at: float

    @property
    def entry(self) -> dict[str, Any]:
        """The entry itself."""
        entry: dict[str, Any] = json.loads(self.body)
        return entry


@dataclass(frozen=True, slots=True)
class Parked:
    """One entry that the ledger will not take; it stays here until a person acts."""

    key: str
    body: bytes
    reason: str


class Outbox:
    """Entries on their way to the ledger.

    Attributes:
        path: The file.
        on_append: Called after each new entry, by the thread that appended it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_entries: int = MAX_ENTRIES,
        remembered: int = REMEMBERED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open the file, and make it if there is none.

        Args:
            path: Where; its folder must exist.
            max_entries: Entries waiting or parked at once; more are refused.
            remembered: Keys kept after delivery.
            clock: Seconds since 1970.

        Raises:
            LedgerError: The file cannot be used (reason ``OutboxUnavailable``).
        """
        self.path = path
        self.on_append: Callable[[], None] = _nothing
        self._max_entries = max_entries
        self._remembered = remembered
        self._clock = clock
        self._lock = threading.Lock()
        with self._translated("be opened"):
            self._database = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise

    def _prepare(self) -> None:
        execute = self._database.execute
        execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        execute("PRAGMA journal_mode=WAL")
        execute("PRAGMA synchronous=NORMAL")
        execute(f"PRAGMA wal_autocheckpoint={BACKSTOP_PAGES}")
        with self._transaction():
            for statement in _statements(_TABLES):
                execute(statement)

    def append(self, entry: Mapping[str, Any]) -> bool:
        """Write an entry down, durably against the death of this process.

        Returns:
            Whether it is new: False if its key was appended before, whatever has
            become of that entry since.  The first one stands.

        Raises:
            LedgerError: It is not an entry (``EntryInvalid``), too many wait
                (``OutboxFull``), or the file cannot be written
                (``OutboxUnavailable``), as on a full disk.
        """
        body = encode(entry)
        key = entry["key"]
        with self._lock, self._translated("take an entry"), self._transaction():
            if self._has(key):
                return False
            self._check_room()
            self._database.execute(
                "INSERT INTO entries (key, appended_at, body) VALUES (?, ?, ?)",
                (key, self._clock(), body),
            )
        self.on_append()
        return True

    def pending(self, limit: int) -> list[Waiting]:
        """The entries that wait, oldest first, at most ``limit``."""
        rows = self._rows(
            "SELECT key, body, appended_at FROM entries WHERE state = ? "
            "ORDER BY id LIMIT ?",
            (_WAITING, limit),
        )
        return [Waiting(*row) for row in rows]

    def parked(self, limit: int) -> list[Parked]:
        """The entries that the ledger refused, oldest first, at most ``limit``."""
        rows = self._rows(
            "SELECT key, body, reason FROM entries WHERE state = ? ORDER BY id LIMIT ?",
            (_PARKED, limit),
        )
        return [Parked(*row) for row in rows]

    def mark_delivered(self, keys: Iterable[str]) -> None:
        """Say that the ledger holds these entries; their bodies are let go."""
        with self._lock, self._translated("be updated"), self._transaction():
            self._database.executemany(
                "UPDATE entries SET state = ?, body = NULL "
                "WHERE key = ? AND state != ?",
                [(_DELIVERED, key, _DELIVERED) for key in keys],
            )
            self._forget()

    def park(self, key: str, reason: str) -> None:
        """Set an entry aside that the ledger will never take; it is kept and counted.

        Args:
            key: Which.
            reason: What the ledger said.
        """
        with self._lock, self._translated("be updated"):
            self._database.execute(
                "UPDATE entries SET state = ?, reason = ? WHERE key = ? AND state = ?",
                (_PARKED, reason[:512], key, _WAITING),
            )

    def release_parked(self) -> int:
        """Let every parked entry wait for delivery again, and say how many."""
        with self._lock, self._translated("be updated"):
            cursor = self._database.execute(
                "UPDATE entries SET state = ?, reason = '' WHERE state = ?",
                (_WAITING, _PARKED),
            )
        self.on_append()
        return cursor.rowcount

    def depth(self) -> int:
        """How many entries wait."""
        return self._tally(_WAITING)

    def parked_count(self) -> int:
        """How many entries are parked."""
        return self._tally(_PARKED)

    def oldest_age_s(self, now: datetime) -> float:
        """How long the oldest waiting entry has waited, in seconds; 0 if none waits."""
        oldest = self.pending(1)
        return max(0.0, now.timestamp() - oldest[0].appended_at) if oldest else 0.0

    def checkpoint(self) -> None:
        """Flush the write-ahead log to the file, without holding up ``append``.

        Called by the delivering thread, so that no admission waits for the disk.
        """
        with self._translated("be flushed"):
            database = sqlite3.connect(self.path, isolation_level=None)
            try:
                database.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                database.close()

    def close(self) -> None:
        """Close the file; twice is fine."""
        with self._lock:
            self._database.close()

    def _has(self, key: str) -> bool:
        row = self._database.execute("SELECT 1 FROM entries WHERE key = ?", (key,))
        return row.fetchone() is not None

    def _check_room(self) -> None:
        kept = self._database.execute(
            "SELECT sum(entries) FROM tally WHERE state != ?", (_DELIVERED,)
        ).fetchone()[0]
        if kept >= self._max_entries:
            raise LedgerError(
                f"outbox {quote(str(self.path))} holds {kept} undelivered entries, "
                f"allowed are {self._max_entries}",
                reason="OutboxFull",
                hint="make the audit service reachable; entries are kept until then",
            )

    def _forget(self) -> None:
        """Drop the oldest delivered keys beyond the bound."""
        delivered = self._database.execute(
            "SELECT entries FROM tally WHERE state = ?", (_DELIVERED,)
        ).fetchone()[0]
        if delivered > self._remembered:
            self._database.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE state = ? ORDER BY id LIMIT ?)",
                (_DELIVERED, delivered - self._remembered),
            )

    def _tally(self, state: int) -> int:
        rows = self._rows("SELECT entries FROM tally WHERE state = ?", (state,))
        return int(rows[0][0])

    def _rows(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._lock, self._translated("be read"):
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # SQLite may have ended it already
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"outbox {quote(str(self.path))} cannot {what}: {error}",
                reason="OutboxUnavailable",
                hint="check that its folder exists, is writable and has room",
            ) from error


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would commit on its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _nothing() -> None:
    return
