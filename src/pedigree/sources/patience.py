# SPDX-License-Identifier: Apache-2.0
"""Waits that a source asks for, shared by all threads that ask it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

_LEAST_S = 1.0
"""Wait of an answer that asks for less, so that patience comes to an end."""


class Patience:
    """How long one reader waits for a source that is busy.

    Args:
        most_s: Seconds of waiting in all.
        sleep: Waits.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        most_s: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most_s = most_s
        self._sleep = sleep
        self._clock = clock
        self._lock = Lock()
        self._until = clock()
        self._granted_s = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds that were waited for the source, however many threads did."""
        return max(0.0, self._granted_s - max(0.0, self._until - self._clock()))

    def grant(self, wait_s: float | None) -> bool:
        """Whether to wait as long as the source asks, and ask again then.

        Args:
            wait_s: Seconds from now; None if the source does not say.
        """
        if wait_s is None:
            return False
        with self._lock:
            now = self._clock()
            until = max(self._until, now + max(_LEAST_S, wait_s))
            more = until - max(self._until, now)
            if self._granted_s + more > self._most_s:
                return False
            self._until, self._granted_s = until, self._granted_s + more
            return True

    def wait(self) -> None:
        """Sleep while the source wants no request."""
        wait_s = self._until - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
