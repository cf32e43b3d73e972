# SPDX-License-Identifier: Apache-2.0
"""What a ``signature`` rule says of what evidence says of signatures."""

from __future__ import annotations

from typing import Any

import pytest

from pedigree.digests import Digest, sha256
from pedigree.evidence import NO_TRUST, Signature, Signatures
from pedigree.policy.evaluate import judge
from pedigree.policy.facts import ModelFacts
from pedigree.policy.rules import (
    BrokenPolicy,
    Policy,
    SignatureRequirement,
    SignatureRule,
    load_policy,
)
from pedigree.policy.verdict import Action, Reason, Result, Verdict
from worlds.policies import (
    ALLOW_GOOD,
    NOW,
    REFERENCES,
    derived,
    known,
    policy,
    policy_object,
    subject,
)

TODAY = sha256(b"trusted today")
GOOD = Signature("model.sig", "Valid", "acme", "key", "0" * 64)


def _rule(**body: Any) -> Policy:
    return policy({"name": "signed", "signature": {"required": "Always", **body}})


def _facts(*found: Signature, trust: Digest = TODAY) -> ModelFacts:
    return known(derived("good"), signatures=Signatures(trust, found))


def _ask(
    facts: ModelFacts, asked: Policy | None = None, *, today: Digest = TODAY
) -> Verdict:
    return judge(
        subject(),
        {"base": facts},
        [asked or _rule()],
        REFERENCES,
        no_match=Action.DENY,
        now=NOW,
        trusted_signers=today,
    )


def _beside(**changes: Any) -> Signature:
    return Signature("model.sig", "Valid", "acme", "key", "0" * 64, **changes)


def test_every_field_of_the_rule_is_read() -> None:
    (rule,) = _rule(
        signers=["acme"], allowIgnoredPaths=["a*"], allowUnsignedFiles=["b"]
    ).rules
    always = SignatureRequirement.ALWAYS
    assert rule == SignatureRule("signed", always, ("acme",), ("a*",), ("b",))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "required"),
        ({"required": True}, "required"),
        ({"required": "Always", "signer": ["acme"]}, "signer"),
        ({"required": "Always", "signers": "acme"}, "signers"),
        ({"required": "Always", "allowUnsignedFiles": [""]}, "allowUnsignedFiles[0]"),
    ],
)
def test_a_rule_that_is_wrong_breaks_its_policy(
    body: dict[str, Any], field: str
) -> None:
    read = load_policy(policy_object({"name": "signed", "signature": body}))
    assert isinstance(read, BrokenPolicy)
    where = [problem.field for problem in read.problems]
    assert f"spec.rules[0].signature.{field}" in where


def test_a_valid_signature_of_anybody_trusted_does() -> None:
    assert _ask(_facts(GOOD)).result is Result.PASS


def test_a_signer_must_be_one_that_the_rule_names() -> None:
    assert _ask(_facts(GOOD), _rule(signers=["x", "acme"])).result is Result.PASS
    verdict = _ask(_facts(GOOD), _rule(signers=["house"]))
    assert (verdict.result, verdict.action) == (Result.FAIL, Action.DENY)
    assert verdict.reason is Reason.NOT_SIGNED
    assert verdict.message == (
        "model 'base' is not signed as rule 'signed' of policy 'prod' wants by "
        "'house': the signature 'model.sig' is by 'acme'; have it signed, or deploy a "
        "signed one"
    )


@pytest.mark.parametrize(
    "reason", ["Untrusted", "BadSignature", "FilesChanged", "CertificateExpired", ""]
)
def test_a_signature_that_is_not_valid_does_not_do(reason: str) -> None:
    verdict = _ask(_facts(Signature("model.sig", reason, "acme", "key", "0" * 64)))
    assert verdict.reason is Reason.NOT_SIGNED
    assert f"({reason})" in verdict.message


def test_a_valid_signature_by_nobody_is_none() -> None:
    assert _ask(_facts(Signature("model.sig", "Valid"))).result is Result.FAIL


def test_a_model_without_signature_is_not_signed() -> None:
    verdict = _ask(_facts())
    assert verdict.reason is Reason.NOT_SIGNED
    assert "it has no signature" in verdict.message


def test_where_signed_asks_only_those_that_bring_a_signature() -> None:
    rule = _rule(required="WhereSigned")
    assert _ask(_facts(), rule).result is Result.PASS
    assert _ask(_facts(GOOD), rule).result is Result.PASS
    assert _ask(_facts(Signature("m.sig", "BadSignature")), rule).result is Result.FAIL


def test_one_signature_that_does_is_enough() -> None:
    bad = Signature("a.sig", "BadSignature")
    assert _ask(_facts(bad, GOOD)).result is Result.PASS


def test_files_beside_the_signed_ones_must_be_allowed_by_name() -> None:
    one = _beside(unsigned=("code/x.py", "README.md"), unsigned_files=2)
    verdict = _ask(_facts(one))
    assert verdict.reason is Reason.NOT_SIGNED
    assert "does not cover 'code/x.py', 'README.md'" in verdict.message
    some = _rule(allowUnsignedFiles=["*.md"])
    assert "does not cover 'code/x.py';" in _ask(_facts(one), some).message
    both = _rule(allowUnsignedFiles=["*.md", "code/*"])
    assert _ask(_facts(one), both).result is Result.PASS
    wrong_list = _rule(allowIgnoredPaths=["*"])
    assert _ask(_facts(one), wrong_list).result is Result.FAIL


def test_what_the_signer_left_out_must_be_allowed_by_name() -> None:
    one = _beside(ignored=("notes.txt",), ignored_files=1)
    verdict = _ask(_facts(one))
    assert verdict.reason is Reason.NOT_SIGNED
    assert "leaves out 'notes.txt'" in verdict.message
    allowed = _rule(allowIgnoredPaths=["notes.*"])
    assert _ask(_facts(one), allowed).result is Result.PASS
    wrong_list = _rule(allowUnsignedFiles=["*"])
    assert _ask(_facts(one), wrong_list).result is Result.FAIL


@pytest.mark.parametrize("what", ["unsigned", "ignored"])
def test_files_that_evidence_has_no_room_for_are_not_taken_for_allowed(
    what: str,
) -> None:
    one = _beside(**{what: ("a.md",), f"{what}_files": 3})
    lists = {"unsigned": "allowUnsignedFiles", "ignored": "allowIgnoredPaths"}
    verdict = _ask(_facts(one), _rule(**{lists[what]: ["*.md"]}))
    assert verdict.reason is Reason.NOT_SIGNED
    assert "2 more files" in verdict.message
    assert _ask(_facts(one), _rule(**{lists[what]: ["*"]})).result is Result.PASS


@pytest.mark.parametrize("required", ["Always", "WhereSigned"])
@pytest.mark.parametrize(
    "facts",
    [
        known(derived("good")),
        _facts(GOOD, trust=sha256(b"trusted yesterday")),
        _facts(trust=sha256(b"trusted yesterday")),
        _facts(GOOD, trust=NO_TRUST),
    ],
)
def test_what_other_signers_vouched_for_is_never_a_pass(
    facts: ModelFacts, required: str
) -> None:
    verdict = _ask(facts, _rule(required=required))
    assert (verdict.result, verdict.action) == (Result.PENDING, Action.HOLD)
    assert verdict.reason is Reason.EVIDENCE_STALE


def test_what_was_found_within_a_namespace_is_no_signature() -> None:
    """Whoever runs Pods there could have written that it is signed."""
    facts = known(
        derived("good"), signatures=Signatures(TODAY, (GOOD,)), confined_to="team-a"
    )
    for required in ("Always", "WhereSigned"):
        verdict = _ask(facts, _rule(required=required))
        assert (verdict.reason, verdict.action) == (Reason.NOT_SIGNED, Action.DENY)
        assert "examined in its own namespace" in verdict.message


def test_where_nobody_is_trusted_the_reason_says_so() -> None:
    signed = Signature("model.sig", "Untrusted", "", "key")
    verdict = _ask(_facts(signed, trust=NO_TRUST), today=NO_TRUST)
    assert verdict.reason is Reason.NOT_SIGNED
    assert "no signer is trusted here" in verdict.message
    assert "--trusted-key" in verdict.message  # of whoever asked with `pedigree gate`


def test_signatures_loosen_nothing_else() -> None:
    denied = known(derived("bad"), signatures=Signatures(TODAY, (GOOD,)))
    assert _ask(denied, policy(ALLOW_GOOD)).reason is Reason.LINEAGE_NOT_ALLOWED


def test_without_a_rule_signatures_and_signers_change_no_verdict() -> None:
    plain = policy(ALLOW_GOOD)
    seen = {
        _ask(facts, plain, today=today).inputs_digest
        for facts in (_facts(GOOD), _facts(), known(derived("good")))
        for today in (TODAY, NO_TRUST)
    }
    assert len(seen) == 1


def test_with_a_rule_each_of_them_makes_another_verdict() -> None:
    others = (
        _facts(),
        _facts(GOOD),
        _facts(_beside(unsigned_files=1)),
        _facts(GOOD, trust=NO_TRUST),
        known(derived("good")),
    )
    digests = {_ask(facts).inputs_digest for facts in others}
    digests.add(_ask(_facts(), today=NO_TRUST).inputs_digest)
    assert len(digests) == 6
