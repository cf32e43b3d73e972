# SPDX-License-Identifier: Apache-2.0
"""Objects of the cluster, as JSON."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pedigree import evidence as facts
from pedigree.digests import Digest, sha256
from pedigree.lineage.classes import LineageClass

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
EXAMINED = "2026-11-23T11:00:00.000Z"
Object = dict[str, Any]


def uri(model: str) -> str:
    """Where a model of the world is."""
    return f"file:///models/{model}"


def fingerprint(name: str) -> str:
    """Digest of the fingerprint of a reference model."""
    return str(sha256(f"fingerprint of {name}".encode()))


def registry(names: Sequence[str] = ("llama-a", "gpt2-a")) -> Digest:
    """Identity of the set of reference models."""
    return facts.registry_digest({name: fingerprint(name) for name in names})


def namespace(name: str = "team-a", **labels: str) -> Object:
    """A Namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "labels": {"kubernetes.io/metadata.name": name, **labels},
        },
    }


def reference(name: str, family: str = "llama", **spec: Any) -> Object:
    """A ReferenceModel that has been fingerprinted."""
    return {
        "apiVersion": facts.API_VERSION,
        "kind": "ReferenceModel",
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "family": family,
            "publisher": "example",
            "source": {"uri": uri(name)},
            **spec,
        },
        "status": {"fingerprint": {"digest": fingerprint(name), "spec": "v1"}},
    }


def policy(
    name: str = "baseline",
    *,
    rules: Sequence[Mapping[str, Any]] | None = None,
    namespace: str = "",
    **spec: Any,
) -> Object:
    """A ClusterLineagePolicy, or a LineagePolicy when a namespace is given.

    Allows descendants of ``llama-a`` and denies those of ``gpt2-a`` unless told
    otherwise.
    """
    metadata: Object = {"name": name, "uid": f"uid-{name}", "generation": 1}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": facts.API_VERSION,
        "kind": "LineagePolicy" if namespace else "ClusterLineagePolicy",
        "metadata": metadata,
        "spec": {
            "rules": list(rules)
            if rules is not None
            else [
                {"name": "approved", "allowedAncestors": {"references": ["llama-a"]}},
                {"name": "banned", "deniedAncestors": {"references": ["gpt2-a"]}},
            ],
            **spec,
        },
    }


def evidence(
    model: str,
    ancestor: str = "",
    *,
    content: str = "",
    resolved_at: str = EXAMINED,
    pinned_uri: str = "",
    registry_digest: Digest | None = None,
) -> Object:
    """A ModelEvidence for one model of the world.

    Args:
        model: Which.
        ancestor: The reference it descends from; empty for none.
        content: Stands for its bytes; the model's name unless given.
        resolved_at: When its reference was last seen to mean it.
        pinned_uri: The pinned reference; the plain one unless given.
        registry_digest: What it was compared with; the world's references unless given.
    """
    digest = sha256(f"bytes of {content or model}".encode())
    matches = (
        facts.Match(
            reference=ancestor,
            lineage=LineageClass.DERIVED,
            relation="Finetune",
            log10_p=-40,
            effect_permille=990,
            test="align",
        ),
    )
    found = facts.Evidence(
        digest=digest,
        root_digest=digest,
        files=2,
        size_bytes=1000,
        formats=("safetensors",),
        engine="0.1.0",
        examined_at=EXAMINED,
        fingerprint=sha256(f"fingerprint of {content or model}".encode()),
        fingerprint_spec="v1",
        lineage=facts.Lineage(
            registry_digest=registry_digest or registry(),
            references=2,
            matches=matches if ancestor else (),
            judged_at=EXAMINED,
            engine="0.1.0",
        ),
        resolutions=(
            facts.Resolution(
                uri(model), pinned_uri or uri(model), "identity", resolved_at
            ),
        ),
    )
    return {
        "apiVersion": facts.API_VERSION,
        "kind": "ModelEvidence",
        "metadata": {"name": found.object_name, "resourceVersion": "1"},
        "spec": facts.to_spec(found),
        "status": facts.to_status(found),
    }


def model_deployment(
    *models: str,
    name: str = "chat",
    namespace: str = "team-a",
    labels: Mapping[str, str] | None = None,
    replicas: int = 1,
    **fields: Any,
) -> Object:
    """A ModelDeployment of some models of the world.

    Args:
        models: Their names in the world; the first is called ``base``.
        name: Of the object.
        namespace: Of the object.
        labels: Of the object.
        replicas: Of its workload.
        fields: Further fields of every model, such as ``expectedDigest``.
    """
    named = zip(["base", "adapter", "draft"], models, strict=False)
    return {
        "apiVersion": facts.API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": dict(labels or {}),
        },
        "spec": {
            "models": [
                {"name": key, "source": {"uri": uri(model)}, **fields}
                for key, model in named
            ],
            "workload": {"template": {"replicas": replicas, "podSpec": {}}},
        },
    }
