# SPDX-License-Identifier: Apache-2.0
"""One undisturbed run of the demonstration, shared by the tests that look at it."""

from collections.abc import Iterator

import pytest

from demo.world import World
from demo_outcome import Outcome, run, world


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Outcome]]:
    with world(tmp_path_factory.mktemp("calm")) as undisturbed:
        yield undisturbed, run(undisturbed, lambda step: None)


@pytest.fixture(scope="session")
def calm_world(calm: tuple[World, Outcome]) -> World:
    return calm[0]


@pytest.fixture(scope="session")
def undisturbed(calm: tuple[World, Outcome]) -> Outcome:
    return calm[1]
