# SPDX-License-Identifier: Apache-2.0
"""A model source that can be stopped between two reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pedigree.errors import SourceUnavailable
from pedigree.ranges import ModelSource, RangeSource, WrappedRange, WrappedSource

Cancelled = Callable[[], bool]
"""Asked before every read; True stops the examination."""


class WatchedSource(WrappedSource):
    """A source whose reads end when somebody says so or time is up.

    Args:
        source: The source.
        cancelled: Asked before every read.
        clock: Monotonic seconds.
        deadline: Time of ``clock`` after which no read begins, or None.
    """

    def __init__(
        self,
        source: ModelSource,
        cancelled: Cancelled | None,
        clock: Callable[[], float],
        deadline: float | None,
    ) -> None:
        super().__init__(source)
        self._cancelled = cancelled
        self._clock = clock
        self._deadline = deadline

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file, each of which may be stopped."""
        return _WatchedRange(self, self._source.open(path))

    def check(self) -> None:
        """Stop if asked to.

        Raises:
            SourceUnavailable: ``Cancelled`` or ``DeadlineExceeded``.
        """
        if self._cancelled is not None and self._cancelled():
            raise SourceUnavailable(
                f"examination was stopped after {self.bytes_read} bytes",
                reason="Cancelled",
            )
        if self._deadline is not None and self._clock() > self._deadline:
            raise SourceUnavailable(
                f"examination ran out of time after {self.bytes_read} bytes",
                reason="DeadlineExceeded",
                hint="allow more time, or bring the model closer",
            )


class _WatchedRange(WrappedRange):
    def __init__(self, source: WatchedSource, file: RangeSource) -> None:
        super().__init__(file)
        self._source = source

    def read(self, offset: int, length: int) -> bytes:
        self._source.check()
        return self._file.read(offset, length)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self._source.check()
        return self._file.read_many(ranges)
