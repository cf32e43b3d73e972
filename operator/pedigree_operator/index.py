# SPDX-License-Identifier: Apache-2.0
"""What the cached objects mean: parsed once when they change, and who uses what."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pedigree.digests import Digest
from pedigree.errors import PedigreeError
from pedigree.evidence import NO_TRUST, Evidence, from_object
from pedigree.policy.references import (
    Reference,
    current_registry_digest,
    reference_from_object,
)
from pedigree.policy.rules import load_policy
from pedigree.policy.terms import BrokenPolicy, Policy, SignatureRule
from pedigree_operator.access import Access, sources_in
from pedigree_operator.kinds import LABEL, POLICIES, Key, Kind
from pedigree_operator.workloads import is_gated

Object = Mapping[str, Any]
Name = tuple[str, str]
"""Scope and reference, or nothing and a digest."""

log = logging.getLogger(__name__)


class Index:
    """Parsed objects and reverse lookups; kept current by :meth:`update`.

    Args:
        trusted_signers: Digest of the set of signers whose signatures are believed.

    Attributes:
        policies: By key.
        references: By name.
        evidence: By model digest and the namespace that it is confined to, which is
            empty for what counts everywhere.
        content: Model digest by (scope, reference, identity).
        registry: Identity of the references that have fingerprints.
        awaited: Names of references that are being read for the first time.
        compared: What models are compared with: by name of the reference, the root
            digest of its model and the digest of its fingerprint.
    """

    def __init__(self, trusted_signers: Digest = NO_TRUST) -> None:
        self.trusted_signers = trusted_signers
        self.policies: dict[Key, Policy | BrokenPolicy] = {}
        self.references: dict[str, Reference] = {}
        self.evidence: dict[tuple[Digest, str], Evidence] = {}
        self.content: dict[tuple[str, str, str], Digest] = {}
        self.registry = current_registry_digest({})
        self.awaited: frozenset[str] = frozenset()
        self.compared: dict[str, tuple[Digest, str]] = {}
        self._users: dict[Name, set[Key]] = {}
        self._uses: dict[Key, frozenset[Name]] = {}
        self._accesses: dict[Key, frozenset[Access]] = {}
        self._gated: dict[tuple[str, str], dict[Key, Object]] = {}

    def update(self, key: Key, old: Object | None, new: Object | None) -> bool:
        """Take in a change; returns whether it means anything to anybody else."""
        if key.kind in POLICIES:
            return self._policy(key, new)
        match key.kind:
            case Kind.REFERENCE_MODEL:
                self._use(key, new)
                return self._reference(key, new)
            case Kind.MODEL_EVIDENCE:
                return self._evidence(key, old, new)
            case Kind.MODEL_DEPLOYMENT:
                self._use(key, new)
                return False
            case Kind.POD:
                return self._pod(key, old, new)
        return labels_of(old) != labels_of(new)

    def users(self, evidence: Evidence) -> set[Key]:
        """Objects that name this content, by its digest or a reference to it."""
        names = [("", str(evidence.digest))]
        for seen in evidence.resolutions:
            names += [(seen.scope, seen.uri), (seen.scope, seen.pinned_uri)]
        users = set[Key]().union(*(self._users.get(name, set()) for name in names))
        return {key for key in users if evidence.confined_to in ("", key.namespace)}

    def find(self, digest: Digest, namespace: str) -> Evidence | None:
        """Evidence of a digest as it counts in a namespace.

        What counts everywhere goes before what is confined to the namespace.

        Args:
            digest: Model digest.
            namespace: Empty finds only what counts everywhere.
        """
        found = self.evidence.get((digest, ""))
        return found or self.evidence.get((digest, namespace))

    def users_of(self, key: Key) -> set[Key]:
        """Objects that name the content of a ``ModelEvidence``, as it is known now."""
        evidence = self.evidence_named(key.name)
        return self.users(evidence) if evidence is not None else set()

    def evidence_named(self, name: str) -> Evidence | None:
        """Evidence by the name of its object."""
        stem, _, confined_to = name.partition(".")
        try:
            digest = Digest(stem.removeprefix("sha256-"))
        except ValueError:
            return None
        return self.evidence.get((digest, confined_to))

    def owner_of_pod(self, key: Key, pod: Object) -> Key:
        """The ModelDeployment in a Pod's label."""
        return Key(Kind.MODEL_DEPLOYMENT, key.namespace, owner_of(pod))

    def accesses(self) -> set[Access]:
        """Every reference that some object names, with its access."""
        return set[Access]().union(*self._accesses.values())

    def policies_for(self, namespace: str) -> tuple[Policy | BrokenPolicy, ...]:
        """Policies that can select objects of a namespace."""
        return tuple(
            policy
            for key, policy in self.policies.items()
            if key.namespace in ("", namespace)
        )

    def gated_pods(self, namespace: str, name: str) -> tuple[Object, ...]:
        """Pods that carry the label of a ModelDeployment and wait at our gate."""
        return tuple(self._gated.get((namespace, name), {}).values())

    def is_stale(self, evidence: Evidence) -> bool:
        """Whether its lineage was established against other references."""
        if evidence.fingerprint is None:
            return False
        lineage = evidence.lineage
        return lineage is None or lineage.registry_digest != self.registry

    def is_unsigned(self, evidence: Evidence) -> bool:
        """Whether a policy asks who signed, and nobody looked for today's signers.

        Evidence that is confined to a namespace cannot tell; see ``policy/signed``.
        """
        found = evidence.signatures
        return (
            not evidence.confined_to
            and (found is None or found.trust != self.trusted_signers)
            and any(
                isinstance(rule, SignatureRule)
                for policy in self.policies.values()
                if isinstance(policy, Policy)
                for rule in policy.rules
            )
        )

    def _policy(self, key: Key, new: Object | None) -> bool:
        before = self.policies.pop(key, None)
        if new is not None:
            self.policies[key] = load_policy(new)
        return before != self.policies.get(key)

    def _reference(self, key: Key, new: Object | None) -> bool:
        before = self.references.pop(key.name, None), key.name in self.awaited
        self.awaited -= {key.name}
        self.compared.pop(key.name, None)
        if new is not None:
            try:
                reference = self.references[key.name] = reference_from_object(new)
                if reference.fingerprint:
                    digest = Digest.parse(str(new["status"].get("digest")))
                    self.compared[key.name] = digest, reference.fingerprint
            except (PedigreeError, ValueError) as error:
                log.warning("reference model %s is left out: %s", key.name, error)
            if is_awaited(new):
                self.awaited |= {key.name}
        self.registry = current_registry_digest(self.references)
        return before != (self.references.get(key.name), key.name in self.awaited)

    def _evidence(self, key: Key, old: Object | None, new: Object | None) -> bool:
        before = _read_evidence(old)
        after = _read_evidence(new)
        if before is not None:
            for name in _content_names(before):
                if self.content.get(name) == before.digest:
                    del self.content[name]
            self.evidence.pop((before.digest, before.confined_to), None)
        if after is not None:
            self.evidence[after.digest, after.confined_to] = after
            for name in _content_names(after):
                self.content[name] = after.digest
        return before != after

    def _pod(self, key: Key, old: Object | None, new: Object | None) -> bool:
        for pod in (old, new):
            if pod is not None:
                owner = owner_of(pod)
                gated = self._gated.setdefault((key.namespace, owner), {})
                gated.pop(key, None)
                if pod is new and is_gated(pod):
                    gated[key] = pod
                if not gated:
                    del self._gated[(key.namespace, owner)]
        return new is not None and is_gated(new)

    def _use(self, key: Key, new: Object | None) -> None:
        for name in self._uses.pop(key, frozenset()):
            users = self._users.get(name, set())
            users.discard(key)
            if not users:
                self._users.pop(name, None)
        self._accesses.pop(key, None)
        if new is not None:
            self._accesses[key] = sources_in(new)
            self._uses[key] = names = names_used(new)
            for name in names:
                self._users.setdefault(name, set()).add(key)


def names_used(obj: Object) -> frozenset[Name]:
    """References and digests that a ModelDeployment or ReferenceModel names."""
    status = obj.get("status") or {}
    digests = [str(status["digest"])] if status.get("digest") else []
    for row in status.get("models") or ():
        digests += [str(row["resolved"]["digest"])] if row.get("resolved") else []
    named = {(access.scope, access.uri) for access in sources_in(obj)}
    return frozenset(named | {("", digest) for digest in digests})


def is_awaited(reference: Object) -> bool:
    """Whether a ReferenceModel is being read for the first time."""
    status = reference.get("status") or {}
    generation = reference["metadata"].get("generation")
    looked_at = status.get("observedGeneration") == generation
    return not looked_at and not status.get("fingerprint")


def owner_of(pod: Object) -> str:
    """Name of the ModelDeployment in a Pod's label."""
    return str((pod["metadata"].get("labels") or {}).get(LABEL, ""))


def labels_of(obj: Object | None) -> Mapping[str, str]:
    """Labels of an object that may be gone."""
    labels: Mapping[str, str] = (
        (obj["metadata"].get("labels") or {}) if obj is not None else {}
    )
    return labels


def _read_evidence(obj: Object | None) -> Evidence | None:
    if obj is None:
        return None
    try:
        return from_object(obj)
    except PedigreeError as error:
        log.error("evidence is left out: %s", error)
        return None


def counts_in(evidence: Evidence, scope: str) -> bool:
    """Whether evidence may answer for what was learnt with an access.

    Args:
        evidence: Of one model.
        scope: Of a resolution to it.
    """
    return evidence.confined_to in ("", scope.partition("/")[0])


def _content_names(evidence: Evidence) -> list[tuple[str, str, str]]:
    return [
        (seen.scope, name, seen.identity)
        for seen in evidence.resolutions
        for name in (seen.uri, seen.pinned_uri)
        if counts_in(evidence, seen.scope)
    ]
