# SPDX-License-Identifier: Apache-2.0
"""Chat templates of references: kept in their status, and compared with models'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from operator_world.worlds import (
    DIGEST,
    NOW,
    REFERENCES,
    URI,
    World,
    deployment,
    evidence,
    located,
    patched,
)
from operator_world.worlds import policy as a_policy
from pedigree.digests import sha256
from pedigree.evidence import Claim, Evidence
from pedigree.evidence.chat_templates import CHAT_TEMPLATE, MORE
from pedigree.policy.verdict import Action, Reason
from pedigree_operator.index import Index
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lookups import UNSEEN
from pedigree_operator.references import ReferencePlan, reconcile_reference

Json = dict[str, Any]
OWN = str(sha256(b"template of the base"))
TOOLS = str(sha256(b"its template for tools"))
SWAPPED = str(sha256(b"template with an order in it"))
KEY = Key(Kind.REFERENCE_MODEL, "", "llama")


def _with(*values: str, **more: Any) -> Evidence:
    claims = tuple(Claim(CHAT_TEMPLATE, value, "a.jinja") for value in values)
    return replace(evidence(**more), claims=claims)


def _reference(status: Json) -> Json:
    return {
        "metadata": {"name": "llama", "generation": 1},
        "spec": {"source": {"uri": URI}},
        "status": status,
    }


def _plan(obj: Json, found: Evidence | None) -> ReferencePlan:
    return reconcile_reference(
        obj,
        lookup=lambda access: UNSEEN if obj["status"] else located(),
        evidence=lambda digest, namespace: found if not namespace else None,
        content={("", URI, "stat:1"): DIGEST},
        is_stored=lambda digest: True,
        now=NOW,
    )


def _read(found: Evidence) -> Json:
    return _plan(_reference({}), found).status


def test_the_templates_of_a_reference_stand_in_its_status() -> None:
    assert _read(_with(TOOLS, OWN))["chatTemplates"] == sorted([OWN, TOOLS])
    assert _read(_with())["chatTemplates"] == []


def test_templates_that_are_not_all_known_are_not_told() -> None:
    for found in (_with(OWN, MORE), _with(MORE)):
        assert "chatTemplates" not in _read(found)


def test_a_status_of_before_gets_them_from_evidence_and_is_not_read_again() -> None:
    status = _read(_with(OWN))
    del status["chatTemplates"]
    before = _reference(status)
    told = _plan(before, _with(OWN))
    assert told == ReferencePlan(status={"chatTemplates": [OWN]})
    after = _reference({**status, **told.status})
    assert _plan(after, _with(OWN)) == ReferencePlan()
    assert _plan(before, None) == ReferencePlan()
    assert _plan(before, _with(MORE)) == ReferencePlan()


def test_templates_of_another_reading_replace_those_of_before() -> None:
    obj = _reference(_read(_with(OWN)))
    obj["metadata"]["generation"] = 2
    again = reconcile_reference(
        obj,
        lookup=lambda access: located(),
        evidence=lambda digest, namespace: _with(MORE),
        content={("", URI, "stat:1"): DIGEST},
        is_stored=lambda digest: True,
        now=NOW,
    )
    assert again.status["chatTemplates"] is None, "it is taken out"


def test_a_change_of_its_templates_alone_judges_models_again() -> None:
    index = Index()
    status = _read(_with(OWN))
    assert index.update(KEY, None, _reference(status))
    assert index.references["llama"].chat_templates == (OWN,)
    registry = index.registry
    assert not index.update(KEY, _reference(status), _reference(dict(status)))
    changed = {**status, "chatTemplates": [TOOLS]}
    assert index.update(KEY, _reference(status), _reference(changed))
    assert index.registry == registry, "nothing is compared again"


def _world(*templates: str, base: tuple[str, ...] | None = (OWN,)) -> World:
    rule = {"name": "template", "chatTemplate": {"differsFromAncestor": "Deny"}}
    references = {"llama": replace(REFERENCES["llama"], chat_templates=base)}
    found = _with(*templates, references=references)
    return World(policies=(a_policy(rule),), references=references, evidence=(found,))


def test_copied_weights_with_a_swapped_template_are_denied() -> None:
    obj = deployment()
    plan = _world(SWAPPED).plan(obj)
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.TEMPLATE_DIFFERS
    assert plan.verdict.action is Action.DENY
    told = patched(obj, plan)["status"]["verdict"]
    assert told["reason"] == "TemplateDiffers"
    assert SWAPPED in told["message"]
    assert OWN in told["message"]
    honest = _world(OWN).plan(deployment()).verdict
    assert honest is not None
    assert honest.action is Action.ALLOW
    unread = _world(OWN, base=None).plan(deployment()).verdict
    assert unread is not None
    assert unread.reason is Reason.LINEAGE_INCONCLUSIVE
