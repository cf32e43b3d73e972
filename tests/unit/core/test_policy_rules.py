# SPDX-License-Identifier: Apache-2.0
"""What each rule says of each kind of evidence, in the words a tenant reads."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from pedigree.digests import sha256
from pedigree.evidence import Finding, Match, Severity
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy.ancestry import READ_FIRST
from pedigree.policy.evaluate import judge
from pedigree.policy.facts import FactState, ModelFacts
from pedigree.policy.references import Reference, Trust, current_registry_digest
from pedigree.policy.rules import BrokenPolicy, Policy
from pedigree.policy.subject import Subject
from pedigree.policy.verdict import Action, Reason, Result, Verdict
from pedigree.tensors.opening import OPENERS
from worlds.policies import (
    ALLOW_GOOD,
    CLAIMS,
    DENY_BAD,
    FORMATS,
    NOW,
    PINNED,
    REFERENCES,
    broken,
    claims,
    derived,
    finding,
    inconclusive,
    known,
    model,
    policy,
    reference,
    subject,
)


def ask(
    facts: ModelFacts | None,
    *chosen: Policy | BrokenPolicy,
    about: Subject | None = None,
    references: dict[str, Reference] | None = None,
    no_match: Action = Action.DENY,
) -> Verdict:
    return judge(
        about or subject(),
        {} if facts is None else {"base": facts},
        chosen,
        REFERENCES if references is None else references,
        no_match=no_match,
        now=NOW,
    )


def told(verdict: Verdict) -> tuple[Result, Action, Reason]:
    return verdict.result, verdict.action, verdict.reason


def reasons(verdict: Verdict) -> list[Reason]:
    return [cause.reason for cause in verdict.causes]


FAIL = (Result.FAIL, Action.DENY)

# ---- ancestors


def test_a_descendant_of_an_allowed_reference_passes_and_says_of_what() -> None:
    verdict = ask(known(derived("good")), policy(ALLOW_GOOD))
    assert told(verdict) == (Result.PASS, Action.ALLOW, Reason.LINEAGE_VERIFIED)
    assert verdict.message == (
        "model 'base' descends from 'good' (Finetune, p < 1e-40); allowed by policy "
        "'prod'"
    )
    assert verdict.causes == ()


def test_an_identical_copy_of_an_allowed_reference_passes() -> None:
    verdict = ask(known(Match("good", LineageClass.IDENTICAL)), policy(ALLOW_GOOD))
    assert verdict.action is Action.ALLOW
    assert "model 'base' has the same weights as 'good'" in verdict.message


def test_a_descendant_of_a_denied_reference_is_denied_with_policy_and_rule() -> None:
    verdict = ask(known(derived("bad")), policy(DENY_BAD))
    assert told(verdict) == (*FAIL, Reason.LINEAGE_DENIED)
    assert verdict.message == (
        "model 'base' descends from 'bad' (Finetune, p < 1e-40), which rule 'deny' of "
        "policy 'prod' denies; deploy a model of another ancestry"
    )
    cause = verdict.causes[0]
    assert (cause.field, cause.policy, cause.rule) == (
        "spec.models[0]",
        "prod",
        "deny",
    )


def test_denied_beats_allowed() -> None:
    verdict = ask(known(derived("good"), derived("bad")), policy(ALLOW_GOOD, DENY_BAD))
    assert told(verdict) == (*FAIL, Reason.LINEAGE_DENIED)


def test_the_sharper_reason_is_told_where_an_ancestor_is_denied_and_not_allowed() -> (
    None
):
    verdict = ask(known(derived("bad")), policy(ALLOW_GOOD, DENY_BAD))
    assert reasons(verdict) == [Reason.LINEAGE_DENIED]


def test_a_descendant_of_something_else_is_not_allowed() -> None:
    verdict = ask(known(derived("bad")), policy(ALLOW_GOOD))
    assert told(verdict) == (*FAIL, Reason.LINEAGE_NOT_ALLOWED)
    assert "allows only descendants of 'good'" in verdict.message


@pytest.mark.parametrize(
    "ancestors",
    [
        {"references": ["go*"]},
        {"references": ["g??d"]},
        {"references": ["org/good"]},
        {"families": ["llama"]},
        {"publishers": ["good-org"]},
    ],
)
def test_ancestors_are_named_by_pattern_alias_family_or_publisher(
    ancestors: dict[str, Any],
) -> None:
    rule = {"name": "r", "allowedAncestors": ancestors}
    assert ask(known(derived("good")), policy(rule)).action is Action.ALLOW
    rule = {"name": "r", "deniedAncestors": ancestors}
    verdict = ask(known(derived("good")), policy(rule))
    assert verdict.reason is Reason.LINEAGE_DENIED


def test_an_untrusted_reference_satisfies_no_allowing_rule() -> None:
    references = {"good": reference("good", trust=Trust.UNTRUSTED)}
    facts = known(derived("good"), registry=current_registry_digest(references))
    verdict = ask(facts, policy(ALLOW_GOOD), references=references)
    assert verdict.reason is Reason.LINEAGE_NOT_ALLOWED
    assert "'good' is known but untrusted" in verdict.message


def test_a_reference_that_looks_like_the_descendant_is_denied_but_never_allows() -> (
    None
):
    # A is the reference, B the model: here the reference came from the model.
    match = dataclasses.replace(derived("good"), direction=Direction.B_TO_A)
    verdict = ask(known(match), policy(ALLOW_GOOD))
    assert verdict.reason is Reason.LINEAGE_NOT_ALLOWED
    assert "looks like the ancestor of, 'good'" in verdict.message
    deny = {"name": "deny", "deniedAncestors": {"references": ["good"]}}
    assert ask(known(match), policy(deny)).reason is Reason.LINEAGE_DENIED


def test_a_revoked_ancestor_fails_under_a_policy_that_never_asks_for_ancestors() -> (
    None
):
    verdict = ask(known(derived("gone")), policy(FORMATS))
    assert told(verdict) == (*FAIL, Reason.ANCESTOR_REVOKED)
    assert "that reference is revoked" in verdict.message


@pytest.mark.parametrize("kinship", ["CommonAncestor", "SharedInit"])
def test_kinship_that_is_no_descent_neither_allows_nor_denies(kinship: str) -> None:
    match = Match("bad", LineageClass(kinship))
    assert ask(known(match), policy(ALLOW_GOOD)).reason is Reason.LINEAGE_UNKNOWN
    unmoved = policy(DENY_BAD, onUnknown="Allow")
    assert ask(known(match), unmoved).action is Action.ALLOW


# ---- unknown


@pytest.mark.parametrize("answer", ["Deny", "Warn", "Allow", "Hold"])
def test_a_model_of_unknown_descent_gets_what_on_unknown_says(answer: str) -> None:
    verdict = ask(known(), policy(ALLOW_GOOD, onUnknown=answer))
    assert told(verdict) == (
        Result.UNKNOWN,
        Action(answer),
        Reason.LINEAGE_UNKNOWN,
    )
    assert verdict.causes[0].rule == "onUnknown"
    assert f"policy 'prod' says onUnknown: {answer}" in verdict.message


def test_unknown_descent_is_no_ground_where_no_rule_asks_for_ancestors() -> None:
    assert ask(known(), policy(FORMATS)).action is Action.ALLOW


def test_a_denied_reference_that_could_not_be_compared_counts_as_unknown() -> None:
    both = policy(ALLOW_GOOD, DENY_BAD)
    verdict = ask(known(derived("good"), inconclusive("bad")), both)
    assert told(verdict) == (
        Result.UNKNOWN,
        Action.DENY,
        Reason.LINEAGE_INCONCLUSIVE,
    )
    assert "'bad' (TooFewLayers)" in verdict.message
    fine = ask(known(derived("good"), inconclusive("bad")), policy(ALLOW_GOOD))
    assert fine.action is Action.ALLOW


def test_matches_that_there_was_no_room_for_may_hide_a_denied_one() -> None:
    facts = known(derived("good"), omitted=2)
    verdict = ask(facts, policy(ALLOW_GOOD, DENY_BAD))
    assert verdict.reason is Reason.LINEAGE_INCONCLUSIVE
    assert "matches 2 more references" in verdict.message


def test_weights_that_cannot_be_read_are_unknown_for_good_not_pending() -> None:
    warning = (finding(Severity.WARNING),)
    facts = known(fingerprint=None, lineage=None, findings=warning)
    verdict = ask(facts, policy(ALLOW_GOOD))
    assert told(verdict) == (
        Result.UNKNOWN,
        Action.DENY,
        Reason.LINEAGE_INCONCLUSIVE,
    )
    assert "HeaderTooLarge: header is 9 GB" in verdict.message


def test_a_denied_reference_without_fingerprint_holds_until_it_has_one() -> None:
    references = {"good": reference("good"), "bad": reference("bad", fingerprint="")}
    facts = known(derived("good"), registry=current_registry_digest(references))
    verdict = ask(facts, policy(ALLOW_GOOD, DENY_BAD), references=references)
    assert told(verdict) == (Result.PENDING, Action.HOLD, Reason.EVIDENCE_PENDING)
    assert "denied or revoked reference 'bad' before" in verdict.message


# ---- claims


def test_a_claim_that_the_weights_contradict_quotes_both_sides() -> None:
    about = subject(model(claims={"baseModel": "org/Good"}))
    verdict = ask(known(derived("bad")), policy(CLAIMS), about=about)
    assert told(verdict) == (*FAIL, Reason.CLAIM_CONTRADICTED)
    assert verdict.message == (
        "model 'base' claims in spec.models[0].claims.baseModel to descend from "
        "'org/Good', but its weights say it descends from 'bad' (Finetune, p < 1e-40); "
        "correct the claim or deploy the model that was claimed (rule 'claims' of "
        "policy 'prod')"
    )


def test_a_claim_in_the_files_is_compared_too() -> None:
    facts = known(derived("bad"), claims=(claims("good"),))
    verdict = ask(facts, policy(CLAIMS))
    assert verdict.reason is Reason.CLAIM_CONTRADICTED
    assert "claims in README.md to descend from 'good'" in verdict.message


def test_a_claim_that_the_weights_bear_out_passes() -> None:
    facts = known(derived("good"), claims=(claims("hf://org/good@main"),))
    assert ask(facts, policy(CLAIMS)).action is Action.ALLOW


def test_a_claim_is_not_contradicted_by_a_comparison_that_was_not_possible() -> None:
    facts = known(inconclusive("good"), claims=(claims("good"),))
    assert ask(facts, policy(CLAIMS)).action is Action.ALLOW


@pytest.mark.parametrize(
    ("answer", "action"), [("Allow", "Allow"), ("Warn", "Warn"), ("Deny", "Deny")]
)
def test_a_claim_of_an_unknown_name_is_unverifiable(answer: str, action: str) -> None:
    rule = {"name": "claims", "claims": {"unverifiable": answer}}
    verdict = ask(known(claims=(claims("who/knows"),)), policy(rule))
    assert verdict.action is Action(action)
    if answer != "Allow":
        assert verdict.reason is Reason.CLAIM_UNVERIFIABLE
        assert "'who/knows', which no known reference is called" in verdict.message


def test_a_contradicted_claim_can_be_made_a_warning() -> None:
    rule = {"name": "claims", "claims": {"contradicted": "Warn"}}
    verdict = ask(known(claims=(claims("good"),)), policy(rule))
    assert told(verdict) == (Result.WARN, Action.WARN, Reason.CLAIM_CONTRADICTED)


# ---- formats, pins, digests, findings


@pytest.mark.parametrize(
    "formats", [("pytorch", "safetensors"), ("tflite",), ("none",), ()]
)
def test_a_format_that_is_not_listed_is_denied(formats: tuple[str, ...]) -> None:
    verdict = ask(known(formats=formats), policy(FORMATS))
    assert told(verdict) == (*FAIL, Reason.FORMAT_NOT_ALLOWED)
    assert "allows only 'safetensors'" in verdict.message


def test_listed_formats_pass_and_unknown_ones_count_as_other() -> None:
    rule = {"name": "f", "formats": {"allowed": ["safetensors", "other"]}}
    facts = known(formats=("safetensors", "tflite"))
    assert ask(facts, policy(rule)).action is Action.ALLOW


@pytest.mark.parametrize(
    ("source", "expected", "required", "denied"),
    [
        ({"uri": "hf://org/m@main"}, False, "Always", True),
        ({"uri": "hf://org/m@main"}, True, "Always", False),
        ({"huggingFace": {"repo": "org/m"}}, False, "ExceptFiles", True),
        ({"uri": "file:///m"}, False, "Always", True),
        ({"uri": "file:///m"}, True, "Always", False),
        ({"uri": "file:///m"}, False, "ExceptFiles", False),
    ],
)
def test_references_are_pinned_by_commit_or_expected_digest(
    source: dict[str, Any], expected: bool, required: str, denied: bool
) -> None:
    changes: dict[str, Any] = {"source": source}
    if expected:
        changes["expectedDigest"] = str(sha256(b"model"))
    about = subject(model(**changes))
    rule = {"name": "p", "pinned": {"required": required}}
    verdict = ask(known(), policy(rule), about=about)
    assert (verdict.reason is Reason.NOT_PINNED) is denied


def test_an_unpinned_reference_is_denied_before_there_is_any_evidence() -> None:
    about = subject(model(source={"uri": "hf://org/m"}))
    verdict = ask(None, policy(PINNED), about=about)
    assert reasons(verdict) == [Reason.NOT_PINNED, Reason.EVIDENCE_PENDING]


@pytest.mark.parametrize("enforcement", ["Enforce", "Warn", "Audit"])
def test_another_digest_than_expected_is_denied_whatever_policies_say(
    enforcement: str,
) -> None:
    about = subject(model(expectedDigest=str(sha256(b"other"))))
    verdict = ask(known(), policy(FORMATS, enforcement=enforcement), about=about)
    assert told(verdict) == (*FAIL, Reason.DIGEST_MISMATCH)
    assert verdict.causes[0].field == "spec.models[0].expectedDigest"
    bare = ask(known(), about=about, no_match=Action.ALLOW)
    assert bare.action is Action.DENY


def test_an_expected_digest_may_be_that_of_a_signature() -> None:
    about = subject(model(expectedDigest=str(sha256(b"model without names"))))
    verdict = ask(known(), policy(FORMATS), about=about)
    assert verdict.action is Action.ALLOW


ASIDE = Finding("UncomparedWeights", Severity.WARNING, "", "9 tensors have no role")


UNREAD = Finding("UnreadWeights", Severity.WARNING, "b/q.gguf", "was not compared")


@pytest.mark.parametrize(
    "beside",
    [
        {"findings": (ASIDE,)},
        {"findings": (UNREAD,), "formats": ("gguf",)},
        {"formats": ("pytorch", "safetensors")},
        {"formats": ("gguf", "safetensors")},
        {"formats": ("gguf", "pytorch")},
    ],
)
@pytest.mark.parametrize("says", ["Deny", "Warn", "Hold"])
def test_weights_that_nobody_compared_make_the_lineage_inconclusive(
    beside: dict[str, Any], says: str
) -> None:
    facts = known(derived("good"), **beside)
    verdict = ask(facts, policy(ALLOW_GOOD, onUnknown=says))
    assert reasons(verdict) == [Reason.LINEAGE_INCONCLUSIVE]
    assert (verdict.result, str(verdict.action)) == (Result.UNKNOWN, says)
    plain = ask(known(derived("good")), policy(ALLOW_GOOD, onUnknown=says))
    assert plain.action is Action.ALLOW


@pytest.mark.parametrize("form", list(READ_FIRST))
def test_the_one_format_that_was_read_leaves_no_doubt(form: str) -> None:
    verdict = ask(known(derived("good"), formats=(form,)), policy(ALLOW_GOOD))
    assert verdict.action is Action.ALLOW


def test_policies_and_readers_agree_on_what_is_read_first() -> None:
    assert [form.value for form in READ_FIRST] == list(OPENERS)


def test_a_rule_on_formats_decides_about_formats_by_itself() -> None:
    both = {"name": "formats", "formats": {"allowed": ["safetensors", "pytorch"]}}
    facts = known(derived("good"), formats=("pytorch", "safetensors"))
    assert ask(facts, policy(ALLOW_GOOD, both)).action is Action.ALLOW
    refused = ask(facts, policy(ALLOW_GOOD, FORMATS))
    assert reasons(refused) == [Reason.FORMAT_NOT_ALLOWED]
    file = known(derived("good"), findings=(UNREAD,), formats=("safetensors",))
    assert reasons(ask(file, policy(ALLOW_GOOD, both))) == [Reason.LINEAGE_INCONCLUSIVE]


def test_an_unsound_artifact_is_denied_with_the_finding_in_words() -> None:
    facts = known(fingerprint=None, lineage=None, findings=(finding(),))
    verdict = ask(facts, policy(ALLOW_GOOD))
    assert reasons(verdict) == [Reason.ARTIFACT_INVALID]
    assert verdict.message == (
        "model 'base' is not sound: HeaderTooLarge in 'model.safetensors': header is "
        "9 GB; its publisher must correct the files"
    )


def test_a_finding_that_names_its_file_is_told_without_naming_it_again() -> None:
    told = dataclasses.replace(finding(), message="header of 'model.safetensors' is 9")
    facts = known(fingerprint=None, lineage=None, findings=(told,))
    assert ask(facts, policy(ALLOW_GOOD)).message == (
        "model 'base' is not sound: HeaderTooLarge: header of 'model.safetensors' is "
        "9; its publisher must correct the files"
    )


# ---- evidence that is missing, late, old


@pytest.mark.parametrize("answer", ["Hold", "Deny", "Warn"])
def test_a_model_without_evidence_gets_what_on_pending_says(answer: str) -> None:
    verdict = ask(None, policy(FORMATS, onPending=answer))
    assert told(verdict) == (
        Result.PENDING,
        Action(answer),
        Reason.EVIDENCE_PENDING,
    )


@pytest.mark.parametrize("answer", ["Deny", "Warn", "Hold"])
def test_a_model_whose_evidence_failed_gets_what_on_error_says(answer: str) -> None:
    facts = ModelFacts(
        FactState.FAILED, reason=Reason.SOURCE_REFUSED, message="no such folder"
    )
    verdict = ask(facts, policy(FORMATS, onError=answer))
    assert told(verdict) == (Result.ERROR, Action(answer), Reason.SOURCE_REFUSED)
    assert "could not be examined: no such folder" in verdict.message


@pytest.mark.parametrize("lineage", ["none", "other"])
def test_evidence_is_never_judged_on_an_old_comparison(lineage: str) -> None:
    facts = (
        known(lineage=None)
        if lineage == "none"
        else known(derived("good"), registry=sha256(b"last week"))
    )
    verdict = ask(facts, policy(ALLOW_GOOD))
    assert told(verdict) == (Result.PENDING, Action.HOLD, Reason.EVIDENCE_STALE)


def test_evidence_older_than_freshness_allows_is_pending() -> None:
    fresh = policy(ALLOW_GOOD, freshness={"maxAge": "2h"})
    assert ask(known(derived("good")), fresh).action is Action.ALLOW
    late = known(derived("good"), resolved_at=NOW - timedelta(hours=2, seconds=1))
    assert ask(late, fresh).reason is Reason.EVIDENCE_STALE
    never = known(derived("good"), resolved_at=None)
    assert ask(never, fresh).reason is Reason.EVIDENCE_STALE


def test_a_denial_does_not_soften_when_its_evidence_grows_old() -> None:
    fresh = policy(DENY_BAD, freshness={"maxAge": "2h"}, onPending="Warn")
    late = known(derived("bad"), resolved_at=NOW - timedelta(days=9))
    assert told(ask(late, fresh)) == (*FAIL, Reason.LINEAGE_DENIED)


# ---- several policies, enforcement, no policy


@pytest.mark.parametrize(
    ("enforcement", "action"), [("Warn", Action.WARN), ("Audit", Action.ALLOW)]
)
def test_enforcement_softens_the_action_and_keeps_the_result(
    enforcement: str, action: Action
) -> None:
    verdict = ask(known(derived("bad")), policy(DENY_BAD, enforcement=enforcement))
    assert told(verdict) == (Result.FAIL, action, Reason.LINEAGE_DENIED)
    assert len(verdict.causes) == 1


def test_the_strictest_of_several_policies_counts() -> None:
    lenient = policy(DENY_BAD, name="a-audit", enforcement="Audit")
    strict = policy(ALLOW_GOOD, name="team", namespace="team-a")
    verdict = ask(known(derived("bad")), lenient, strict)
    assert told(verdict) == (*FAIL, Reason.LINEAGE_NOT_ALLOWED)
    assert verdict.causes[0].policy == "team-a/team"
    assert [use.name for use in verdict.policies] == ["a-audit", "team-a/team"]


def test_a_policy_of_another_namespace_takes_no_part() -> None:
    other = policy(DENY_BAD, namespace="team-b")
    assert ask(known(derived("bad")), other, policy(FORMATS)).action is Action.ALLOW


def test_selectors_and_roles_say_what_a_policy_is_about() -> None:
    facts = known(derived("bad"))
    team_b = {"namespaceSelector": {"matchLabels": {"team": "b"}}}
    team_a = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    adapters = {"roles": ["Adapter"]}
    assert ask(facts, policy(DENY_BAD, match=team_a)).reason is Reason.LINEAGE_DENIED
    for match in (team_b, adapters):
        verdict = ask(facts, policy(DENY_BAD, match=match))
        assert verdict.reason is Reason.NO_MATCHING_POLICY


@pytest.mark.parametrize(
    ("no_match", "result"), [("Deny", Result.FAIL), ("Allow", Result.PASS)]
)
def test_without_a_policy_the_no_match_action_counts(
    no_match: str, result: Result
) -> None:
    verdict = ask(known(), no_match=Action(no_match))
    assert told(verdict) == (result, Action(no_match), Reason.NO_MATCHING_POLICY)


def test_a_model_whose_role_no_policy_covers_is_left_to_the_no_match_action() -> None:
    about = subject(model(), model("extra", role="Other"))
    chosen = policy(ALLOW_GOOD, match={"roles": ["Base"]})
    verdict = ask(known(derived("good")), chosen, about=about)
    assert told(verdict) == (*FAIL, Reason.NO_MATCHING_POLICY)
    assert verdict.causes[0].field == "spec.models[1]"


def test_a_namespaced_policy_does_not_lift_the_default_denial() -> None:
    verdict = ask(known(), policy(FORMATS, namespace="team-a"))
    assert told(verdict) == (*FAIL, Reason.NO_MATCHING_POLICY)
    assert "no cluster policy covers 'support'" in verdict.message


# ---- policies and objects that cannot be evaluated


@pytest.mark.parametrize(
    ("enforcement", "action"), [("Enforce", Action.DENY), ("Warn", Action.WARN)]
)
def test_a_broken_policy_says_which_field(enforcement: str, action: Action) -> None:
    verdict = ask(known(), broken(enforcement=enforcement))
    assert told(verdict) == (Result.ERROR, action, Reason.POLICY_INVALID)
    assert "spec.rules[0].formats.allowed: is empty" in verdict.message


def test_a_typo_in_a_deny_list_breaks_the_policy() -> None:
    rule = {"name": "deny", "deniedAncestors": {"references": ["baad"]}}
    verdict = ask(known(derived("good")), policy(rule))
    assert told(verdict) == (Result.ERROR, Action.DENY, Reason.POLICY_INVALID)
    assert "spec.rules[0].deniedAncestors.references[0]: is 'baad'" in verdict.message


def test_a_reference_that_cannot_be_understood_gets_what_on_error_says() -> None:
    about = subject(model(source={"uri": "ftp://x/y"}))
    verdict = ask(known(), policy(FORMATS), about=about)
    assert told(verdict) == (Result.ERROR, Action.DENY, Reason.REFERENCE_INVALID)
    assert "has the scheme 'ftp'" in verdict.message


def test_a_made_up_role_hides_no_model_from_a_policy() -> None:
    about = subject(model(role="base"))
    chosen = policy(ALLOW_GOOD, match={"roles": ["Base"]})
    verdict = ask(known(derived("good")), chosen, about=about, no_match=Action.ALLOW)
    assert told(verdict) == (Result.ERROR, Action.DENY, Reason.REFERENCE_INVALID)


def test_the_first_strictest_ground_in_policy_and_rule_order_is_told() -> None:
    about = subject(model(source={"uri": "hf://org/m"}))
    facts = known(derived("bad"), formats=("pytorch",))
    chosen = policy(PINNED, FORMATS, DENY_BAD)
    early = policy(FORMATS, name="a", enforcement="Warn")
    verdict = ask(facts, chosen, early, about=about)
    assert reasons(verdict) == [
        Reason.NOT_PINNED,
        Reason.FORMAT_NOT_ALLOWED,
        Reason.LINEAGE_DENIED,
        Reason.FORMAT_NOT_ALLOWED,
    ]
    assert verdict.causes[-1].action is Action.WARN
