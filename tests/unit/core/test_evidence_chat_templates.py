# SPDX-License-Identifier: Apache-2.0
"""A template that evidence has no room for is never taken for one that is not there."""

from __future__ import annotations

import pytest

from pedigree.digests import sha256
from pedigree.evidence import (
    CLAIMS_MAX,
    Claim,
    Evidence,
    from_object,
    stored_bytes,
    to_object,
)
from pedigree.evidence.chat_templates import (
    CHAT_TEMPLATE,
    MORE,
    TEMPLATES_TOLD_MAX,
    chat_templates,
)
from pedigree.evidence.room import SPEC_MAX_BYTES
from worlds.evidences import maximal_evidence
from worlds.policies import evidence

DIGEST = str(sha256(b"template"))
TEMPLATE = Claim(CHAT_TEMPLATE, DIGEST, "chat_template.jinja")


def _stored(*claims: Claim) -> Evidence:
    return from_object(to_object(evidence(claims=claims)))


def test_what_there_is_room_for_is_told_whole() -> None:
    others = [Claim("baseModel", f"org/{n}", "README.md") for n in range(15)]
    for claims in ((TEMPLATE,), (*others, TEMPLATE), tuple(others)):
        assert _stored(*claims).claims == claims
    assert chat_templates([*others, TEMPLATE]).digests == (DIGEST,)
    assert chat_templates(others).digests == ()


@pytest.mark.parametrize("count", [CLAIMS_MAX, 40])
def test_other_claims_cannot_crowd_a_template_out_unseen(count: int) -> None:
    others = [Claim("baseModel", f"org/{n}", "README.md") for n in range(count)]
    stored = _stored(*others, TEMPLATE)
    assert len(stored.claims) == CLAIMS_MAX
    assert stored.claims[-1] == Claim(CHAT_TEMPLATE, MORE, "")
    assert chat_templates(stored.claims).digests is None
    assert from_object(to_object(stored)) == stored
    assert _stored(*others).claims == tuple(others[:CLAIMS_MAX])


@pytest.mark.parametrize("letter", ["n", "\u00e9", "\x01"])
def test_long_names_cannot_crowd_a_template_out_unseen(letter: str) -> None:
    long = letter * 256
    for claims in (
        [Claim(CHAT_TEMPLATE, DIGEST, long)] * 9,
        [*(Claim("baseModel", long, long) for _ in range(9)), TEMPLATE],
    ):
        full = evidence(findings=maximal_evidence().findings, claims=tuple(claims))
        stored = to_object(full)
        assert stored_bytes(stored["spec"]) <= SPEC_MAX_BYTES
        read = from_object(stored)
        assert len(read.claims) < len(claims)
        assert not chat_templates(read.claims).complete


def test_more_than_are_told_of_one_model_are_not_complete() -> None:
    most = [Claim(CHAT_TEMPLATE, str(sha256(bytes([n]))), "x") for n in range(5)]
    assert len(chat_templates(most[:TEMPLATES_TOLD_MAX]).digests or ()) == 4
    assert chat_templates(most).digests is None
