# SPDX-License-Identifier: Apache-2.0
"""Reading a ledger from outside: the audit service, its file, or an export of it.

Nothing here believes what it reads: hashes are recomputed by whoever verifies.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote as url_quote
from urllib.parse import urlencode

from pedigree.digests import Digest
from pedigree.errors import LedgerError, quote
from pedigree.ledger.chain import (
    ChainReport,
    ChainVerifier,
    FaultReason,
    Head,
    Record,
    record_from_dict,
    record_from_row,
)
from pedigree.ledger.facets import Filters, facets_of
from pedigree.ledger.transport import Answer, Connection, Endpoint

PAGE = 500
LINE_MAX_BYTES = 2 * 1024 * 1024
"""Of an export; a record of the largest entry has about 300 KiB."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a source says of its own length; a shorter ledger is then a broken one.

    Attributes:
        heads: Heads it claims.
        highest: The highest number it says it ever gave.
    """

    heads: tuple[Head, ...] = ()
    highest: int = 0


class Source(Protocol):
    """Somewhere a ledger can be read from."""

    def claims(self) -> Claims:
        """What it says of its own length."""

    def records(self) -> Iterator[Record]:
        """Every record, in order.

        Raises:
            LedgerError: It cannot be read, or (``RecordInvalid``) holds no record.
        """

    def find(self, filters: Filters, *, newest_first: bool) -> Iterator[Record]:
        """The records that match.

        Raises:
            LedgerError: As for ``records``.
        """


def verify(source: Source, *known: Head) -> ChainReport:
    """Recompute the chain of everything a source holds.

    Args:
        source: Where to read it.
        *known: Heads that were kept elsewhere; without one, a source that leaves out
            the newest entries and lies about it goes unnoticed.

    Raises:
        LedgerError: It cannot be read.  A ledger that reads badly is no error but a
            report.
    """
    claims = source.claims()
    verifier = ChainVerifier(*known, *claims.heads)
    for _ in checked(source.records(), verifier):
        pass
    if claims.highest > verifier.head.entries:
        verifier.reject(
            FaultReason.TAIL_MISSING,
            f"the ledger ends after {verifier.head.entries} entries, it says that it "
            f"had {claims.highest}",
        )
    return verifier.finish()


def checked(records: Iterator[Record], verifier: ChainVerifier) -> Iterator[Record]:
    """The records up to the first that does not verify."""
    try:
        for record in records:
            if not verifier.feed(record):
                return
            yield record
    except LedgerError as error:
        if error.reason != "RecordInvalid":
            raise
        verifier.reject(FaultReason.LEAF_UNREADABLE, error.message)


class ServiceSource:
    """The audit service."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def claims(self) -> Claims:
        """Its head."""
        body = self._get("/api/v1/head")
        try:
            head = Head(int(body["entries"]), Digest.parse(body["head"]))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise _unexpected(self._endpoint.url, body) from error
        return Claims((head,), head.entries)

    def server_report(self, known: Head | None) -> ChainReport:
        """What the service itself says after recomputing; it is believed."""
        query = f"?{urlencode({'known': str(known)})}" if known else ""
        body = self._get(f"/api/v1/verify{query}")
        try:
            return ChainReport.from_dict(body)
        except (KeyError, TypeError, ValueError) as error:
            raise _unexpected(self._endpoint.url, body) from error

    def records(self) -> Iterator[Record]:
        """Every record, a page at a time."""
        return self.find(Filters(), newest_first=False)

    def find(self, filters: Filters, *, newest_first: bool) -> Iterator[Record]:
        """The records that match, a page at a time."""
        query = filters.given() | {
            "order": "desc" if newest_first else "asc",
            "limit": str(PAGE),
        }
        while True:
            body = self._get(f"/api/v1/verdicts?{urlencode(query)}")
            try:
                items, cursor = body["items"], body["nextCursor"]
                yield from map(record_from_dict, items)
            except (KeyError, TypeError) as error:
                raise _unexpected(self._endpoint.url, body) from error
            if cursor is None:
                return
            query["cursor"] = str(cursor)

    def _get(self, path: str) -> Any:
        with Connection(self._endpoint) as connection:
            answer = connection.request("GET", path)
        if answer.status != 200:
            raise _refused(self._endpoint.url, answer)
        return answer.body


class FileSource:
    """The service's own SQLite file, opened for reading only."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def claims(self) -> Claims:
        """The highest number that SQLite noted."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'ledger'"
        with closing(self._rows(query)) as rows:
            highest = next(rows, (0,))[0]
        return Claims((), highest if isinstance(highest, int) else 0)

    def records(self) -> Iterator[Record]:
        """Every record."""
        return self._records("ASC")

    def find(self, filters: Filters, *, newest_first: bool) -> Iterator[Record]:
        """The records that match; reads all of them to find out."""
        records = self._records("DESC" if newest_first else "ASC")
        return (record for record in records if _matches(record, filters))

    def _records(self, order: str) -> Iterator[Record]:
        rows = self._rows(
            f"SELECT seq, leaf, leaf_hash, chain_hash FROM ledger ORDER BY seq {order}"  # noqa: S608 - ASC or DESC
        )
        for row in rows:
            yield record_from_row(row)

    def _rows(self, query: str) -> Generator[tuple[Any, ...], None, None]:
        if not self._path.is_file():
            raise LedgerError(
                f"ledger {quote(str(self._path))} is not a file",
                reason="LedgerUnreadable",
            )
        try:
            with closing(self._connect()) as database:
                yield from database.execute(query)
        except sqlite3.Error as error:
            raise LedgerError(
                f"ledger {quote(str(self._path))} cannot be read: {error}",
                reason="LedgerUnreadable",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        uri = f"file:{url_quote(str(self._path.absolute()))}?mode=ro"
        database = sqlite3.connect(uri, uri=True)
        try:
            database.execute("SELECT 1 FROM sqlite_schema")
        except sqlite3.OperationalError:
            database.close()
            log = self._path.with_name(self._path.name + "-wal")
            if log.exists() and log.stat().st_size:
                raise
            # A copy in a folder that cannot be written: nothing else changes it.
            database = sqlite3.connect(f"{uri}&immutable=1", uri=True)
        except BaseException:
            database.close()
            raise
        return database


class ExportSource:
    """Lines that ``pedigree audit export`` wrote."""

    def __init__(self, stream: BinaryIO) -> None:
        """Take lines from a stream; it can be read once."""
        self._stream = stream

    def claims(self) -> Claims:
        """None: an export does not say how long it should be."""
        return Claims()

    def records(self) -> Iterator[Record]:
        """Every record."""
        number = 0
        while line := self._stream.readline(LINE_MAX_BYTES + 1):
            number += 1
            if len(line) > LINE_MAX_BYTES:
                raise LedgerError(
                    f"line {number} has more than {LINE_MAX_BYTES} bytes",
                    reason="RecordInvalid",
                )
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise LedgerError(
                    f"line {number} is not JSON: {error}", reason="RecordInvalid"
                ) from error
            yield record_from_dict(value)

    def find(self, filters: Filters, *, newest_first: bool) -> Iterator[Record]:
        """The records that match; newest first keeps all of them in memory."""
        found = (record for record in self.records() if _matches(record, filters))
        if not newest_first:
            return found
        newest = deque(found)
        newest.reverse()
        return iter(newest)


def first(records: Iterator[Record], limit: int) -> tuple[list[Record], bool]:
    """At most ``limit`` records, and whether there are more."""
    some = list(islice(records, limit + 1))
    return some[:limit], len(some) > limit


def _matches(record: Record, filters: Filters) -> bool:
    try:
        return filters.match(facets_of(json.loads(record.leaf)["entry"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LedgerError(
            f"ledger record {record.seq} holds no entry", reason="RecordInvalid"
        ) from error


def _refused(url: str, answer: Answer) -> LedgerError:
    hint = {
        401: "give a token with --token-file, as of kubectl create token ACCOUNT",
        403: "ask for a ClusterRole with the nonResourceURLs of docs/audit.md",
    }
    return LedgerError(
        f"audit service at {url} refused: {answer.error()}",
        reason="AuditRefused",
        hint=hint.get(answer.status),
    )


def _unexpected(url: str, body: object) -> LedgerError:
    return LedgerError(
        f"audit service at {url} answered {quote(body, 120)}, which is not its API",
        reason="AuditRefused",
    )
