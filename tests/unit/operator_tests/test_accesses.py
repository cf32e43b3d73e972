# SPDX-License-Identifier: Apache-2.0
"""What is learnt with one access answers for no other."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from operator_world.worlds import (
    DIGEST,
    IDENTITY,
    NOW,
    URI,
    World,
    deployment,
    evidence,
    located,
    patched,
)
from pedigree.digests import Digest
from pedigree.errors import PedigreeError, SourceRefused
from pedigree.evidence import Evidence, Resolution, to_object
from pedigree.policy.subject import scope_of, subject_from_model_deployment
from pedigree.policy.verdict import Reason, Result
from pedigree_operator.access import Access, access_by, access_of, sources_in
from pedigree_operator.index import Index
from pedigree_operator.jobs import Examined
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lookups import CREDENTIALED_RETRY, Located, Lookups
from pedigree_operator.plan import Examine, Resolve
from pedigree_operator.references import reconcile_reference

AT = "2026-11-23T11:00:00Z"
Json = dict[str, Any]


def source(uri: str = URI, secret: str = "") -> Json:
    return {"uri": uri, **({"credentialsSecret": {"name": secret}} if secret else {})}


def naming(uri: str = URI, secret: str = "", namespace: str = "team") -> Json:
    obj = deployment(models=[{"name": "base", "source": source(uri, secret)}])
    obj["metadata"]["namespace"] = namespace
    return obj


def resolved(scope: str, *, confined_to: str = "", digest: Digest = DIGEST) -> Evidence:
    """Evidence that one scope resolved to."""
    seen = Resolution(URI, URI, IDENTITY, AT, scope)
    return replace(evidence(digest), resolutions=(seen,), confined_to=confined_to)


def indexed(*found: Evidence) -> Index:
    index = Index()
    for one in found:
        key = Key(Kind.MODEL_EVIDENCE, "", one.object_name)
        index.update(key, None, to_object(one))
    return index


@pytest.mark.parametrize(
    ("uri", "secret", "expected"),
    [
        ("hf://org/model", "", Access("hf://org/model")),
        ("hf://org/model", "hub", Access("hf://org/model", "team", "hub")),
        ("pvc://claim/path", "", Access("pvc://claim/path", "team")),
        ("oci://r.example/m:v1", "", Access("oci://r.example/m:v1", "team")),
        ("file:///models/pvc", "", Access("file:///models/pvc")),
    ],
)
def test_a_namespace_counts_where_a_secret_or_a_claim_is_involved(
    uri: str, secret: str, expected: Access
) -> None:
    model = subject_from_model_deployment(naming(uri, secret), {}).models[0]
    access = access_of(model, "team")
    assert access == expected
    assert access.scope == scope_of(uri, "team", secret)
    assert access_by(uri, access.scope) == access
    assert sources_in(naming(uri, secret)) == {access}


@pytest.mark.parametrize("given", ["hub", {}, {"name": ""}, {"name": "../x"}, 7, []])
def test_a_secret_that_cannot_be_named_is_a_problem_and_not_ignored(given: Any) -> None:
    models = [{"name": "base", "source": {"uri": URI, "credentialsSecret": given}}]
    model = subject_from_model_deployment(deployment(models=models), {}).models[0]
    assert "credentialsSecret" in model.problem
    assert model.ref is None


def test_what_a_secret_led_to_does_not_answer_who_names_none_or_another() -> None:
    state = {f"{URI} with team/hub": located()}
    world = World(evidence=(resolved("team/hub"),), states=state)
    plan = world.plan(naming(secret="hub"))
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PASS
    for other in (
        naming(),
        naming(secret="hub", namespace="other"),
        naming(secret="mine"),
    ):
        plan = world.plan(other)
        assert plan.verdict is not None
        assert plan.verdict.reason is Reason.EVIDENCE_PENDING
        (access,) = sources_in(other)
        assert plan.lookups == (Resolve(access),)


def test_equal_identities_do_not_make_evidence_of_another_scope_mine() -> None:
    """Who names an endpoint in a Secret can have it state any identity."""
    forged = {f"{URI} with other/hub": located(), URI: located()}
    world = World(evidence=(resolved("team/hub"),), states=forged)
    for obj in (naming(secret="hub", namespace="other"), naming()):
        (access,) = sources_in(obj)
        assert world.plan(obj).lookups == (Examine(access),)


def test_a_status_that_another_secret_led_to_is_not_believed() -> None:
    state = {f"{URI} with team/hub": located()}
    world = World(evidence=(resolved("team/hub"),), states=state)
    obj = naming(secret="hub")
    told = patched(obj, world.plan(obj))
    assert told["status"]["models"][0]["credentialsSecret"] == "hub"
    for secret in ("", "mine"):
        models = [{"name": "base", "source": source(URI, secret)}]
        changed = {**told, "spec": {"models": models}}
        changed["metadata"] = {**told["metadata"], "generation": 2}
        plan = world.plan(changed)
        assert plan.verdict is not None
        assert plan.verdict.reason is Reason.EVIDENCE_PENDING
        assert plan.lookups == tuple(Resolve(one) for one in sources_in(changed))


def test_a_reference_model_names_no_secret() -> None:
    obj = {
        "metadata": {"name": "llama", "generation": 1},
        "spec": {"source": source(URI, "hub")},
    }
    plan = reconcile_reference(
        obj,
        lookup=lambda access: located(),
        evidence=lambda digest, namespace: None,
        content={},
        is_stored=lambda digest: False,
        now=NOW,
    )
    assert plan.lookup is None
    assert "only a namespace has" in plan.status["conditions"][0]["message"]


def test_confined_evidence_is_found_in_its_namespace_only() -> None:
    index = indexed(resolved("team", confined_to="team"))
    assert index.find(DIGEST, "team") is not None
    assert index.find(DIGEST, "other") is None
    assert index.find(DIGEST, "") is None


def test_evidence_that_counts_everywhere_goes_first_and_both_are_kept() -> None:
    wide, narrow = resolved(""), resolved("team", confined_to="team")
    for order in ((wide, narrow), (narrow, wide)):
        index = indexed(*order)
        assert index.find(DIGEST, "team") == wide
        assert index.evidence_named(wide.object_name) == wide
        assert index.evidence_named(narrow.object_name) == narrow
        index.update(
            Key(Kind.MODEL_EVIDENCE, "", wide.object_name), to_object(wide), None
        )
        assert index.find(DIGEST, "team") == narrow
        assert index.find(DIGEST, "") is None


def test_confined_evidence_tells_nothing_about_references_of_others() -> None:
    """Only the operator writes evidence; this is the second lock."""
    seen = tuple(
        Resolution(URI, URI, IDENTITY, AT, scope)
        for scope in ("", "other", "other/team", "team", "team/hub")
    )
    forged = replace(resolved("", confined_to="team"), resolutions=seen)
    assert {scope for scope, _, _ in indexed(forged).content} == {"team", "team/hub"}


def test_a_change_of_evidence_concerns_those_whose_access_led_to_it() -> None:
    index = Index()
    objects = {
        "mine": naming(secret="hub"),
        "open": naming(),
        "theirs": naming(secret="hub", namespace="other"),
    }
    keys = {}
    for name, obj in objects.items():
        namespace = obj["metadata"]["namespace"]
        keys[name] = Key(Kind.MODEL_DEPLOYMENT, namespace, name)
        index.update(keys[name], None, obj)
    assert index.users(resolved("team/hub")) == {keys["mine"]}
    assert index.users(resolved("")) == {keys["open"]}
    assert index.accesses() == {
        Access(URI),
        Access(URI, "team", "hub"),
        Access(URI, "other", "hub"),
    }


def test_confined_evidence_wakes_nobody_outside_its_namespace() -> None:
    index = Index()
    row = {"name": "base", "requested": URI, "resolved": {"digest": str(DIGEST)}}
    for namespace in ("team", "other"):
        obj = {**naming(namespace=namespace), "status": {"models": [row]}}
        index.update(Key(Kind.MODEL_DEPLOYMENT, namespace, "x"), None, obj)
    users = index.users(resolved("team", confined_to="team"))
    assert users == {Key(Kind.MODEL_DEPLOYMENT, "team", "x")}
    assert len(index.users(resolved(""))) == 2


class Source:
    """Counts what is asked with which access."""

    def __init__(self) -> None:
        self.asked: list[Access] = []
        self.examined: list[Access] = []
        self.error: Exception | None = None
        self.lookups = Lookups(
            resolve=self.resolve,
            examine=self.examine,
            now=lambda: NOW,
            wake=lambda key: None,
            concurrency=4,
        )

    async def resolve(self, access: Access) -> Located:
        self.asked.append(access)
        if self.error is not None:
            raise self.error
        return Located(URI, IDENTITY, NOW)

    async def examine(self, access: Access) -> Examined:
        self.examined.append(access)
        await asyncio.sleep(0)
        return Examined(resolved(access.scope), 1, 0.1)

    def run(self, *steps: tuple[str, Access]) -> None:
        async def work() -> None:
            for number in range(0, len(steps), 2):
                for what, access in steps[number : number + 2]:
                    key = Key(Kind.MODEL_DEPLOYMENT, access.namespace, "x")
                    getattr(self.lookups, what)(access, key)
                for _ in range(10):
                    await asyncio.sleep(0)
            await self.lookups.stop()

        asyncio.run(work())


def test_one_reference_with_two_accesses_is_asked_for_and_read_twice() -> None:
    world = Source()
    ours, theirs = Access(URI, "team", "hub"), Access(URI, "other", "hub")
    world.run(
        ("resolve", ours), ("resolve", theirs), ("examine", ours), ("examine", theirs)
    )
    assert world.asked == [ours, theirs]
    assert world.examined == [ours, theirs], "the same identity joins nothing"
    assert world.lookups.state(Access(URI)).located is None


def test_a_refusal_of_one_access_is_not_a_refusal_of_another() -> None:
    world = Source()
    ours = Access(URI, "team", "hub")
    world.error = SourceRefused("no")
    world.run(("resolve", ours))
    failure = world.lookups.state(ours).failure
    assert failure is not None
    assert failure.retry_at == NOW + CREDENTIALED_RETRY, "the Secret may be mended"
    assert world.lookups.state(Access(URI)).failure is None
    world.run(("resolve", Access(URI)))
    plain = world.lookups.state(Access(URI)).failure
    assert plain is not None
    assert plain.retry_at == NOW + timedelta(hours=1)


def test_failures_that_pass_are_not_put_off_for_a_secret() -> None:
    world = Source()
    world.error = PedigreeError("for now")
    world.run(("resolve", Access(URI, "team", "hub")))
    failure = world.lookups.state(Access(URI, "team", "hub")).failure
    assert failure is not None
    assert failure.retry_at == NOW + timedelta(seconds=5)


def test_accesses_that_nobody_has_any_more_are_forgotten() -> None:
    world = Source()
    ours = Access(URI, "team", "hub")
    world.run(("resolve", ours), ("resolve", Access(URI)))
    world.lookups.keep_only({Access(URI)})
    assert world.lookups.state(ours).located is None
    assert world.lookups.state(Access(URI)).located is not None


def test_confined_evidence_is_judged_in_its_namespace() -> None:
    claim = "pvc://models/chat"
    seen = Resolution(claim, claim, "claim:1", AT, "team")
    found = replace(evidence(), resolutions=(seen,), confined_to="team")
    state = {f"{claim} with team": located("claim:1")}
    plan = World(evidence=(found,), states=state).plan(naming(claim))
    assert plan.verdict is not None
    assert plan.verdict.result is Result.PASS
    state = {f"{claim} with other": located("claim:1")}
    plan = World(evidence=(found,), states=state).plan(naming(claim, "", "other"))
    assert plan.verdict is not None
    assert plan.verdict.reason is Reason.EVIDENCE_PENDING
