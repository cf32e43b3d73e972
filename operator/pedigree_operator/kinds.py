# SPDX-License-Identifier: Apache-2.0
"""The kinds of object the operator reads, and the names it writes into objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pedigree.evidence import GROUP, VERSION

LABEL = "pedigree.dev/modeldeployment"
"""On workloads: the ModelDeployment whose verdict they wait for."""
GATE = "pedigree.dev/lineage"
"""The Pod scheduling gate that the operator, and nobody else, takes away."""
TEMPLATE_ANNOTATION = "pedigree.dev/template-digest"
"""On Deployments the operator made: which template they were made from."""


class Kind(StrEnum):
    """Kinds the cache holds."""

    MODEL_DEPLOYMENT = "ModelDeployment"
    LINEAGE_POLICY = "LineagePolicy"
    CLUSTER_LINEAGE_POLICY = "ClusterLineagePolicy"
    REFERENCE_MODEL = "ReferenceModel"
    MODEL_EVIDENCE = "ModelEvidence"
    POD = "Pod"
    NAMESPACE = "Namespace"


POLICIES = (Kind.CLUSTER_LINEAGE_POLICY, Kind.LINEAGE_POLICY)


class Key(NamedTuple):
    """Which object; the unit of work of the queue."""

    kind: Kind
    namespace: str
    """Empty for objects of the cluster."""
    name: str


@dataclass(frozen=True, slots=True)
class Resource:
    """How the API server serves a kind.

    Attributes:
        group: API group; empty for the core group.
        version: API version.
        plural: Name in paths.
        namespaced: Whether objects live in namespaces.
        label_selector: Only these are listed and watched; empty for all.
    """

    group: str
    version: str
    plural: str
    namespaced: bool
    label_selector: str = ""

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """Path of the collection, or of one object or subresource in it."""
        root = f"/apis/{self.group}" if self.group else "/api"
        parts = [root, self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, sub) if part]
        return "/".join(parts)


RESOURCES = {
    Kind.MODEL_DEPLOYMENT: Resource(GROUP, VERSION, "modeldeployments", True),
    Kind.LINEAGE_POLICY: Resource(GROUP, VERSION, "lineagepolicies", True),
    Kind.CLUSTER_LINEAGE_POLICY: Resource(
        GROUP, VERSION, "clusterlineagepolicies", False
    ),
    Kind.REFERENCE_MODEL: Resource(GROUP, VERSION, "referencemodels", False),
    Kind.MODEL_EVIDENCE: Resource(GROUP, VERSION, "modelevidences", False),
    Kind.POD: Resource("", "v1", "pods", True, label_selector=LABEL),
    Kind.NAMESPACE: Resource("", "v1", "namespaces", False),
}
DEPLOYMENTS = Resource("apps", "v1", "deployments", True)
EVENTS = Resource("", "v1", "events", True)
SECRETS = Resource("", "v1", "secrets", True)
"""Only ever got by name: never listed, watched or kept."""
