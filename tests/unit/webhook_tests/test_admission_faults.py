# SPDX-License-Identifier: Apache-2.0
"""Whatever breaks inside, nothing new is admitted under Enforce.

Every dependency of the request path is made to fail, alone and together, for every kind
of change.  What must always work (deletion, status, unchanged models) must work on.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedigree.errors import LedgerError
from webhook_world import World, model_deployment, policy, review, world

FAULTS = (
    OSError(28, "No space left on device"),
    LedgerError("outbox is full", reason="OutboxFull"),
    RuntimeError("bug"),
    KeyError("bug"),
    RecursionError("bug"),
    MemoryError(),
    AssertionError("bug"),
    ZeroDivisionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bug"),
)
TARGETS = {
    "parser": "pedigree_webhook.gate.parse_review",
    "store": "pedigree_webhook.store.Store.view",
    "clock": "webhook_world.world.Clock.now",
    "decide": "pedigree_webhook.gate.decide",
    "adapter": "pedigree_webhook.decide.adapter_for",
    "comparison": "pedigree_webhook.decide.models_unchanged",
    "namespaces": "pedigree_webhook.store.Snapshot.policies_for",
    "evidence": "pedigree_webhook.evidence_index.EvidenceIndex.get",
    "judge": "pedigree_webhook.judging.judge",
    "selection": "pedigree_webhook.judging.selected_policies",
    "wording": "pedigree_webhook.judging.plain",
    "entry": "pedigree_webhook.gate.to_entry",
    "outbox": "webhook_world.world.Sink.append",
    "rendering": "pedigree_webhook.gate.render_review",
    "annotations": "pedigree_webhook.decision.Decision.annotations",
    "metrics": "pedigree_webhook.metrics.Metrics.answered",
    "log": "pedigree_webhook.gate._log_decision",
}


@contextmanager
def failing(targets: Sequence[str], fault: Exception) -> Iterator[list[MagicMock]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(patch(TARGETS[target], side_effect=fault))
            for target in targets
        ]


def admits(it: World, asked: dict[str, Any]) -> bool:
    answer = it.call(json.dumps(asked).encode())
    if answer.http_status != 200:
        return False  # the API server refuses: failurePolicy is Fail
    response = json.loads(answer.body)["response"]
    assert response["uid"] == asked["request"]["uid"]
    if not response["allowed"]:
        assert response["status"]["reason"]
        assert response["status"]["message"]
    return bool(response["allowed"])


@settings(max_examples=300, deadline=None)
@given(
    targets=st.lists(st.sampled_from(sorted(TARGETS)), min_size=1, unique=True),
    fault=st.sampled_from(FAULTS),
    model=st.sampled_from(["good", "bad", "stranger", "new"]),
    old=st.sampled_from([None, "good", "bad"]),
)
def test_no_failure_under_enforce_ends_in_admission(
    targets: list[str], fault: Exception, model: str, old: str | None
) -> None:
    it = world(policy(onPending="Deny"))
    obj = model_deployment(model)
    asked = review("CREATE", obj)
    if old is not None:
        if old == model:
            return  # unchanged: the next tests
        asked = review("UPDATE", obj, model_deployment(old))
    with failing(targets, fault) as broken:
        admitted = admits(it, asked)
    assert not (admitted and any(part.called for part in broken))


@pytest.mark.parametrize("target", sorted(TARGETS))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_each_single_failure_refuses_a_good_model(
    target: str, fault: Exception
) -> None:
    it = world()
    change = ("UPDATE", model_deployment("good"), model_deployment("stranger"))
    assert admits(it, review(*change))
    with failing((target,), fault) as [broken]:
        assert not admits(it, review(*change))
    assert broken.called
    assert admits(it, review(*change))


@pytest.mark.parametrize(
    "target", ["store", "clock", "judge", "evidence", "entry", "outbox", "namespaces"]
)
def test_what_must_always_work_works_while_something_is_broken(target: str) -> None:
    it = world()
    bad = model_deployment("bad")
    with failing((target,), RuntimeError("bug")):
        assert admits(it, review("DELETE", None, bad))
        assert admits(it, review("UPDATE", bad, bad, subResource="status"))
        assert admits(it, review("UPDATE", bad, bad, subResource="scale"))
        assert admits(it, review("UPDATE", model_deployment("bad", replicas=2), bad))


def test_a_bug_is_refused_counted_and_logged_with_the_uid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = world()
    asked = review("CREATE", model_deployment("good"), uid="the-uid")
    with failing(("judge",), RuntimeError("the bug")):
        answer = it.call(json.dumps(asked).encode())
    status = json.loads(answer.body)["response"]["status"]
    assert status["reason"] == "InternalError"
    assert "the-uid" in status["message"]
    assert "the bug" not in status["message"]
    assert it.sample("pedigree_admission_internal_errors_total") == 1
    assert "the-uid" in caplog.text
    assert "RuntimeError: the bug" in caplog.text
    [entry] = it.sink.entries
    assert entry["reason"] == "InternalError"
    assert entry["decision"] == "Deny"


def test_a_bug_in_advice_on_unchanged_models_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = world()
    bad = model_deployment("bad")
    with failing(("judge",), RuntimeError("the bug")):
        assert admits(it, review("UPDATE", bad, bad))
    assert it.sample("pedigree_admission_internal_errors_total") == 1
    assert "the bug" in caplog.text


# -- the outbox ------------------------------------------------------------------------


def full(it: World) -> World:
    it.sink.broken = LedgerError("outbox is full", reason="OutboxFull")
    return it


@pytest.mark.parametrize("model", ["good", "new"])
def test_what_cannot_be_recorded_is_not_admitted_under_enforce(model: str) -> None:
    it = full(world())
    response = it.ask("CREATE", model_deployment(model))
    assert response["status"]["reason"] == "AuditUnavailable"
    assert "record" in response["status"]["message"]
    assert it.sample("pedigree_outbox_append_failures_total") == 1
    response = it.ask("UPDATE", model_deployment(model), model_deployment("stranger"))
    assert response["status"]["reason"] == "AuditUnavailable"


def test_a_refusal_that_cannot_be_recorded_keeps_its_reason() -> None:
    response = full(world()).ask("CREATE", model_deployment("bad"))
    assert response["status"]["reason"] == "LineageDenied"
    assert "record" not in response["auditAnnotations"]


def test_a_dry_run_does_not_need_the_outbox() -> None:
    response = full(world()).ask("CREATE", model_deployment("good"), dryRun=True)
    assert response["allowed"] is True


@pytest.mark.parametrize("enforcement", ["Warn", "Audit"])
def test_where_nothing_is_enforced_a_full_outbox_only_warns(enforcement: str) -> None:
    it = full(world(policy(enforcement=enforcement)))
    response = it.ask("CREATE", model_deployment("bad"))
    assert response["allowed"] is True
    assert "could not record" in response["warnings"][0]


def test_one_enforcing_policy_among_others_is_enough_to_need_the_outbox() -> None:
    it = full(
        world(policy("soft", enforcement="Warn"), policy("hard", namespace="team-a"))
    )
    response = it.ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "AuditUnavailable"


def test_deletion_and_unchanged_models_do_not_need_the_outbox() -> None:
    it = full(world())
    bad = model_deployment("bad")
    assert it.ask("DELETE", None, bad)["allowed"] is True
    response = it.ask("UPDATE", bad, bad)
    assert response["allowed"] is True
    assert "could not record" in response["warnings"][0]
