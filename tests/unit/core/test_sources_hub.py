# SPDX-License-Identifier: Apache-2.0
"""Models on a Hub that is right, slow, wrong, cut short or busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from artifact_world.hub import Fault, SimulatedHub, serve
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.digests import sha256
from pedigree.errors import ConfigError, SourceError, SourceRefused, SourceUnavailable
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.tensors.checkpoint import Checkpoint

LARGE = weights({"a": matrix(40, 20)})
FILES = {
    "config.json": b"{}",
    "model.safetensors": LARGE,
    "sub/ü b.txt": b"inner",
    ".gitattributes": b"",
}


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit(FILES)
        yield served


def _settings(hub: SimulatedHub, **changes: object) -> SourceSettings:
    settings = SourceSettings(hub_endpoint=hub.endpoint, timeout_s=2, attempts=2)
    return replace(settings, **changes)  # type: ignore[arg-type]


def _open(
    hub: SimulatedHub, ref: str = "hf://org/model", **changes: object
) -> ModelSource:
    return open_source(refs.parse(ref), _settings(hub, **changes))


def _failure(
    hub: SimulatedHub, ref: str = "hf://org/model", **changes: object
) -> SourceError:
    """Why some bytes of the large file could not be had."""
    with pytest.raises(SourceError) as caught:
        _open(hub, ref, **changes).open("model.safetensors").read(10, 100)
    return caught.value


def test_a_branch_is_pinned_to_the_commit_it_means_now(hub: SimulatedHub) -> None:
    commit = hub.branches["main"]
    for ref in ("hf://org/model", "hf://org/model@main", f"hf://org/model@{commit}"):
        source = _open(hub, ref)
        assert str(source.ref) == f"hf://org/model@{commit}"
        assert source.ref.pinned
        assert source.identity == f"commit:{commit}"
        pinned = resolve_identity(refs.parse(ref), _settings(hub))
        assert pinned == (source.ref, source.identity)


def test_files_have_sizes_and_the_digests_of_large_ones(hub: SimulatedHub) -> None:
    listed = {entry.path: entry for entry in _open(hub).files()}
    assert list(listed) == sorted(FILES)
    assert listed["model.safetensors"].size == len(LARGE)
    assert listed["model.safetensors"].digest == sha256(LARGE)
    assert listed["config.json"].digest is None


def test_small_and_large_files_are_read_by_ranges(hub: SimulatedHub) -> None:
    source = _open(hub)
    assert source.open("config.json").read(0, 2) == b"{}"
    assert source.open("sub/ü b.txt").read(1, 3) == b"nne"
    file = source.open("model.safetensors")
    assert file.read(5, 300) == LARGE[5:305]
    assert file.read(0, len(LARGE)) == LARGE
    assert file.read_many([(9, 3), (0, 2)]) == [LARGE[9:12], LARGE[:2]]
    assert source.bytes_read >= len(LARGE) + 300


def test_a_checkpoint_reads_from_the_hub(hub: SimulatedHub) -> None:
    checkpoint = Checkpoint.open(_open(hub))
    assert np.array_equal(checkpoint.read_rows("a", [7, 3]), matrix(40, 20)[[7, 3]])


def test_a_large_file_is_resolved_once(hub: SimulatedHub) -> None:
    file = _open(hub).open("model.safetensors")
    for begin in range(5):
        file.read(begin, 50)
    assert len(hub.paths_asked("/resolve/")) == 1
    assert len(hub.paths_asked("/cdn/")) == 5


def test_an_expired_address_is_resolved_again(hub: SimulatedHub) -> None:
    file = _open(hub).open("model.safetensors")
    file.read(0, 50)
    hub.signature = "second"
    assert file.read(1, 50) == LARGE[1:51]
    assert len(hub.paths_asked("/resolve/")) == 2


def test_a_branch_that_moves_does_not_change_what_is_read(hub: SimulatedHub) -> None:
    source = _open(hub)
    hub.commit({**FILES, "model.safetensors": bytes(len(LARGE))})
    assert source.open("model.safetensors").read(0, len(LARGE)) == LARGE
    assert _open(hub).identity != source.identity


def test_a_long_list_comes_in_pages(hub: SimulatedHub) -> None:
    hub.commit({f"file-{i:03}": b"x" for i in range(25)})
    hub.page = 4
    assert len(_open(hub).files()) == 25
    hub.next_page_base = "https://huggingface.co"  # as behind a mirror
    assert len(_open(hub).files()) == 25


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("hf://org/other", "NotFound"),
        ("hf://org/model@nobranch", "NotFound"),
        ("hf://org/model@" + "ab" * 20, "NotFound"),
    ],
)
def test_what_is_not_there_is_refused(hub: SimulatedHub, ref: str, reason: str) -> None:
    failure = _failure(hub, ref)
    assert isinstance(failure, SourceRefused)
    assert failure.reason == reason
    assert "check organisation, name and revision" in str(failure)


@pytest.mark.parametrize(
    ("status", "headers", "reason", "wait"),
    [
        (401, {}, "Unauthorized", None),
        (401, {"X-Error-Code": "RepoNotFound"}, "NotFound", None),
        (403, {}, "Forbidden", None),
        (403, {"X-Error-Code": "GatedRepo"}, "Gated", None),
        (404, {}, "NotFound", None),
        (451, {}, "Refused", None),
        (429, {"Retry-After": "17"}, "RateLimited", 17.0),
        (429, {"RateLimit": '"api";r=0;t=55'}, "RateLimited", 55.0),
        (429, {"Retry-After": "99999999"}, "RateLimited", 3600.0),
        (429, {"Retry-After": "tomorrow"}, "RateLimited", None),
        (500, {}, "ServerError", None),
        (503, {"Retry-After": "3"}, "ServerError", 3.0),
    ],
)
@pytest.mark.parametrize("where", ["/api/", "/tree/", "/resolve/"])
def test_every_status_has_its_reason(
    hub: SimulatedHub,
    where: str,
    status: int,
    headers: dict[str, str],
    reason: str,
    wait: float | None,
) -> None:
    hub.faults.append(Fault(where, status=status, headers=headers))
    failure = _failure(hub)
    assert failure.reason == reason
    refused = isinstance(failure, SourceRefused)
    assert refused == (status < 500 and status != 429)
    assert getattr(failure, "retry_after_s", None) == wait


def test_one_failure_is_tried_again(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/api/", times=1, status=502))
    hub.faults.append(Fault("/cdn/", times=1, cut=10))
    assert _open(hub).open("model.safetensors").read(0, 100) == LARGE[:100]


def test_a_busy_hub_is_not_asked_again_at_once(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/api/", status=429))
    _failure(hub)
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (Fault("/cdn/", cut=40), {"TruncatedResponse", "Unreachable"}),
        (Fault("/cdn/", ignore_range=True), {"RangeIgnored"}),
        (Fault("/cdn/", shift=1), {"WrongRange"}),
        (Fault("/cdn/", status=206), {"WrongRange"}),
        (Fault("/api/", status=200, body=b"<html>"), {"BadAnswer"}),
        (Fault("/api/", status=200, body=b"[]"), {"BadAnswer"}),
        (Fault("/api/", status=200, body=b'{"sha":"main"}'), {"BadAnswer"}),
        (Fault("/tree/", status=200, body=b"{}"), {"BadAnswer"}),
        (Fault("/tree/", status=200, body=b"[1]"), {"BadAnswer"}),
        (Fault("/tree/", status=200, body=b"[]"), {"EmptyFolder"}),
    ],
)
def test_a_wrong_answer_is_not_believed(
    hub: SimulatedHub, fault: Fault, reasons: set[str]
) -> None:
    hub.faults.append(fault)
    assert _failure(hub).reason in reasons


def _lfs(size: bytes) -> bytes:
    about = b'{"oid":"' + b"0" * 64 + b'","size":' + size + b"}"
    return b'{"type":"file","path":"x","size":1,"lfs":' + about + b"}"


@pytest.mark.parametrize(
    "row",
    [
        b'{"type":"file","path":"../x","size":1}',
        b'{"type":"file","path":"/x","size":1}',
        b'{"type":"file","path":"a//b","size":1}',
        b'{"type":"file","path":"a\\n","size":1}',
        b'{"type":"file","path":7,"size":1}',
        b'{"type":"file","path":"x","size":-1}',
        b'{"type":"file","path":"x","size":1.5}',
        b'{"type":"file","path":"x","size":1,"lfs":{"oid":"zz","size":1}}',
        b'{"type":"file","path":"x","size":1,"lfs":[1]}',
        _lfs(b"1e999"),
        _lfs(b"-1"),
        _lfs(b'"1"'),
    ],
)
def test_a_list_with_a_wrong_row_is_not_believed(hub: SimulatedHub, row: bytes) -> None:
    hub.faults.append(Fault("/tree/", status=200, body=b"[" + row + b"]"))
    failure = _failure(hub)
    assert isinstance(failure, SourceUnavailable)
    assert failure.reason == "BadAnswer"


def test_a_slow_answer_ends_in_a_time_out(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/api/", delay_s=1.0))
    begin = time.monotonic()
    assert _failure(hub, timeout_s=0.2, attempts=1).reason == "Timeout"
    assert time.monotonic() - begin < 5


def test_an_answer_that_drips_is_given_up(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/cdn/", drip_s=0.05))
    begin = time.monotonic()
    assert _failure(hub, timeout_s=0.3).reason == "TooSlow"
    assert time.monotonic() - begin < 10


def test_an_answer_larger_than_allowed_is_not_received(hub: SimulatedHub) -> None:
    limits = Limits(json_max_bytes=100)
    assert _failure(hub, limits=limits).reason == "AnswerTooLarge"


def test_too_many_files_are_refused(hub: SimulatedHub) -> None:
    hub.page = 2
    assert _failure(hub, limits=Limits(files_max=3)).reason == "LimitExceeded"


def test_a_hub_that_cannot_be_reached_is_unavailable() -> None:
    failure = _failure(SimulatedHub())  # port 0: nobody listens
    assert isinstance(failure, SourceUnavailable)
    assert failure.reason == "Unreachable"
    assert "proxy" in (failure.hint or "")


def test_a_token_is_needed_and_sent(hub: SimulatedHub) -> None:
    hub.token = "hf_secret"
    assert _failure(hub).reason == "NotFound"
    assert _open(hub, hub_token="hf_secret").files()


def test_another_commit_than_asked_is_not_believed(hub: SimulatedHub) -> None:
    headers = {"X-Repo-Commit": "00" * 20, "Content-Range": "bytes 0-0/2"}
    hub.faults.append(Fault("/resolve/", status=206, headers=headers, body=b"{"))
    with pytest.raises(SourceUnavailable) as caught:
        _open(hub).open("config.json").read(0, 1)
    assert caught.value.reason == "WrongCommit"


def test_a_range_outside_the_file_is_a_mistake_of_the_caller(hub: SimulatedHub) -> None:
    file = _open(hub).open("config.json")
    with pytest.raises(ValueError, match="it has 2"):
        file.read(1, 2)
    with pytest.raises(KeyError):
        _open(hub).open("other")


def test_settings_come_from_the_variables_of_the_hub() -> None:
    assert SourceSettings.from_env({}).hub_endpoint == "https://huggingface.co"
    env = {"HF_ENDPOINT": "http://mirror:8080/", "HF_TOKEN": "hf_x"}
    settings = SourceSettings.from_env(env)
    assert settings.hub_endpoint == "http://mirror:8080"
    assert settings.hub_token == "hf_x"
    with pytest.raises(ConfigError, match="HF_ENDPOINT is 'mirror'"):
        SourceSettings.from_env({"HF_ENDPOINT": "mirror"})
