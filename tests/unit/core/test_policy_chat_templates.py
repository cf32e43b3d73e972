# SPDX-License-Identifier: Apache-2.0
"""What a ``chatTemplate`` rule says of a model's templates and its ancestors'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pedigree.digests import sha256
from pedigree.errors import PolicyError
from pedigree.evidence import Claim, Match
from pedigree.evidence.chat_templates import CHAT_TEMPLATE, MORE, TEMPLATES_TOLD_MAX
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy.evaluate import judge
from pedigree.policy.facts import ModelFacts
from pedigree.policy.references import Reference, Trust, reference_from_object
from pedigree.policy.rules import (
    BrokenPolicy,
    ChatTemplateRule,
    Policy,
    load_policy,
)
from pedigree.policy.verdict import Action, Reason, Result, Verdict
from worlds.policies import (
    ALLOW_GOOD,
    NOW,
    REFERENCES,
    claims,
    derived,
    finding,
    known,
    policy,
    policy_object,
    subject,
)

OWN = str(sha256(b"template of good"))
TOOLS = str(sha256(b"another template of good"))
SWAPPED = str(sha256(b"template with an order in it"))
PLACE = "tokenizer_config.json"
Templates = tuple[str, ...] | None


def _rule(action: str = "Deny", *others: Mapping[str, Any], **more: Any) -> Policy:
    rule = {"name": "template", "chatTemplate": {"differsFromAncestor": action}}
    return policy(rule, *others, **more)


def _claims(*digests: str) -> tuple[Claim, ...]:
    return tuple(Claim(CHAT_TEMPLATE, digest, PLACE) for digest in digests)


def _known(*digests: str, matches: tuple[Match, ...] = ()) -> ModelFacts:
    return known(*(matches or (derived("good"),)), claims=_claims(*digests))


def _references(**templates: Templates) -> dict[str, Reference]:
    """The usual references, with the templates of some; of the others unknown."""
    return {
        name: replace(item, chat_templates=templates.get(name))
        for name, item in REFERENCES.items()
    }


BASE = _references(good=(OWN, TOOLS))


def _ask(
    facts: ModelFacts,
    asked: Policy | None = None,
    references: Mapping[str, Reference] = BASE,
) -> Verdict:
    return judge(
        subject(),
        {"base": facts},
        [asked or _rule()],
        references,
        no_match=Action.DENY,
        now=NOW,
    )


def _said(verdict: Verdict) -> tuple[Result, Action, Reason]:
    return verdict.result, verdict.action, verdict.reason


DENIED = (Result.FAIL, Action.DENY, Reason.TEMPLATE_DIFFERS)
PASSED = (Result.PASS, Action.ALLOW, Reason.LINEAGE_VERIFIED)
UNKNOWN = (Result.UNKNOWN, Action.DENY, Reason.LINEAGE_INCONCLUSIVE)


def test_the_rule_is_read() -> None:
    assert _rule().rules == (ChatTemplateRule("template", Action.DENY),)
    assert _rule("Warn").rules == (ChatTemplateRule("template", Action.WARN),)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "differsFromAncestor"),
        ({"differsFromAncestor": "Allow"}, "differsFromAncestor"),
        ({"differsFromAncestor": "Hold"}, "differsFromAncestor"),
        ({"differsFromAncestor": "Deny", "unknown": "Warn"}, "unknown"),
    ],
)
def test_a_rule_that_is_wrong_breaks_its_policy(
    body: dict[str, Any], field: str
) -> None:
    read = load_policy(policy_object({"name": "template", "chatTemplate": body}))
    assert isinstance(read, BrokenPolicy)
    where = [problem.field for problem in read.problems]
    assert f"spec.rules[0].chatTemplate.{field}" in where


def test_another_template_on_the_weights_of_a_base_is_quoted_with_the_bases() -> None:
    copy = Match("good", LineageClass.IDENTICAL)
    for match in (derived("good"), copy):
        verdict = _ask(_known(SWAPPED, matches=(match,)), references=_only(OWN))
        assert _said(verdict) == DENIED
        assert verdict.message == (
            f"model 'base' has the chat template {SWAPPED} in '{PLACE}', but its base "
            f"'good' has {OWN}; read the difference, or serve it with the template of "
            "its base (rule 'template' of policy 'prod')"
        )


def _only(*templates: str) -> dict[str, Reference]:
    return _references(good=templates)


def test_where_the_rule_says_warn_it_warns() -> None:
    verdict = _ask(_known(SWAPPED), _rule("Warn"))
    assert _said(verdict) == (Result.WARN, Action.WARN, Reason.TEMPLATE_DIFFERS)


@pytest.mark.parametrize("digests", [(), (OWN,), (TOOLS,), (OWN, TOOLS)])
def test_templates_of_the_base_pass_and_so_does_none(digests: tuple[str, ...]) -> None:
    assert _said(_ask(_known(*digests))) == PASSED


def test_one_foreign_template_among_those_of_the_base_is_enough() -> None:
    verdict = _ask(_known(OWN, SWAPPED))
    assert _said(verdict) == DENIED
    assert f"{SWAPPED} in" in verdict.message
    assert f"has {OWN} or {TOOLS};" in verdict.message


def test_a_base_that_is_known_to_have_no_template_gives_none() -> None:
    verdict = _ask(_known(OWN), references=_only())
    assert _said(verdict) == DENIED
    assert "its base 'good' has none;" in verdict.message


def test_the_longest_names_leave_both_digests_in_the_message() -> None:
    long = "n" * 253
    claim = Claim(CHAT_TEMPLATE, SWAPPED, long)
    asked = _rule(name=long)
    verdict = _ask(known(derived("good"), claims=(claim,)), asked, _only(OWN))
    assert SWAPPED in verdict.message
    assert OWN in verdict.message


BOTH = (derived("good"), derived("bad"))


def test_any_ancestor_will_do_but_one_must_have_them_all() -> None:
    apart = _references(good=(OWN,), bad=(TOOLS,))
    assert _said(_ask(_known(TOOLS, matches=BOTH), references=apart)) == PASSED
    assert _said(_ask(_known(OWN, TOOLS, matches=BOTH), references=apart)) == DENIED


@pytest.mark.parametrize("trust", [Trust.UNTRUSTED, Trust.REVOKED])
def test_who_is_not_trusted_lends_no_template(trust: Trust) -> None:
    references = _references(good=(OWN,), bad=(SWAPPED,))
    references["bad"] = replace(references["bad"], trust=trust)
    causes = _ask(_known(SWAPPED, matches=BOTH), references=references).causes
    assert Reason.TEMPLATE_DIFFERS in [cause.reason for cause in causes]
    assert "its base 'good'" in str(causes)


def test_what_looks_like_a_descendant_lends_no_template() -> None:
    reversed_ = replace(derived("bad"), direction=Direction.B_TO_A)
    references = _references(good=(OWN,), bad=(SWAPPED,))
    facts = _known(SWAPPED, matches=(derived("good"), reversed_))
    assert _said(_ask(facts, references=references)) == DENIED
    alone = _ask(_known(SWAPPED, matches=(reversed_,)), references=references)
    assert _said(alone) == (Result.UNKNOWN, Action.DENY, Reason.LINEAGE_UNKNOWN)


def test_kin_that_is_no_ancestor_lends_no_template() -> None:
    kin = Match("good", LineageClass.COMMON_ANCESTOR)
    verdict = _ask(_known(OWN, matches=(kin,)))
    assert _said(verdict) == (Result.UNKNOWN, Action.DENY, Reason.LINEAGE_UNKNOWN)


def test_a_base_whose_templates_are_not_known_is_what_on_unknown_answers() -> None:
    verdict = _ask(_known(OWN), references=REFERENCES)
    assert _said(verdict) == UNKNOWN
    assert "those of its base 'good' are not known" in verdict.message
    assert _said(_ask(_known(), references=REFERENCES)) == PASSED
    either = _references(good=(OWN,), bad=None)
    assert _said(_ask(_known(OWN, matches=BOTH), references=either)) == PASSED
    assert _said(_ask(_known(SWAPPED, matches=BOTH), references=either)) == UNKNOWN


@pytest.mark.parametrize("action", ["Allow", "Warn", "Hold", "Deny"])
def test_what_is_not_known_never_weighs_more_than_a_known_difference(
    action: str,
) -> None:
    asked = _rule("Warn", onUnknown=action)
    verdict = _ask(_known(OWN), asked, REFERENCES)
    wanted = Action.ALLOW if action == "Allow" else Action.WARN
    assert (verdict.result, verdict.action) == (Result.UNKNOWN, wanted)
    strict = _ask(_known(OWN), _rule(onUnknown=action), REFERENCES)
    assert strict.action is Action(action)


def test_a_model_of_no_known_base_is_unknown_and_told_so_once() -> None:
    facts = known(claims=_claims(OWN))
    verdict = _ask(facts)
    assert _said(verdict) == (Result.UNKNOWN, Action.DENY, Reason.LINEAGE_UNKNOWN)
    assert "has a chat template" in verdict.message
    asks = _ask(facts, _rule("Deny", ALLOW_GOOD))
    assert [cause.reason for cause in asks.causes] == [Reason.LINEAGE_UNKNOWN]
    assert _said(_ask(known())) == PASSED


def test_weights_that_cannot_be_compared_are_inconclusive() -> None:
    facts = known(claims=_claims(OWN), lineage=None, fingerprint=None)
    assert _said(_ask(facts)) == UNKNOWN


def test_a_model_that_is_not_compared_yet_waits() -> None:
    facts = known(claims=_claims(SWAPPED), lineage=None)
    verdict = _ask(facts)
    assert _said(verdict) == (Result.PENDING, Action.HOLD, Reason.EVIDENCE_STALE)


@pytest.mark.parametrize(
    "digests",
    [
        (MORE,),
        (OWN, MORE),
        ("",),
        (OWN, "SHA256:" + OWN[7:]),
        (OWN,) * (TEMPLATES_TOLD_MAX + 1),
    ],
)
def test_a_template_that_is_not_told_is_not_taken_for_none(
    digests: tuple[str, ...],
) -> None:
    verdict = _ask(_known(*digests))
    assert _said(verdict) == UNKNOWN
    assert "more chat templates than its evidence has room for" in verdict.message


def test_a_told_template_that_differs_counts_beside_one_that_is_not_told() -> None:
    assert _said(_ask(_known(SWAPPED, MORE))) == DENIED


def test_it_loosens_nothing_else() -> None:
    broken = known(derived("good"), claims=_claims(OWN), findings=(finding(),))
    assert _ask(broken).reason is Reason.ARTIFACT_INVALID
    denied = _ask(_known(OWN, matches=(derived("bad"),)), _rule("Warn", ALLOW_GOOD))
    assert denied.reason is Reason.LINEAGE_NOT_ALLOWED


def test_only_a_rule_makes_templates_of_references_part_of_the_inputs() -> None:
    worlds = [_references(good=item) for item in (None, (), (OWN,), (OWN, TOOLS))]
    facts = _known(OWN)
    digests = {_ask(facts, _rule(), world).inputs_digest for world in worlds}
    assert len(digests) == len(worlds)
    plain = policy(ALLOW_GOOD)
    assert len({_ask(facts, plain, world).inputs_digest for world in worlds}) == 1
    back = _references(good=(TOOLS, OWN))
    assert _ask(facts, None, back).inputs_digest in digests, "order does not count"


def _object(templates: object) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "status": {"chatTemplates": templates}}


def test_the_templates_of_a_reference_are_read_from_its_status() -> None:
    assert reference_from_object({"metadata": {"name": "x"}}).chat_templates is None
    assert reference_from_object(_object([])).chat_templates == ()
    assert reference_from_object(_object([OWN])).chat_templates == (OWN,)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("x", ""),
        ([OWN] * (TEMPLATES_TOLD_MAX + 1), ""),
        (["x"], "[0]"),
        ([OWN, 3], "[1]"),
    ],
)
def test_a_status_with_other_templates_says_which_field(
    value: object, field: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        reference_from_object(_object(value))
    assert caught.value.field == f"status.chatTemplates{field}"
    assert caught.value.reason == "ReferenceInvalid"


def test_other_claims_are_no_templates() -> None:
    facts = known(derived("good"), claims=(claims(SWAPPED),))
    assert _said(_ask(facts)) == PASSED
