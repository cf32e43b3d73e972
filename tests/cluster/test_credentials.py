# SPDX-License-Identifier: Apache-2.0
"""Secrets of tenants, on a real API server with the permissions that ship.

A Hub that demands a token; two teams whose Secrets the operator may read, one whose it
may not.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from artifact_world.hub import SimulatedHub, serve
from controlplane import ControlPlane
from controlplane.binaries import ensure
from operator_world.bench import MODELS, SYSTEM, Bench, condition, template
from stack.chart import render

CANARY = "hf_CanaryCanaryCanary0123456789"
WRONG = "hf_SomebodyElsesToken987654321"
OURS = "hf_OperatorsOwnToken5555555555"
URI = "hf://org/model@main"
ALLOWED = ("team-a", "team-b")
BASES = {"name": "bases", "allowedAncestors": {"references": ["llama-a"]}}

Json = dict[str, Any]


@pytest.fixture(scope="module")
def hub() -> Iterator[SimulatedHub]:
    hub = SimulatedHub()
    hub.token = CANARY
    folder = MODELS / "llama-a.sft"
    hub.commit(
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
    )
    with serve(hub):
        yield hub


@pytest.fixture(scope="module")
def bench(
    programs: dict[str, Path],
    hub: SimulatedHub,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bench]:
    with ControlPlane(programs=programs) as plane:
        bench = Bench(plane, tmp_path_factory.mktemp("credentials"))
        bench.prepare()
        for name in (*ALLOWED, "team-c"):
            bench.core.create_namespace({"metadata": {"name": name}})
        allow(bench)
        bench.start(
            HF_ENDPOINT=hub.endpoint,
            HF_TOKEN=OURS,
            PEDIGREE_PRIVATE_HOSTS=f"{hub.endpoint},http://localhost:{hub.port}",
            PEDIGREE_LOG_LEVEL="debug",
        )
        bench.reference("llama-a", bench.put_model("reference-llama-a", "llama-a"))
        for name in (*ALLOWED, "team-c"):
            bench.policy(name, name, BASES)
        try:
            yield bench
        finally:
            bench.stop()


def allow(bench: Bench) -> None:
    """The permissions that ship when an administrator names the namespaces."""
    values = {
        "image": {"repository": "example.invalid/pedigree"},
        "certificates": {"mode": "certManager"},
        "operator": {"credentials": {"namespaces": list(ALLOWED)}},
    }
    rendered = render(ensure(["helm"])["helm"], namespace=SYSTEM, values=values)
    items = [each for each in rendered if each["kind"] in ("Role", "RoleBinding")]
    assert len(items) == 2 * len(ALLOWED)
    listed = {"apiVersion": "v1", "kind": "List", "items": items}
    bench.plane.kubectl("apply", "-f", "-", input=json.dumps(listed))


def put_secret(bench: Bench, space: str, name: str, **values: str) -> None:
    bench.core.create_namespaced_secret(
        space, {"metadata": {"name": name}, "stringData": values}
    )


def deploy(bench: Bench, space: str, name: str, secret: str = "") -> None:
    source: Json = {"uri": URI}
    if secret:
        source["credentialsSecret"] = {"name": secret}
    spec = {"models": [{"name": "base", "source": source}], "workload": template()}
    bench.apply("modeldeployments", name, spec, space)


def refusal(bench: Bench, space: str, name: str) -> str:
    """The message of a model that its source refused."""
    obj = bench.verdict(space, name, "Error")
    assert obj["status"]["verdict"]["reason"] == "SourceRefused"
    assert "digest" not in obj["status"]["models"][0].get("resolved", {})
    return str(condition(obj, "ReferencesResolved")["message"])


def tokens(hub: SimulatedHub) -> set[str]:
    """Every token that the Hub was shown."""
    shown = {asked.headers.get("authorization", "") for asked in hub.asked}
    return {each.removeprefix("Bearer ") for each in shown} - {""}


@pytest.fixture(scope="module")
def passed(bench: Bench, hub: SimulatedHub) -> Json:
    """A model of team-a that was read with the Secret of team-a."""
    put_secret(bench, "team-a", "hub", HF_TOKEN=CANARY)
    hub.asked.clear()
    deploy(bench, "team-a", "chat", "hub")
    return bench.verdict("team-a", "chat", "Pass", ready="True")


def test_a_model_is_read_with_the_secret_of_its_namespace_and_no_other_token(
    bench: Bench, hub: SimulatedHub, passed: Json
) -> None:
    assert tokens(hub) == {CANARY}, "and the operator's own went nowhere"
    assert passed["status"]["models"][0]["credentialsSecret"] == "hub"
    digest = passed["status"]["models"][0]["resolved"]["digest"]
    (found,) = [it for it in bench.evidences() if it["spec"]["digest"] == digest]
    scopes = {seen.get("scope") for seen in found["status"]["resolutions"]}
    assert scopes == {"team-a/hub"}
    assert "confinedTo" not in found["spec"]


def test_what_team_a_may_read_team_b_must_read_itself(
    bench: Bench, hub: SimulatedHub, passed: Json
) -> None:
    put_secret(bench, "team-b", "hub", HF_TOKEN=WRONG)
    deploy(bench, "team-b", "bare")
    deploy(bench, "team-b", "wrong", "hub")
    hub.asked.clear()
    assert "org/model" in refusal(bench, "team-b", "bare")
    assert "org/model" in refusal(bench, "team-b", "wrong")
    assert tokens(hub) <= {OURS, WRONG}
    assert bench.apps.list_namespaced_deployment("team-b").items == []
    deploy(bench, "team-a", "bare")
    refusal(bench, "team-a", "bare")


def test_a_team_with_a_right_token_of_its_own_passes_too(
    bench: Bench, passed: Json
) -> None:
    put_secret(bench, "team-b", "right", HF_TOKEN=CANARY)
    deploy(bench, "team-b", "chat", "right")
    obj = bench.verdict("team-b", "chat", "Pass", ready="True")
    theirs = obj["status"]["models"][0]["resolved"]["digest"]
    assert theirs == passed["status"]["models"][0]["resolved"]["digest"]
    (found,) = [it for it in bench.evidences() if it["spec"]["digest"] == theirs]
    scopes = {seen.get("scope") for seen in found["status"]["resolutions"]}
    assert {"team-a/hub", "team-b/right"} <= scopes


def test_a_secret_outside_the_named_namespaces_is_not_read(bench: Bench) -> None:
    put_secret(bench, "team-c", "hub", HF_TOKEN=CANARY)
    deploy(bench, "team-c", "chat", "hub")
    said = refusal(bench, "team-c", "chat")
    assert "add team-c to operator.credentials.namespaces" in said


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("nothing", None, "team-a/nothing is not there"),
        ("odd", {"token": CANARY}, "known are HF_TOKEN, AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told(
    bench: Bench, name: str, values: dict[str, str] | None, said: str
) -> None:
    if values is not None:
        put_secret(bench, "team-a", name, **values)
    deploy(bench, "team-a", name, name)
    assert said in refusal(bench, "team-a", name)


def test_the_api_server_lets_the_operator_get_and_do_nothing_else(
    bench: Bench,
) -> None:
    account = f"system:serviceaccount:{SYSTEM}:pedigree-operator"

    api: Any = client.AuthorizationV1Api(bench.core.api_client)

    def may(verb: str, space: str) -> bool:
        attributes = {"verb": verb, "resource": "secrets", "namespace": space}
        review = {"spec": {"user": account, "resourceAttributes": attributes}}
        answer = api.create_subject_access_review(review)
        return bool(answer.status.allowed)

    assert may("get", "team-a")
    for verb in ("list", "watch", "create", "update", "patch", "delete"):
        assert not may(verb, "team-a"), verb
    for space in ("team-c", SYSTEM, "default", ""):
        assert not may("get", space), space


def test_no_output_shows_a_credential(bench: Bench, passed: Json) -> None:
    """Last, when all of the above has been said and logged."""
    bench.settle()
    outputs = {
        "log": bench.log(),
        "metrics": bench.get("/metrics")[1],
        "evidence": json.dumps(bench.evidences()),
    }
    for plural in ("modeldeployments", "referencemodels"):
        listed = bench.objects.list_cluster_custom_object(
            "pedigree.dev", "v1alpha1", plural
        )
        outputs[plural] = json.dumps(listed)
    events = bench.core.list_event_for_all_namespaces().items
    outputs["events"] = json.dumps([event.to_dict() for event in events], default=str)
    for path in bench.data.rglob("*"):
        if path.is_file():
            outputs[str(path)] = path.read_bytes().decode("latin-1")
    assert "team-a/hub" in outputs["evidence"], "else nothing was looked at"
    for name, text in outputs.items():
        for secret in (CANARY, WRONG, OURS):
            assert secret not in text, f"{secret} is in {name}"
