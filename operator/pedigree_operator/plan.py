# SPDX-License-Identifier: Apache-2.0
"""What a reconcile sees and what it wants done: values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pedigree.digests import Digest
from pedigree.evidence import NO_TRUST, Evidence
from pedigree.policy.references import Reference
from pedigree.policy.terms import BrokenPolicy, Policy
from pedigree.policy.verdict import Action, Verdict
from pedigree_operator.access import Access
from pedigree_operator.conditions import Progress
from pedigree_operator.lookups import UriState
from pedigree_operator.workloads import Json


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of making a Deployment.

    Attributes:
        template: Digest of the template it was made from.
        refused: Why it was not made; empty when it is there.
        reason: The same as a condition reason.
    """

    template: str
    refused: str = ""
    reason: Progress = Progress.RELEASED


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Everything around one ModelDeployment that its verdict and workload depend on.

    Attributes:
        namespace_labels: Labels of its namespace.
        policies: All cluster policies, and the policies of its namespace.
        references: All known references by name.
        registry: Identity of the references that have fingerprints.
        references_awaited: Names of references that are still being read.
        evidence: Finds evidence by model digest, as it counts in a namespace.
        content: Model digest by (scope, reference, identity), as the evidence records
            it.
        lookup: What this process knows of an access.
        rescan_failed: Evidence whose lineage cannot be brought up to date, by the name
            of its object, and why.
        gated_pods: Pods with its label that wait at our gate.
        outcome: What came of making its Deployment, if this process knows.
        no_match: What becomes of objects that no policy matches.
        trusted_signers: Digest of the set of signers whose signatures are believed.
    """

    namespace_labels: Mapping[str, str]
    policies: tuple[Policy | BrokenPolicy, ...]
    references: Mapping[str, Reference]
    registry: Digest
    references_awaited: tuple[str, ...]
    evidence: Callable[[Digest, str], Evidence | None]
    content: Mapping[tuple[str, str, str], Digest]
    lookup: Callable[[Access], UriState]
    rescan_failed: Mapping[str, str]
    gated_pods: tuple[Mapping[str, Any], ...]
    outcome: Outcome | None
    no_match: Action
    trusted_signers: Digest = NO_TRUST


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask what a reference means now."""

    access: Access


@dataclass(frozen=True, slots=True)
class Examine:
    """Examine what a reference means."""

    access: Access


@dataclass(frozen=True, slots=True)
class EnsureDeployment:
    """Make the Deployment, or bring it to a changed template."""

    manifest: Json = field(hash=False)


@dataclass(frozen=True, slots=True)
class ReleasePods:
    """Take our gate away from these Pods."""

    pods: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about one ModelDeployment, in the order of the fields.

    The order is what makes a restart at any point harmless: each effect can be
    repeated, and the status, which says that a judgement is finished, comes after the
    ledger and the events that tell of it.

    Attributes:
        lookups: References to resolve or examine; does not wait for them.
        entry: Ledger entry of a new judgement, or None.
        events: Kubernetes Events, named so that a repetition is refused.
        status: Merge patch of the status; empty when nothing changed.
        workload: What to do about the workload, or None.
        requeue_at: When to look again although nothing has changed.
        verdict: What was judged; None when the last verdict was kept.
    """

    lookups: tuple[Resolve | Examine, ...] = ()
    entry: Json | None = None
    events: tuple[Json, ...] = ()
    status: Json = field(default_factory=dict)
    workload: EnsureDeployment | ReleasePods | None = None
    requeue_at: datetime | None = None
    verdict: Verdict | None = None
