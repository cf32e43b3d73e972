# SPDX-License-Identifier: Apache-2.0
"""One lookup per reference, one examination per content."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from operator_world.worlds import DIGEST, NOW, OTHER, evidence
from pedigree.errors import PedigreeError, SourceRefused, SourceUnavailable
from pedigree.evidence import Resolution
from pedigree.policy.verdict import Reason
from pedigree_operator import lookups as module
from pedigree_operator.access import Access
from pedigree_operator.jobs import Examined
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lookups import (
    BACKOFF_MAX,
    REFUSED_RETRY,
    RESOLVING_EACH,
    Located,
    Lookups,
    Stage,
    failure_from,
)

PINNED = "hf://org/model@" + "c" * 40
MOVED = "hf://org/model@" + "d" * 40


def key(name: str, namespace: str = "team") -> Key:
    return Key(Kind.MODEL_DEPLOYMENT, namespace, name)


class Source:
    """A source that answers when it is told to."""

    def __init__(self) -> None:
        self.resolved: list[str] = []
        self.examined: list[str] = []
        self.running = self.most = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None
        self.found = (PINNED, "commit:c", DIGEST)
        self.woken: list[Key] = []
        self.lookups = Lookups(
            resolve=self.resolve,
            examine=self.examine,
            now=lambda: NOW,
            wake=self.woken.append,
            concurrency=2,
        )

    async def resolve(self, access: Access) -> Located:
        self.resolved.append(access.uri)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Located(PINNED, "commit:c", NOW)

    async def examine(self, access: Access) -> Examined:
        self.examined.append(access.uri)
        self.running += 1
        self.most = max(self.most, self.running)
        await self.go.wait()
        self.running -= 1
        if self.error is not None:
            raise self.error
        pinned, identity, digest = self.found
        seen = Resolution(access.uri, pinned, identity, "2026-11-23T12:00:00Z")
        return Examined(replace(evidence(digest), resolutions=(seen,)), 1, 0.1)


def in_loop(work: Callable[[Source], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        source = Source()
        try:
            await asyncio.wait_for(work(source), 10)
        finally:
            await source.lookups.stop()

    asyncio.run(run())


async def rest() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_many_objects_wait_for_one_lookup_and_all_are_woken() -> None:
    async def work(source: Source) -> None:
        for number in range(5):
            source.lookups.resolve(Access("hf://org/model"), key(str(number)))
        await rest()
        assert source.lookups.state(Access("hf://org/model")).stage is Stage.RESOLVING
        source.go.set()
        await rest()
        assert source.resolved == ["hf://org/model"]
        assert len(source.woken) == 5
        state = source.lookups.state(Access("hf://org/model"))
        assert state.stage is Stage.IDLE
        assert state.located is not None

    in_loop(work)


def test_two_references_to_one_content_are_examined_once() -> None:
    async def work(source: Source) -> None:
        uris = ["hf://org/model@main", "hf://org/model@v1"]
        source.go.set()
        for uri in uris:
            source.lookups.resolve(Access(uri), key(uri))
        await rest()
        source.go.clear()
        for uri in uris:
            source.lookups.examine(Access(uri), key(uri))
        await rest()
        assert len(source.examined) == 1
        source.go.set()
        await rest()
        digests = [source.lookups.state(Access(uri)).located for uri in uris]
        assert all(it is not None and it.digest is not None for it in digests)

    in_loop(work)


def test_a_branch_that_moves_before_it_is_read_says_nothing_of_another_reference() -> (
    None
):
    async def work(source: Source) -> None:
        branch, commit = "hf://org/model@main", PINNED
        source.go.set()
        for uri in (branch, commit):
            source.lookups.resolve(Access(uri), key(uri))
        await rest()
        source.go.clear()
        for uri in (branch, commit):
            source.lookups.examine(Access(uri), key(uri))
        await rest()
        assert source.examined == [branch], "they meant one content when resolved"
        source.found = (MOVED, "commit:d", OTHER)
        source.go.set()
        await rest()
        moved = source.lookups.state(Access(branch)).located
        assert moved == Located(MOVED, "commit:d", NOW, OTHER)
        fixed = source.lookups.state(Access(commit))
        assert fixed.failure is None
        assert fixed.located == Located(PINNED, "commit:c", NOW), "not examined yet"
        source.found = (PINNED, "commit:c", DIGEST)
        source.lookups.examine(Access(commit), key(commit))
        await rest()
        assert source.examined == [branch, commit]
        examined = source.lookups.state(Access(commit)).located
        assert examined == Located(PINNED, "commit:c", NOW, DIGEST)

    in_loop(work)


def test_no_more_examinations_run_than_allowed() -> None:
    async def work(source: Source) -> None:
        for number in range(6):
            source.lookups.examine(Access(f"file:///{number}"), key(str(number)))
        await rest()
        assert source.lookups.in_flight == 2
        source.go.set()
        await rest()
        assert len(source.examined) == 6
        assert source.most == 2
        assert source.lookups.in_flight == 0

    in_loop(work)


def test_a_failure_keeps_what_was_located_before() -> None:
    async def work(source: Source) -> None:
        source.go.set()
        source.lookups.resolve(Access("file:///x"), key("a"))
        await rest()
        source.error = SourceUnavailable("away", retry_after_s=30)
        source.lookups.resolve(Access("file:///x"), key("a"))
        await rest()
        state = source.lookups.state(Access("file:///x"))
        assert state.located is not None
        assert state.failure is not None
        assert state.failure.retry_at == NOW + timedelta(seconds=30)
        source.lookups.forgive(Access("file:///x"))
        again = source.lookups.state(Access("file:///x")).failure
        assert again is not None
        assert again.retry_at == NOW

    in_loop(work)


def test_editing_an_object_asks_no_source_that_is_asked_too_often() -> None:
    async def work(source: Source) -> None:
        source.go.set()
        source.error = SourceUnavailable(
            "later", reason="RateLimited", retry_after_s=300
        )
        source.lookups.resolve(Access("hf://org/model"), key("a"))
        await rest()
        source.lookups.forgive(Access("hf://org/model"))
        failure = source.lookups.state(Access("hf://org/model")).failure
        assert failure is not None
        assert failure.retry_at == NOW + timedelta(seconds=300)

    in_loop(work)


def test_a_bug_in_a_lookup_is_a_failure_and_not_the_end() -> None:
    async def work(source: Source) -> None:
        source.go.set()
        source.error = RuntimeError("a bug")
        source.lookups.examine(Access("file:///x"), key("a"))
        await rest()
        failure = source.lookups.state(Access("file:///x")).failure
        assert failure is not None
        assert failure.reason is Reason.INTERNAL_ERROR
        assert source.woken == [key("a")]

    in_loop(work)


def test_forgotten_references_take_no_memory() -> None:
    async def work(source: Source) -> None:
        source.go.set()
        source.lookups.resolve(Access("file:///x"), key("a"))
        await rest()
        source.lookups.keep_only(set())
        assert source.lookups.state(Access("file:///x")).located is None

    in_loop(work)


def test_a_refusal_waits_long_and_an_outage_longer_each_time() -> None:
    refused = failure_from(SourceRefused("no", reason="NotFound"), NOW, 1)
    assert refused.retry_at == NOW + REFUSED_RETRY
    assert refused.detail == "NotFound"
    waits = [
        failure_from(SourceUnavailable("away"), NOW, count).retry_at - NOW
        for count in (1, 2, 3, 50)
    ]
    assert waits == sorted(waits)
    assert waits[0] < waits[1] < waits[2]
    assert waits[3] == BACKOFF_MAX
    bug = failure_from(PedigreeError("x"), NOW, 1)
    assert bug.reason is Reason.INTERNAL_ERROR


def test_claims_that_are_read_elsewhere_keep_nobody_waiting() -> None:
    async def work(source: Source) -> None:
        for number in range(20):
            claim = Access(f"pvc://claim-{number}", "team")
            source.lookups.resolve(claim, key(f"resolve-{number}"))
        for number in range(20):
            claim = Access(f"pvc://other-{number}", "team")
            source.lookups.examine(claim, key(f"examine-{number}"))
        source.lookups.resolve(Access("hf://org/model"), key("resolve"))
        source.lookups.examine(Access("hf://org/other"), key("examine"))
        await rest()
        assert "hf://org/model" in source.resolved
        assert "hf://org/other" in source.examined
        source.go.set()
        await rest()

    in_loop(work)


def test_sources_that_never_answer_keep_no_other_namespace_waiting() -> None:
    async def work(source: Source) -> None:
        hung = [f"https://hung.example/{number}.gguf" for number in range(100)]
        for uri in hung:
            source.lookups.resolve(Access(uri), key(uri, "evil"))
        await rest()
        assert source.resolved == hung[:RESOLVING_EACH]
        source.lookups.resolve(Access("hf://org/model"), key("model"))
        await rest()
        assert source.resolved[-1] == "hf://org/model"

    in_loop(work)


def test_a_reference_in_the_queue_of_one_namespace_is_asked_for_another() -> None:
    async def work(source: Source) -> None:
        hung = [f"https://hung.example/{number}.gguf" for number in range(20)]
        for uri in hung:
            source.lookups.resolve(Access(uri), key(uri, "evil"))
        await rest()
        assert hung[-1] not in source.resolved
        source.lookups.resolve(Access(hung[-1]), key("ours"))
        await rest()
        assert hung[-1] in source.resolved

    in_loop(work)


def test_a_thread_that_hangs_is_told_and_keeps_its_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RESOLVE_TIMEOUT_S", 0.01)

    async def work(source: Source) -> None:
        for number in range(2 * RESOLVING_EACH):
            uri = f"https://hung.example/{number}.gguf"
            source.lookups.resolve(Access(uri), key(uri, "evil"))
        while len(source.woken) < RESOLVING_EACH:
            await asyncio.sleep(0.01)
        first = source.lookups.state(Access("https://hung.example/0.gguf"))
        assert first.failure is not None
        assert first.failure.reason is Reason.SOURCE_UNAVAILABLE
        assert len(source.resolved) == RESOLVING_EACH
        source.go.set()
        await rest()
        assert len(source.resolved) == 2 * RESOLVING_EACH

    in_loop(work)


def test_examinations_go_round_the_namespaces() -> None:
    async def work(source: Source) -> None:
        for number in range(20):
            uri = f"https://slow.example/{number}.gguf"
            source.lookups.examine(Access(uri), key(uri, "evil"))
        await rest()
        source.lookups.examine(Access("hf://org/model"), key("model"))
        source.lookups.examine(Access("hf://org/other"), key("other"))
        await rest()
        assert len(source.examined) == 2, "who came first has all room"
        source.go.set()
        while len(source.examined) < 22:
            await rest()
        assert source.examined[2] == "hf://org/model"
        assert source.examined.index("hf://org/other") <= 5

    in_loop(work)


def test_what_is_waited_for_under_two_names_is_examined_for_whoever_is_first() -> None:
    async def work(source: Source) -> None:
        source.go.set()
        names = ["hf://org/model@main", "hf://org/model@v1"]
        for uri in names:
            source.lookups.resolve(Access(uri), key(uri))
        await rest()
        source.go.clear()
        for number in range(20):
            uri = f"https://slow.example/{number}.gguf"
            source.lookups.examine(Access(uri), key(uri, "evil"))
        source.lookups.examine(Access(names[0]), key("theirs", "evil"))
        await rest()
        source.lookups.examine(Access(names[1]), key("ours"))
        await rest()
        source.go.set()
        await rest()
        assert source.examined[2] == names[0]

    in_loop(work)
