# SPDX-License-Identifier: Apache-2.0
"""What the webhook knows of the cluster: in memory, read-only, aware of its age.

Watch threads write, requests read.  A write builds a new immutable :class:`Snapshot`
and swaps one reference, so a request sees one consistent state from start to end and
never waits for a writer.  Objects are read when they arrive, not when they are asked
for; one that cannot be read is left out, which can only make answers stricter: without
its reference a deny rule is broken, without its evidence a model is pending.

It makes no call to anything: :mod:`pedigree_webhook.watch` feeds it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pedigree.errors import PedigreeError
from pedigree.policy.references import Reference, reference_from_object
from pedigree.policy.rules import load_policy
from pedigree.policy.terms import BrokenPolicy, Policy
from pedigree_webhook.evidence_index import EvidenceIndex, StoredEvidence, read_evidence

log = logging.getLogger(__name__)

AnyPolicy = Policy | BrokenPolicy
Object = Mapping[str, Any]


class StoreKind(StrEnum):
    """Kinds of object the webhook must know before it answers.  A metric label."""

    CLUSTER_POLICY = "ClusterLineagePolicy"
    POLICY = "LineagePolicy"
    REFERENCE = "ReferenceModel"
    EVIDENCE = "ModelEvidence"
    NAMESPACE = "Namespace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One consistent state of everything a decision needs.

    Attributes:
        policies: By namespace, each in the order of their keys; the empty key holds
            those of the cluster, which select anywhere.
        references: Known models by name.
        evidence: Which evidence a reference means.
        namespaces: Labels by namespace.
    """

    policies: Mapping[str, tuple[AnyPolicy, ...]] = field(default_factory=dict)
    references: Mapping[str, Reference] = field(default_factory=dict)
    evidence: EvidenceIndex = field(default_factory=EvidenceIndex)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def policies_for(self, namespace: str) -> tuple[AnyPolicy, ...]:
        """Every policy that could select an object of the namespace, in order."""
        cluster = self.policies.get("", ())
        return cluster + self.policies.get(namespace, ()) if namespace else cluster


@dataclass(frozen=True, slots=True)
class StoreView:
    """A snapshot and how old it was when it was taken.

    Attributes:
        snapshot: The state.
        age_s: Seconds since each kind was last known to be complete; infinite when it
            never was.
    """

    snapshot: Snapshot
    age_s: Mapping[StoreKind, float]

    @property
    def unsynced(self) -> tuple[StoreKind, ...]:
        """Kinds that were never listed."""
        return tuple(kind for kind, age in self.age_s.items() if math.isinf(age))

    def oldest(self) -> tuple[StoreKind, float]:
        """The kind that was confirmed longest ago, and its age in seconds."""
        return max(self.age_s.items(), key=lambda item: item[1])


class Store:
    """Holds the current snapshot.  Any thread may call any method.

    Args:
        clock: Monotonic seconds; ages must not jump with the wall clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._snapshot = Snapshot()
        self._confirmed_at: dict[StoreKind, float] = {}
        self._parts: dict[StoreKind, dict[str, Any]] = {kind: {} for kind in StoreKind}
        self._unreadable: dict[StoreKind, set[str]] = {
            kind: set() for kind in StoreKind
        }

    @property
    def snapshot(self) -> Snapshot:
        """The current state."""
        return self._snapshot

    def view(self) -> StoreView:
        """The current state with its ages."""
        confirmed, now = self._confirmed_at, self._clock()
        ages = {
            kind: max(0.0, now - confirmed[kind]) if kind in confirmed else math.inf
            for kind in StoreKind
        }
        return StoreView(self._snapshot, ages)

    def objects(self, kind: StoreKind) -> int:
        """How many objects of a kind are held."""
        return len(self._parts[kind])

    def unreadable(self, kind: StoreKind) -> int:
        """How many objects of a kind could not be read."""
        return len(self._unreadable[kind])

    def wait_for_namespace(self, name: str, timeout_s: float) -> None:
        """Wait a moment for a namespace that was created only just now."""
        with self._changed:
            self._changed.wait_for(
                lambda: name in self._snapshot.namespaces, timeout=timeout_s
            )

    def confirm(self, kind: StoreKind) -> None:
        """Note that everything of this kind up to now has been delivered.

        Without a list before it this does nothing: what was never listed cannot be
        complete.
        """
        with self._changed:
            if kind in self._confirmed_at:
                self._confirmed_at = self._confirmed_at | {kind: self._clock()}

    def replace(self, kind: StoreKind, objects: Iterable[Object]) -> None:
        """Take a complete list of one kind."""
        keyed = {_key(obj): obj for obj in objects}
        with self._changed:
            self._unreadable[kind] = set()
            read = {key: self._read(kind, key, obj) for key, obj in keyed.items()}
            self._parts[kind] = {
                k: part for k, part in read.items() if part is not None
            }
            self._snapshot = self._rebuilt(kind)
            self._confirmed_at = self._confirmed_at | {kind: self._clock()}
            self._changed.notify_all()

    def put(self, kind: StoreKind, obj: Object) -> None:
        """Take one added or changed object."""
        key = _key(obj)
        with self._changed:
            self._change(kind, key, self._read(kind, key, obj))

    def remove(self, kind: StoreKind, obj: Object) -> None:
        """Forget one object."""
        key = _key(obj)
        with self._changed:
            self._unreadable[kind].discard(key)
            self._change(kind, key, None)

    def _change(self, kind: StoreKind, key: str, part: Any) -> None:
        old = self._parts[kind].get(key)
        parts = {k: item for k, item in self._parts[kind].items() if k != key}
        if part is not None:
            parts[key] = part
        self._parts[kind] = parts
        if kind is StoreKind.EVIDENCE:
            index = self._snapshot.evidence.changed(old, part)
            self._snapshot = replace(self._snapshot, evidence=index)
        else:
            self._snapshot = self._rebuilt(kind)
        if kind in self._confirmed_at:
            self._confirmed_at = self._confirmed_at | {kind: self._clock()}
        self._changed.notify_all()

    def _rebuilt(self, kind: StoreKind) -> Snapshot:
        parts = self._parts[kind]
        match kind:
            case StoreKind.CLUSTER_POLICY | StoreKind.POLICY:
                policies = _by_namespace(
                    *self._parts[StoreKind.CLUSTER_POLICY].values(),
                    *self._parts[StoreKind.POLICY].values(),
                )
                return replace(self._snapshot, policies=policies)
            case StoreKind.REFERENCE:
                return replace(self._snapshot, references=parts)
            case StoreKind.EVIDENCE:
                index = EvidenceIndex.of(parts.values())
                return replace(self._snapshot, evidence=index)
            case StoreKind.NAMESPACE:
                return replace(self._snapshot, namespaces=parts)

    def _read(self, kind: StoreKind, key: str, obj: Object) -> Any:
        """What is kept of an object; None when it cannot be read at all."""
        self._unreadable[kind].discard(key)
        try:
            part, problem = _READERS[kind](obj)
        except PedigreeError as error:
            part, problem = None, str(error)
        if problem:
            self._unreadable[kind].add(key)
            log.warning("%s %r cannot be read: %s", kind, key, problem)
        return part


def _read_policy(obj: Object) -> tuple[AnyPolicy, str]:
    policy = load_policy(obj)
    return policy, policy.message if isinstance(policy, BrokenPolicy) else ""


def _read_reference(obj: Object) -> tuple[Reference, str]:
    return reference_from_object(obj), ""


def _read_evidence(obj: Object) -> tuple[StoredEvidence, str]:
    stored = read_evidence(_key(obj), obj)
    return stored, stored.problem


def _read_namespace(obj: Object) -> tuple[Mapping[str, str], str]:
    return dict(obj["metadata"].get("labels") or {}), ""


_READERS: Mapping[StoreKind, Callable[[Object], tuple[Any, str]]] = {
    StoreKind.CLUSTER_POLICY: _read_policy,
    StoreKind.POLICY: _read_policy,
    StoreKind.REFERENCE: _read_reference,
    StoreKind.EVIDENCE: _read_evidence,
    StoreKind.NAMESPACE: _read_namespace,
}


def _by_namespace(*policies: AnyPolicy) -> Mapping[str, tuple[AnyPolicy, ...]]:
    found: dict[str, list[AnyPolicy]] = {}
    for policy in sorted(policies, key=lambda item: item.order):
        found.setdefault(policy.namespace, []).append(policy)
    return {namespace: tuple(items) for namespace, items in found.items()}


def _key(obj: Object) -> str:
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])
