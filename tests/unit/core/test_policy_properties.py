# SPDX-License-Identifier: Apache-2.0
"""What holds of every verdict, whatever the policies, the evidence and the object."""

import dataclasses
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pedigree.evidence import Evidence
from pedigree.policy.evaluate import judge
from pedigree.policy.facts import FactState, ModelFacts
from pedigree.policy.references import Reference
from pedigree.policy.rules import BrokenPolicy, Policy, load_policy
from pedigree.policy.subject import (
    Subject,
    model_fields,
    subject_from_model_deployment,
)
from pedigree.policy.verdict import (
    CAUSES_MAX,
    Action,
    Reason,
    Result,
    Verdict,
)
from pedigree.policy.wording import MESSAGE_MAX_CHARS
from worlds.policies import (
    ACTIONS,
    NOW,
    facts_of,
    policies,
    policy_sets,
    reference_sets,
    subjects,
)

THOROUGH = settings(deadline=None, max_examples=60)

World = tuple[dict[str, Reference], dict[str, ModelFacts], Subject]


def strictness(verdict: Verdict) -> int:
    return ACTIONS.index(verdict.action)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    references = draw(reference_sets())
    return references, draw(facts_of(references)), draw(subjects())


def ask(
    world: World,
    chosen: Sequence[Policy | BrokenPolicy],
    no_match: Action = Action.DENY,
) -> Verdict:
    references, facts, subject = world
    return judge(subject, facts, chosen, references, no_match=no_match, now=NOW)


FIELDS = (
    "name namespace labels models source uri role claims huggingFace repo rules match "
    "enforcement allowedAncestors references freshness maxAge roles matchLabels "
    "objectSelector expectedDigest generation"
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters(), max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(FIELDS.split()),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=25,
)
OBJECTS = st.dictionaries(
    st.sampled_from(["kind", "metadata", "spec", "status"]),
    st.one_of(JSON, st.sampled_from(["LineagePolicy", "ClusterLineagePolicy"])),
)


@THOROUGH
@given(OBJECTS, OBJECTS, worlds(), st.sampled_from(Action))
def test_nothing_parsed_makes_judging_raise(
    obj: dict[str, Any], policy: dict[str, Any], world: World, no_match: Action
) -> None:
    subject = subject_from_model_deployment(obj, {})
    model_fields(obj)
    references, facts, _ = world
    verdict = ask((references, facts, subject), [load_policy(policy)], no_match)
    assert verdict.action in Action
    # An object without models can never be waved through by a policy.
    if not subject.models and no_match is Action.DENY:
        assert verdict.action is Action.DENY


@THOROUGH
@given(worlds(), policy_sets(), st.sampled_from(Action))
def test_the_verdict_is_its_strictest_ground_and_every_text_is_bounded(
    world: World, chosen: list[Policy | BrokenPolicy], no_match: Action
) -> None:
    verdict = ask(world, chosen, no_match)
    actions = [cause.action for cause in verdict.causes]
    assert verdict.action == max(actions, key=ACTIONS.index, default=Action.ALLOW)
    assert len(verdict.causes) <= CAUSES_MAX
    order = [ACTIONS.index(action) for action in actions]
    assert order == sorted(order, reverse=True)
    texts = [verdict.message, *(cause.message for cause in verdict.causes)]
    assert all(0 < len(text) <= MESSAGE_MAX_CHARS for text in texts)
    if verdict.causes:
        first = verdict.causes[0]
        assert (verdict.reason, verdict.message) == (first.reason, first.message)
    else:
        assert (verdict.result, verdict.reason) == (
            Result.PASS,
            Reason.LINEAGE_VERIFIED,
        )


@THOROUGH
@given(worlds(), policy_sets(), policies())
def test_one_more_policy_never_loosens(
    world: World, chosen: list[Policy | BrokenPolicy], more: Policy | BrokenPolicy
) -> None:
    before = ask(world, chosen, Action.ALLOW)
    after = ask(world, [*chosen, more], Action.ALLOW)
    assert strictness(after) >= strictness(before)


@THOROUGH
@given(worlds(), policy_sets(), policies("team-a"), st.sampled_from(Action))
def test_a_namespaced_policy_only_tightens_even_where_no_policy_matched(
    world: World,
    chosen: list[Policy | BrokenPolicy],
    more: Policy | BrokenPolicy,
    no_match: Action,
) -> None:
    before = ask(world, chosen, no_match)
    after = ask(world, [*chosen, more], no_match)
    assert strictness(after) >= strictness(before)


@THOROUGH
@given(worlds(), policies(enforcement=st.just("Enforce")))
def test_enforce_never_allows_what_is_not_known_unless_the_policy_says_so(
    world: World, policy: Policy | BrokenPolicy
) -> None:
    _, facts, subject = world
    assume(policy.selects(subject) and subject.models)
    assume(
        any(
            facts.get(model.name, ModelFacts(FactState.PENDING)).state
            is not FactState.KNOWN
            or facts[model.name].evidence is None
            for model in subject.models
            if policy.covers(model)
        )
    )
    verdict = ask(world, [policy])
    assert verdict.action is not Action.ALLOW
    if isinstance(policy, Policy) and verdict.action is Action.WARN:
        assert Action.WARN in (policy.on_pending, policy.on_error)


@THOROUGH
@given(worlds(), policies(enforcement=st.just("Enforce"), breaks=st.just(True)))
def test_a_broken_policy_in_enforce_denies_what_it_selects(
    world: World, policy: Policy | BrokenPolicy
) -> None:
    references, facts, subject = world
    assert isinstance(policy, BrokenPolicy)
    assume(policy.selects(subject))
    assume(not subject.models or any(map(policy.covers, subject.models)))
    verdict = ask((references, facts, subject), [policy], Action.ALLOW)
    assert verdict.action is Action.DENY


@THOROUGH
@given(worlds(), policy_sets(st.just("Enforce")))
def test_an_unsound_artifact_or_revoked_ancestor_is_denied_by_every_policy(
    world: World, chosen: list[Policy | BrokenPolicy]
) -> None:
    verdict = ask(world, chosen, Action.ALLOW)
    denied = {Reason.ARTIFACT_INVALID, Reason.ANCESTOR_REVOKED, Reason.DIGEST_MISMATCH}
    if any(cause.reason in denied for cause in verdict.causes):
        assert verdict.action is Action.DENY


@THOROUGH
@given(worlds(), policy_sets(), st.randoms(use_true_random=False))
def test_order_does_not_matter(
    world: World, chosen: list[Policy | BrokenPolicy], chance: random.Random
) -> None:
    references, facts, subject = world

    def shuffled(items: Mapping[str, Any]) -> dict[str, Any]:
        pairs = list(items.items())
        chance.shuffle(pairs)
        return dict(pairs)

    mixed = chance.sample(chosen, len(chosen))
    other = (shuffled(references), shuffled(facts), subject)
    assert ask(world, chosen) == ask(other, mixed)


@THOROUGH
@given(worlds(), worlds(), policy_sets(), policy_sets())
def test_equal_input_digests_mean_equal_verdicts(
    one: World,
    other: World,
    some: list[Policy | BrokenPolicy],
    others: list[Policy | BrokenPolicy],
) -> None:
    a, b = ask(one, some), ask(other, others)
    if a.inputs_digest == b.inputs_digest:
        told_a = (a.result, a.action, a.reason, len(a.causes))
        assert told_a == (b.result, b.action, b.reason, len(b.causes))


@THOROUGH
@given(worlds(), policy_sets(), st.data())
def test_a_change_that_moves_the_verdict_moves_the_input_digest(
    world: World, chosen: list[Policy | BrokenPolicy], data: st.DataObject
) -> None:
    references, facts, subject = world
    change = data.draw(st.sampled_from(["references", "facts", "subject", "policies"]))
    if change == "references":
        references = data.draw(reference_sets())
    elif change == "facts":
        facts = data.draw(facts_of(references))
    elif change == "subject":
        subject = data.draw(subjects())
    else:
        chosen = [*chosen, *data.draw(policy_sets())]
    before, after = ask(world, chosen), ask((references, facts, subject), chosen)
    moved = (before.result, before.action, before.reason) != (
        after.result,
        after.action,
        after.reason,
    )
    if moved:
        assert before.inputs_digest != after.inputs_digest


@THOROUGH
@given(worlds(), policy_sets(), st.integers(0, 10_000))
def test_time_counts_only_where_freshness_runs_out(
    world: World, chosen: list[Policy | BrokenPolicy], minutes: int
) -> None:
    references, facts, subject = world
    later = NOW + timedelta(minutes=minutes)
    now = ask(world, chosen)
    then = judge(subject, facts, chosen, references, no_match=Action.DENY, now=later)
    if all(isinstance(p, Policy) and p.max_age is None for p in chosen):
        assert now == then
    assert strictness(then) >= strictness(now)


@THOROUGH
@given(worlds(), policy_sets())
def test_who_examined_and_when_does_not_move_the_input_digest(
    world: World, chosen: list[Policy | BrokenPolicy]
) -> None:
    references, facts, subject = world

    def touched(evidence: Evidence | None) -> Evidence | None:
        if evidence is None:
            return None
        lineage = evidence.lineage
        if lineage is not None:
            lineage = dataclasses.replace(lineage, judged_at="2027-01-01T00:00:00Z")
        return dataclasses.replace(
            evidence, lineage=lineage, resolutions=(), examined_at="2027"
        )

    other = {
        name: dataclasses.replace(item, evidence=touched(item.evidence))
        for name, item in facts.items()
    }
    assert ask(world, chosen) == ask((references, other, subject), chosen)
