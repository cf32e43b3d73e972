# SPDX-License-Identifier: Apache-2.0
"""Reading the ledger: pages of records, one record, and verification.

Readers open connections of their own, so that nothing here holds up the writer.
"""

from __future__ import annotations

import base64
import binascii
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pedigree.digests import json_digest
from pedigree.errors import LedgerError, quote
from pedigree.ledger.chain import (
    ChainReport,
    ChainVerifier,
    FaultReason,
    Head,
    Record,
    record_from_row,
)
from pedigree.ledger.facets import Filters, facets_of
from pedigree_audit.storage import COLUMNS, highest_seq, translated

LIMIT_DEFAULT = 100
LIMIT_MAX = 500
PAGE_MAX_BYTES = 8 * 1024 * 1024
"""A page ends early when its records reach this size."""
VERIFY_CHUNK = 200


class Order(StrEnum):
    """By the ledger's own numbering."""

    ASC = "asc"
    DESC = "desc"


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, and how to go on.

    Attributes:
        records: In the order asked for.
        next_cursor: For the next page; None on the last one.
    """

    records: tuple[Record, ...]
    next_cursor: str | None


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write.

    Raises:
        LedgerError: The file cannot be read (reason ``StorageFailed``).
    """
    with translated(path, "be read", "StorageFailed"):
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA query_only = ON")
            yield database
        finally:
            database.close()


def get(path: Path, seq: int) -> Record | None:
    """One record; None if there is none with this number."""
    with reading(path) as database:
        row = database.execute(
            "SELECT seq, leaf, leaf_hash, chain_hash FROM ledger WHERE seq = ?", (seq,)
        ).fetchone()
    return None if row is None else record_from_row(row)


def page(
    path: Path,
    filters: Filters,
    *,
    order: Order = Order.DESC,
    limit: int = LIMIT_DEFAULT,
    cursor: str | None = None,
) -> Page:
    """The records that match, a page at a time.

    Pages do not shift when entries are appended: a cursor is the place of the last
    record seen.

    Args:
        path: The ledger.
        filters: Which entries.
        order: By place in the ledger.
        limit: Records per page, 1 to 500.
        cursor: ``next_cursor`` of the page before.

    Raises:
        LedgerError: The cursor is not of this query (``CursorInvalid``).
    """
    limit = min(max(limit, 1), LIMIT_MAX)
    query, values = _query(filters, order, _place(cursor, filters, order))
    records: list[Record] = []
    size = 0
    more = False
    with reading(path) as database:
        for row in database.execute(query, [*values, limit + 1]):
            if len(records) == limit or (
                records and size + len(row[1]) > PAGE_MAX_BYTES
            ):
                more = True
                break
            records.append(record_from_row(row))
            size += len(row[1])
    last = records[-1].seq if records else 0
    return Page(tuple(records), _cursor(last, filters, order) if more else None)


def _query(
    filters: Filters, order: Order, place: int | None
) -> tuple[str, list[str | int]]:
    """SQL and its values.  Names in it come from constants, values never."""
    where: list[str] = []
    values: list[str | int] = []
    for name, value in filters.given().items():
        where.append(_CONDITIONS[name])
        values.append(value)
    if place is not None:
        where.append("seq > ?" if order is Order.ASC else "seq < ?")
        values.append(place)
    clause = f"WHERE {' AND '.join(where)} " if where else ""
    return (
        f"SELECT seq, leaf, leaf_hash, chain_hash FROM ledger {clause}"  # noqa: S608
        f"ORDER BY seq {order.name} LIMIT ?",
        values,
    )


_CONDITIONS = {name: f"{name} = ?" for name in COLUMNS if name != "time"} | {
    "since": "time >= ?",
    "until": "time < ?",
    "digest": "seq IN (SELECT seq FROM facets WHERE field = 'digest' AND value = ?)",
    "ancestor": (
        "seq IN (SELECT seq FROM facets WHERE field = 'ancestor' AND value = ?)"
    ),
}


def _cursor(seq: int, filters: Filters, order: Order) -> str:
    text = json.dumps([seq, _query_mark(filters, order)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def _place(cursor: str | None, filters: Filters, order: Order) -> int | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        seq, mark = json.loads(base64.b64decode(padded, b"-_", validate=True))
        good = type(seq) is int and 0 < seq <= 2**53
        if good and mark == _query_mark(filters, order):
            return int(seq)
    except (binascii.Error, TypeError, ValueError, RecursionError):
        pass
    raise LedgerError(
        f"cursor {quote(cursor, 80)} is not one of this query",
        reason="CursorInvalid",
        hint="send the filters and the order of the first page with every page",
    )


def _query_mark(filters: Filters, order: Order) -> str:
    return json_digest({**filters.given(), "order": str(order)}).hex[:16]


def verify(path: Path, known: Sequence[Head] = ()) -> ChainReport:
    """Recompute the whole chain and compare the indexed columns with the entries.

    Memory is bounded.  Entries appended meanwhile are verified as well.

    Args:
        path: The ledger.
        known: Heads of it that were kept elsewhere; without one, entries cut off the
            end can go unnoticed.
    """
    verifier = ChainVerifier(*known)
    with reading(path) as database:
        highest = highest_seq(database)  # before the rows: more may come meanwhile
        for row in _rows(database):
            if not _row_holds(database, row, verifier):
                break
    if highest > verifier.head.entries:
        verifier.reject(
            FaultReason.TAIL_MISSING,
            f"the ledger ends after {verifier.head.entries} entries, its file "
            f"remembers {highest}",
        )
    return verifier.finish()


def _row_holds(
    database: sqlite3.Connection, row: tuple[Any, ...], verifier: ChainVerifier
) -> bool:
    before = verifier.head
    try:
        record = record_from_row(row)
    except LedgerError as error:
        verifier.reject(FaultReason.LEAF_UNREADABLE, error.message)
        return False
    if verifier.feed(record) and (fault := _index_fault(database, record.leaf, row)):
        verifier.head = before
        verifier.reject(FaultReason.INDEX_CHANGED, fault)
    return verifier.fault is None


def _rows(database: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    after = 0
    columns = ", ".join(("seq, leaf, leaf_hash, chain_hash, key", *COLUMNS))
    while rows := database.execute(
        f"SELECT {columns} FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
        (after, VERIFY_CHUNK),
    ).fetchall():
        yield from rows
        after = rows[-1][0]


def _index_fault(
    database: sqlite3.Connection, leaf: bytes, row: tuple[Any, ...]
) -> str | None:
    """What the columns of a row say differently from its leaf; None if nothing."""
    seq, _, _, _, key, *columns = row
    try:
        entry = json.loads(leaf)["entry"]
        facets = facets_of(entry)
    except (KeyError, TypeError, ValueError, RecursionError):
        return "the leaf holds no entry"
    wanted = [entry["key"], *(getattr(facets, name) for name in COLUMNS)]
    for name, value, expected in zip(
        ("key", *COLUMNS), [key, *columns], wanted, strict=True
    ):
        if value != expected:
            return f"column {name} is {quote(value, 80)}, the entry says otherwise"
    found = set(
        database.execute("SELECT field, value FROM facets WHERE seq = ?", (seq,))
    )
    said = {("digest", value) for value in facets.digests}
    said |= {("ancestor", value) for value in facets.ancestors}
    return None if found == said else "digests or ancestors differ from the entry"
