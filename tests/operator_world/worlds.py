# SPDX-License-Identifier: Apache-2.0
"""Objects and surroundings of ModelDeployments, for tests of pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pedigree.digests import Digest
from pedigree.evidence import Evidence, Finding, Lineage, Match, Resolution, Severity
from pedigree.lineage.classes import LineageClass
from pedigree.policy.references import Reference, current_registry_digest
from pedigree.policy.rules import load_policy
from pedigree.policy.verdict import Action
from pedigree_operator.lookups import UNSEEN, Located, UriState
from pedigree_operator.plan import Outcome, Plan, View
from pedigree_operator.reconcile import reconcile

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
URI = "file:///models/tuned"
IDENTITY = "stat:1"
DIGEST = Digest("a" * 64)
OTHER = Digest("b" * 64)
FINGERPRINT = Digest("f" * 64)

Json = dict[str, Any]


def deployment(**spec: Any) -> Json:
    """A ModelDeployment with one model."""
    return {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {
            "name": "tuned",
            "namespace": "team",
            "uid": "uid-1",
            "generation": 1,
            "resourceVersion": "10",
        },
        "spec": {"models": [{"name": "base", "source": {"uri": URI}}], **spec},
    }


def template(image: str = "serve:1") -> Json:
    """A workload that is made from a template."""
    return {"template": {"podSpec": {"containers": [{"name": "c", "image": image}]}}}


def policy(*rules: Json, **more: Any) -> Any:
    """A cluster policy; by default it allows descendants of llama."""
    allow = {"name": "bases", "allowedAncestors": {"references": ["llama"]}}
    return load_policy(
        {
            "kind": "ClusterLineagePolicy",
            "metadata": {"name": "prod", "uid": "p", "generation": 1},
            "spec": {"rules": list(rules) or [allow], **more},
        }
    )


def deny(name: str) -> Json:
    """A rule that denies descendants of one reference."""
    return {"name": "denied", "deniedAncestors": {"references": [name]}}


REFERENCES = {"llama": Reference("llama", fingerprint=str(Digest("1" * 64)))}


def evidence(
    digest: Digest = DIGEST,
    *,
    references: Mapping[str, Reference] = REFERENCES,
    ancestor: str = "llama",
    identity: str = IDENTITY,
    malformed: bool = False,
) -> Evidence:
    """Evidence of a model that descends from a reference, compared with all."""
    matches = (Match(ancestor, LineageClass.DERIVED, log10_p=-30),) if ancestor else ()
    bad = Finding("HeaderTooLarge", Severity.ERROR, "model.safetensors", "is too long")
    lineage = Lineage(
        current_registry_digest(references),
        len(references),
        matches,
        "2026-11-23T11:00:00Z",
        "0.1.0",
    )
    return Evidence(
        digest=digest,
        root_digest=digest,
        files=1,
        size_bytes=10,
        formats=("safetensors",),
        engine="0.1.0",
        examined_at="2026-11-23T11:00:00Z",
        findings=(bad,) if malformed else (),
        fingerprint=None if malformed else FINGERPRINT,
        fingerprint_spec="" if malformed else "v1",
        lineage=None if malformed else lineage,
        resolutions=(Resolution(URI, URI, identity, "2026-11-23T11:00:00Z"),),
    )


def located(identity: str = IDENTITY, *, ago: timedelta = timedelta(0)) -> UriState:
    """A reference that was resolved."""
    return UriState(located=Located(URI, identity, NOW - ago))


@dataclass
class World:
    """Everything around one ModelDeployment; tests change what they are about."""

    policies: tuple[Any, ...] = field(default_factory=lambda: (policy(),))
    references: Mapping[str, Reference] = field(default_factory=lambda: REFERENCES)
    awaited: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = field(default_factory=lambda: (evidence(),))
    states: dict[str, UriState] = field(default_factory=lambda: {URI: located()})
    rescan_failed: dict[str, str] = field(default_factory=dict)
    pods: tuple[Json, ...] = ()
    outcome: Outcome | None = None
    no_match: Action = Action.DENY

    def view(self) -> View:
        """The same as a view."""
        return View(
            namespace_labels={},
            policies=self.policies,
            references=self.references,
            registry=current_registry_digest(self.references),
            references_awaited=self.awaited,
            evidence=self.find,
            content={
                (seen.scope, seen.uri, seen.identity): item.digest
                for item in self.evidence
                for seen in item.resolutions
            },
            lookup=lambda access: self.states.get(str(access), UNSEEN),
            rescan_failed=self.rescan_failed,
            gated_pods=self.pods,
            outcome=self.outcome,
            no_match=self.no_match,
        )

    def find(self, digest: Digest, namespace: str) -> Evidence | None:
        """Evidence of a digest, as the operator's index finds it."""
        known = {(item.digest, item.confined_to): item for item in self.evidence}
        return known.get((digest, "")) or known.get((digest, namespace))

    def plan(self, obj: Json, now: datetime = NOW) -> Plan:
        """What would be done about an object."""
        return reconcile(obj, self.view(), now)


def patched(obj: Json, plan: Plan) -> Json:
    """The object after its status was patched, as the API server would do it."""
    merged: Json = _merge(obj, {"status": plan.status})
    return merged


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
