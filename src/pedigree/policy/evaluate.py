# SPDX-License-Identifier: Apache-2.0
"""The one judging function: webhook, operator, command line and replay call it.

``judge`` is pure and total: values in, a verdict out, no clock, no I/O, no exception.
``docs/policy.md`` states its rules for people; this module and those it calls are the
only place where they are carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from pedigree.digests import Digest
from pedigree.errors import quote
from pedigree.evidence import NO_TRUST
from pedigree.policy import wording
from pedigree.policy.case import Case, descent_of, is_expired
from pedigree.policy.checks import model_causes
from pedigree.policy.facts import UNSEEN, FactState, ModelFacts
from pedigree.policy.inputs import inputs_digest, policies_digest, policy_use
from pedigree.policy.references import Reference, current_registry_digest
from pedigree.policy.rules import check_references
from pedigree.policy.subject import Subject, SubjectModel
from pedigree.policy.terms import BrokenPolicy, Enforcement, Policy
from pedigree.policy.verdict import (
    CAUSES_MAX,
    Action,
    Cause,
    Reason,
    Result,
    Verdict,
    by_strictness,
)

__all__ = ["FactState", "ModelFacts", "judge", "selected_policies"]

_NO_MATCH_RESULT = {Action.ALLOW: Result.PASS, Action.WARN: Result.WARN}


def judge(
    subject: Subject,
    facts: Mapping[str, ModelFacts],
    policies: Sequence[Policy | BrokenPolicy],
    references: Mapping[str, Reference],
    *,
    no_match: Action,
    now: datetime,
    trusted_signers: Digest = NO_TRUST,
) -> Verdict:
    """Judge one object under all policies that select it.  Pure, total.

    Args:
        subject: The object.
        facts: By model name; a model without facts counts as not examined yet.
        policies: All policies, in any order; those that do not select it are ignored.
        references: All known references by name, with and without fingerprint.
        no_match: What happens to what no policy covers.
        now: The time, for freshness only; without time zone it is taken for UTC.
        trusted_signers: Digest of the set of signers that are trusted now; evidence of
            signatures verified under another set does not count.

    Returns:
        The verdict: the strictest action of any policy, and the grounds for it.
    """
    chosen = selected_policies(subject, policies)
    bound = [_bind(policy, references) for policy in chosen]
    shared = partial(
        Case,
        references=references,
        registry=current_registry_digest(references),
        now=now,
        trusted_signers=trusted_signers,
    )
    cases = list(_cases(shared, subject, facts, bound))
    causes = [
        *_digest_causes(subject, facts),
        *_policy_causes(subject, bound, cases),
        *_uncovered(subject, bound, no_match),
    ]
    causes.sort(key=by_strictness)
    first = causes[0] if causes else None
    return Verdict(
        result=first.result if first else Result.PASS,
        action=first.action if first else Action.ALLOW,
        reason=first.reason if first else Reason.LINEAGE_VERIFIED,
        message=first.message if first else _passed(subject, cases),
        causes=tuple(causes[:CAUSES_MAX]),
        policies=tuple(sorted(map(policy_use, chosen), key=lambda use: use.name)),
        policy_digest=policies_digest(chosen),
        inputs_digest=inputs_digest(
            subject,
            facts,
            chosen,
            references,
            no_match,
            [(case.policy.key, case.model.name) for case in cases if is_expired(case)],
            trusted_signers,
        ),
    )


def _cases(
    shared: Callable[..., Case],
    subject: Subject,
    facts: Mapping[str, ModelFacts],
    policies: Iterable[Policy | BrokenPolicy],
) -> Iterator[Case]:
    """Every model under every policy that covers it and can be evaluated."""
    for policy in policies:
        if isinstance(policy, Policy):
            for model in filter(policy.covers, subject.models):
                yield shared(policy, model, _facts(facts, model))


def selected_policies(
    subject: Subject, policies: Sequence[Policy | BrokenPolicy]
) -> list[Policy | BrokenPolicy]:
    """Policies that take part: cluster policies first, then by name."""
    return sorted(
        (
            policy
            for policy in policies
            if policy.selects(subject)
            and (not subject.models or any(map(policy.covers, subject.models)))
        ),
        key=lambda policy: policy.order,
    )


def _bind(
    policy: Policy | BrokenPolicy, references: Mapping[str, Reference]
) -> Policy | BrokenPolicy:
    """The policy as it stands against the known references: perhaps broken."""
    if isinstance(policy, BrokenPolicy):
        return policy
    breaking = check_references(policy, references).breaking
    if not breaking:
        return policy
    return BrokenPolicy(
        kind=policy.kind,
        name=policy.name,
        namespace=policy.namespace,
        uid=policy.uid,
        generation=policy.generation,
        digest=policy.digest,
        enforcement=policy.enforcement,
        match=policy.match,
        problems=breaking,
    )


def _facts(facts: Mapping[str, ModelFacts], model: SubjectModel) -> ModelFacts:
    return facts.get(model.name, UNSEEN)


def _policy_causes(
    subject: Subject, policies: Sequence[Policy | BrokenPolicy], cases: Sequence[Case]
) -> Iterator[Cause]:
    for policy in policies:
        if isinstance(policy, BrokenPolicy):
            yield _broken(policy)
            continue
        if subject.problem:
            yield Cause(
                Reason.REFERENCE_INVALID,
                wording.bounded(
                    f"{subject.problem}; policy {wording.name(policy.key)} says "
                    f"onError: {policy.on_error}"
                ),
                "spec.models",
                Result.ERROR,
                policy.enforcement.soften(policy.on_error),
                policy.key,
                "onError",
            )
        for case in cases:
            if case.policy is policy:
                yield from model_causes(case)


def _broken(policy: BrokenPolicy) -> Cause:
    enforced = policy.enforcement is Enforcement.ENFORCE
    return Cause(
        Reason.POLICY_INVALID,
        wording.bounded(
            f"policy {wording.name(policy.key)} cannot be evaluated: {policy.message}; "
            "whoever keeps the policy must correct it"
        ),
        "spec.models",
        Result.ERROR,
        Action.DENY if enforced else Action.WARN,
        policy.key,
    )


def _digest_causes(
    subject: Subject, facts: Mapping[str, ModelFacts]
) -> Iterator[Cause]:
    """The object's own demand: no policy asks for it, and none can soften it."""
    for model in subject.models:
        wanted, known = model.expected_digest, _facts(facts, model)
        evidence = known.evidence if known.state is FactState.KNOWN else None
        if wanted is None or evidence is None:
            continue
        if wanted not in (evidence.digest, evidence.root_digest):
            yield Cause(
                Reason.DIGEST_MISMATCH,
                wording.bounded(
                    f"model {wording.name(model.name)} at {quote(model.uri, 120)} has "
                    f"the digest {evidence.digest} (root digest "
                    f"{evidence.root_digest}), but the object expects {wanted}; "
                    "correct expectedDigest or restore the model"
                ),
                f"{model.field_path}.expectedDigest",
                Result.FAIL,
                Action.DENY,
                rule="expectedDigest",
            )


def _uncovered(
    subject: Subject, policies: Sequence[Policy | BrokenPolicy], no_match: Action
) -> Iterator[Cause]:
    """What no cluster policy looks at: the whole object, or models by their role."""
    clearing = [policy for policy in policies if policy.clears]
    kind = "cluster policy" if policies else "policy"
    if not clearing:
        who = f"{wording.name(subject.name)} in namespace "
        yield _no_match(kind, who + wording.name(subject.namespace), no_match)
        return
    for model in subject.models:
        if not any(policy.covers(model) for policy in clearing):
            who = f"model {wording.name(model.name)} of role {wording.name(model.role)}"
            yield _no_match(kind, who, no_match, model.field_path)


def _no_match(
    kind: str, who: str, no_match: Action, field: str = "spec.models"
) -> Cause:
    return Cause(
        Reason.NO_MATCHING_POLICY,
        wording.bounded(
            f"no {kind} covers {who}, and what none covers gets {no_match}; ask for a "
            "ClusterLineagePolicy that selects it; policies of a namespace only tighten"
        ),
        field,
        _NO_MATCH_RESULT.get(no_match, Result.FAIL),
        no_match,
    )


def _passed(subject: Subject, cases: Sequence[Case]) -> str:
    """The sentence of a plain pass: what each model descends from."""
    told: dict[str, str] = {}
    for case in cases:
        descent = descent_of(case)
        ancestors = descent.ancestors if descent is not None else ()
        found = wording.descents(ancestors) if ancestors else "meets every rule"
        told.setdefault(case.model.name, f"{case.who} {found}")
    names = wording.some(dict.fromkeys(case.policy.key for case in cases))
    return wording.bounded(f"{'; '.join(told.values())}; allowed by policy {names}")
