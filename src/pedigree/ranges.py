# SPDX-License-Identifier: Apache-2.0
"""What a model source must offer: a file list, and ranged reads of each file.

Protocols, and what passes them on for sources around sources.  Implementations live in
:mod:`pedigree.sources`; parsers and fingerprints see nothing but these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pedigree.digests import Digest
from pedigree.refs import ModelRef


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model.

    Attributes:
        path: POSIX path relative to the model's root; never absolute, no ``..``.
        size: Bytes.
        digest: SHA-256 of the content where the source states it without a read
            (the Hub does for large files), else None.
    """

    path: str
    size: int
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What reading from one source took so far.

    Attributes:
        requests: Requests sent; 0 for folders of this machine.
        requests_limited: Those of them that were answered with: later, too many.
        requests_failed: Those that had no answer that could be used.
        bytes_read: Bytes received or read.
        bytes_kept: Bytes that a cache gave instead.
        limited_s: Seconds waited because the source said that it was busy.
    """

    requests: int = 0
    requests_limited: int = 0
    requests_failed: int = 0
    bytes_read: int = 0
    bytes_kept: int = 0
    limited_s: float = 0.0


class RangeSource(Protocol):
    """Ranged reads of one file."""

    @property
    def path(self) -> str:
        """Path relative to the model's root."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset``.

        Raises:
            ArtifactError: The file is shorter than it said (reason ``TruncatedFile``).
            SourceUnavailable: The read failed for now.
            SourceRefused: The source said no.
        """
        ...

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ``(offset, length)`` ranges, coalesced; results in the order asked."""
        ...


class ModelSource(Protocol):
    """One model at one place, listed once; reads see the state that was listed."""

    @property
    def ref(self) -> ModelRef:
        """The reference, pinned as far as the source can pin it."""
        ...

    @property
    def identity(self) -> str:
        """Opaque text that changes whenever the content may have changed.

        Cheap: a commit for the Hub, sizes and modification times for files.  Equal
        identities mean that a digest computed before still holds.
        """
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes read from this source so far."""
        ...

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path."""
        ...

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """One read that serves several asked ranges.

    Attributes:
        offset: First byte.
        length: Bytes.
        members: ``(index of the asked range, offset within the span, length)``.
    """

    offset: int
    length: int
    members: tuple[tuple[int, int, int], ...]


def coalesce(
    ranges: Sequence[tuple[int, int]], *, gap_bytes: int, span_max_bytes: int
) -> list[Span]:
    """Join ranges that lie close together into fewer reads.

    Every asked range lies whole in exactly one span.  A span is longer than
    ``span_max_bytes`` only when one asked range alone is.

    Args:
        ranges: ``(offset, length)`` in any order; may overlap and repeat.
        gap_bytes: Unasked bytes that may be read to save a read.
        span_max_bytes: Bytes of one read.

    Returns:
        Spans by offset.
    """
    spans: list[Span] = []
    order = sorted(range(len(ranges)), key=lambda index: ranges[index])
    begin = end = 0
    members: list[tuple[int, int, int]] = []
    for index in order:
        offset, length = ranges[index]
        reach = max(end, offset + length)
        if members and (offset > end + gap_bytes or reach - begin > span_max_bytes):
            spans.append(Span(begin, end - begin, tuple(members)))
            members = []
        if not members:
            begin, end = offset, offset
        members.append((index, offset - begin, length))
        end = max(end, offset + length)
    if members:
        spans.append(Span(begin, end - begin, tuple(members)))
    return spans


def read_spans(
    read: Callable[[int, int], bytes],
    ranges: Sequence[tuple[int, int]],
    *,
    gap_bytes: int,
    span_max_bytes: int,
) -> list[bytes]:
    """Read ranges through :func:`coalesce`; results in the order asked."""
    spans = coalesce(ranges, gap_bytes=gap_bytes, span_max_bytes=span_max_bytes)
    return spread(spans, (read(x.offset, x.length) for x in spans), len(ranges))


def spread(spans: Sequence[Span], bodies: Iterable[bytes], count: int) -> list[bytes]:
    """The asked ranges, of which there are ``count``, from what their spans gave."""
    results = [b""] * count
    for span, data in zip(spans, bodies, strict=True):
        view = memoryview(data)
        for index, start, length in span.members:
            alone = length == len(data)
            results[index] = data if alone else bytes(view[start : start + length])
    return results


def usage_of(source: ModelSource) -> Usage:
    """What reading from a source took; of one without a network its bytes alone."""
    found = getattr(source, "usage", None)
    return found if isinstance(found, Usage) else Usage(bytes_read=source.bytes_read)


class WrappedSource:
    """Passes on what a source says of itself; how files are opened is told elsewhere.

    Args:
        source: The source within.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source

    @property
    def ref(self) -> ModelRef:
        """The pinned reference."""
        return self._source.ref

    @property
    def identity(self) -> str:
        """The source's identity."""
        return self._source.identity

    @property
    def bytes_read(self) -> int:
        """Bytes read so far."""
        return self._source.bytes_read

    @property
    def usage(self) -> Usage:
        """What it took so far."""
        return usage_of(self._source)

    def files(self) -> tuple[FileEntry, ...]:
        """The files, sorted by path."""
        return self._source.files()


class WrappedRange:
    """Passes on what a file says of itself; how it is read is told elsewhere."""

    def __init__(self, file: RangeSource) -> None:
        self._file = file

    @property
    def path(self) -> str:
        """Path relative to the model's root."""
        return self._file.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.size
