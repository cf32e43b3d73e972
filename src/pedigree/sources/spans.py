# SPDX-License-Identifier: Apache-2.0
"""Ranged reads of one file that is far: bounds, joined requests, several at once.

Every place over a network reads its files through :class:`FarFile`, and gives it
nothing but a way to fetch one range.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from threading import Lock
from typing import Protocol, TypeVar

from pedigree.digests import Digest
from pedigree.errors import ArtifactError, quote
from pedigree.ranges import FileEntry, Span, Usage, coalesce

GAP_BYTES = 1 << 20
"""A request costs about as much as a megabyte."""
SPAN_MAX_BYTES = 16 << 20
"""As many of these as there are connections are in memory at once."""

_T = TypeVar("_T")
Fetch = Callable[[int, int], bytes]
"""Exactly ``length`` bytes from ``offset`` of a file, or an error."""
Range = tuple[int, int]
"""Offset and length."""


class Kept(Protocol):
    """Bytes of one file that were received before."""

    def missing(self, ranges: Sequence[Range]) -> list[Range]:
        """What of some ranges is not kept, as ranges by offset that do not touch."""
        ...

    def read(self, offset: int, length: int) -> bytes | None:
        """Kept bytes, or None if some are missing or damaged."""
        ...

    def put(self, offset: int, data: bytes) -> None:
        """Keep bytes.  Never fails: what cannot be kept is not."""
        ...

    def forget(self) -> None:
        """Keep nothing of what was kept: it is wrong."""
        ...


class FarFile:
    """Ranged reads of one file; see :class:`~pedigree.ranges.RangeSource`.

    Args:
        entry: Path and size told outside.
        fetch: Gets one range from the place; called in several threads.
        connections: Requests at once.
        pin: What binds the content, so that equal pins at one place mean equal
            bytes; empty where nothing does.
        digest: SHA-256 that the whole must have, if known.
    """

    def __init__(
        self,
        entry: FileEntry,
        fetch: Fetch,
        *,
        connections: int,
        pin: str = "",
        digest: Digest | None = None,
    ) -> None:
        self._entry = entry
        self._fetch = fetch
        self._connections = connections
        self.pin = pin
        self._digest = digest
        self._kept: Kept | None = None
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def path(self) -> str:
        """Path relative to the model's root."""
        return self._entry.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self._entry.size

    def keep(self, kept: Kept) -> None:
        """Have bytes taken from a cache where it has them, and kept in it."""
        self._kept = kept

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``.

        Raises:
            ArtifactError: The whole was read and has another digest
                (``DigestMismatch``).
            SourceError: The bytes could not be had.
        """
        return self.read_many([(offset, length)])[0]

    def read_many(self, ranges: Sequence[Range]) -> list[bytes]:
        """Read ``(offset, length)`` ranges, coalesced; results in the order asked."""
        for offset, length in ranges:
            self._check(offset, length)
        if self._kept is None:
            bodies = self._fetched(ranges)
        else:
            bodies = self._with_kept(self._kept, ranges)
        for (offset, _), body in zip(ranges, bodies, strict=True):
            self._follow(offset, body)
        return bodies

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(
                f"bytes {offset} to {offset + length} of {quote(self.path)} were "
                f"asked, it has {self.size}"
            )

    def _fetched(self, ranges: Sequence[Range]) -> list[bytes]:
        results = [b""] * len(ranges)

        def fetch(span: Span) -> None:
            # What lies between is let go at once: it may be much more than was asked.
            data = self._fetch(span.offset, span.length)
            for index, start, length in span.members:
                results[index] = _part(data, start, length)

        calls = [partial(fetch, span) for span in _spans(ranges) if span.length]
        run_all(calls, self._connections)
        return results

    def _with_kept(self, kept: Kept, ranges: Sequence[Range]) -> list[bytes]:
        """Fetch what is not kept, and keep each answer as soon as it is there.

        No kept byte is asked for again, also where it lies between two that are
        missing and would cost nothing.
        """
        missing = kept.missing(ranges)

        def fetch(offset: int, length: int) -> list[tuple[int, bytes]]:
            data = self._fetch(offset, length)
            kept.put(offset, data)
            return [
                (begin, _part(data, begin - offset, end - begin))
                for begin, end in _within(missing, offset, offset + length)
            ]

        wanted: list[Range] = []
        for span in _spans(missing):
            for hole in kept.missing([(span.offset, span.length)]):
                wanted.extend(_of_use(hole, span, missing))
        calls = [partial(fetch, *each) for each in wanted]
        found = run_all(calls, self._connections)
        new = sorted(piece for pieces in found for piece in pieces)
        begins = [offset for offset, _ in new]
        return [b"".join(self._pieces(kept, new, begins, *each)) for each in ranges]

    def _pieces(
        self,
        kept: Kept,
        new: Sequence[tuple[int, bytes]],
        begins: Sequence[int],
        offset: int,
        length: int,
    ) -> Iterator[bytes]:
        """One range from what was fetched now and what is kept."""
        end = offset + length
        place = max(0, bisect_right(begins, offset) - 1)
        while offset < end:
            begin, body = new[place] if place < len(new) else (end, b"")
            if begin <= offset:
                piece = body[offset - begin : end - begin]
                place += 1
            else:
                until = min(begin, end) - offset
                # Another process may have emptied the cache meanwhile.
                piece = kept.read(offset, until) or self._fetch(offset, until)
            offset += len(piece)
            yield piece

    def _follow(self, offset: int, data: bytes) -> None:
        """Hash along when the file is read from its beginning to its end in order."""
        if self._digest is None:
            return
        if offset == 0 and len(data) == self.size:
            self._compare(hashlib.sha256(data).hexdigest())
        elif offset == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)
            if self._hashed == self.size:
                self._compare(self._hash.hexdigest())

    def _compare(self, got: str) -> None:
        try:
            compare_digest(Digest(got), self._digest, self.path)
        except ArtifactError:
            # Else no retry could ever see other bytes.
            if self._kept is not None:
                self._kept.forget()
            raise


def compare_digest(got: Digest, wanted: Digest | None, path: str) -> None:
    """Refuse a digest that is not the named one.

    Raises:
        ArtifactError: ``DigestMismatch``.
    """
    if wanted is not None and got != wanted:
        raise ArtifactError(
            f"{quote(path)} has the digest {got}, wanted {wanted}",
            reason="DigestMismatch",
            hint="the source sends other bytes than were named; do not use them",
            path=path,
        )


class Meter:
    """Counts of what one source was asked and sent; safe in several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests = self._limited = self._failed = 0
        self._bytes = 0

    @property
    def requests(self) -> int:
        """Requests sent so far, tries again and redirects included."""
        return self._requests

    @property
    def bytes_read(self) -> int:
        """Bytes of answers received so far."""
        return self._bytes

    @property
    def usage(self) -> Usage:
        """All counts."""
        return Usage(
            requests=self._requests,
            requests_limited=self._limited,
            requests_failed=self._failed,
            bytes_read=self._bytes,
        )

    def asked(self) -> None:
        """Count one request."""
        with self._lock:
            self._requests += 1

    def failed(self, *, limited: bool) -> None:
        """Count one request that had no answer, or was one too many."""
        with self._lock:
            if limited:
                self._limited += 1
            else:
                self._failed += 1

    def received(self, count: int) -> None:
        """Count bytes."""
        with self._lock:
            self._bytes += count


def run_all(calls: Sequence[Callable[[], _T]], connections: int) -> list[_T]:
    """Results of calls in their order; the error of the first that failed.

    Calls not yet begun when one fails are not begun.
    """
    if len(calls) < 2 or connections < 2:
        return [call() for call in calls]
    pool = ThreadPoolExecutor(min(connections, len(calls)))
    try:
        futures = [pool.submit(call) for call in calls]
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _spans(ranges: Sequence[Range]) -> list[Span]:
    return coalesce(ranges, gap_bytes=GAP_BYTES, span_max_bytes=SPAN_MAX_BYTES)


def _part(data: bytes, start: int, length: int) -> bytes:
    return data if length == len(data) else data[start : start + length]


def _within(ranges: Sequence[Range], first: int, end: int) -> list[tuple[int, int]]:
    """Begin and end of what ranges, by offset and apart, have between two places."""
    place = max(0, bisect_right(ranges, first, key=lambda it: it[0]) - 1)
    found = []
    for offset, length in islice(ranges, place, None):
        if offset >= end:
            break
        if offset + length > first:
            found.append((max(first, offset), min(end, offset + length)))
    return found


def _of_use(hole: Range, span: Span, missing: Sequence[Range]) -> list[Range]:
    """A hole of a span without what nobody asked for at its ends."""
    first, end = hole[0], sum(hole)
    inside = _within([missing[index] for index, _, _ in span.members], first, end)
    return [(inside[0][0], inside[-1][1] - inside[0][0])] if inside else []
