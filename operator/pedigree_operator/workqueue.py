# SPDX-License-Identifier: Apache-2.0
"""A de-duplicating queue of keys with backoff, for one event loop.

The three promises of client-go's work queue, which level-triggered reconciling rests
on: a key waits at most once; a key is worked on by one worker at a time; a key that is
added while it is worked on is worked on once more afterwards.

Keys carry no payload: what is to be done is read from the cache when the key's turn
comes, so a burst of changes costs one reconcile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 300.0
_DOUBLINGS_MAX = 20  # beyond it 2**n only overflows


class WorkQueue(Generic[K]):
    """See the module.  Not thread-safe: call it from its event loop only.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._order: deque[K] = deque()
        self._since: dict[K, float] = {}
        """When each waiting key became due; the set of waiting keys as well."""
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._ready = asyncio.Event()

    def add(self, key: K) -> None:
        """Have the key worked on as soon as a worker is free."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._since:
            self._since[key] = self._clock()
            self._order.append(key)
            self._ready.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Have the key worked on after a delay; of several the earliest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def retry(self, key: K) -> float:
        """Have the key worked on after its backoff; returns the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        doubled = BACKOFF_FIRST_S * float(2 ** min(failures, _DOUBLINGS_MAX))
        delay_s = min(doubled, BACKOFF_MAX_S)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """Reset the key's backoff, after a success."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for the next key; the caller must call :meth:`done` with it."""
        while not self._order:
            self._ready.clear()
            await self._ready.wait()
        key = self._order.popleft()
        del self._since[key]
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Say that the work on a key has ended."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def depth(self) -> int:
        """Number of keys that wait for a worker."""
        return len(self._order)

    def oldest_age_s(self) -> float:
        """For how long the first waiting key has waited, seconds; 0 for none."""
        return self._clock() - self._since[self._order[0]] if self._order else 0.0

    def idle(self) -> bool:
        """Whether nothing waits and nothing is worked on (delayed keys aside)."""
        return not self._order and not self._working

    def close(self) -> None:
        """Cancel every delayed key, at the end of the process."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
