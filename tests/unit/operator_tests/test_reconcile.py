# SPDX-License-Identifier: Apache-2.0
"""Situations of a ModelDeployment, and what is to be done in each."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from operator_world.worlds import (
    DIGEST,
    NOW,
    OTHER,
    REFERENCES,
    URI,
    World,
    deny,
    deployment,
    evidence,
    located,
    patched,
    policy,
    template,
)
from pedigree.policy.references import Reference
from pedigree.policy.verdict import Action, Reason, Result
from pedigree_operator.access import Access
from pedigree_operator.conditions import ConditionType, Progress
from pedigree_operator.lookups import Failure, Located, Stage, UriState
from pedigree_operator.plan import (
    EnsureDeployment,
    Examine,
    Outcome,
    Plan,
    ReleasePods,
    Resolve,
)
from pedigree_operator.workloads import template_digest

Json = dict[str, Any]
HOUR = timedelta(hours=1)


def failing(
    reason: Reason = Reason.SOURCE_REFUSED, detail: str = "NotFound", **state: Any
) -> UriState:
    failure = Failure(reason, detail, "the folder does not exist", NOW + HOUR, 1)
    return UriState(failure=failure, **state)


def conditions(plan: Plan) -> dict[str, tuple[str, str]]:
    return {
        item["type"]: (item["status"], item["reason"])
        for item in plan.status["conditions"]
    }


def judged(world: World, obj: Json | None = None) -> Json:
    """The object after everything has settled."""
    obj = obj or deployment()
    return patched(obj, world.plan(obj))


def test_a_new_object_is_resolved_first_and_said_to_be_examined() -> None:
    plan = World(states={}, evidence=()).plan(deployment(workload=template()))
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.entry is None, "waiting is no judgement"
    assert plan.workload is None
    assert plan.status["verdict"]["result"] == "Pending"
    assert plan.status["workload"]["state"] == "Held"
    found = conditions(plan)
    assert found["Ready"] == ("False", "Examining")
    assert found["ReferencesResolved"] == ("Unknown", "Examining")
    assert [event["reason"] for event in plan.events] == ["EvidencePending"]


def test_located_content_without_evidence_is_examined() -> None:
    assert World(evidence=()).plan(deployment()).lookups == (Examine(Access(URI)),)


def test_evidence_missing_after_an_examination_is_not_made_again_at_once() -> None:
    examined = Located(URI, "stat:1", NOW, DIGEST)
    world = World(evidence=(), states={URI: UriState(located=examined)})
    plan = world.plan(deployment())
    assert plan.lookups == ()
    assert plan.requeue_at == NOW + timedelta(minutes=1)
    later = NOW + timedelta(minutes=1)
    assert world.plan(deployment(), later).lookups == (Examine(Access(URI)),)


def test_work_in_progress_is_joined_rather_than_started_again() -> None:
    for stage, lookup in ((Stage.RESOLVING, Resolve), (Stage.EXAMINING, Examine)):
        world = World(states={URI: UriState(stage=stage)}, evidence=())
        assert world.plan(deployment()).lookups == (lookup(Access(URI)),)


def test_a_passing_model_is_written_down_told_and_given_its_workload() -> None:
    plan = World().plan(deployment(workload=template()))
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PASS
    assert plan.entry is not None
    assert plan.entry["decision"] == "Allow"
    assert isinstance(plan.workload, EnsureDeployment)
    assert [event["reason"] for event in plan.events] == ["LineageVerified"]
    assert plan.requeue_at == NOW + timedelta(hours=24)
    found = conditions(plan)
    assert found["WorkloadReleased"] == ("False", "Held"), "not before it is made"
    assert found["LineageEstablished"] == ("True", "Established")


def test_an_object_is_ready_when_its_workload_is_made() -> None:
    obj = deployment(workload=template())
    made = Outcome(template_digest(obj))
    plan = World(outcome=made).plan(obj)
    assert plan.workload is None
    assert plan.status["workload"]["state"] == "Created"
    assert conditions(plan)["Ready"] == ("True", "LineageVerified")


def test_what_a_policy_admits_while_pending_is_written_down() -> None:
    known = {**REFERENCES, "secret": Reference("secret")}
    lenient = policy(deny("secret"), onPending="Warn")
    plan = World(policies=(lenient,), references=known).plan(
        deployment(workload=template())
    )
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.EVIDENCE_PENDING, "secret has no fingerprint"
    assert isinstance(plan.workload, EnsureDeployment), "the policy says so"
    assert plan.entry is not None
    assert plan.entry["decision"] == "Warn"


def test_nothing_is_started_before_it_is_compared_with_todays_references() -> None:
    fingerprint = str(OTHER)
    known = {**REFERENCES, "secret": Reference("secret", fingerprint=fingerprint)}
    lenient = policy(deny("secret"), onPending="Warn")
    world = World(policies=(lenient,), references=known)
    for failed in ({}, {evidence().object_name: "its fingerprint is lost"}):
        world.rescan_failed = failed
        plan = world.plan(deployment(workload=template()))
        assert plan.verdict is not None
        assert plan.verdict.reason is Reason.EVIDENCE_STALE
        assert plan.verdict.action is Action.WARN
        assert plan.workload is None
        assert plan.entry is None
        assert plan.status["workload"]["state"] == "Held"


def test_without_a_workload_a_passing_object_is_ready_at_once() -> None:
    found = conditions(World().plan(deployment()))
    assert found["WorkloadReleased"] == ("True", "NoWorkload")
    assert found["Ready"] == ("True", "LineageVerified")


def test_a_settled_object_needs_nothing() -> None:
    world = World()
    plan = world.plan(judged(world), NOW + HOUR)
    assert plan == replace(plan, entry=None, events=(), status={}, lookups=())


def test_the_same_judgement_is_neither_written_down_nor_told_again() -> None:
    world = World()
    obj = judged(world)
    obj["metadata"] = {**obj["metadata"], "generation": 2}
    plan = world.plan(obj)
    assert plan.entry is None
    assert plan.events == ()
    assert plan.status["observedGeneration"] == 2


def test_a_denying_policy_holds_the_workload() -> None:
    world = World(policies=(policy(deny("llama")),))
    plan = world.plan(deployment(workload=template()))
    assert plan.workload is None
    assert plan.status["workload"]["state"] == "Held"
    assert conditions(plan)["Ready"] == ("False", "LineageDenied")
    assert plan.events[0]["type"] == "Warning"


def test_a_later_denial_leaves_what_runs_and_says_so() -> None:
    obj = deployment(workload=template())
    world = World(outcome=Outcome(template_digest(obj)))
    obj = judged(world, obj)
    world.policies = (policy(deny("llama")),)
    plan = world.plan(obj)
    assert plan.workload is None
    assert "workload" not in plan.status, "it is still said to be created"
    assert conditions(plan)["Ready"] == ("False", "LineageDenied")
    assert conditions(plan)["WorkloadReleased"] == ("True", "Released")
    assert plan.entry is not None
    assert plan.entry["decision"] == "Deny"


def test_the_way_back_to_an_earlier_verdict_is_a_judgement_of_its_own() -> None:
    world = World()
    first = world.plan(deployment())
    obj = patched(deployment(), first)
    strict, loose = (policy(deny("llama")),), world.policies
    world.policies = strict
    obj = patched(obj, world.plan(obj, NOW + HOUR))
    world.policies = loose
    third = world.plan(obj, NOW + 2 * HOUR)
    assert first.entry is not None
    assert third.entry is not None
    assert third.entry["key"] != first.entry["key"]
    assert third.events[0]["metadata"] != first.events[0]["metadata"]


def test_a_repetition_after_a_crash_has_the_same_keys_and_names() -> None:
    world = World()
    first = world.plan(deployment())
    world.states = {URI: UriState(located=Located(URI, "stat:1", NOW + HOUR))}
    again = world.plan(deployment(), NOW + HOUR)
    assert first.entry is not None
    assert again.entry is not None
    assert first.entry["key"] == again.entry["key"]
    names = [[event["metadata"] for event in plan.events] for plan in (first, again)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("state", "condition"),
    [
        (failing(), ("False", "NotFound")),
        (failing(detail="Forbidden"), ("False", "SourceRefused")),
        (failing(Reason.SOURCE_UNAVAILABLE, "Timeout"), ("False", "SourceUnavailable")),
    ],
)
def test_a_source_that_fails_at_once_is_an_error(
    state: UriState, condition: tuple[str, str]
) -> None:
    world = World(states={URI: state}, evidence=())
    plan = world.plan(deployment(workload=template()))
    assert plan.lookups == (), "not before its time"
    assert plan.requeue_at == NOW + HOUR
    assert plan.status["verdict"]["result"] == "Error"
    assert plan.workload is None
    assert conditions(plan)["ReferencesResolved"] == condition
    assert plan.entry is not None


def test_a_failed_source_is_asked_again_when_its_time_has_come() -> None:
    world = World(states={URI: failing()}, evidence=())
    assert world.plan(deployment(), NOW + HOUR).lookups == (Resolve(Access(URI)),)


def test_an_error_that_policies_let_pass_still_gets_no_workload() -> None:
    world = World(
        policies=(policy(onError="Warn"),), states={URI: failing()}, evidence=()
    )
    plan = world.plan(deployment(workload=template()))
    assert plan.status["verdict"]["action"] == "Warn"
    assert plan.workload is None
    assert conditions(plan)["Ready"][0] == "False"


def test_a_reference_that_nobody_can_read_is_never_looked_up() -> None:
    obj = deployment(models=[{"name": "base", "source": {"uri": "ftp://x/y"}}])
    plan = World(states={}, evidence=()).plan(obj)
    assert plan.lookups == ()
    assert plan.status["models"][0]["reason"] == "ReferenceInvalid"


def test_a_vanished_source_keeps_the_verdict_about_its_content() -> None:
    world = World()
    obj = judged(world)
    world.states = {URI: failing()}
    plan = world.plan(obj, NOW + timedelta(minutes=30))
    assert plan.entry is None
    assert "verdict" not in plan.status
    found = conditions(plan)
    assert found["ReferencesResolved"] == ("False", "NotFound")
    assert found["Ready"] == ("True", "LineageVerified")


def test_after_a_restart_the_status_is_believed_about_recorded_content() -> None:
    world = World()
    obj = judged(world)
    world.states = {}
    plan = world.plan(obj, NOW + HOUR)
    assert plan.lookups == ()
    assert plan.status == {}


def test_after_a_restart_an_error_stands_until_it_is_seen_anew() -> None:
    world = World(states={URI: failing()}, evidence=())
    obj = judged(world)
    world.states = {}
    plan = world.plan(obj)
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.verdict is None
    assert plan.status == {}


def test_a_resolution_that_has_grown_old_is_renewed() -> None:
    world = World(states={URI: located(ago=timedelta(hours=25))})
    assert world.plan(deployment()).lookups == (Resolve(Access(URI)),)


def test_a_short_interval_of_the_object_is_kept() -> None:
    world = World(states={URI: located(ago=timedelta(minutes=11))})
    obj = deployment(revalidation={"interval": "10m"})
    assert world.plan(obj).lookups == (Resolve(Access(URI)),)


def test_freshness_of_a_policy_brings_revalidation_forward() -> None:
    world = World(policies=(policy(freshness={"maxAge": "1h"}),))
    obj = judged(world)
    plan = world.plan(obj, NOW + timedelta(minutes=40))
    assert plan.lookups == ()
    plan = world.plan(obj, NOW + timedelta(minutes=50))
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PASS


def test_a_new_object_is_not_judged_by_what_another_one_learnt_long_ago() -> None:
    world = World(states={URI: located(ago=timedelta(minutes=6))})
    plan = world.plan(deployment(workload=template()))
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.workload is None
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PENDING
    away = failing(located=Located(URI, "stat:1", NOW - HOUR))
    plan = World(states={URI: away}).plan(deployment(workload=template()))
    assert plan.workload is None
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.SOURCE_REFUSED


def test_a_workload_is_started_only_if_its_models_were_looked_up_just_now() -> None:
    obj = deployment(workload=template())
    world = World(policies=(policy(deny("llama")),))
    obj = judged(world, obj)
    assert obj["status"]["verdict"]["result"] == "Fail"
    world.policies, later = (policy(),), NOW + HOUR
    plan = world.plan(obj, later)
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PASS
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.workload is None
    assert patched(obj, plan)["status"]["workload"]["state"] == "Held"
    world.states = {URI: failing(located=Located(URI, "stat:1", NOW))}
    assert world.plan(obj, NOW + HOUR / 2).lookups == (), "it said when to come again"
    assert world.plan(obj, NOW + HOUR / 2).workload is None
    world.states = {URI: UriState(located=Located(URI, "stat:1", later))}
    plan = world.plan(obj, later)
    assert plan.lookups == ()
    assert isinstance(plan.workload, EnsureDeployment)
    world.outcome = Outcome(template_digest(obj))
    obj = patched(obj, world.plan(obj, later))
    assert obj["status"]["workload"]["state"] == "Created"
    world.outcome = None
    plan = world.plan(obj, later + HOUR)
    assert plan.lookups == (), "what runs is looked up when its interval is over"
    assert isinstance(plan.workload, EnsureDeployment)


def test_a_renewed_resolution_changes_nothing_but_its_time() -> None:
    world = World()
    obj = judged(world)
    world.states = {URI: UriState(located=Located(URI, "stat:1", NOW + 25 * HOUR))}
    plan = world.plan(obj, NOW + 25 * HOUR)
    assert plan.entry is None
    assert plan.events == ()
    assert list(plan.status) == ["models"]


def test_changed_content_is_pending_and_keeps_what_runs() -> None:
    obj = deployment(workload=template())
    world = World(outcome=Outcome(template_digest(obj)))
    obj = judged(world, obj)
    world.states = {URI: located("stat:2")}
    plan = world.plan(obj)
    assert plan.lookups == (Examine(Access(URI)),)
    assert plan.status["verdict"]["result"] == "Pending"
    assert "workload" not in plan.status
    row = plan.status["models"][0]
    assert row["resolved"]["digest"] == str(DIGEST), "what it was last known to be"
    assert row["reason"] == "EvidencePending"


def test_changed_content_is_told_as_drift_once_it_is_known() -> None:
    world = World()
    obj = judged(world)
    world.states = {URI: located("stat:2")}
    obj = patched(obj, world.plan(obj))
    world.evidence = (evidence(), evidence(OTHER, ancestor="", identity="stat:2"))
    plan = world.plan(obj)
    reasons = [event["reason"] for event in plan.events]
    assert reasons == ["Drifted", "LineageUnknown"]
    after = patched(obj, plan)
    assert after["status"]["models"][0]["resolved"]["digest"] == str(OTHER)
    assert world.plan(after).events == ()


def test_a_restart_in_the_middle_of_drift_does_not_bring_the_old_verdict_back() -> None:
    world = World()
    obj = judged(world)
    world.states = {URI: located("stat:2")}
    obj = patched(obj, world.plan(obj))
    world.states = {}
    plan = world.plan(obj)
    assert plan.lookups == (Resolve(Access(URI)),)
    assert plan.status == {}, "it stays pending"


def test_the_same_content_under_a_new_identity_is_no_drift() -> None:
    world = World()
    obj = judged(world)
    world.states = {URI: located("stat:2")}
    same = evidence()
    world.evidence = (
        replace(
            same,
            resolutions=(replace(same.resolutions[0], identity="stat:2"),),
        ),
    )
    plan = world.plan(obj)
    assert plan.events == ()
    assert plan.entry is None


def test_a_new_reference_leaves_the_verdict_until_the_models_are_compared() -> None:
    world = World()
    obj = judged(world)
    more = {**REFERENCES, "gpt": Reference("gpt", fingerprint="sha256:" + "2" * 64)}
    world.references = more
    assert world.plan(obj).status == {}
    world.evidence = (evidence(references=more),)
    plan = world.plan(obj)
    assert plan.entry is not None, "judged again, with other references"
    assert plan.events == (), "but nothing has changed for anybody"


def test_lineage_that_cannot_be_brought_up_to_date_is_stale() -> None:
    world = World()
    obj = judged(world)
    fingerprint = "sha256:" + "2" * 64
    world.references = {**REFERENCES, "gpt": Reference("gpt", fingerprint=fingerprint)}
    world.rescan_failed = {evidence().object_name: "no fingerprint is stored"}
    plan = world.plan(obj)
    assert plan.status["verdict"]["reason"] == "EvidenceStale"
    assert plan.status["verdict"]["action"] == "Hold"


def test_a_first_verdict_waits_for_references_that_are_being_read() -> None:
    world = World(awaited=("gpt",))
    plan = world.plan(deployment(workload=template()))
    assert plan.status["verdict"]["result"] == "Pending"
    assert "gpt" in plan.status["models"][0]["message"]
    assert plan.workload is None


def test_an_earlier_verdict_does_not_wait_for_new_references() -> None:
    world = World()
    obj = judged(world)
    world.awaited = ("gpt",)
    assert world.plan(obj).status == {}


def test_a_malformed_artifact_fails_under_every_policy() -> None:
    world = World(
        policies=(policy(onUnknown="Allow", onError="Warn"),),
        evidence=(evidence(malformed=True),),
    )
    plan = world.plan(deployment())
    assert plan.status["verdict"]["result"] == "Fail"
    assert conditions(plan)["LineageEstablished"] == ("False", "ArtifactInvalid")


def test_a_refused_deployment_is_told_in_the_conditions() -> None:
    obj = deployment(workload=template())
    refused = Outcome(template_digest(obj), "it is not ours", Progress.NOT_OWNED)
    plan = World(outcome=refused).plan(obj)
    assert plan.workload is None
    assert conditions(plan)["WorkloadReleased"] == ("False", "NotOwned")
    assert conditions(plan)["Ready"] == ("False", "NotOwned")


def test_a_changed_template_is_brought_to_the_deployment() -> None:
    old = deployment(workload=template())
    world = World(outcome=Outcome(template_digest(old)))
    plan = world.plan(deployment(workload=template("serve:2")))
    assert isinstance(plan.workload, EnsureDeployment)


def gated(name: str, owner: str) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": name,
            "labels": {"pod-template-hash": "77"},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": f"{owner}-77", "controller": True}
            ],
        },
        "spec": {"schedulingGates": [{"name": "pedigree.dev/lineage"}]},
    }


def test_only_pods_of_the_named_workload_are_released() -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
    mine, foreign = gated("a", "server"), gated("b", "somebody")
    world = World(pods=(mine, foreign))
    plan = world.plan(deployment(workload={"ref": ref}))
    assert plan.workload == ReleasePods((mine,))
    assert plan.status["workload"]["state"] == "Released"
    world.policies = (policy(deny("llama")),)
    assert world.plan(deployment(workload={"ref": ref})).workload is None


def test_an_object_that_no_policy_matches_gets_what_was_configured() -> None:
    plan = World(policies=()).plan(deployment())
    assert plan.status["verdict"]["reason"] == "NoMatchingPolicy"
    assert plan.status["verdict"]["action"] == "Deny"


def test_every_condition_is_there_at_every_time() -> None:
    for world in (World(), World(states={}, evidence=()), World(policies=())):
        assert set(conditions(world.plan(deployment()))) == set(ConditionType)
