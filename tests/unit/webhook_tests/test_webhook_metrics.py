# SPDX-License-Identifier: Apache-2.0
"""What Prometheus sees, also under hostile traffic."""

import json
import os
import random
import subprocess
from typing import Any

import pytest

from controlplane import ProgramError
from controlplane.promtool import ensure_promtool
from pedigree.errors import LedgerError
from pedigree.policy.verdict import Reason
from pedigree_webhook.metrics import BAD_CALL_CODES, POSSIBLE
from pedigree_webhook.store import StoreKind
from webhook_world import World, evidence, model_deployment, policy, review, world

SERIES_MAX = 500


def series(it: World) -> set[str]:
    lines = it.metrics.exposition().decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def hostile_traffic(it: World, seed: int) -> None:
    """Every name, kind, user and operation is a new one."""
    dice = random.Random(seed)

    def word() -> str:
        return "".join(dice.choices("abcdefghijklmnop", k=dice.randint(1, 60)))

    kinds = ("ModelDeployment", "Pod", word().title())
    for number in range(300):
        model = dice.choice(["good", "bad", "new", "stranger", word()])
        obj = model_deployment(
            model, name=word(), namespace=dice.choice([word(), "team-a"])
        )
        old = dice.choice([None, obj, model_deployment("good")])
        if number % 30 == 0:
            obj["spec"] = dice.choice([None, [], word()])
        request: dict[str, Any] = {
            "operation": dice.choice(["CREATE", "UPDATE", "DELETE", "CONNECT", word()]),
            "kind": {
                "group": dice.choice(["pedigree.dev", word()]),
                "version": dice.choice(["v1alpha1", word()]),
                "kind": dice.choice(kinds),
            },
            "subResource": dice.choice(["", "", "status", "scale", word()]),
            "userInfo": {"username": word(), "groups": [word()]},
            "namespace": "team-a",
            "dryRun": dice.choice([True, False]),
        }
        it.call(json.dumps(review("CREATE", obj, old, **request)).encode())
    for body in (b"", b"[]", b"{}", b"\x00"):
        it.call(body)
        it.call(body, word())


def test_hostile_traffic_adds_no_series() -> None:
    it = world(policy(), policy("soft", namespace="team-a", enforcement="Warn"))
    before = series(it)
    for seed in range(3):
        hostile_traffic(it, seed)
    it.sink.broken = LedgerError("full")
    hostile_traffic(it, 99)
    it.clock.monotonic_s += 1000
    hostile_traffic(it, 100)
    it.store.put(StoreKind.EVIDENCE, evidence("x" * 50, "llama-a"))
    assert series(it) == before
    assert len(before) <= SERIES_MAX
    assert it.sample("pedigree_admission_internal_errors_total") == 0


def test_every_possible_answer_has_its_series_from_the_start() -> None:
    it = world(synced=False)
    for kind, operation, decision, basis in POSSIBLE:
        labels = {"kind": kind, "operation": operation}
        labels |= {"decision": decision, "basis": basis}
        assert it.sample("pedigree_admission_requests_total", **labels) == 0
    for reason in Reason:
        assert it.sample("pedigree_admission_reasons_total", reason=reason) == 0
    for code in BAD_CALL_CODES:
        assert it.sample("pedigree_admission_bad_calls_total", code=code) == 0


def test_an_answer_is_counted_once_under_its_decision_and_basis() -> None:
    it = world()
    it.ask("CREATE", model_deployment("bad"))
    labels = {"kind": "ModelDeployment", "operation": "CREATE"}
    labels |= {"decision": "Deny", "basis": "verdict"}
    assert it.sample("pedigree_admission_requests_total", **labels) == 1
    assert it.sample("pedigree_admission_reasons_total", reason="LineageDenied") == 1
    duration = {"kind": "ModelDeployment", "decision": "Deny"}
    assert it.sample("pedigree_admission_duration_seconds_count", **duration) == 1


def test_a_store_that_was_never_read_is_infinitely_old() -> None:
    it = world(synced=False)
    assert it.sample("pedigree_store_age_seconds", kind="ModelEvidence") == float("inf")
    assert it.sample("pedigree_store_synced", kind="ModelEvidence") == 0


def test_the_stores_age_and_size_are_shown() -> None:
    it = world()
    it.clock.monotonic_s += 7
    assert it.sample("pedigree_store_age_seconds", kind="ModelEvidence") == 7
    assert it.sample("pedigree_store_synced", kind="ModelEvidence") == 1
    assert it.sample("pedigree_store_objects", kind="ModelEvidence") == 3
    assert it.sample("pedigree_store_objects", kind="ReferenceModel") == 2


def test_the_outbox_is_shown() -> None:
    it = world()
    it.ask("CREATE", model_deployment("bad"))
    assert it.sample("pedigree_outbox_depth") == 1
    assert it.sample("pedigree_outbox_oldest_seconds") == 0


def test_promtool_finds_nothing_wrong() -> None:
    try:
        promtool = ensure_promtool()
    except ProgramError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no promtool: {error}")
    it = world()
    it.metrics.expires("serving", 1.8e9)
    it.metrics.expires("ca", 1.8e9)
    hostile_traffic(it, 1)
    result = subprocess.run(
        [promtool, "check", "metrics"],
        input=it.metrics.exposition(),
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
