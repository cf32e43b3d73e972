# SPDX-License-Identifier: Apache-2.0
"""Policies are read whole or not at all, and say which field is wrong."""

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedigree.errors import PolicyError
from pedigree.policy.durations import parse_duration
from pedigree.policy.references import (
    Trust,
    current_registry_digest,
    named,
    reference_from_object,
)
from pedigree.policy.rules import (
    AllowedAncestors,
    BrokenPolicy,
    ClaimsRule,
    DeniedAncestors,
    Enforcement,
    FormatsRule,
    PinnedRequirement,
    PinnedRule,
    Policy,
    SignatureRequirement,
    SignatureRule,
    check_references,
    load_policy,
)
from pedigree.policy.selection import LabelSelector, Operator, Requirement, glob_matches
from pedigree.policy.verdict import Action
from worlds.policies import (
    DENY_BAD,
    FORMATS,
    REFERENCES,
    policy,
    policy_object,
    subject,
)

DATA = Path(__file__).parents[2] / "data" / "manifests"


def whole() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(
        (DATA / "clusterlineagepolicy.yaml").read_text()
    )
    return loaded


def test_every_field_of_a_policy_is_read() -> None:
    read = load_policy(whole())
    assert isinstance(read, Policy)
    claims, denied, allowed, formats, pinned, signed = read.rules
    assert claims == ClaimsRule("claims", Action.DENY, Action.WARN)
    assert isinstance(denied, DeniedAncestors)
    assert denied.ancestors.references == ("bad-base",)
    assert denied.ancestors.publishers == ("nobody",)
    assert isinstance(allowed, AllowedAncestors)
    assert allowed.ancestors.families == ("llama",)
    assert formats == FormatsRule("formats", frozenset({"safetensors"}))
    assert pinned == PinnedRule("pinned", PinnedRequirement.EXCEPT_FILES)
    assert signed == SignatureRule(
        "signed",
        SignatureRequirement.WHERE_SIGNED,
        signers=("acme",),
        ignored=("notes/*",),
        unsigned=("*.md",),
    )
    assert read.max_age == timedelta(hours=72)
    assert read.match.roles == {"Base", "Adapter"}
    assert read.match.namespace_selector.requirements == (
        Requirement("team", Operator.IN, ("a",)),
        Requirement("stage", Operator.IN, ("prod", "canary")),
    )


def test_a_policy_that_says_little_gets_the_strict_defaults() -> None:
    read = policy(FORMATS)
    assert read.enforcement is Enforcement.ENFORCE
    assert (read.on_unknown, read.on_pending, read.on_error) == (
        Action.DENY,
        Action.HOLD,
        Action.DENY,
    )
    assert read.max_age is None


WRONG: dict[str, tuple[tuple[str | int, ...], Any, str, str]] = {
    "enforcement": (("enforcement",), "Strict", "spec.enforcement", "'Strict'"),
    "no rules": (("rules",), [], "spec.rules", "at least one rule"),
    "rules of another kind": (("rules",), "x", "spec.rules", "wanted a list"),
    "two members": (
        ("rules", 0, "pinned"),
        {"required": "Always"},
        "spec.rules[0]",
        "has claims and pinned, wanted exactly one",
    ),
    "an unknown member": (
        ("rules", 0, "cel"),
        "x",
        "spec.rules[0].cel",
        "is not a field this version knows",
    ),
    "one name twice": (("rules", 1, "name"), "claims", "spec.rules", "twice"),
    "empty ancestors": (
        ("rules", 1, "deniedAncestors"),
        {},
        "spec.rules[1].deniedAncestors",
        "names nothing",
    ),
    "a number as name": (
        ("rules", 1, "deniedAncestors", "references"),
        [7],
        "spec.rules[1].deniedAncestors.references[0]",
        "is 7, wanted a non-empty string",
    ),
    "a wrong action": (
        ("rules", 0, "claims", "contradicted"),
        "Allow",
        "spec.rules[0].claims.contradicted",
        "wanted Deny or Warn",
    ),
    "an unknown format": (
        ("rules", 3, "formats", "allowed"),
        ["pickle"],
        "spec.rules[3].formats.allowed[0]",
        "'pickle'",
    ),
    "errors allowed": (("onError",), "Allow", "spec.onError", "'Allow'"),
    "pending allowed": (("onPending",), "Allow", "spec.onPending", "'Allow'"),
    "a bad duration": (
        ("freshness", "maxAge"),
        "7d",
        "spec.freshness.maxAge",
        "wanted one like '24h'",
    ),
    "a short duration": (
        ("freshness", "maxAge"),
        "59s",
        "spec.freshness.maxAge",
        "wanted at least 1m",
    ),
    "an unknown role": (
        ("match", "roles"),
        ["Boss"],
        "spec.match.roles[0]",
        "'Boss'",
    ),
    "an operator without values": (
        ("match", "objectSelector"),
        {"matchExpressions": [{"key": "a", "operator": "In"}]},
        "spec.match.objectSelector.matchExpressions[0].values",
        "wanted some for In",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_breaks_the_policy_and_is_named(case: str) -> None:
    path, value, field, message = WRONG[case]
    obj = copy.deepcopy(whole())
    target: Any = obj["spec"]
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    read = load_policy(obj)
    assert isinstance(read, BrokenPolicy)
    assert any(p.field == field and message in p.message for p in read.problems)


def test_a_namespaced_policy_selects_no_namespaces() -> None:
    read = load_policy(
        policy_object(FORMATS, namespace="a", match={"namespaceSelector": {}})
    )
    assert isinstance(read, BrokenPolicy)
    assert read.problems[0].field == "spec.match.namespaceSelector"


def test_a_broken_policy_with_a_sound_match_selects_only_what_it_was_meant_for() -> (
    None
):
    match = {"objectSelector": {"matchLabels": {"tier": "x"}}}
    read = load_policy(policy_object(match=match))
    assert isinstance(read, BrokenPolicy)
    assert read.selects(subject(labels={"tier": "x"}))
    assert not read.selects(subject())


def test_a_broken_match_selects_everything_it_could_have_selected() -> None:
    read = load_policy(policy_object(FORMATS, match={"objectSelector": 3}))
    assert isinstance(read, BrokenPolicy)
    assert read.selects(subject())
    half = {"roles": ["Boss"], "objectSelector": {"matchLabels": {"tier": "x"}}}
    partly = load_policy(policy_object(FORMATS, match=half))
    assert isinstance(partly, BrokenPolicy)
    assert partly.selects(subject())
    elsewhere = load_policy(
        policy_object(FORMATS, namespace="team-b", match={"objectSelector": 3})
    )
    assert not elsewhere.selects(subject())


def test_an_unreadable_enforcement_is_enforce() -> None:
    read = load_policy(policy_object(FORMATS, enforcement="audit"))
    assert isinstance(read, BrokenPolicy)
    assert read.enforcement is Enforcement.ENFORCE


def test_the_digest_is_of_the_text_and_not_of_the_object() -> None:
    one = policy(FORMATS, name="a")
    other = policy(FORMATS, name="b")
    assert one.digest == other.digest != policy(FORMATS, onError="Hold").digest


def test_names_in_deny_lists_must_be_known_and_patterns_need_not() -> None:
    rule = {
        "name": "deny",
        "deniedAncestors": {
            "references": ["bad", "org/good", "typo", "later-*"],
            "families": ["llama", "lama"],
            "publishers": ["nobody"],
        },
    }
    found = check_references(policy(rule), REFERENCES)
    assert [problem.field for problem in found.breaking] == [
        "spec.rules[0].deniedAncestors.references[2]",
        "spec.rules[0].deniedAncestors.families[1]",
        "spec.rules[0].deniedAncestors.publishers[0]",
    ]
    assert found.notes == ()


def test_unknown_names_in_allow_lists_are_only_noted() -> None:
    rule = {"name": "allow", "allowedAncestors": {"references": ["typo"]}}
    found = check_references(policy(rule, DENY_BAD), REFERENCES)
    assert found.breaking == ()
    assert str(found.notes[0]).startswith(
        "spec.rules[0].allowedAncestors.references[0]: is 'typo'"
    )


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("llama-*", "llama-3", True),
        ("*", "", True),
        ("l?ama", "llama", True),
        ("l?ama", "lama", False),
        ("*b*", "abc", True),
        ("*b", "abc", False),
        ("[a-z]", "a", False),
        ("a.c", "abc", False),
        ("*a" * 120, "a" * 250 + "b", False),
    ],
)
def test_patterns_know_star_and_question_mark_only(
    pattern: str, name: str, expected: bool
) -> None:
    assert glob_matches(pattern, name) is expected


@pytest.mark.parametrize(
    ("operator", "values", "absent", "other"),
    [
        (Operator.IN, ("x",), False, False),
        (Operator.NOT_IN, ("x",), True, True),
        (Operator.EXISTS, (), False, True),
        (Operator.DOES_NOT_EXIST, (), True, False),
    ],
)
def test_expressions_mean_what_they_mean_in_kubernetes(
    operator: Operator, values: tuple[str, ...], absent: bool, other: bool
) -> None:
    selector = LabelSelector((Requirement("key", operator, values),))
    assert selector.matches({}) is absent
    assert selector.matches({"key": "y"}) is other
    assert selector.matches({"key": "x"}) is (operator in ("In", "Exists"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86400), ("1h30m", 5400), ("90s", 90), ("0s", 0)],
)
def test_durations_are_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "text", ["", "24", "1d", "30m1h", "1.5h", "-1h", "1h 3m", "٣h"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="wanted one like '24h'"):
        parse_duration(text)


def test_a_reference_model_is_read() -> None:
    obj = yaml.safe_load((DATA / "referencemodel.yaml").read_text())
    digest = "sha256:" + "1" * 64
    obj["status"] = {"fingerprint": {"digest": digest, "spec": "weights/v1"}}
    read = reference_from_object(obj)
    assert (read.name, read.family, read.publisher) == ("base", "llama", "org")
    assert read.aliases == ("org/base", "org/base-hf")
    assert (read.trust, read.fingerprint) == (Trust.TRUSTED, digest)


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("metadata", {}, "metadata.name"),
        ("spec", {"trust": "Maybe"}, "spec.trust"),
        ("spec", {"aliases": [3]}, "spec.aliases[0]"),
        ("spec", {"family": 3}, "spec.family"),
        ("status", {"fingerprint": {"digest": "x"}}, "status.fingerprint.digest"),
    ],
)
def test_a_wrong_reference_model_says_which_field(
    part: str, value: dict[str, Any], field: str
) -> None:
    obj = {"metadata": {"name": "x"}, part: value}
    with pytest.raises(PolicyError) as caught:
        reference_from_object(obj)
    assert (caught.value.field, caught.value.reason) == (field, "ReferenceInvalid")


@pytest.mark.parametrize(
    "claimed",
    [
        "good",
        "ORG/Good",
        " org/good ",
        "hf://org/good@main",
        "HF://org/good",
        "https://hf.co/org/good/",
        "HTTPS://HuggingFace.co/org/good",
        "https://www.huggingface.co/org/good/tree/main",
        "http://huggingface.co/org/good?library=x",
    ],
)
def test_a_claimed_name_is_found_however_it_is_written(claimed: str) -> None:
    assert [item.name for item in named(claimed, REFERENCES.values())] == ["good"]


def test_only_references_with_a_fingerprint_can_be_compared_with() -> None:
    without = {name: item for name, item in REFERENCES.items() if name != "gone"}
    assert current_registry_digest(without) != current_registry_digest(REFERENCES)
    assert named("", REFERENCES.values()) == ()
