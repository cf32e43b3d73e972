# SPDX-License-Identifier: Apache-2.0
"""Ledger entries: plausible ones, and strategies for all there can be."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from pedigree.digests import sha256
from pedigree.evidence import Match
from pedigree.ledger.entry import (
    EntryModel,
    EntryObject,
    EntryRequest,
    admission_entry,
    judgement_entry,
)
from pedigree.lineage.classes import Direction, LineageClass

NOW = datetime(2026, 11, 23, 4, 5, 6, 789_000, tzinfo=UTC)
POLICY = str(sha256(b"policy"))


def verdict(
    reason: str = "LineageDenied",
    action: str = "Deny",
    result: str = "Fail",
    **more: Any,
) -> dict[str, Any]:
    return {
        "result": result,
        "action": action,
        "reason": reason,
        "message": "model main descends from llama-b, which no-llama-b denies",
        "causes": [],
        "policies": [],
        "policyDigest": POLICY,
        "inputsDigest": str(sha256(reason.encode())),
    } | more


def model(
    name: str = "main", ancestor: str = "llama-b", digest: str = ""
) -> EntryModel:
    match = Match(
        ancestor, LineageClass.DERIVED, "Finetune", Direction.A_TO_B, -40, 900, "GAMMA"
    )
    return EntryModel(
        name, f"file:///models/{name}", digest or str(sha256(name.encode())), [match]
    )


def admission(
    number: int = 1,
    *,
    decision: str = "Deny",
    namespace: str = "team-a",
    name: str = "chat",
    user: str = "alice",
    now: datetime = NOW,
    models: list[EntryModel] | None = None,
    said: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return admission_entry(
        engine="0.1.0",
        now=now + timedelta(milliseconds=number),
        subject=EntryObject("ModelDeployment", namespace, name, ""),
        request=EntryRequest(f"request-{number}", "CREATE", user, ["team"]),
        decision=decision,
        basis="verdict",
        verdict=verdict(action=decision) if said is None else said,
        models=[model()] if models is None else models,
    )


def judgement(
    number: int = 1, *, namespace: str = "team-a", name: str = "chat", after: str = ""
) -> dict[str, Any]:
    return judgement_entry(
        engine="0.1.0",
        now=NOW + timedelta(seconds=number),
        subject=EntryObject("ModelDeployment", namespace, name, f"uid-{number}", 3),
        verdict=verdict("LineageVerified", "Allow", "Pass"),
        models=[model(ancestor="llama-a")],
        after=after,
    )


patient = settings(deadline=None)  # machines that run tests are busy
few = st.sampled_from(
    ["", "team-a", "team-b", "Ünïcode", "a'; DROP TABLE ledger", "\x00"]
)


@st.composite
def entries(draw: st.DrawFn, number: int = 1) -> dict[str, Any]:
    """An entry with few different values, so that filters find something."""
    ancestor = draw(st.sampled_from(["llama-a", "llama-b", "gpt2-a"]))
    shift = timedelta(seconds=draw(st.integers(0, 20)))
    models = [model(draw(st.sampled_from(["m", "n"])), ancestor)]
    if draw(st.booleans()):
        reason = draw(st.sampled_from(["LineageDenied", "LineageUnknown"]))
        action = draw(st.sampled_from(["Allow", "Warn", "Hold", "Deny"]))
        return admission(
            number,
            decision=action,
            namespace=draw(few),
            name=draw(few),
            user=draw(few),
            now=NOW + shift,
            models=draw(st.sampled_from([models, []])),
            said=draw(st.sampled_from([None, verdict(reason, action)])),
        )
    return judgement(number, namespace=draw(few), name=draw(few))


@st.composite
def many_entries(draw: st.DrawFn, most: int = 12) -> list[dict[str, Any]]:
    """Entries with keys of their own."""
    return [draw(entries(number)) for number in range(draw(st.integers(0, most)))]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
