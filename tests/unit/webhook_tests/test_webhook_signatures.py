# SPDX-License-Identifier: Apache-2.0
"""A gate that asks who signed goes by the signers that it was started with."""

from __future__ import annotations

from typing import Any

from pedigree.digests import Digest, sha256
from pedigree.evidence import NO_TRUST, Signature, Signatures, signatures_to_dict
from pedigree_webhook.decide import Settings
from pedigree_webhook.store import StoreKind
from webhook_world.objects import evidence, model_deployment, policy
from webhook_world.world import world

TODAY = sha256(b"trusted today")
GOOD = Signature("model.sig", "Valid", "acme", "key", "0" * 64)
RULE = {"name": "signed", "signature": {"required": "Always", "signers": ["acme"]}}
DENY_PENDING = policy(rules=[RULE], onPending="Deny")


def _answer(found: Signatures | None, signers: Digest) -> tuple[bool, str]:
    gate = world(DENY_PENDING, settings=Settings(trusted_signers=signers))
    known: dict[str, Any] = evidence("good", "llama-a")
    if found is not None:
        known["status"]["signatures"] = signatures_to_dict(found)
    gate.store.replace(StoreKind.EVIDENCE, [known])
    response = gate.ask("CREATE", model_deployment("good"))
    reason = response.get("status", {}).get("reason", "")
    return response["allowed"], reason


def test_a_signature_under_the_signers_of_today_admits() -> None:
    assert _answer(Signatures(TODAY, (GOOD,)), TODAY) == (True, "")


def test_a_model_that_nobody_signed_is_denied() -> None:
    assert _answer(Signatures(TODAY), TODAY) == (False, "NotSigned")


def test_a_signature_under_other_signers_admits_nobody() -> None:
    signed = Signatures(TODAY, (GOOD,))
    for found, signers in (
        (signed, NO_TRUST),
        (signed, sha256(b"trusted tomorrow")),
        (Signatures(NO_TRUST, (GOOD,)), TODAY),
        (None, TODAY),
    ):
        assert _answer(found, signers) == (False, "EvidenceStale")
