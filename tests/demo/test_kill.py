# SPDX-License-Identifier: Apache-2.0
"""The demonstration with services killed in the middle of every step."""

from pathlib import Path

import pytest

from demo.steps import STEPS
from demo_outcome import Outcome, run, world

pytestmark = [pytest.mark.cluster, pytest.mark.demo]

SERVICES = ("operator", "webhook", "audit")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", SERVICES)
def test_a_service_that_is_killed_at_every_step_changes_nothing(
    victim: str, undisturbed: Outcome, tmp_path: Path
) -> None:
    killed: list[int] = []
    with world(tmp_path) as disturbed:

        def kill(step: int) -> None:
            service = disturbed.stack.services[victim]
            service.kill()
            service.start()
            service.wait_ready()
            killed.append(step)

        outcome = run(disturbed, kill)
    assert killed == [step.number for step in STEPS]
    assert outcome == undisturbed
