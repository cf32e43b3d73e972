# SPDX-License-Identifier: Apache-2.0
"""Reads ``LineagePolicy`` and ``ClusterLineagePolicy`` objects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pedigree.errors import quote
from pedigree.policy.canonical import spec_digest
from pedigree.policy.durations import parse_duration
from pedigree.policy.reading import Reader
from pedigree.policy.references import Reference
from pedigree.policy.selection import LabelSelector, Operator, Requirement, is_glob
from pedigree.policy.subject import Role
from pedigree.policy.terms import (
    CLUSTER_KIND,
    ENTRIES_MAX,
    NAMESPACED_KIND,
    RULES_MAX,
    AllowedAncestors,
    Ancestors,
    BrokenPolicy,
    ChatTemplateRule,
    ClaimsRule,
    DeniedAncestors,
    Enforcement,
    FieldProblem,
    Format,
    FormatsRule,
    Match,
    PinnedRequirement,
    PinnedRule,
    Policy,
    ReferenceCheck,
    Rule,
    SignatureRequirement,
    SignatureRule,
)
from pedigree.policy.verdict import Action

__all__ = [
    "AllowedAncestors",
    "Ancestors",
    "BrokenPolicy",
    "ChatTemplateRule",
    "ClaimsRule",
    "DeniedAncestors",
    "Enforcement",
    "FieldProblem",
    "Format",
    "FormatsRule",
    "Match",
    "PinnedRequirement",
    "PinnedRule",
    "Policy",
    "ReferenceCheck",
    "Rule",
    "SignatureRequirement",
    "SignatureRule",
    "check_references",
    "load_policy",
]

_MEMBERS = (
    "allowedAncestors",
    "deniedAncestors",
    "claims",
    "formats",
    "pinned",
    "signature",
    "chatTemplate",
)
_SELECTOR_MAX = 64
MAX_AGE_MIN = timedelta(minutes=1)
"""Shorter, and evidence would be stale before it could be used."""


def load_policy(obj: Mapping[str, Any]) -> Policy | BrokenPolicy:
    """Read a policy object.  Never raises: what is wrong makes it broken.

    Fields that this version does not know make it broken too.  In a cluster the CRD
    has removed them already; in a file they are typos.
    """
    problems: list[FieldProblem] = []
    kind = obj.get("kind")
    if kind not in (CLUSTER_KIND, NAMESPACED_KIND):
        problems.append(
            FieldProblem(
                "kind",
                f"is {quote(kind, 80)}, wanted {CLUSTER_KIND} or {NAMESPACED_KIND}",
            )
        )
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    # Whatever is not clearly namespaced is taken for cluster-wide: the wider reading.
    cluster = kind != NAMESPACED_KIND
    identity = _identity(metadata, cluster, problems)
    spec = Reader(obj.get("spec"), "spec", problems)
    enforcement = spec.word("enforcement", Enforcement.ENFORCE)
    before = len(problems)
    match = _match(spec.child("match"), cluster) if spec.has("match") else Match()
    if len(problems) > before:
        match = Match()
    match_known = kind in (CLUSTER_KIND, NAMESPACED_KIND) and len(problems) == before
    rules = _rules(spec, problems)
    on_unknown = spec.word("onUnknown", Action.DENY)
    on_pending = spec.word(
        "onPending", Action.HOLD, (Action.HOLD, Action.DENY, Action.WARN)
    )
    on_error = spec.word(
        "onError", Action.DENY, (Action.DENY, Action.WARN, Action.HOLD)
    )
    max_age = _max_age(spec)
    spec.nothing_else()
    digest = spec_digest(obj.get("spec"))
    common = {"digest": digest, "enforcement": enforcement, "match": match, **identity}
    if problems:
        return BrokenPolicy(problems=tuple(problems), match_known=match_known, **common)
    return Policy(
        rules=rules,
        on_unknown=on_unknown,
        on_pending=on_pending,
        on_error=on_error,
        max_age=max_age,
        **common,
    )


def _identity(
    metadata: Mapping[str, Any], cluster: bool, problems: list[FieldProblem]
) -> dict[str, Any]:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not isinstance(name, str) or not name:
        problems.append(FieldProblem("metadata.name", "is missing"))
        name = "?"
    if cluster:
        namespace = ""
    elif not isinstance(namespace, str) or not namespace:
        problems.append(FieldProblem("metadata.namespace", "is missing"))
        namespace = ""
        cluster = True
    generation = metadata.get("generation")
    return {
        "kind": CLUSTER_KIND if cluster else NAMESPACED_KIND,
        "name": name,
        "namespace": namespace,
        "uid": str(metadata.get("uid") or ""),
        "generation": generation if type(generation) is int else 0,
    }


def _match(match: Reader, cluster: bool) -> Match:
    namespaces = LabelSelector()
    if cluster and match.has("namespaceSelector"):
        namespaces = _selector(match.child("namespaceSelector"))
    objects = LabelSelector()
    if match.has("objectSelector"):
        objects = _selector(match.child("objectSelector"))
    roles = match.words("roles", Role)
    if match.has("roles") and not roles:
        match.problem("is empty, wanted at least one role or no such field", "roles")
    match.nothing_else()
    return Match(namespaces, objects, roles)


def _selector(selector: Reader) -> LabelSelector:
    requirements: list[Requirement] = []
    if selector.has("matchLabels"):
        labels = selector.raw("matchLabels")
        if not isinstance(labels, Mapping) or not all(
            isinstance(key, str) and isinstance(value, str)
            for key, value in labels.items()
        ):
            selector.problem("is not a map of strings to strings", "matchLabels")
        else:
            requirements += [
                Requirement(key, Operator.IN, (value,)) for key, value in labels.items()
            ]

    def read(item: object, path: str) -> Requirement:
        return _requirement(Reader(item, path, selector.problems))

    requirements += selector.items("matchExpressions", read, _SELECTOR_MAX)
    selector.nothing_else()
    return LabelSelector(tuple(requirements))


def _requirement(expression: Reader) -> Requirement:
    key = expression.text("key")
    operator = expression.word("operator", Operator.EXISTS, required=True)
    values = expression.texts("values", _SELECTOR_MAX)
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        expression.problem(f"is empty, wanted some for {operator}", "values")
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        expression.problem(f"is given, wanted none for {operator}", "values")
    expression.nothing_else()
    return Requirement(key, operator, values)


def _rules(spec: Reader, problems: list[FieldProblem]) -> tuple[Rule, ...]:
    def read(item: object, path: str) -> Rule | None:
        return _rule(Reader(item, path, problems))

    rules = [rule for rule in spec.items("rules", read, RULES_MAX) if rule is not None]
    raw = spec.raw("rules")
    if raw is None or raw == []:
        spec.problem("is empty, wanted at least one rule", "rules")
    names = [rule.name for rule in rules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        spec.problem(f"has the name {quote(name, 80)} twice", "rules")
    return tuple(rules)


def _rule(rule: Reader) -> Rule | None:
    name = rule.text("name")
    given = [member for member in _MEMBERS if rule.has(member)]
    rule.nothing_else()
    if len(given) != 1:
        got = " and ".join(given) or "none"
        rule.problem(f"has {got}, wanted exactly one of {', '.join(_MEMBERS)}")
        return None
    body = rule.child(given[0])
    built = _body(name, given[0], body)
    body.nothing_else()
    return built


def _body(name: str, member: str, body: Reader) -> Rule:
    if member == "allowedAncestors":
        return AllowedAncestors(name, _ancestors(body), body.path)
    if member == "deniedAncestors":
        return DeniedAncestors(name, _ancestors(body), body.path)
    if member == "claims":
        return ClaimsRule(
            name,
            body.word("contradicted", Action.DENY, (Action.DENY, Action.WARN)),
            body.word(
                "unverifiable", Action.WARN, (Action.ALLOW, Action.WARN, Action.DENY)
            ),
        )
    if member == "formats":
        allowed = body.words("allowed", Format)
        if not allowed:
            body.problem("is empty, wanted at least one format", "allowed")
        return FormatsRule(name, allowed)
    if member == "chatTemplate":
        either = (Action.DENY, Action.WARN)
        action = body.word("differsFromAncestor", Action.DENY, either, required=True)
        return ChatTemplateRule(name, action)
    if member == "signature":
        return SignatureRule(
            name,
            body.word("required", SignatureRequirement.ALWAYS, required=True),
            signers=body.texts("signers", ENTRIES_MAX),
            ignored=body.texts("allowIgnoredPaths", ENTRIES_MAX),
            unsigned=body.texts("allowUnsignedFiles", ENTRIES_MAX),
        )
    pinned = body.word("required", PinnedRequirement.ALWAYS, required=True)
    return PinnedRule(name, pinned)


def _ancestors(body: Reader) -> Ancestors:
    ancestors = Ancestors(
        references=body.texts("references", ENTRIES_MAX),
        families=body.texts("families", ENTRIES_MAX),
        publishers=body.texts("publishers", ENTRIES_MAX),
    )
    if not (ancestors.references or ancestors.families or ancestors.publishers):
        body.problem(
            "names nothing, wanted at least one of references, families, publishers"
        )
    return ancestors


def _max_age(spec: Reader) -> timedelta | None:
    if not spec.has("freshness"):
        return None
    freshness = spec.child("freshness")
    value = freshness.raw("maxAge")
    freshness.nothing_else()
    if not isinstance(value, str):
        freshness.problem(f"is {quote(value, 80)}, wanted one like '24h'", "maxAge")
        return None
    try:
        max_age = parse_duration(value)
    except ValueError as error:
        freshness.problem(str(error), "maxAge")
        return None
    if max_age < MAX_AGE_MIN:
        freshness.problem(f"is {quote(value)}, wanted at least 1m", "maxAge")
    return max_age


def check_references(
    policy: Policy, references: Mapping[str, Reference]
) -> ReferenceCheck:
    """Compare the ancestors a policy names with the references that are known.

    A name that stands for no known reference is harmless where it allows: it only
    tightens.  Where it denies it is dangerous, because a typo in a deny list would
    otherwise admit what the list was written for; so it breaks the policy.  Patterns
    with ``*`` or ``?`` may match nothing yet.
    """
    breaking: list[FieldProblem] = []
    notes: list[FieldProblem] = []
    for rule in policy.rules:
        if isinstance(rule, DeniedAncestors):
            breaking += _unknown_names(rule, references)
        elif isinstance(rule, AllowedAncestors):
            notes += _unknown_names(rule, references)
    return ReferenceCheck(tuple(breaking), tuple(notes))


def _unknown_names(
    rule: AllowedAncestors | DeniedAncestors, references: Mapping[str, Reference]
) -> list[FieldProblem]:
    known = tuple(references.values())
    names = {name for item in known for name in item.names}
    families = {item.family for item in known}
    publishers = {item.publisher for item in known}
    kinds = (
        ("references", "reference model", rule.ancestors.references, names),
        ("families", "family of a reference model", rule.ancestors.families, families),
        (
            "publishers",
            "publisher of a reference model",
            rule.ancestors.publishers,
            publishers,
        ),
    )
    return [
        FieldProblem(
            f"{rule.field}.{key}[{index}]",
            f"is {quote(entry, 80)}, which names no {what}",
        )
        for key, what, entries, known_names in kinds
        for index, entry in enumerate(entries)
        if entry not in known_names and not (key == "references" and is_glob(entry))
    ]
