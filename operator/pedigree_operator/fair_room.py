# SPDX-License-Identifier: Apache-2.0
"""Room for work that several namespaces want, so that none of them takes it all."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Waiter:
    """Work that waits: for whom, since when, and what is told its namespace."""

    groups: Callable[[], Collection[str]]
    arrived: int
    granted: asyncio.Future[str]


class FairRoom:
    """A semaphore that goes round the namespaces that wait for it.

    What is free goes to the namespace that has the least of it, and among equals to
    the one that was served longest ago; who asks a thousand times does not come first
    a thousand times.  Work that several wait for counts for any of them.

    Args:
        total: Pieces of work at once.
        each: Pieces of work of one namespace at once; None for all of them.
    """

    def __init__(self, total: int, each: int | None = None) -> None:
        self._free = total
        self._each = each or total
        self._held: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._waiting: list[_Waiter] = []
        self._clock = 0

    @contextlib.asynccontextmanager
    async def taken(self, groups: Callable[[], Collection[str]]) -> AsyncIterator[None]:
        """Wait for room, and have it.

        Args:
            groups: The namespaces that wait for the work now; at least one.
        """
        self._clock += 1
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(groups, self._clock, granted)
        self._waiting.append(waiter)
        self._grant([waiter])  # who came before waits for other room than is free
        try:
            group = await granted
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not granted.cancelled():  # granted and cancelled at the same time
                self._give_back(granted.result())
            raise
        try:
            yield
        finally:
            self._give_back(group)

    def look(self) -> None:
        """Look for room again, for work that another namespace now waits for too."""
        self._grant(self._waiting)

    def _give_back(self, group: str) -> None:
        self._free += 1
        self._held[group] -= 1
        self._held += Counter()  # forgets who has none
        self._grant(self._waiting)

    def _grant(self, among: list[_Waiter]) -> None:
        while self._free > 0 and among:
            turns = [
                ((self._held[group], self._served.get(group, 0), it.arrived), group, it)
                for it in among
                if not it.granted.done()  # whoever waited may have been stopped
                for group in it.groups()
                if self._held[group] < self._each
            ]
            if not turns:
                break
            _, group, waiter = min(turns, key=lambda turn: turn[0])
            self._waiting.remove(waiter)
            among = [it for it in among if it is not waiter]
            self._clock += 1
            self._served[group] = self._clock
            self._free -= 1
            self._held[group] += 1
            waiter.granted.set_result(group)
        if not self._waiting:
            self._served = {}


async def in_thread(work: Callable[[], T]) -> T:
    """What work gives that may never end: in a thread that holds up nobody's exit."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def tell(set_to: Callable[[Any], None], value: object) -> None:
        if not ended.done():
            set_to(value)

    def run() -> None:
        try:
            told: tuple[Callable[[Any], None], Any] = ended.set_result, work()
        except Exception as error:
            told = ended.set_exception, error
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=run, name="resolve", daemon=True).start()
    return await ended
