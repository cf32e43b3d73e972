# SPDX-License-Identifier: Apache-2.0
"""The operator on a real API server, under its own ServiceAccount."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from operator_world.bench import (
    MODELS,
    Bench,
    condition,
    model,
    running_bench,
    template,
)

Json = dict[str, Any]
BASES = {"name": "bases", "allowedAncestors": {"references": ["llama-a"]}}
NO_GPT = {"name": "no-gpt", "deniedAncestors": {"references": ["gpt2-a"]}}


@pytest.fixture(scope="module")
def bench(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    with running_bench(programs, tmp_path_factory.mktemp("operator")) as bench:
        bench.reference("llama-a", bench.put_model("reference-llama-a", "llama-a"))
        bench.reference("gpt2-a", bench.put_model("reference-gpt2-a", "gpt2-a"))
        yield bench


@pytest.fixture
def space(bench: Bench, request: pytest.FixtureRequest) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[5:55].strip("-")
    bench.core.create_namespace({"metadata": {"name": words}})
    return words


def deploy(bench: Bench, space: str, name: str, uri: str, **more: Any) -> Json:
    return bench.apply("modeldeployments", name, {**model(uri), **more}, space)


def has_deployment(bench: Bench, space: str, name: str) -> bool:
    found = bench.apps.list_namespaced_deployment(space).items
    return name in [item.metadata.name for item in found]


def test_a_fine_tune_of_an_approved_base_passes_and_gets_its_deployment(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("tuned", "llama-a.sft")
    deploy(bench, space, "tuned", uri, workload=template())
    obj = bench.verdict(space, "tuned", "Pass", ready="True")
    assert obj["status"]["models"][0]["lineage"]["ancestor"] == "llama-a"
    deployment = bench.apps.read_namespaced_deployment("tuned", space)
    assert deployment.metadata.owner_references[0].uid == obj["metadata"]["uid"]
    assert obj["status"]["workload"]["state"] == "Created"
    reasons = [reason for reason, _ in bench.events(space, "tuned")]
    assert reasons == ["EvidencePending", "LineageVerified", "Created"]
    entries = bench.entries(obj["metadata"]["uid"])
    assert [entry["decision"] for entry in entries] == ["Allow"]


def test_a_settled_object_is_left_alone(bench: Bench, space: str) -> None:
    bench.policy(space, space, BASES)
    deploy(bench, space, "tuned", bench.put_model("tuned", "llama-a.sft"))
    obj = bench.verdict(space, "tuned", "Pass", ready="True")
    before = obj["metadata"]["resourceVersion"]
    bench.settle()
    after = bench.read("modeldeployments", "tuned", space)
    assert after["metadata"]["resourceVersion"] == before
    assert not after["metadata"].get("annotations")
    assert not after["metadata"].get("finalizers")


def test_a_derivative_of_a_denied_base_is_refused_and_gets_no_deployment(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, NO_GPT, onUnknown="Allow")
    uri = bench.put_model("gpt", "gpt2-a.sft")
    deploy(bench, space, "gpt", uri, workload=template())
    obj = bench.verdict(space, "gpt", "Fail")
    assert obj["status"]["verdict"]["reason"] == "LineageDenied"
    assert "gpt2-a" in obj["status"]["verdict"]["message"]
    assert condition(obj, "Ready")["status"] == "False"
    assert condition(obj, "WorkloadReleased")["reason"] == "Held"
    assert not has_deployment(bench, space, "gpt")
    assert bench.entries(obj["metadata"]["uid"])[-1]["decision"] == "Deny"


def test_an_unrelated_model_is_unknown_and_gets_what_the_policy_says(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES, onUnknown="Warn")
    uri = bench.put_model("stranger", "llama-b")
    deploy(bench, space, "stranger", uri, workload=template())
    obj = bench.verdict(space, "stranger", "Unknown", ready="True")
    assert obj["status"]["verdict"]["reason"] == "LineageUnknown"
    assert condition(obj, "LineageEstablished")["reason"] == "LineageUnknown"
    assert has_deployment(bench, space, "stranger")


def test_a_corrupt_header_is_an_invalid_artifact_and_nothing_is_lost(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("corrupt", "llama-a.sft")
    weights = bench.models / "corrupt" / "model.safetensors"
    weights.write_bytes(b"\xff" * 8 + weights.read_bytes()[8:])
    deploy(bench, space, "corrupt", uri)
    obj = bench.verdict(space, "corrupt", "Fail")
    assert obj["status"]["verdict"]["reason"] == "ArtifactInvalid"
    assert "model.safetensors" in obj["status"]["verdict"]["message"]
    digest = obj["status"]["models"][0]["resolved"]["digest"]
    (found,) = [e for e in bench.evidences() if e["spec"]["digest"] == digest]
    assert found["spec"]["findings"][0]["severity"] == "Error"


def test_a_reference_to_nothing_is_refused_without_a_tight_retry(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    deploy(bench, space, "missing", f"file://{bench.models}/missing")
    obj = bench.verdict(space, "missing", "Error")
    assert obj["status"]["verdict"]["reason"] == "SourceRefused"
    assert condition(obj, "ReferencesResolved")["reason"] == "NotFound"
    refused = bench.log().count("model reference failed")
    bench.settle()
    assert bench.log().count("model reference failed") == refused
    bench.put_model("missing", "llama-a.sft")
    spec = {"spec": {"models": [{"name": "base", "role": "Other"}]}}
    source = {"uri": f"file://{bench.models}/missing"}
    spec["spec"]["models"][0]["source"] = source  # type: ignore[assignment]
    bench.objects.patch_namespaced_custom_object(
        "pedigree.dev", "v1alpha1", space, "modeldeployments", "missing", spec
    )
    bench.verdict(space, "missing", "Pass", ready="True")


def test_one_content_is_examined_once_wherever_it_is_used(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("shared", "llama-a.sft")
    before = bench.examinations()
    for number in range(5):
        deploy(bench, space, f"user-{number}", uri)
    for number in range(5):
        bench.verdict(space, f"user-{number}", "Pass", ready="True")
    assert bench.examinations() == before + 1


def test_a_tightened_policy_judges_again_without_reading_weights(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("moved", "llama-a.sft")
    deploy(bench, space, "moved", uri, workload=template())
    bench.verdict(space, "moved", "Pass", ready="True")
    before = bench.examinations()
    shutil.rmtree(bench.models / "moved")
    tight = {"spec": {"rules": [BASES, {"name": "no-llama", **deny("llama-a")}]}}
    bench.objects.patch_cluster_custom_object(
        "pedigree.dev", "v1alpha1", "clusterlineagepolicies", space, tight
    )
    obj = bench.verdict(space, "moved", "Fail", ready="False")
    assert obj["status"]["verdict"]["reason"] == "LineageDenied"
    assert bench.examinations() == before
    assert has_deployment(bench, space, "moved"), "what runs is left running"
    assert obj["status"]["workload"]["state"] == "Created"
    loose = {"spec": {"rules": [BASES]}}
    bench.objects.patch_cluster_custom_object(
        "pedigree.dev", "v1alpha1", "clusterlineagepolicies", space, loose
    )
    obj = bench.verdict(space, "moved", "Pass", ready="True")
    decisions = [e["decision"] for e in bench.entries(obj["metadata"]["uid"])]
    assert decisions == ["Allow", "Deny", "Allow"]
    reasons = [reason for reason, _ in bench.events(space, "moved")]
    assert reasons[1:] == [
        "LineageVerified",
        "Created",
        "LineageDenied",
        "LineageVerified",
    ]


def deny(*references: str) -> Json:
    return {"deniedAncestors": {"references": list(references)}}


def test_a_new_reference_is_compared_with_what_is_stored(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES, onUnknown="Hold")
    uri = bench.put_model("early", "llama-b")
    deploy(bench, space, "early", uri)
    bench.verdict(space, "early", "Unknown")
    shutil.rmtree(bench.models / "early")
    before = bench.examinations()
    bench.reference("llama-b", bench.put_model("reference-llama-b", "llama-b"))
    try:
        obj = bench.until(
            lambda: bench.read("modeldeployments", "early", space),
            lambda it: it["status"]["verdict"]["reason"] == "LineageNotAllowed",
            "the model descends from a reference that is not allowed",
        )
        assert obj["status"]["models"][0]["lineage"]["ancestor"] == "llama-b"
        # The reference is the same content, elsewhere: read once to learn that.
        assert bench.examinations() <= before + 1
    finally:
        bench.objects.delete_cluster_custom_object(
            "pedigree.dev", "v1alpha1", "referencemodels", "llama-b"
        )
    bench.verdict(space, "early", "Unknown")


def test_a_source_that_vanishes_keeps_the_verdict_about_its_content(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("vanishing", "llama-a.sft")
    deploy(bench, space, "vanishing", uri)
    bench.verdict(space, "vanishing", "Pass", ready="True")
    shutil.rmtree(bench.models / "vanishing")
    age_resolution(bench, space, "vanishing")
    obj = bench.until(
        lambda: bench.read("modeldeployments", "vanishing", space),
        lambda it: condition(it, "ReferencesResolved")["status"] == "False",
        "the source was asked again",
    )
    assert condition(obj, "ReferencesResolved")["reason"] == "NotFound"
    assert obj["status"]["verdict"]["result"] == "Pass"
    assert condition(obj, "Ready")["status"] == "True"


def test_a_changed_source_is_drift_and_judged_again(bench: Bench, space: str) -> None:
    bench.policy(space, space, NO_GPT, onUnknown="Allow")
    uri = bench.put_model("drifting", "llama-a.sft")
    first = deploy(bench, space, "drifting", uri)
    obj = bench.verdict(space, "drifting", "Pass", ready="True")
    old = obj["status"]["models"][0]["resolved"]["digest"]
    bench.put_model("drifting", "gpt2-a.sft")
    age_resolution(bench, space, "drifting")
    obj = bench.verdict(space, "drifting", "Fail")
    assert obj["status"]["models"][0]["resolved"]["digest"] != old
    reasons = [reason for reason, _ in bench.events(space, "drifting")]
    assert reasons.count("Drifted") == 1
    assert [e["decision"] for e in bench.entries(first["metadata"]["uid"])] == [
        "Allow",
        "Deny",
    ]


def age_resolution(bench: Bench, space: str, name: str) -> None:
    """Make the recorded resolution older than any interval."""
    obj = bench.read("modeldeployments", name, space)
    row = obj["status"]["models"][0]
    row["resolved"]["resolvedAt"] = "2020-01-01T00:00:00Z"
    bench.stop()
    bench.objects.patch_namespaced_custom_object_status(
        "pedigree.dev",
        "v1alpha1",
        space,
        "modeldeployments",
        name,
        {"status": {"models": [row]}},
    )
    bench.start()


def restarted(bench: Bench, between: Callable[[], None]) -> None:
    bench.kill()
    between()
    bench.start()
    bench.settle()


def test_gated_pods_of_an_existing_workload_are_released_on_a_pass(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    label = {"pedigree.dev/modeldeployment": "served"}
    container = {"name": "serve", "image": "example.invalid/serve:1"}
    gates = [{"name": "pedigree.dev/lineage"}, {"name": "example.com/other"}]
    pod = {"containers": [container], "schedulingGates": gates}
    deployment = {
        "metadata": {"name": "server"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": label},
            "template": {"metadata": {"labels": label}, "spec": pod},
        },
    }
    bench.apps.create_namespaced_deployment(space, deployment)
    impostor = {"metadata": {"name": "impostor", "labels": label}, "spec": pod}
    bench.until(
        lambda: bench.core.list_namespaced_pod(space).items,
        lambda pods: len(pods) == 2,
        "the Deployment has made its Pods",
    )
    bench.core.create_namespaced_pod(space, impostor)
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
    uri = bench.put_model("served", "llama-a.sft")
    deploy(bench, space, "served", uri, workload={"ref": ref})
    obj = bench.verdict(space, "served", "Pass", ready="True")
    assert obj["status"]["workload"]["state"] == "Released"

    def gates_by_pod() -> dict[str, list[str]]:
        pods = bench.core.list_namespaced_pod(space).items
        return {
            item.metadata.name: [g.name for g in item.spec.scheduling_gates or ()]
            for item in pods
        }

    found = bench.until(
        gates_by_pod,
        lambda it: sum(v == ["example.com/other"] for v in it.values()) == 2,
        "our gate, and no other, is gone from the Pods of the Deployment",
    )
    assert found["impostor"] == ["pedigree.dev/lineage", "example.com/other"]


def test_a_foreign_deployment_of_the_name_is_not_adopted(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    label = {"app": "foreign"}
    container = {"name": "serve", "image": "example.invalid/serve:1"}
    bench.apps.create_namespaced_deployment(
        space,
        {
            "metadata": {"name": "taken"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": label},
                "template": {
                    "metadata": {"labels": label},
                    "spec": {"containers": [container]},
                },
            },
        },
    )
    uri = bench.put_model("taken", "llama-a.sft")
    deploy(bench, space, "taken", uri, workload=template())
    obj = bench.until(
        lambda: bench.read("modeldeployments", "taken", space),
        lambda it: condition(it, "Ready").get("reason") == "NotOwned",
        "the condition says that the Deployment is not ours",
    )
    assert obj["status"]["verdict"]["result"] == "Pass"
    found = bench.apps.read_namespaced_deployment("taken", space)
    assert found.metadata.owner_references is None


def test_a_changed_template_reaches_the_deployment(bench: Bench, space: str) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("rolled", "llama-a.sft")
    deploy(bench, space, "rolled", uri, workload=template())
    bench.verdict(space, "rolled", "Pass", ready="True")
    bench.apps.patch_namespaced_deployment_scale(
        "rolled", space, {"spec": {"replicas": 3}}
    )
    bench.settle()
    found = bench.apps.read_namespaced_deployment("rolled", space)
    assert found.spec.replicas == 3, "replicas belong to whoever scales"
    container = {"name": "serve", "image": "example.invalid/serve:2"}
    pod = {"containers": [container]}
    patch = {"spec": {"workload": {"template": {"podSpec": pod}}}}
    bench.objects.patch_namespaced_custom_object(
        "pedigree.dev", "v1alpha1", space, "modeldeployments", "rolled", patch
    )
    bench.until(
        lambda: bench.apps.read_namespaced_deployment("rolled", space),
        lambda it: it.spec.template.spec.containers[0].image.endswith(":2"),
        "the Deployment has the new image",
    )


def test_an_object_nested_as_deep_as_the_api_server_takes_ends_nothing(
    bench: Bench, space: str, tmp_path: Path
) -> None:
    bench.policy(space, space, BASES)
    workload = template()
    workload["template"]["podSpec"]["deep"] = "DEEP"
    body = {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "deep"},
        "spec": {
            **model(bench.put_model("deep", "llama-a.sft")),
            "workload": workload,
        },
    }
    levels = 9_900  # API servers refuse more than 10,000
    nested = '{"a":' * levels + "1" + "}" * levels
    manifest = tmp_path / "deep.json"
    manifest.write_text(json.dumps(body).replace('"DEEP"', nested))
    path = f"/apis/pedigree.dev/v1alpha1/namespaces/{space}/modeldeployments"
    bench.plane.kubectl("create", "--raw", path, "-f", str(manifest))
    try:
        bench.until(
            lambda: [reason for reason, _ in bench.events(space, "deep")],
            lambda seen: "Created" in seen,
            "the object is judged and its Deployment made",
        )
        bench.stop()
        bench.start()
    finally:
        bench.plane.kubectl("delete", "--raw", f"{path}/deep")
    assert "RecursionError" not in bench.log()


def test_a_policy_that_denies_an_unknown_name_says_so_and_denies(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, {"name": "typo", **deny("no-such-model")})
    broken = bench.until(
        lambda: bench.read("clusterlineagepolicies", space),
        lambda it: condition(it, "Ready").get("status") == "False",
        "the policy is not ready",
    )
    assert condition(broken, "Ready")["reason"] == "PolicyInvalid"
    message = condition(broken, "Ready")["message"]
    assert "spec.rules[0].deniedAncestors.references[0]" in message
    uri = bench.put_model("subject", "llama-a.sft")
    deploy(bench, space, "subject", uri)
    obj = bench.verdict(space, "subject", "Error")
    assert obj["status"]["verdict"]["action"] == "Deny"
    assert obj["status"]["verdict"]["reason"] == "PolicyInvalid"


def test_namespace_labels_decide_which_policies_select(
    bench: Bench, space: str
) -> None:
    selector = {"matchLabels": {"stage": space}}
    spec = {"match": {"namespaceSelector": selector}, "rules": [BASES]}
    bench.apply("clusterlineagepolicies", space, spec)
    uri = bench.put_model("labelled", "llama-a.sft")
    deploy(bench, space, "labelled", uri)
    obj = bench.verdict(space, "labelled", "Fail")
    assert obj["status"]["verdict"]["reason"] == "NoMatchingPolicy"
    bench.until(
        lambda: bench.read("modeldeployments", "labelled", space),
        lambda it: condition(it, "EvidenceRecorded")["status"] == "True",
        "the model is examined all the same",
    )
    before = bench.examinations()
    bench.core.patch_namespace(space, {"metadata": {"labels": {"stage": space}}})
    bench.verdict(space, "labelled", "Pass", ready="True")
    assert bench.examinations() == before


def test_a_reference_that_cannot_be_read_says_why(bench: Bench) -> None:
    bench.reference("nowhere", f"file://{bench.models}/nowhere", ready=False)
    try:
        obj = bench.until(
            lambda: bench.read("referencemodels", "nowhere"),
            lambda it: condition(it, "Ready").get("status") == "False",
            "the reference model is not ready",
        )
        assert condition(obj, "Ready")["reason"] == "NotFound"
        assert "fingerprint" not in obj["status"]
    finally:
        bench.objects.delete_cluster_custom_object(
            "pedigree.dev", "v1alpha1", "referencemodels", "nowhere"
        )


def test_killed_in_mid_examination_it_repeats_only_that(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("interrupted", "llama-a.sft")
    add_file(bench, "interrupted", b"killed in mid-examination")
    made = deploy(bench, space, "interrupted", uri, workload=template())
    (child,) = bench.until(bench.examining, bool, "an examination runs")
    os.kill(child, signal.SIGSTOP)
    bench.kill()
    bench.until(lambda: alive(child), lambda it: not it, "the examination died with it")
    bench.start()
    obj = bench.verdict(space, "interrupted", "Pass", ready="True")
    digest = obj["status"]["models"][0]["resolved"]["digest"]
    assert [e["spec"]["digest"] for e in bench.evidences()].count(digest) == 1
    uid = made["metadata"]["uid"]
    assert [e["decision"] for e in bench.entries(uid)] == ["Allow"]
    reasons = [reason for reason, _ in bench.events(space, "interrupted")]
    assert sorted(reasons) == ["Created", "EvidencePending", "LineageVerified"]


def test_killed_at_any_moment_it_loses_nothing_and_repeats_nothing(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    made = []
    for number in range(6):
        name = f"model-{number}"
        uri = bench.put_model(name, "llama-a.sft")
        add_file(bench, name, name.encode())
        made.append(deploy(bench, space, name, uri, workload=template()))
        time.sleep(0.2 * number)
        bench.kill()
        bench.start()
    for number, obj in enumerate(made):
        name = f"model-{number}"
        bench.verdict(space, name, "Pass", ready="True")
        decisions = [e["decision"] for e in bench.entries(obj["metadata"]["uid"])]
        assert decisions == ["Allow"]
        # The workload is created after the status is written.
        reasons = bench.until(
            partial(told, bench, space, name),
            lambda reasons: "Created" in reasons,
            "the creation of the workload was told",
        )
        assert len(reasons) == len(set(reasons))
        assert {"Created", "LineageVerified"} <= set(reasons)
    before = bench.log().count("judged:")
    restarted(bench, lambda: None)
    assert bench.log().count("judged:") == before
    assert bench.examinations() == 0, "nothing is read again after a restart"


def told(bench: Bench, space: str, name: str) -> list[str]:
    return [reason for reason, _ in bench.events(space, name)]


def add_file(bench: Bench, name: str, content: bytes) -> None:
    """Give a model a digest of its own."""
    (bench.models / name / "README.md").write_bytes(content)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_lost_fingerprints_are_made_again_when_they_are_needed(
    bench: Bench, space: str
) -> None:
    bench.policy(space, space, BASES)
    uri = bench.put_model("forgotten", "llama-a.sft")
    add_file(bench, "forgotten", b"forgotten")
    deploy(bench, space, "forgotten", uri)
    bench.verdict(space, "forgotten", "Pass", ready="True")
    restarted(bench, lambda: shutil.rmtree(bench.data / "store" / "fingerprints"))
    bench.reference("llama-b", bench.put_model("reference-llama-b", "llama-b"))
    try:
        obj = bench.until(
            lambda: bench.read("modeldeployments", "forgotten", space),
            lambda it: current(bench, it),
            "the lineage was compared with the new references",
        )
        assert obj["status"]["verdict"]["result"] == "Pass"
    finally:
        bench.objects.delete_cluster_custom_object(
            "pedigree.dev", "v1alpha1", "referencemodels", "llama-b"
        )


def current(bench: Bench, obj: Json) -> bool:
    """Whether the evidence of an object was compared with three references."""
    digest = obj["status"]["models"][0]["resolved"]["digest"]
    (found,) = [e for e in bench.evidences() if e["spec"]["digest"] == digest]
    return bool(found["status"]["lineage"]["references"] == 3)


def test_the_operator_tells_what_it_does(bench: Bench) -> None:
    status, text = bench.get("/metrics")
    assert status == 200
    assert bench.get("/healthz") == (200, "ok\n")
    assert bench.get("/elsewhere")[0] == 404
    assert "pedigree_outbox_depth" in text
    assert bench.metric("pedigree_model_deployments", result="Pass") > 0
    assert (MODELS / "llama-a").is_dir()
