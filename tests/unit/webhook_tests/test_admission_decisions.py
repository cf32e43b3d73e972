# SPDX-License-Identifier: Apache-2.0
"""The decision table, asked through the front door."""

import copy

import pytest

from pedigree.policy.verdict import Action
from pedigree_webhook.decide import TABLE, Settings
from pedigree_webhook.store import StoreKind
from webhook_world import (
    NOW,
    evidence,
    model_deployment,
    namespace,
    policy,
    reference,
    uri,
    world,
)


def test_a_descendant_of_an_approved_base_is_admitted() -> None:
    response = world().ask("CREATE", model_deployment("good"))
    assert response["allowed"] is True
    assert "status" not in response
    assert "warnings" not in response


def test_a_descendant_of_a_denied_base_is_refused_with_a_reason() -> None:
    response = world().ask("CREATE", model_deployment("bad"))
    assert response["allowed"] is False
    status = response["status"]
    assert status["code"] == 403
    assert status["reason"] == "LineageDenied"
    assert "gpt2-a" in status["message"]
    assert "'base'" in status["message"]
    assert status["details"]["name"] == "chat"
    assert status["details"]["kind"] == "ModelDeployment"
    assert status["details"]["group"] == "pedigree.dev"
    assert {
        "reason": "LineageDenied",
        "field": "spec.models[0]",
        "message": status["message"],
    } in status["details"]["causes"]


def test_a_second_ground_of_refusal_reaches_kubectl_as_a_warning() -> None:
    response = world().ask("CREATE", model_deployment("bad", "stranger"))
    assert response["status"]["reason"] == "LineageDenied"
    assert any("'adapter'" in text for text in response["warnings"])
    reasons = {cause["reason"] for cause in response["status"]["details"]["causes"]}
    assert {"LineageDenied", "LineageUnknown"} <= reasons


def test_a_model_not_yet_examined_is_admitted_and_held() -> None:
    response = world().ask("CREATE", model_deployment("new"))
    assert response["allowed"] is True
    assert response["auditAnnotations"]["action"] == "Hold"
    assert response["auditAnnotations"]["basis"] == "pending"
    assert "held until it is verified" in response["warnings"][0]


def test_a_model_not_yet_examined_is_refused_where_the_policy_says_so() -> None:
    response = world(policy(onPending="Deny")).ask("CREATE", model_deployment("new"))
    assert response["status"]["reason"] == "EvidencePending"


def test_a_policy_that_only_warns_admits_with_a_warning() -> None:
    response = world(policy(enforcement="Warn")).ask("CREATE", model_deployment("bad"))
    assert response["allowed"] is True
    assert any("gpt2-a" in text for text in response["warnings"])


def test_a_policy_that_only_audits_admits_in_silence_and_on_record() -> None:
    it = world(policy(enforcement="Audit"))
    response = it.ask("CREATE", model_deployment("bad"))
    assert response["allowed"] is True
    assert "warnings" not in response
    [entry] = it.sink.entries
    assert entry["decision"] == "Allow"
    assert entry["verdict"]["causes"][0]["reason"] == "LineageDenied"


def test_where_no_policy_matches_the_object_is_refused() -> None:
    it = world(policy(match={"objectSelector": {"matchLabels": {"a": "b"}}}))
    response = it.ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "NoMatchingPolicy"
    assert response["auditAnnotations"]["basis"] == "no_policy"


def test_where_no_policy_matches_the_administrator_can_admit() -> None:
    it = world(
        policy(match={"objectSelector": {"matchLabels": {"a": "b"}}}),
        settings=Settings(no_match=Action.ALLOW),
    )
    assert it.ask("CREATE", model_deployment("good"))["allowed"] is True


def test_a_policy_is_chosen_by_the_labels_of_the_namespace() -> None:
    selector = {"namespaceSelector": {"matchLabels": {"tier": "production"}}}
    it = world(policy(match=selector))
    it.store.put(StoreKind.NAMESPACE, namespace("team-a", tier="production"))
    assert it.ask("CREATE", model_deployment("good"))["allowed"] is True
    other = model_deployment("good", namespace="team-b")
    assert it.ask("CREATE", other)["status"]["reason"] == "NoMatchingPolicy"


def test_the_namespace_is_the_one_the_api_server_says() -> None:
    it = world(policy(match={"objectSelector": {"matchLabels": {"a": "b"}}}))
    it.store.put(StoreKind.POLICY, policy("own", namespace="team-b"))
    lying = model_deployment("bad", namespace="team-a")
    response = it.ask("CREATE", lying, namespace="team-b")
    assert response["status"]["reason"] == "LineageDenied"


def test_a_policy_of_another_namespace_does_not_count() -> None:
    it = world(policy(), policy("own", namespace="team-b", enforcement="Enforce"))
    response = it.ask("CREATE", model_deployment("good"))
    assert response["allowed"] is True
    assert it.sink.entries[0]["verdict"]["policies"][0]["name"] == "baseline"
    assert len(it.sink.entries[0]["verdict"]["policies"]) == 1


def test_a_broken_policy_refuses_what_it_selects() -> None:
    broken = policy(
        "typo", rules=[{"name": "r", "deniedAncestors": {"references": []}}]
    )
    response = world(policy(), broken).ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "PolicyInvalid"
    assert "spec.rules[0].deniedAncestors" in response["status"]["message"]


def test_a_deny_rule_that_names_no_known_reference_refuses() -> None:
    it = world()
    it.store.remove(StoreKind.REFERENCE, reference("gpt2-a"))
    response = it.ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "PolicyInvalid"


def test_evidence_compared_with_other_references_is_outdated() -> None:
    it = world()
    it.store.put(StoreKind.REFERENCE, reference("llama-b"))
    response = it.ask("CREATE", model_deployment("good"))
    assert response["auditAnnotations"]["action"] == "Hold"
    assert response["auditAnnotations"]["reason"] == "EvidenceStale"


def test_another_digest_than_expected_is_refused() -> None:
    expected = "sha256:" + "0" * 64
    response = world().ask("CREATE", model_deployment("good", expectedDigest=expected))
    assert response["status"]["reason"] == "DigestMismatch"


def test_a_huggingface_source_finds_its_evidence() -> None:
    it = world()
    found = evidence("good", "gpt2-a", content="hub")
    found["status"]["resolutions"][0]["uri"] = "hf://org/model@main"
    it.store.put(StoreKind.EVIDENCE, found)
    obj = model_deployment("good")
    hub = {"huggingFace": {"repo": "org/model", "revision": "main"}}
    obj["spec"]["models"][0]["source"] = hub
    assert it.ask("CREATE", obj)["status"]["reason"] == "LineageDenied"


# -- updates ---------------------------------------------------------------------------


def test_an_update_that_leaves_the_models_alone_is_admitted_with_a_warning() -> None:
    old = model_deployment("bad")
    response = world().ask("UPDATE", model_deployment("bad", replicas=3), old)
    assert response["allowed"] is True
    assert response["auditAnnotations"]["basis"] == "unchanged"
    assert "would be refused" in response["warnings"][0]
    assert "gpt2-a" in response["warnings"][0]


def test_an_update_that_leaves_good_models_alone_says_nothing() -> None:
    old = model_deployment("good")
    response = world().ask("UPDATE", model_deployment("good", replicas=3), old)
    assert response["allowed"] is True
    assert "warnings" not in response


def test_the_order_of_models_is_no_change() -> None:
    old, new = model_deployment("bad", "good"), model_deployment("bad", "good")
    new["spec"]["models"].reverse()
    response = world().ask("UPDATE", new, old)
    assert response["auditAnnotations"]["basis"] == "unchanged"


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"uri": uri("bad")}},
        {"expectedDigest": "sha256:" + "0" * 64},
        {"claims": {"baseModel": "gpt2-a"}},
        {"role": "Adapter"},
    ],
    ids=["source", "digest", "claims", "role"],
)
def test_an_update_that_changes_a_model_is_judged(change: dict[str, object]) -> None:
    old = model_deployment("good")
    new = copy.deepcopy(old)
    new["spec"]["models"][0] |= change
    response = world().ask("UPDATE", new, old)
    assert response["auditAnnotations"]["basis"] == "verdict"


def test_an_update_that_adds_a_denied_model_is_refused() -> None:
    response = world().ask(
        "UPDATE", model_deployment("good", "bad"), model_deployment("good")
    )
    assert response["status"]["reason"] == "LineageDenied"


def test_two_objects_without_readable_models_are_not_unchanged() -> None:
    empty = model_deployment()
    response = world().ask("UPDATE", empty, empty)
    assert response["allowed"] is False
    assert response["status"]["reason"] == "ReferenceInvalid"


def test_an_update_without_its_old_object_is_judged() -> None:
    response = world().ask("UPDATE", model_deployment("bad"), None)
    assert response["status"]["reason"] == "LineageDenied"


# -- what is never refused -------------------------------------------------------------


@pytest.mark.parametrize("synced", [True, False])
def test_deletion_is_never_refused(synced: bool) -> None:
    it = world(synced=synced)
    response = it.ask("DELETE", None, model_deployment("bad"))
    assert response["allowed"] is True
    assert response["auditAnnotations"]["basis"] == "deleted"


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("subresource", ["status", "scale"])
def test_status_and_scale_are_admitted_and_not_recorded(
    synced: bool, subresource: str
) -> None:
    it = world(synced=synced)
    obj = model_deployment("bad")
    response = it.ask("UPDATE", obj, obj, subResource=subresource)
    assert response["allowed"] is True
    assert response["auditAnnotations"]["basis"] == "subresource"
    assert it.sink.entries == []


def test_scale_arrives_with_a_kind_of_its_own() -> None:
    scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    response = world().ask(
        "UPDATE", {"metadata": {"name": "chat"}}, kind=scale, subResource="scale"
    )
    assert response["allowed"] is True


def test_another_subresource_is_refused() -> None:
    response = world().ask("UPDATE", model_deployment("good"), subResource="exec")
    assert response["status"]["reason"] == "UnsupportedKind"


@pytest.mark.parametrize(
    "kind",
    [
        {"group": "", "version": "v1", "kind": "Pod"},
        {"group": "pedigree.dev", "version": "v1beta1", "kind": "ModelDeployment"},
        {"group": "airunway.ai", "version": "v1alpha1", "kind": "ModelDeployment"},
    ],
    ids=["pod", "version", "group"],
)
def test_a_kind_that_nobody_taught_is_refused_and_deletable(
    kind: dict[str, str],
) -> None:
    it = world()
    response = it.ask("CREATE", model_deployment("good"), kind=kind)
    assert response["status"]["reason"] == "UnsupportedKind"
    assert kind["kind"] in response["status"]["message"]
    response = it.ask("DELETE", None, model_deployment("good"), kind=kind)
    assert response["allowed"] is True


# -- not knowing -----------------------------------------------------------------------


def test_before_the_cluster_is_read_nothing_new_is_admitted() -> None:
    response = world(synced=False).ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "NotSynced"
    assert "ModelEvidence" in response["status"]["message"]


def test_before_the_cluster_is_read_unchanged_models_go_on() -> None:
    old = model_deployment("bad")
    response = world(synced=False).ask("UPDATE", model_deployment("bad"), old)
    assert response["allowed"] is True
    assert "warnings" not in response


def test_one_unread_kind_is_enough_to_refuse() -> None:
    it = world(synced=False)
    full = world()
    for kind in StoreKind:
        if kind is not StoreKind.REFERENCE:
            it.store.replace(kind, [])
    assert full.ask("CREATE", model_deployment("good"))["allowed"] is True
    response = it.ask("CREATE", model_deployment("good"))
    assert response["status"]["reason"] == "NotSynced"
    assert "ReferenceModel" in response["status"]["message"]


def test_a_namespace_that_was_never_seen_is_not_judged() -> None:
    response = world().ask("CREATE", model_deployment("good", namespace="brand-new"))
    assert response["status"]["reason"] == "NotSynced"
    assert "'brand-new'" in response["status"]["message"]


@pytest.mark.parametrize(
    ("on_error", "action"), [("Deny", "Deny"), ("Hold", "Hold"), ("Warn", "Warn")]
)
def test_a_view_that_is_too_old_is_an_error_and_the_policy_decides(
    on_error: str, action: str
) -> None:
    it = world(policy(onError=on_error))
    it.clock.monotonic_s += 121
    response = it.ask("CREATE", model_deployment("good"))
    assert response["auditAnnotations"]["action"] == action
    assert response["auditAnnotations"]["basis"] == "stale"
    said = response.get("status", {}).get("message") or " ".join(response["warnings"])
    assert "121 s old" in said


def test_one_confirmed_kind_does_not_make_the_others_fresh() -> None:
    it = world()
    it.clock.monotonic_s += 121
    for kind in StoreKind:
        if kind is not StoreKind.EVIDENCE:
            it.store.confirm(kind)
    response = it.ask("CREATE", model_deployment("good"))
    assert response["auditAnnotations"]["basis"] == "stale"
    it.store.confirm(StoreKind.EVIDENCE)
    assert it.ask("CREATE", model_deployment("good"))["allowed"] is True


def test_freshness_is_measured_against_the_clock_at_the_edge() -> None:
    it = world(policy(freshness={"maxAge": "2h"}))
    assert it.ask("CREATE", model_deployment("good"))["allowed"] is True
    it.clock.wall = NOW.replace(hour=14)
    response = it.ask("CREATE", model_deployment("good"))
    assert response["auditAnnotations"]["reason"] == "EvidenceStale"


# -- records ---------------------------------------------------------------------------


def test_every_decision_is_recorded_before_it_is_said() -> None:
    it = world()
    asked = [
        it.ask("CREATE", model_deployment("good")),
        it.ask("CREATE", model_deployment("bad")),
        it.ask("CREATE", model_deployment("new")),
        it.ask("UPDATE", model_deployment("bad"), model_deployment("bad")),
        it.ask("DELETE", None, model_deployment("bad")),
    ]
    kept = {entry["key"]: entry for entry in it.sink.entries}
    assert len(kept) == len(asked)
    for response in asked:
        entry = kept[response["auditAnnotations"]["record"]]
        assert entry["key"] == f"admission/{response['uid']}"
        assert entry["decision"] == response["auditAnnotations"]["action"]
        assert entry["basis"] == response["auditAnnotations"]["basis"]
        assert entry["component"] == "webhook"
        assert entry["object"] == {
            "kind": "ModelDeployment",
            "namespace": "team-a",
            "name": "chat",
            "uid": "uid-chat",
        }
        assert entry["request"]["user"] == "jane"


def test_a_refusal_without_verdict_records_why() -> None:
    it = world(synced=False)
    it.ask("CREATE", model_deployment("good"))
    [entry] = it.sink.entries
    assert entry["verdict"] is None
    assert entry["reason"] == "NotSynced"
    assert "try again" in entry["message"]


@pytest.mark.parametrize("model", ["good", "bad", "new"])
def test_a_dry_run_gets_the_same_answer_and_leaves_no_record(model: str) -> None:
    it = world()
    dry = it.ask("CREATE", model_deployment(model), dryRun=True)
    assert it.sink.entries == []
    assert "record" not in dry["auditAnnotations"]
    wet = it.ask("CREATE", model_deployment(model))
    assert dry["allowed"] == wet["allowed"]
    assert dry.get("status") == wet.get("status")
    assert it.sample("pedigree_admission_dry_runs_total") == 1


def test_annotations_name_policy_and_model_in_valid_keys() -> None:
    response = world().ask("CREATE", model_deployment("bad"))
    annotations = response["auditAnnotations"]
    assert annotations["verdict"] == "Fail"
    assert annotations["reason"] == "LineageDenied"
    assert annotations["policyDigest"].startswith("sha256:")
    assert annotations["modelDigest"].startswith("base=sha256:")
    assert all(key.isalpha() for key in annotations)


def test_every_row_of_the_table_says_why() -> None:
    assert all(row.why for row in TABLE)
    assert [row.admits for row in TABLE].count(True) == 3
