# SPDX-License-Identifier: Apache-2.0
"""The order of effects, and what a failure in the middle leaves undone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from operator_world.worlds import NOW, World, deployment, template
from pedigree.errors import LedgerError
from pedigree.ledger.outbox import Outbox
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster, ClusterError
from pedigree_operator.effects import Effects
from pedigree_operator.kinds import Resource
from pedigree_operator.metrics import Metrics

Json = dict[str, Any]


class SmallCluster:
    """An API server in memory: what was done, in order, and failures on demand."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.done: list[str] = []
        self.objects: dict[str, Json] = {}
        self.refuse: dict[str, int] = {}

    def _do(self, what: str) -> None:
        assert self.outbox.depth() == 1, "nothing is told before it is written down"
        if what in self.refuse:
            raise ClusterError(f"no {what}", status=self.refuse[what])
        self.done.append(what)

    async def create_once(self, resource: Resource, obj: Json) -> bool:
        if obj["metadata"]["name"] in self.objects:
            return False
        self._do(f"event {obj['reason']}")
        self.objects[obj["metadata"]["name"]] = obj
        return True

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Json
    ) -> Json:
        self._do("status")
        metadata = {**deployment()["metadata"], "resourceVersion": "11"}
        return {**deployment(), "metadata": metadata, "status": patch["status"]}

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self.objects.get(name)

    async def create(self, resource: Resource, obj: Json) -> Json:
        self._do("workload")
        self.objects[obj["metadata"]["name"]] = obj
        return obj


class Setting:
    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder / "outbox.db")
        self.cluster = SmallCluster(self.outbox)
        self.again: list[Any] = []
        self.effects = Effects(
            cast(Cluster, self.cluster),
            Cache(lambda: 0.0, lambda key, old, new: None),
            self.outbox,
            Metrics(),
            lambda: NOW,
            self.again.append,
        )

    def carry_out(self) -> None:
        obj = deployment(workload=template())
        asyncio.run(self.effects.carry_out(obj, World().plan(obj)))


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    made = Setting(tmp_path)
    yield made
    made.outbox.close()


def test_the_ledger_comes_first_then_events_status_and_workload(
    setting: Setting,
) -> None:
    setting.carry_out()
    assert setting.cluster.done == [
        "event LineageVerified",
        "status",
        "workload",
        "event Created",
    ]
    assert len(setting.again) == 1, "the status follows the workload"
    assert setting.effects.outcomes["uid-1"].refused == ""


def test_a_judgement_that_cannot_be_written_down_has_no_effect(
    setting: Setting,
) -> None:
    setting.outbox.close()
    with pytest.raises(LedgerError):
        setting.carry_out()
    assert setting.cluster.done == []


@pytest.mark.parametrize("failing", ["event LineageVerified", "status", "workload"])
def test_after_a_failure_the_rest_is_done_once(setting: Setting, failing: str) -> None:
    setting.cluster.refuse = {failing: 500}
    with pytest.raises(ClusterError):
        setting.carry_out()
    assert failing not in setting.cluster.done
    setting.cluster.refuse = {}
    setting.carry_out()
    done = setting.cluster.done
    assert done.count("event LineageVerified") == 1
    assert done.count("workload") == 1
    assert setting.outbox.depth() == 1


def test_an_event_that_is_forbidden_holds_up_nothing(setting: Setting) -> None:
    setting.cluster.refuse = {"event LineageVerified": 403}
    setting.carry_out()
    assert "workload" in setting.cluster.done


def test_a_deployment_that_is_invalid_is_told_and_not_tried_for_ever(
    setting: Setting,
) -> None:
    setting.cluster.refuse = {"workload": 422}
    setting.carry_out()
    assert setting.effects.outcomes["uid-1"].reason == "CreateFailed"
    assert len(setting.again) == 1


def test_a_foreign_deployment_is_left_alone(setting: Setting) -> None:
    setting.cluster.objects["tuned"] = {"metadata": {"name": "tuned"}}
    setting.carry_out()
    assert setting.effects.outcomes["uid-1"].reason == "NotOwned"
    assert "workload" not in setting.cluster.done


def test_a_workload_that_was_created_and_not_told_of_is_told_of_later(
    setting: Setting,
) -> None:
    setting.cluster.refuse["event Created"] = 503
    with pytest.raises(ClusterError):
        setting.carry_out()
    setting.cluster.refuse.clear()
    setting.carry_out()
    setting.carry_out()
    assert setting.cluster.done.count("workload") == 1
    assert setting.cluster.done.count("event Created") == 1
