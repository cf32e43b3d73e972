# SPDX-License-Identifier: Apache-2.0
"""Declared bases and relations against lineage: both sides quoted, nothing guessed."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pedigree.evidence import Claim, Match, Resolution
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.findings import Relation
from pedigree.policy.evaluate import judge
from pedigree.policy.licensing import licence_findings
from pedigree.policy.relations import KINDS, UNTOLD, fits, fits_first
from pedigree.policy.verdict import Action, Reason, Verdict
from worlds.policies import (
    CLAIMS,
    NOW,
    REFERENCES,
    claims,
    derived,
    evidence,
    known,
    model,
    policy,
    reference,
    subject,
)


def ask(
    *matches: Match, relation: str, rule: object = None, base: str = "good"
) -> Verdict:
    declared = (claims(base), Claim("relation", relation, "README.md"))
    chosen = policy(rule or CLAIMS)  # type: ignore[arg-type]
    return judge(
        subject(model()),
        {"base": known(*matches, claims=declared)},
        [chosen],
        REFERENCES,
        no_match=Action.DENY,
        now=NOW,
    )


def test_every_kind_that_a_word_stands_for_is_one_that_weights_can_show() -> None:
    kinds = {relation.value for relation in Relation} | {"Identical"}
    assert set(itertools.chain.from_iterable(KINDS.values())) <= kinds
    assert UNTOLD - {""} <= kinds
    assert all(word == word.casefold() for word in KINDS)


def test_a_relation_that_the_weights_exclude_is_a_warning_with_both_sides() -> None:
    verdict = ask(derived("good", "FineTuned"), relation="quantized")
    assert (verdict.action, verdict.reason) == (Action.WARN, Reason.CLAIM_CONTRADICTED)
    assert verdict.message == (
        "model 'base' claims in README.md to be 'quantized' of its base, but its "
        "weights say it descends from 'good' (FineTuned, p < 1e-40); correct the claim "
        "(rule 'claims' of policy 'prod')"
    )


def test_equal_weights_exclude_every_other_relation() -> None:
    same = Match("good", LineageClass.IDENTICAL, log10_p=-99)
    verdict = ask(same, relation="finetune")
    assert verdict.reason is Reason.CLAIM_CONTRADICTED
    assert "has the same weights as 'good'" in verdict.message
    assert ask(same, relation="copy").action is Action.ALLOW


@pytest.mark.parametrize(
    ("relation", "kind"),
    [
        ("finetune", "FineTuned"),
        ("Finetune", "LoraMerged"),
        ("quantized", "Quantised"),
        ("merge", "Merged"),
        ("finetune", "Quantised"),  # tuned, then quantised: only the first is named
        ("finetune", "Derived"),
        ("finetune", ""),
        ("distilled", "FineTuned"),
        ("our own way", "FineTuned"),
        ("adapter", "Adapter"),
    ],
)
def test_a_relation_that_may_hold_passes(relation: str, kind: str) -> None:
    assert ask(derived("good", kind), relation=relation).action is Action.ALLOW


def test_nothing_is_said_of_a_relation_to_a_base_that_was_not_found() -> None:
    verdict = ask(derived("bad", "FineTuned"), relation="quantized", base="who/knows")
    assert {cause.reason for cause in verdict.causes} == {Reason.CLAIM_UNVERIFIABLE}


def test_no_rule_denies_for_a_relation() -> None:
    rule = {"name": "claims", "claims": {"contradicted": "Deny"}}
    found = ask(derived("good", "FineTuned"), relation="quantized", rule=rule)
    assert found.action is Action.WARN


def test_a_base_that_no_weights_show_is_told_with_how_many_were_compared() -> None:
    verdict = ask(relation="finetune")
    assert verdict.reason is Reason.CLAIM_CONTRADICTED
    assert "'good' or any other of the" in verdict.message
    assert "references they were compared with" in verdict.message


@pytest.mark.parametrize("word", sorted(KINDS))
@pytest.mark.parametrize("kind", [*(relation.value for relation in Relation), "New"])
def test_the_kind_named_first_never_contradicts_what_all_kinds_allow(
    word: str, kind: str
) -> None:
    """Whatever else holds behind the first kind: no false contradiction."""
    order = [relation.value for relation in Relation]
    behind = order[order.index(kind) + 1 :] if kind in order else order
    if kind == "Copy":
        behind = []
    if fits_first(word, kind) is False:
        assert all(fits(word, [kind, other]) is not True for other in behind)


def test_kinds_that_fit_are_seen_among_several() -> None:
    assert fits("finetune", ["Quantised", "FineTuned"]) is True
    assert fits("merge", ["Quantised", "FineTuned"]) is False
    assert fits("merge", ["Derived"]) is None
    assert fits("distilled", ["FineTuned"]) is None


LLAMA = {
    **REFERENCES,
    "good": reference("good", license="llama3.1"),
    "bad": reference("bad", license="gemma"),
}


def licences(*matches: Match, uri: str = "", **declared: str) -> list[str]:
    items = tuple(Claim(field, value, "README.md") for field, value in declared.items())
    told = evidence(*matches, claims=items)
    if uri:
        told = replace(told, resolutions=(Resolution(uri, uri, "stat:1", "now"),))
    found = licence_findings(told, LLAMA)
    assert all("indicator, not legal advice" in finding.message for finding in found)
    return [finding.reason for finding in found]


def test_stored_evidence_gives_indicators_of_the_bases_that_weights_show() -> None:
    tuned = derived("good", "FineTuned")
    assert licences(tuned, license="mit") == ["LicenceDiffersFromBase"]
    assert licences(tuned, license="llama3.1") == []
    assert licences(tuned, license="mit", baseModel="bad") == ["LicenceDiffersFromBase"]
    assert licences(license="mit", baseModel="bad") == ["LicenceDiffersFromBase"]
    assert licences(license="mit") == []


def test_descent_from_the_model_gives_no_indicator() -> None:
    """A reference that looks like the model's descendant has its own terms."""
    later = replace(derived("good"), direction=Direction.B_TO_A)
    kin = replace(derived("good"), lineage=LineageClass.COMMON_ANCESTOR)
    for match in (later, kin, derived("not-known-any-more")):
        assert licences(match, license="mit") == []


def test_a_name_is_that_of_the_hub_or_the_model_s_own_word() -> None:
    tuned = derived("good", "FineTuned")
    assert licences(tuned, uri="hf://org/Sunny@main") == ["NamePrefixMissing"]
    assert licences(tuned, uri="hf://org/Llama-Sunny@main") == []
    assert licences(tuned, uri="file:///models/sunny") == []
    assert licences(tuned, uri="no address") == []
    assert licences(tuned, modelName="Sunny") == ["NamePrefixMissing"]


@pytest.mark.parametrize(
    "name",
    [
        "goo",
        "good-chat",
        "good2",
        "org/good-8b",
        "other/good",
        "org/good/x",
        "the good",
    ],
)
def test_a_name_that_is_only_like_a_reference_s_is_unknown_and_no_lie(
    name: str,
) -> None:
    verdict = ask(derived("bad", "FineTuned"), relation="finetune", base=name)
    assert {cause.reason for cause in verdict.causes} == {Reason.CLAIM_UNVERIFIABLE}
    assert licences(license="gemma", baseModel=name) == []


@pytest.mark.parametrize(
    "name",
    ["Good", " org/GOOD ", "hf://org/good@main", "https://hf.co/org/good/tree/x"],
)
def test_a_reference_s_name_in_another_dress_is_that_name(name: str) -> None:
    verdict = ask(derived("bad", "FineTuned"), relation="finetune", base=name)
    assert verdict.reason is Reason.CLAIM_CONTRADICTED
