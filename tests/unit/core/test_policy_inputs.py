# SPDX-License-Identifier: Apache-2.0
"""The input digest moves with all a verdict depends on, and with nothing else."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pedigree.digests import Digest, sha256
from pedigree.evidence import Match
from pedigree.lineage.classes import LineageClass
from pedigree.policy.evaluate import judge
from pedigree.policy.facts import FactState, ModelFacts
from pedigree.policy.references import Trust
from pedigree.policy.subject import Subject
from pedigree.policy.verdict import Action, Reason
from worlds.policies import (
    ALLOW_GOOD,
    DENY_BAD,
    FORMATS,
    NOW,
    REFERENCES,
    claims,
    derived,
    evidence,
    finding,
    known,
    model,
    policy,
    subject,
)

World = dict[str, Any]
Change = Callable[[World], object]


def world() -> World:
    return {
        "subject": subject(),
        "facts": {"base": known(derived("good"))},
        "policies": [policy(ALLOW_GOOD, freshness={"maxAge": "2h"})],
        "references": dict(REFERENCES),
        "no_match": Action.DENY,
        "now": NOW,
    }


def digest(of: World) -> Digest:
    return judge(
        of["subject"],
        of["facts"],
        of["policies"],
        of["references"],
        no_match=of["no_match"],
        now=of["now"],
    ).inputs_digest


def about(**changes: Any) -> Change:
    """The same object with another model in it."""
    return lambda w: w.update(subject=subject(model(**changes)))


def object_with(**changes: Any) -> Change:
    def change(w: World) -> None:
        before: Subject = w["subject"]
        w["subject"] = dataclasses.replace(before, **changes)

    return change


def found(*matches: Match, **changes: Any) -> Change:
    def change(w: World) -> None:
        w["facts"] = {"base": known(*(matches or (derived("good"),)), **changes)}

    return change


def reference_with(**changes: Any) -> Change:
    def change(w: World) -> None:
        w["references"]["good"] = dataclasses.replace(REFERENCES["good"], **changes)

    return change


def policy_with(**changes: Any) -> Change:
    def change(w: World) -> None:
        w["policies"] = [dataclasses.replace(w["policies"][0], **changes)]

    return change


MOVES: dict[str, Change] = {
    "the namespace": object_with(namespace="team-b"),
    "the name": object_with(name="other"),
    "a label": object_with(labels={"a": "b"}),
    "a problem of the object": object_with(problem="odd"),
    "the reference of a model": about(source={"uri": "file:///other"}),
    "the role of a model": about(role="Other"),
    "the expected digest": about(expectedDigest=str(sha256(b"model"))),
    "a claim of the object": about(claims={"baseModel": "good"}),
    "another model": lambda w: w.update(subject=subject(model(), model("two"))),
    "the digest of the evidence": found(digest=sha256(b"other")),
    "the formats": found(formats=("gguf",)),
    "a finding": found(findings=(finding(),)),
    "a claim of the files": found(claims=(claims("x"),)),
    "no fingerprint": found(fingerprint=None),
    "another match": found(derived("bad")),
    "the class of a match": found(Match("good", LineageClass.IDENTICAL)),
    "matches left out": found(omitted=1),
    "the references compared with": found(registry=sha256(b"other")),
    "no lineage": found(lineage=None),
    "freshness run out": found(resolved_at=NOW - timedelta(hours=3)),
    "no facts": lambda w: w.update(facts={}),
    "the reason of a failure": lambda w: w.update(
        facts={"base": ModelFacts(FactState.FAILED, reason=Reason.SOURCE_REFUSED)}
    ),
    "the uid of a policy": policy_with(uid="other"),
    "the generation of a policy": policy_with(generation=2),
    "the text of a policy": policy_with(digest=sha256(b"other")),
    "one more policy": lambda w: w["policies"].append(policy(FORMATS, name="b")),
    "a broken policy": lambda w: w.update(
        policies=[policy(DENY_BAD)], references={"good": REFERENCES["good"]}
    ),
    "the trust of a reference": reference_with(trust=Trust.UNTRUSTED),
    "the family of a reference": reference_with(family="other"),
    "the publisher of a reference": reference_with(publisher="other"),
    "the aliases of a reference": reference_with(aliases=()),
    "the fingerprint of a reference": reference_with(fingerprint=str(sha256(b"x"))),
    "the generation of a reference": reference_with(generation=2),
    "one reference less": lambda w: w["references"].pop("bad"),
    "the no-match action": lambda w: w.update(no_match=Action.ALLOW),
}


@pytest.mark.parametrize("what", MOVES)
def test_a_change_that_can_matter_moves_the_digest(what: str) -> None:
    before, after = world(), world()
    MOVES[what](after)
    assert digest(before) != digest(after)


def test_every_change_gives_a_digest_of_its_own() -> None:
    seen: dict[Digest, str] = {}
    for what, change in MOVES.items():
        changed = world()
        change(changed)
        other = seen.setdefault(digest(changed), what)
        assert other == what


STAYS: dict[str, Change] = {
    "nothing": lambda w: None,
    "time within freshness": lambda w: w.update(now=NOW + timedelta(minutes=59)),
    "a later resolution": found(resolved_at=NOW),
    "labels of the namespace": object_with(namespace_labels={"team": "b"}),
    "a policy that selects something else": lambda w: w["policies"].append(
        policy(DENY_BAD, name="other", namespace="team-z")
    ),
    "facts about a model that is not there": lambda w: w["facts"].update(
        gone=ModelFacts(FactState.KNOWN, evidence())
    ),
    "the order of aliases": reference_with(aliases=REFERENCES["good"].aliases[::-1]),
}


@pytest.mark.parametrize("what", STAYS)
def test_a_change_that_cannot_matter_leaves_the_digest(what: str) -> None:
    before, after = world(), world()
    STAYS[what](after)
    assert digest(before) == digest(after)


def test_the_same_policy_text_has_the_same_policy_digest_anywhere() -> None:
    here, there = world(), world()
    policy_with(uid="other", generation=7)(there)

    def used(w: World) -> Digest:
        return judge(
            w["subject"],
            w["facts"],
            w["policies"],
            w["references"],
            no_match=Action.DENY,
            now=NOW,
        ).policy_digest

    assert used(here) == used(there)
