# SPDX-License-Identifier: Apache-2.0
"""Workloads: the Deployment that an admitted object gets, and held Pods.

Pure: what to write, never the writing.  Nothing here scales down or deletes, by design:
a verdict that turns against a running workload is told to people, because stopping a
service at the moment somebody edits a policy is an outage with a different name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pedigree.evidence import API_VERSION
from pedigree_operator.kinds import GATE, LABEL, TEMPLATE_ANNOTATION

REPLICAS_DEFAULT = 1

Json = dict[str, Any]


def build_deployment(owner: Mapping[str, Any]) -> Json:
    """The Deployment that ``spec.workload.template`` asks for.

    It has the name of its owner and is owned by it, so that it goes when the owner
    goes.  Labels of the template are kept; the selector uses our label alone, because
    selectors cannot change later.
    """
    metadata = owner["metadata"]
    template = owner["spec"]["workload"]["template"]
    name = metadata["name"]
    labels = {**(template.get("labels") or {}), LABEL: name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {TEMPLATE_ANNOTATION: template_digest(owner)},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "replicas": template.get("replicas", REPLICAS_DEFAULT),
            "selector": {"matchLabels": {LABEL: name}},
            "template": {
                "metadata": {"labels": labels},
                "spec": template["podSpec"],
            },
        },
    }


def owner_reference(owner: Mapping[str, Any]) -> Json:
    """That ``owner`` controls an object."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_digest(owner: Mapping[str, Any]) -> str:
    """Which template a Deployment was made from.

    Not :func:`pedigree.digests.json_digest`: a Pod template may hold floats.
    """
    template = owner["spec"]["workload"]["template"]
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def is_owned(deployment: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether the owner controls that very Deployment."""
    return any(
        reference.get("uid") == owner["metadata"]["uid"]
        for reference in deployment["metadata"].get("ownerReferences") or ()
    )


def update_operations(existing: Mapping[str, Any], wanted: Json) -> list[Json]:
    """JSON patch that brings an own Deployment to a changed template; often empty.

    Replicas follow the template only when the template has changed: until then they
    belong to whoever scales, an autoscaler perhaps.
    """
    annotations = existing["metadata"].get("annotations") or {}
    digest = wanted["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    if annotations.get(TEMPLATE_ANNOTATION) == digest:
        return []
    return [
        {
            "op": "test",
            "path": "/metadata/resourceVersion",
            "value": existing["metadata"]["resourceVersion"],
        },
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {**annotations, TEMPLATE_ANNOTATION: digest},
        },
        {
            "op": "replace",
            "path": "/spec/replicas",
            "value": wanted["spec"]["replicas"],
        },
        {
            "op": "replace",
            "path": "/spec/template",
            "value": wanted["spec"]["template"],
        },
    ]


def is_gated(pod: Mapping[str, Any]) -> bool:
    """Whether a Pod waits at our scheduling gate."""
    return any(gate.get("name") == GATE for gate in _gates(pod))


def release_operations(pod: Mapping[str, Any]) -> list[Json]:
    """JSON patch that takes away our gate, and no other, from one very Pod.

    Two ``test`` operations make it fail rather than hit a Pod that has changed: the uid
    must be that Pod's, and the gate at that place must be ours.
    """
    for index, gate in enumerate(_gates(pod)):
        if gate.get("name") == GATE:
            path = f"/spec/schedulingGates/{index}"
            return [
                {
                    "op": "test",
                    "path": "/metadata/uid",
                    "value": pod["metadata"]["uid"],
                },
                {"op": "test", "path": f"{path}/name", "value": GATE},
                {"op": "remove", "path": path},
            ]
    return []


def belongs_to(pod: Mapping[str, Any], deployment: str) -> bool:
    """Whether a Pod comes from the Deployment of that name.

    A label alone must not open the gate: anybody who may create Pods could borrow the
    verdict of somebody else's model.  Pods of a Deployment are controlled by a
    ReplicaSet named after it and the Pod's own template hash.
    """
    metadata = pod["metadata"]
    hashed = (metadata.get("labels") or {}).get("pod-template-hash")
    return bool(hashed) and any(
        reference.get("kind") == "ReplicaSet"
        and reference.get("controller") is True
        and reference.get("name") == f"{deployment}-{hashed}"
        for reference in metadata.get("ownerReferences") or ()
    )


def _gates(pod: Mapping[str, Any]) -> list[Json]:
    gates: list[Json] = (pod.get("spec") or {}).get("schedulingGates") or []
    return gates
