# SPDX-License-Identifier: Apache-2.0
"""A name on the Hub that somebody else takes over.

The name of a deleted owner can be registered again, and then means other files under
the same branch.  A commit cannot be taken over, so what was examined stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from artifact_world.hub import SimulatedHub, serve
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.errors import SourceError
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.sources import SourceSettings, open_source, resolve_identity

OURS = {"model.safetensors": weights({"a": matrix()}), "config.json": b"{}"}
THEIRS = {"model.safetensors": weights({"a": matrix(first=7)}), "config.json": b"{}"}
NAME = refs.parse("hf://org/model@main")


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit(OURS)
        yield served


def _settings(hub: SimulatedHub) -> SourceSettings:
    return SourceSettings(hub_endpoint=hub.endpoint, attempts=1)


def _examine(hub: SimulatedHub, ref: refs.ModelRef) -> Examination:
    settings = ExamineSettings(sources=_settings(hub))
    return examine(ref, settings=settings, now=datetime(2026, 1, 1, tzinfo=UTC))


def _taken_over(hub: SimulatedHub) -> None:
    hub.commits.clear()
    hub.branches.clear()
    hub.commit({"x": b""}, "other")  # so that commits count differently
    hub.commit(THEIRS)


def test_a_branch_is_examined_at_a_commit_that_the_evidence_names(
    hub: SimulatedHub,
) -> None:
    found = _examine(hub, NAME).resolution
    assert found.uri == str(NAME)
    assert found.pinned_uri == f"hf://org/model@{hub.branches['main']}"
    assert refs.parse(found.pinned_uri).pinned


def test_the_commit_of_a_name_that_was_taken_over_gives_no_files(
    hub: SimulatedHub,
) -> None:
    pinned, _ = resolve_identity(NAME, _settings(hub))
    assert _examine(hub, pinned).fingerprint is not None
    _taken_over(hub)
    with pytest.raises(SourceError) as caught:
        _examine(hub, pinned)
    assert caught.value.reason == "NotFound"


def test_a_branch_that_was_taken_over_is_another_model_with_another_identity(
    hub: SimulatedHub,
) -> None:
    before = _examine(hub, NAME)
    _taken_over(hub)
    after = _examine(hub, NAME)
    assert after.resolution.identity != before.resolution.identity
    assert after.evidence.digest != before.evidence.digest


def test_a_takeover_between_listing_and_reading_mixes_nothing(
    hub: SimulatedHub,
) -> None:
    source = open_source(NAME, _settings(hub))
    _taken_over(hub)
    with pytest.raises(SourceError):
        source.open("model.safetensors").read(0, 8)
