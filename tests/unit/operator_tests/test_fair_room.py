# SPDX-License-Identifier: Apache-2.0
"""Room that namespaces share, when work is stopped while it waits for it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pedigree_operator.fair_room import FairRoom, in_thread


class Bench:
    """Work in a room, told to end."""

    def __init__(self, total: int, each: int | None = None) -> None:
        self.room = FairRoom(total, each)
        self.begun: list[str] = []

    def start(self, name: str, *groups: str) -> tuple[asyncio.Task[None], Any]:
        go = asyncio.Event()

        async def work() -> None:
            async with self.room.taken(lambda: groups):
                self.begun.append(name)
                await go.wait()

        return asyncio.create_task(work()), go


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 10))


def test_who_is_stopped_while_waiting_takes_no_room() -> None:
    async def work() -> None:
        bench = Bench(1)
        first, go = bench.start("first", "a")
        await rest()
        stopped, _ = bench.start("stopped", "b")
        last, end = bench.start("last", "c")
        await rest()
        stopped.cancel()
        await rest()
        assert len(bench.room._waiting) == 1
        go.set()
        await rest()
        assert bench.begun == ["first", "last"]
        end.set()
        await asyncio.gather(first, last)

    in_loop(work)


def test_who_is_stopped_as_room_becomes_free_leaves_it_to_the_next() -> None:
    async def work() -> None:
        bench = Bench(1)
        async with bench.room.taken(lambda: {"a"}):
            stopped, _ = bench.start("stopped", "b")
            last, end = bench.start("last", "c")
            await rest()
            stopped.cancel()  # and has had no turn to leave the queue
        await rest()
        assert bench.begun == ["last"]
        end.set()
        await last

    in_loop(work)


def test_who_is_stopped_with_room_just_granted_gives_it_back() -> None:
    async def work() -> None:
        bench = Bench(1)
        async with bench.room.taken(lambda: {"a"}):
            granted, _ = bench.start("granted", "a")
            await rest()
        granted.cancel()  # it has the room, and has had no turn to know
        await rest()
        after, go = bench.start("after", "a")
        await rest()
        assert bench.begun == ["after"]
        go.set()
        await after

    in_loop(work)


def test_work_that_fails_gives_its_room_back() -> None:
    async def work() -> None:
        room = FairRoom(1)
        with pytest.raises(ValueError, match="a bug"):
            async with room.taken(lambda: {"a"}):
                raise ValueError("a bug")
        async with room.taken(lambda: {"a"}):
            pass

    in_loop(work)


def test_what_a_thread_raises_is_raised() -> None:
    def fail() -> None:
        raise ValueError("a bug")

    async def work() -> None:
        assert await in_thread(lambda: 7) == 7
        with pytest.raises(ValueError, match="a bug"):
            await in_thread(fail)

    in_loop(work)
