# SPDX-License-Identifier: Apache-2.0
"""A busy source is asked again when it said, by everybody, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from artifact_world.hub import Fault, SimulatedHub, serve
from pedigree.errors import SourceUnavailable
from pedigree.ranges import usage_of
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.sources.patience import Patience

BODY = bytes(range(250)) * 8


class _Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _patience(clock: _Clock, most_s: float) -> Patience:
    return Patience(most_s, clock.sleep, clock)


def test_it_waits_as_long_as_the_source_asks(clock: _Clock) -> None:
    patience = _patience(clock, 60)
    patience.wait()
    assert clock.slept == []
    assert patience.grant(17)
    assert patience.waited_s == 0
    patience.wait()
    assert clock.slept == [17]
    assert patience.waited_s == 17


def test_a_source_that_says_no_time_is_not_waited_for(clock: _Clock) -> None:
    assert not _patience(clock, 60).grant(None)


def test_threads_that_hear_the_same_wait_wait_once(clock: _Clock) -> None:
    patience = _patience(clock, 20)
    assert all(patience.grant(15) for _ in range(16))
    patience.wait()
    patience.wait()
    assert clock.slept == [15]
    assert patience.waited_s == 15
    assert not patience.grant(15)
    assert patience.grant(5)


def test_patience_ends_also_when_the_source_asks_for_no_time(clock: _Clock) -> None:
    patience = _patience(clock, 10)
    tries = 0
    while patience.grant(0):
        patience.wait()
        tries += 1
        assert tries < 100
    assert tries == 10


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit({"model.safetensors": BODY})
        yield served


def _settings(hub: SimulatedHub, patience_s: float) -> SourceSettings:
    return SourceSettings(
        hub_endpoint=hub.endpoint, timeout_s=2, attempts=3, patience_s=patience_s
    )


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "1"}),
        (429, {"RateLimit": '"api";r=0;t=1'}),
        (503, {"Retry-After": "1"}),
    ],
)
def test_a_busy_hub_is_asked_again_when_it_said_and_the_wait_is_told(
    hub: SimulatedHub, status: int, headers: dict[str, str]
) -> None:
    hub.faults.append(Fault("/cdn/", times=1, status=status, headers=headers))
    source = open_source(parse("hf://org/model"), _settings(hub, 5))
    begun = time.monotonic()
    assert source.open("model.safetensors").read(0, 10) == BODY[:10]
    assert time.monotonic() - begun >= 1
    usage = usage_of(source)
    assert usage.requests == len(hub.asked)
    assert (usage.requests_limited, usage.requests_failed) == (1, 0)
    assert 1 <= usage.limited_s < 2
    assert len(hub.paths_asked("/cdn/")) == 2


def test_a_wait_beyond_patience_is_told_and_not_cut_short(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/api/", status=503, headers={"Retry-After": "30"}))
    settings = _settings(hub, 20)
    with pytest.raises(SourceUnavailable) as caught:
        open_source(parse("hf://org/model"), settings)
    assert caught.value.retry_after_s == 30
    assert len(hub.asked) == 1


def test_requests_without_an_answer_are_counted(hub: SimulatedHub) -> None:
    source = open_source(parse("hf://org/model"), _settings(hub, 0))
    hub.faults.append(Fault("/cdn/", times=2, status=502))
    assert source.open("model.safetensors").read(0, 10) == BODY[:10]
    usage = usage_of(source)
    assert usage.requests == len(hub.asked)
    assert (usage.requests_limited, usage.requests_failed) == (0, 2)
