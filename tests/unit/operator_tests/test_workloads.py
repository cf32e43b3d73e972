# SPDX-License-Identifier: Apache-2.0
"""Deployments to make, Pods to release."""

from typing import Any

from operator_world.worlds import deployment, template
from pedigree_operator.workloads import (
    belongs_to,
    build_deployment,
    is_gated,
    is_owned,
    release_operations,
    template_digest,
    update_operations,
)

Json = dict[str, Any]
GATE = {"name": "pedigree.dev/lineage"}


def pod(*gates: Json, owner: str = "server-77", **labels: str) -> Json:
    return {
        "metadata": {
            "name": "p",
            "uid": "pod-uid",
            "labels": {"pod-template-hash": "77", **labels},
            "ownerReferences": [
                {"kind": "ReplicaSet", "name": owner, "controller": True}
            ],
        },
        "spec": {"schedulingGates": list(gates)},
    }


def test_a_deployment_belongs_to_its_model_deployment() -> None:
    owner = deployment(workload=template())
    made = build_deployment(owner)
    assert is_owned(made, owner)
    assert made["metadata"]["name"] == "tuned"
    assert made["spec"]["replicas"] == 1
    label = {"pedigree.dev/modeldeployment": "tuned"}
    assert made["spec"]["selector"]["matchLabels"] == label
    assert label.items() <= made["spec"]["template"]["metadata"]["labels"].items()


def test_labels_of_the_template_cannot_displace_ours() -> None:
    asked = template()
    asked["template"]["labels"] = {"app": "x", "pedigree.dev/modeldeployment": "other"}
    made = build_deployment(deployment(workload=asked))
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels == {"app": "x", "pedigree.dev/modeldeployment": "tuned"}


def test_a_deployment_of_another_object_is_not_owned() -> None:
    made = build_deployment(deployment(workload=template()))
    other = deployment(workload=template())
    other["metadata"]["uid"] = "uid-2"
    assert not is_owned(made, other)
    assert not is_owned({"metadata": {"name": "x"}}, other)


def test_zero_replicas_are_kept_as_asked() -> None:
    asked = template()
    asked["template"]["replicas"] = 0
    assert build_deployment(deployment(workload=asked))["spec"]["replicas"] == 0


def test_an_unchanged_template_changes_nothing_whatever_was_scaled() -> None:
    wanted = build_deployment(deployment(workload=template()))
    existing = {**wanted, "spec": {**wanted["spec"], "replicas": 9}}
    assert update_operations(existing, wanted) == []


def test_a_changed_template_is_patched_with_a_precondition() -> None:
    existing = build_deployment(deployment(workload=template()))
    existing["metadata"]["resourceVersion"] = "5"
    existing["metadata"]["annotations"]["kept"] = "yes"
    owner = deployment(workload=template("serve:2"))
    operations = update_operations(existing, build_deployment(owner))
    assert operations[0]["op"] == "test"
    assert operations[1]["value"] == {
        "kept": "yes",
        "pedigree.dev/template-digest": template_digest(owner),
    }
    paths = [operation["path"] for operation in operations]
    assert paths[2:] == ["/spec/replicas", "/spec/template"]


def test_a_template_with_floats_has_a_digest() -> None:
    asked = template()
    asked["template"]["podSpec"]["x"] = 0.5
    assert template_digest(deployment(workload=asked)).startswith("sha256:")


def test_only_our_gate_is_taken_away_from_that_very_pod() -> None:
    operations = release_operations(pod({"name": "other"}, GATE))
    assert operations == [
        {"op": "test", "path": "/metadata/uid", "value": "pod-uid"},
        {
            "op": "test",
            "path": "/spec/schedulingGates/1/name",
            "value": "pedigree.dev/lineage",
        },
        {"op": "remove", "path": "/spec/schedulingGates/1"},
    ]
    assert release_operations(pod({"name": "other"})) == []
    assert is_gated(pod(GATE))
    assert not is_gated(pod({"name": "other"}))


def test_a_label_alone_opens_no_gate() -> None:
    assert belongs_to(pod(GATE), "server")
    assert not belongs_to(pod(GATE, owner="other-77"), "server")
    assert not belongs_to(pod(GATE, owner="server-78"), "server")
    bare = pod(GATE)
    bare["metadata"]["ownerReferences"] = []
    assert not belongs_to(bare, "server")
    unhashed = pod(GATE, owner="server-")
    del unhashed["metadata"]["labels"]["pod-template-hash"]
    assert not belongs_to(unhashed, "server")
