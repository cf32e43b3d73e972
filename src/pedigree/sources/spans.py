# SPDX-License-Identifier: Apache-2.0
"""Several requests to one source at once, in a fixed number of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pedigree.ranges import coalesce, spread

_T = TypeVar("_T")


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


def read_spans(
    read: Callable[[int, int], bytes],
    ranges: Sequence[tuple[int, int]],
    *,
    gap_bytes: int,
    span_max_bytes: int,
    connections: int,
) -> list[bytes]:
    """As :func:`pedigree.ranges.read_spans`, with several reads at once."""
    spans = coalesce(ranges, gap_bytes=gap_bytes, span_max_bytes=span_max_bytes)

    def one(offset: int, length: int) -> Callable[[], bytes]:
        return lambda: read(offset, length)

    bodies = run_all([one(span.offset, span.length) for span in spans], connections)
    return spread(spans, bodies, len(ranges))
