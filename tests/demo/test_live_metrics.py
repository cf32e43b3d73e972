# SPDX-License-Identifier: Apache-2.0
"""The metrics of the three services after a real run."""

import re
import subprocess
from pathlib import Path

import pytest

from controlplane.binaries import ensure_promtool
from demo.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.demo]

SERVICES = ("operator", "webhook", "audit")
SERIES_MAX = 500  # per replica, however many models and namespaces there are
DOCS = Path(__file__).resolve().parents[2] / "docs"


def scrape(world: World, service: str) -> str:
    status, text = world.stack.services[service].get("/metrics")
    assert status == 200
    return text


def documented(service: str) -> set[str]:
    """Metrics in the first column of the tables of a service's own page."""
    rows = (DOCS / f"{service}.md").read_text().splitlines()
    first = [row.split("|")[1] for row in rows if row.startswith("| `pedigree_")]
    return {name for cell in first for name in re.findall(r"pedigree_\w+", cell)}


def families(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (pedigree_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("service", SERVICES)
def test_promtool_finds_nothing_wrong(calm_world: World, service: str) -> None:
    result = subprocess.run(
        [ensure_promtool(), "check", "metrics"],
        input=scrape(calm_world, service),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_few_series(calm_world: World, service: str) -> None:
    lines = scrape(calm_world, service).splitlines()
    series = [line for line in lines if line and not line.startswith("#")]
    assert 10 < len(series) <= SERIES_MAX


@pytest.mark.parametrize("service", SERVICES)
def test_no_label_names_a_model_or_an_object(calm_world: World, service: str) -> None:
    text = scrape(calm_world, service)
    names = ("support-bot", "cheap-bot", "team-a", "aurora", "nightshade", "sha256")
    assert [name for name in names if name in text] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_metric_is_documented_and_every_documented_metric_exists(
    calm_world: World, service: str
) -> None:
    assert documented(service) == families(scrape(calm_world, service))
