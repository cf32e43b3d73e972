# SPDX-License-Identifier: Apache-2.0
"""The webhook answers an object with what its own access led to, and nothing else."""

from typing import Any

import pytest

from pedigree.policy.facts import FactState
from pedigree.policy.subject import subject_from_model_deployment
from pedigree_webhook.facts import facts_for
from pedigree_webhook.store import Store, StoreKind
from webhook_world import evidence, model_deployment, uri

EARLY, LATE = "2026-11-23T10:00:00.000Z", "2026-11-23T11:00:00.000Z"
Object = dict[str, Any]


def scoped(
    scope: str, *, content: str = "m", confined_to: str = "", at: str = EARLY
) -> Object:
    """Evidence of model ``m`` as one scope resolved it."""
    obj = evidence("m", content=content, resolved_at=at)
    if scope:
        obj["status"]["resolutions"][0]["scope"] = scope
    if confined_to:
        obj["spec"]["confinedTo"] = confined_to
        obj["metadata"]["name"] += f".{confined_to}"
    return obj


def store_with(*objects: Object, one_by_one: bool = False) -> Store:
    store = Store(lambda: 0.0)
    store.replace(StoreKind.EVIDENCE, () if one_by_one else objects)
    for obj in objects if one_by_one else ():
        store.put(StoreKind.EVIDENCE, obj)
    return store


def known(store: Store, scope: str) -> str:
    """Name of the object that answers, and what it is confined to."""
    found = store.snapshot.evidence.get(uri("m"), scope)
    if found is None or found.evidence is None:
        return ""
    return found.evidence.object_name


@pytest.mark.parametrize("one_by_one", [False, True])
def test_evidence_answers_for_the_scope_that_it_was_resolved_in(
    one_by_one: bool,
) -> None:
    everybody, ours = scoped(""), scoped("team-a/hub", content="private", at=LATE)
    store = store_with(everybody, ours, one_by_one=one_by_one)
    assert known(store, "") == everybody["metadata"]["name"]
    assert known(store, "team-a/hub") == ours["metadata"]["name"]
    for other in ("team-a", "team-a/mine", "team-b/hub", "hub"):
        assert known(store, other) == ""


def object_of(namespace: str, secret: str = "") -> Object:
    obj = model_deployment("m", namespace=namespace)
    if secret:
        obj["spec"]["models"][0]["source"]["credentialsSecret"] = {"name": secret}
    return obj


@pytest.mark.parametrize(
    ("namespace", "secret", "state"),
    [
        ("team-a", "hub", FactState.KNOWN),
        ("team-a", "", FactState.PENDING),
        ("team-a", "mine", FactState.PENDING),
        ("team-b", "hub", FactState.PENDING),
        ("team-b", "", FactState.PENDING),
    ],
)
def test_an_object_is_answered_by_its_own_namespace_and_secret(
    namespace: str, secret: str, state: FactState
) -> None:
    store = store_with(scoped("team-a/hub"))
    subject = subject_from_model_deployment(object_of(namespace, secret), {})
    (facts,) = facts_for(subject, store.snapshot.evidence).values()
    assert facts.state is state


@pytest.mark.parametrize("one_by_one", [False, True])
def test_confined_evidence_answers_in_its_namespace_until_better_is_known(
    one_by_one: bool,
) -> None:
    narrow = scoped("team-a", confined_to="team-a", at=LATE)
    store = store_with(narrow, one_by_one=one_by_one)
    assert known(store, "team-a") == narrow["metadata"]["name"]
    assert known(store, "") == ""
    wide = scoped("team-b/hub")
    store.put(StoreKind.EVIDENCE, wide)
    assert known(store, "team-a") == wide["metadata"]["name"]
    store.remove(StoreKind.EVIDENCE, wide)
    assert known(store, "team-a") == narrow["metadata"]["name"]


def test_better_evidence_is_found_when_everything_is_listed_at_once() -> None:
    narrow, wide = scoped("team-a", confined_to="team-a"), scoped("")
    for objects in ((narrow, wide), (wide, narrow)):
        assert known(store_with(*objects), "team-a") == wide["metadata"]["name"]


@pytest.mark.parametrize("scope", ["", "team-b", "team-b/hub", "team-a-2", "x/team-a"])
def test_confined_evidence_never_answers_for_others_whatever_it_says(
    scope: str,
) -> None:
    assert known(store_with(scoped(scope, confined_to="team-a")), scope) == ""


def test_a_scope_that_is_no_text_answers_nobody() -> None:
    obj = scoped("")
    obj["status"]["resolutions"][0]["scope"] = ["team-a"]
    store = store_with(obj)
    assert known(store, "") == known(store, "team-a") == ""
    assert len(store.snapshot.evidence) == 0
