# SPDX-License-Identifier: Apache-2.0
"""What the ledger's SQLite file looks like, and how its rows become records.

Columns and facets are copies of what the leaves say, for queries; verification
compares them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pedigree.errors import LedgerError, quote
from pedigree.ledger.chain import Record, record_from_row

SCHEMA_VERSION = 1
APPLICATION_ID = 0x50444C31  # "PDL1": Pedigree ledger, file format 1
COLUMNS = (
    "kind",
    "time",
    "namespace",
    "name",
    "uid",
    "decision",
    "result",
    "reason",
    "user",
)
"""Facets with one value per entry: an indexed column each."""

TABLES = f"""
CREATE TABLE ledger (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  leaf BLOB NOT NULL,
  leaf_hash BLOB NOT NULL,
  chain_hash BLOB NOT NULL,
  body_hash BLOB NOT NULL,
  {", ".join(f"{name} TEXT NOT NULL" for name in COLUMNS)}
);
CREATE TABLE facets (
  seq INTEGER NOT NULL REFERENCES ledger (seq),
  field TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (seq, field, value)
) WITHOUT ROWID;
CREATE INDEX facets_by_value ON facets (field, value, seq);
{"".join(f"CREATE INDEX ledger_by_{name} ON ledger ({name});" for name in COLUMNS)}
CREATE TRIGGER ledger_grows BEFORE INSERT ON ledger
WHEN new.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM ledger)
  OR EXISTS (SELECT 1 FROM ledger WHERE key = new.key)
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_keeps BEFORE UPDATE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_holds BEFORE DELETE ON ledger
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER facets_keep BEFORE UPDATE ON facets
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER facets_hold BEFORE DELETE ON facets
BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""  # noqa: S608 - the names are constants
INSERT = (
    "INSERT INTO ledger (seq, key, leaf, leaf_hash, chain_hash, body_hash, "  # noqa: S608
    f"{', '.join(COLUMNS)}) VALUES ({', '.join('?' * (6 + len(COLUMNS)))})"
)


def iterate(
    database: sqlite3.Connection, *, after: int = 0, chunk: int = 500
) -> Iterator[Record]:
    """Records in order, a bounded number in memory, no transaction held open.

    Raises:
        LedgerError: A row holds no record (``RecordInvalid``).
    """
    while True:
        rows = database.execute(
            "SELECT seq, leaf, leaf_hash, chain_hash FROM ledger WHERE seq > ? "
            "ORDER BY seq LIMIT ?",
            (after, chunk),
        ).fetchall()
        if not rows:
            return
        for row in rows:
            yield record_from_row(row)
        after = rows[-1][0]


def highest_seq(database: sqlite3.Connection) -> int:
    """The highest number ever given, also to rows that are gone (SQLite's own note)."""
    row = database.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'ledger'"
    ).fetchone()
    return 0 if row is None else int(row[0])


@contextmanager
def translated(path: Path, what: str, reason: str) -> Iterator[None]:
    """Errors of SQLite as errors of the ledger; ``DiskFull`` if that is what it is."""
    try:
        yield
    except sqlite3.Error as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise LedgerError(
            f"ledger {quote(str(path))} cannot {what}: {error}",
            reason="DiskFull" if full else reason,
        ) from error
