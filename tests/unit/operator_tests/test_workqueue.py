# SPDX-License-Identifier: Apache-2.0
"""The promises of the work queue."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from pedigree_operator.workqueue import BACKOFF_FIRST_S, BACKOFF_MAX_S, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def in_loop(work: Callable[[WorkQueue[str], Clock], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        await asyncio.wait_for(work(queue, clock), 10)
        queue.close()

    asyncio.run(run())


def test_a_key_waits_at_most_once() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        for _ in range(3):
            queue.add("a")
        queue.add("b")
        assert queue.depth() == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert queue.depth() == 0

    in_loop(work)


def test_a_key_is_worked_on_by_one_worker_and_once_more_if_it_changed() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        assert queue.depth() == 0, "not while it is worked on"
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.idle()

    in_loop(work)


def test_a_waiting_worker_is_woken() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        worker = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await worker == "a"

    in_loop(work)


def test_of_several_delays_the_earliest_counts() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        queue.add_after("a", 60)
        queue.add_after("a", 0.02)
        queue.add_after("a", 90)
        assert queue.depth() == 0
        assert await queue.get() == "a"

    in_loop(work)


def test_backoff_doubles_to_a_bound_and_is_reset_by_success() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        delays = [queue.retry("a") for _ in range(40)]
        assert delays[:3] == [
            BACKOFF_FIRST_S,
            2 * BACKOFF_FIRST_S,
            4 * BACKOFF_FIRST_S,
        ]
        assert delays[-1] == BACKOFF_MAX_S
        queue.forget("a")
        assert queue.retry("a") == BACKOFF_FIRST_S

    in_loop(work)


def test_the_age_is_that_of_the_first_waiting_key() -> None:
    async def work(queue: WorkQueue[str], clock: Clock) -> None:
        assert queue.oldest_age_s() == 0.0
        queue.add("a")
        clock.now += 5
        queue.add("b")
        clock.now += 1
        assert queue.oldest_age_s() == 6.0
        await queue.get()
        assert queue.oldest_age_s() == 1.0

    in_loop(work)
