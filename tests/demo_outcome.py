# SPDX-License-Identifier: Apache-2.0
"""The demonstration as a fixture: a world to run it in, and what is left of it."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from controlplane import ControlPlane
from demo.narrator import Narrator
from demo.steps import STEPS
from demo.world import TENANT, World
from stack import Service


@dataclass(frozen=True)
class Outcome:
    """What is left when all steps are done.

    Attributes:
        verdicts: ModelDeployment -> result, reason and action.
        evidence: Names of the evidence objects; they are digests of contents.
        workloads: Deployments of the tenant, with the replicas that run.
        admissions: Object, decision and reason of every recorded admission.
        judgements: Object, result and reason of every recorded judgement.
    """

    verdicts: dict[str, tuple[str, str, str]]
    evidence: frozenset[str]
    workloads: dict[str, int]
    admissions: frozenset[tuple[str, str, str]]
    judgements: frozenset[tuple[str, str, str]]


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """A fresh control plane with everything installed; prints its story on failure."""
    story = io.StringIO()
    with ControlPlane(workloads=True) as plane:
        made = World(plane, folder, Narrator(story))
        try:
            made.prepare()
            yield made
        except BaseException:
            print(story.getvalue())
            for service in made.stack.services.values():
                print(service.process.tail(60))
            raise
        finally:
            made.stop()


def run(world: World, interrupt: Callable[[int], None]) -> Outcome:
    """All steps, and what is left of them."""
    world.interrupt = interrupt
    for step in STEPS:
        step.run(world)
    entries = ledger(world)
    objects = world.get("modeldeployments.pedigree.dev", namespace=TENANT)["items"]
    deployments = world.get("deployments.apps", namespace=TENANT)["items"]
    return Outcome(
        verdicts={
            each["metadata"]["name"]: (
                each["status"]["verdict"]["result"],
                each["status"]["verdict"]["reason"],
                each["status"]["verdict"]["action"],
            )
            for each in objects
        },
        evidence=frozenset(
            each["metadata"]["name"]
            for each in world.get("modelevidences.pedigree.dev")["items"]
        ),
        workloads={
            each["metadata"]["name"]: each["status"].get("availableReplicas", 0)
            for each in deployments
        },
        admissions=summary(entries, "Admission"),
        judgements=summary(entries, "Judgement"),
    )


def ledger(world: World) -> list[dict[str, Any]]:
    """Every entry, after all were delivered; verified, and each there once."""
    for producer in ("operator", "webhook"):
        world.wait(
            f"the {producer} has delivered all entries",
            partial(delivered, world.stack.services[producer]),
        )
    token = world.stack.token_file("auditor")
    verified = world.stack.ask_audit("/api/v1/verify", token)
    assert verified["ok"] is True
    entries: list[dict[str, Any]] = []
    cursor = ""
    while True:
        filters = {"limit": "100", **({"cursor": cursor} if cursor else {})}
        page = world.stack.ask_audit("/api/v1/verdicts", token, **filters)
        entries += [item["entry"] for item in page["items"]]
        cursor = page.get("next") or ""
        if not cursor:
            break
    keys = [entry["key"] for entry in entries]
    assert len(keys) == len(set(keys))
    assert len(keys) == verified["entries"]
    return entries


def delivered(service: Service) -> bool:
    """Whether a service's outbox is empty."""
    return service.metric("pedigree_outbox_depth") == 0


def summary(
    entries: list[dict[str, Any]], kind: str
) -> frozenset[tuple[str, str, str]]:
    """What was decided on what, and why; how often it was asked is left out."""
    return frozenset(
        (
            entry["object"]["name"],
            entry["decision"],
            (entry["verdict"] or {}).get("reason", ""),
        )
        for entry in entries
        if entry["kind"] == kind
    )
