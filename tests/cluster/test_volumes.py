# SPDX-License-Identifier: Apache-2.0
"""Volume claims on a real API server; the test plays the kubelet of the Job's Pod.

There is no node, so no Pod ever starts by itself.  What a kubelet would do is done
here: the Job's command is read from the API server and run as a process, with a token
of the Job's own account and a folder in place of the mounted claim.
"""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from controlplane import ControlPlane
from controlplane.binaries import ensure
from operator_world.bench import (
    SYSTEM,
    Bench,
    condition,
    model,
    template,
)
from stack import chart

Json = dict[str, Any]
TEAMS = ("team-a", "team-b", "team-c", "team-d", "team-e", "team-f", "team-g", "team-h")
BASES = {"name": "bases", "allowedAncestors": {"references": ["llama-a"]}}
OTHERS = ("outside",)
MOUNT_S = 12.0
RUN_S = 60.0


@pytest.fixture(scope="module")
def bench(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("volumes")
    with ControlPlane(programs=programs, nodes={}) as plane:
        bench = Bench(plane, folder)
        bench.prepare()
        for team in TEAMS:
            strict = {"pod-security.kubernetes.io/enforce": "restricted"}
            bench.core.create_namespace({"metadata": {"name": team, "labels": strict}})
        shipped = chart.render(
            ensure(["helm"])["helm"],
            namespace=SYSTEM,
            values={
                "image": {"repository": "example.invalid/pedigree"},
                "certificates": {"mode": "certManager"},
                "volumes": {"enabled": True, "namespaces": list(TEAMS)},
            },
        )
        ours = [
            each
            for each in shipped
            if each["metadata"]["name"] == "pedigree-operator-volumes"
        ]
        plane.apply(*ours)
        start(bench)
        bench.reference("llama-a", bench.put_model("reference-llama-a", "llama-a"))
        for place in (*TEAMS, *OTHERS):
            bench.policy(place, place, BASES)
        try:
            yield bench
        finally:
            bench.stop()


def start(bench: Bench) -> None:
    bench.start(
        PEDIGREE_VOLUME_NAMESPACES=",".join(TEAMS),
        PEDIGREE_VOLUME_IMAGE="example.invalid/pedigree:1",
        PEDIGREE_VOLUME_MOUNT_S=str(MOUNT_S),
    )


class Kubelet:
    """Runs the one Pod of a namespace's one Job.

    Args:
        bench: The cluster.
        team: The namespace.
        claim: The folder that stands for the content of its claim.
    """

    def __init__(self, bench: Bench, team: str, claim: Path) -> None:
        self.bench, self.team, self.claim = bench, team, claim
        self.jobs: Any = client.BatchV1Api(bench._api)
        self.account = claim.parent / f"{team}-account"

    def job(self) -> Any:
        (found,) = self.jobs.list_namespaced_job(self.team).items
        return found

    def pod(self) -> Any:
        """The Job's Pod, once there is one: the Job is made suspended."""
        found: Any = self.bench.until(
            self.pods, lambda pods: len(pods) == 1, f"the Job in {self.team} has a Pod"
        )
        return found[0]

    def pods(self) -> list[Any]:
        """Pods of the Jobs there are now; that of an old one may still be going."""
        jobs = self.jobs.list_namespaced_job(self.team).items
        uids = {job.metadata.uid for job in jobs if not job.metadata.deletion_timestamp}
        return [
            pod
            for pod in self.bench.core.list_namespaced_pod(self.team).items
            if pod.metadata.owner_references[0].uid in uids
        ]

    def token(self, account: str) -> str:
        """A token of the Pod's own account."""
        body = client.AuthenticationV1TokenRequest(
            spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600)
        )
        made = self.bench.core.create_namespaced_service_account_token(
            account, self.team, body
        )
        return str(made.status.token)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Do what the Pod says, and tell the API server how it ended."""
        pod = self.pod()
        self.tell(pod, phase="Running")
        (container,) = pod.spec.containers
        self.account.mkdir(exist_ok=True)
        (self.account / "token").write_text(self.token(pod.spec.service_account_name))
        (self.account / "ca.crt").write_bytes(self.bench.plane.ca_pem)
        mounts = {mount.name: mount.mount_path for mount in container.volume_mounts}
        host, port = re.fullmatch(r"https://(.*):(\d+)", self.bench.plane.url).groups()  # type: ignore[union-attr]
        given = {item.name: item.value or "" for item in container.env}
        assert given["PEDIGREE_ACCOUNT_DIR"] == mounts["account"]
        environment = {
            **given,
            "PEDIGREE_ACCOUNT_DIR": str(self.account),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "OPENBLAS_NUM_THREADS": "1",
        }
        command = [self.word(word, mounts["models"]) for word in container.command]
        ended = subprocess.run(
            command,
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        last = {
            "exitCode": ended.returncode,
            "reason": "Completed" if ended.returncode == 0 else "Error",
            "message": ended.stderr[-2000:],
        }
        status = {
            "name": container.name,
            "image": container.image,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": last},
        }
        phase = "Succeeded" if ended.returncode == 0 else "Failed"
        self.tell(pod, phase=phase, containerStatuses=[status])
        return ended

    def word(self, word: str, mount: str) -> str:
        """A word of the command, with the folder where the mount would be."""
        plain = word.replace("$$", "$")
        if plain == mount:
            return str(self.claim)
        return plain.replace(f"file://{mount}", f"file://{self.claim}", 1)

    def tell(self, pod: Any, **status: Any) -> None:
        self.bench.core.patch_namespaced_pod_status(
            pod.metadata.name, self.team, {"status": status}
        )


def put_claim(bench: Bench, team: str, example: str = "") -> Path:
    """A claim, and the folder that stands for its content."""
    claim = {
        "metadata": {"name": "weights"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    bench.core.create_namespaced_persistent_volume_claim(team, claim)
    if example:
        bench.put_model(f"{team}-claim/llama", example)
    folder = bench.models / f"{team}-claim"
    folder.mkdir(exist_ok=True)
    return folder


def deploy(bench: Bench, team: str, uri: str, **more: Any) -> Json:
    return bench.apply("modeldeployments", "llama", {**model(uri), **more}, team)


def asked(kubelet: Kubelet, method: str, path: str, body: Json | None = None) -> int:
    """HTTP status of what the Job's own token is used for."""
    settings = client.Configuration()
    settings.host = kubelet.bench.plane.url
    settings.ssl_ca_cert = str(kubelet.account / "ca.crt")
    token = (kubelet.account / "token").read_text()
    with client.ApiClient(settings) as api:
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/merge-patch+json"
            if method == "PATCH"
            else "application/json",
        }
        response = api.rest_client.request(
            method, f"{settings.host}{path}", headers=headers, body=body
        )
        return int(response.status)


def test_a_model_on_a_claim_is_read_in_its_namespace_and_gets_its_verdict(
    bench: Bench,
) -> None:
    team = "team-a"
    kubelet = Kubelet(bench, team, put_claim(bench, team, "llama-a.sft"))
    deploy(bench, team, "pvc://weights/llama", workload=template())
    ended = kubelet.run()
    assert ended.returncode == 0, ended.stderr
    obj = bench.verdict(team, "llama", "Pass")
    (found,) = obj["status"]["models"]
    assert found["lineage"]["ancestor"] == "llama-a"
    digest = found["resolved"]["digest"]
    (evidence,) = [e for e in bench.evidences() if e["spec"]["digest"] == digest]
    hexadecimal = digest.removeprefix("sha256:")
    assert evidence["metadata"]["name"] == f"sha256-{hexadecimal}.{team}"
    assert evidence["spec"]["confinedTo"] == team
    (seen,) = evidence["status"]["resolutions"]
    assert (seen["uri"], seen["scope"]) == ("pvc://weights/llama", team)
    store = bench.data / "store"
    assert (
        store / f"namespaces/{team}/fingerprints/{hexadecimal}.safetensors"
    ).exists()
    assert not (store / f"fingerprints/{hexadecimal}.safetensors").exists()
    bench.settle()
    assert len(kubelet.jobs.list_namespaced_job(team).items) == 1
    check_what_the_account_may(kubelet)


def check_what_the_account_may(kubelet: Kubelet) -> None:
    """The Job's token patches its own ConfigMaps, once, and does nothing else."""
    team, core = kubelet.team, kubelet.bench.core
    name = kubelet.job().metadata.annotations["pedigree.dev/answer"]
    maps = f"/api/v1/namespaces/{team}/configmaps"
    held = core.read_namespaced_config_map(name, team)
    assert held.immutable is True
    sealed = {"binaryData": {"answer.json": base64.b64encode(b"{}").decode()}}
    assert asked(kubelet, "GET", f"{maps}/{name}") == 200
    assert asked(kubelet, "PATCH", f"{maps}/{name}", sealed) == 422
    assert asked(kubelet, "PATCH", f"{maps}/{name}-8", {"binaryData": {}}) == 200
    core.create_namespaced_config_map(team, {"metadata": {"name": "theirs"}})
    refused = [
        ("GET", f"{maps}/theirs"),
        ("PATCH", f"{maps}/theirs"),
        ("GET", maps),
        ("DELETE", f"{maps}/{name}"),
        ("GET", f"/api/v1/namespaces/{team}/secrets"),
        ("GET", f"/api/v1/namespaces/{team}/pods"),
        ("GET", f"/apis/batch/v1/namespaces/{team}/jobs"),
        ("GET", "/api/v1/namespaces/team-b/configmaps/kube-root-ca.crt"),
        ("GET", "/apis/pedigree.dev/v1alpha1/modelevidences"),
    ]
    for method, path in refused:
        body: Json | None = {} if method == "PATCH" else None
        assert asked(kubelet, method, path, body) == 403, (method, path)
    made = {"metadata": {"name": "new"}, "data": {}}
    assert asked(kubelet, "POST", maps, made) == 403


def test_a_folder_that_is_not_on_the_claim_is_refused_in_the_examinations_words(
    bench: Bench,
) -> None:
    team = "team-b"
    kubelet = Kubelet(bench, team, put_claim(bench, team))
    deploy(bench, team, "pvc://weights/nothing")
    assert kubelet.run().returncode == 3
    obj = bench.verdict(team, "llama", "Error")
    assert obj["status"]["verdict"]["reason"] == "SourceRefused"
    assert condition(obj, "ReferencesResolved")["reason"] == "NotFound"


def test_a_claim_that_cannot_be_mounted_says_what_the_cluster_says(
    bench: Bench,
) -> None:
    team = "team-c"
    put_claim(bench, team)
    deploy(bench, team, "pvc://weights/llama")
    obj = bench.verdict(team, "llama", "Error")
    message = condition(obj, "ReferencesResolved")["message"]
    assert f"was not mounted within {MOUNT_S:g} s" in message
    assert "no nodes available to schedule pods" in message
    bench.until(
        lambda: bench.core.list_namespaced_config_map(team).items,
        lambda items: [it.metadata.name for it in items] == ["kube-root-ca.crt"],
        "what belonged to the Job went with it",
    )


def test_a_restart_finds_the_job_and_goes_on_with_it(bench: Bench) -> None:
    team = "team-d"
    kubelet = Kubelet(bench, team, put_claim(bench, team, "llama-a.sft"))
    deploy(bench, team, "pvc://weights/llama")
    pod = kubelet.pod()
    kubelet.tell(pod, phase="Running")
    before = kubelet.job().metadata.uid
    bench.kill()
    assert kubelet.run().returncode == 0
    start(bench)
    bench.verdict(team, "llama", "Pass")
    assert kubelet.job().metadata.uid == before


def test_content_that_has_changed_is_drift_and_judged_again(bench: Bench) -> None:
    team = "team-h"
    kubelet = Kubelet(bench, team, put_claim(bench, team, "llama-a.sft"))
    deploy(bench, team, "pvc://weights/llama")
    assert kubelet.run().returncode == 0
    row = bench.verdict(team, "llama", "Pass")["status"]["models"][0]
    bench.put_model(f"{team}-claim/llama", "gpt2-a.sft")
    bench.stop()
    # The Job's time to live ends, and so does that of what was learnt from it.
    job = kubelet.job().metadata.name
    kubelet.jobs.delete_namespaced_job(job, team, propagation_policy="Background")
    old = {**row, "resolved": {**row["resolved"], "resolvedAt": "2020-01-01T00:00:00Z"}}
    bench.objects.patch_namespaced_custom_object_status(
        "pedigree.dev",
        "v1alpha1",
        team,
        "modeldeployments",
        "llama",
        {"status": {"models": [old]}},
    )
    start(bench)
    assert kubelet.run().returncode == 0
    obj = bench.verdict(team, "llama", "Unknown")
    now = obj["status"]["models"][0]["resolved"]
    assert now["digest"] != row["resolved"]["digest"]
    assert [reason for reason, _ in bench.events(team, "llama")].count("Drifted") == 1


def test_rubbish_in_the_answer_is_refused(bench: Bench) -> None:
    team = "team-e"
    put_claim(bench, team)
    deploy(bench, team, "pvc://weights/llama")
    kubelet = Kubelet(bench, team, bench.models)
    kubelet.tell(kubelet.pod(), phase="Running")
    name = kubelet.job().metadata.annotations["pedigree.dev/answer"]
    forged = base64.b64encode(json.dumps({"schema": "mine"}).encode()).decode()
    patch = {"binaryData": {"answer.json": forged}, "immutable": True}
    bench.core.patch_namespaced_config_map(name, team, patch)
    obj = bench.verdict(team, "llama", "Error")
    assert condition(obj, "ReferencesResolved")["reason"] == "SourceRefused"
    assert "'mine'" in condition(obj, "ReferencesResolved")["message"]


def test_a_crash_is_told_with_its_last_words(bench: Bench) -> None:
    team = "team-f"
    put_claim(bench, team)
    deploy(bench, team, "pvc://weights/llama")
    kubelet = Kubelet(bench, team, bench.models)
    pod = kubelet.pod()
    last = {"exitCode": 137, "reason": "OOMKilled", "message": "the last words"}
    (container,) = pod.spec.containers
    status = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": last},
    }
    kubelet.tell(pod, phase="Failed", containerStatuses=[status])
    obj = bench.verdict(team, "llama", "Error")
    assert "the last words" in condition(obj, "ReferencesResolved")["message"]


def test_claims_of_other_namespaces_are_not_read(bench: Bench) -> None:
    bench.core.create_namespace({"metadata": {"name": "outside"}})
    put_claim(bench, "outside")
    deploy(bench, "outside", "pvc://weights/llama")
    obj = bench.verdict("outside", "llama", "Error")
    assert "volumes.namespaces" in condition(obj, "ReferencesResolved")["message"]
    jobs: Any = client.BatchV1Api(bench._api)
    assert not jobs.list_namespaced_job("outside").items


def test_what_was_found_in_one_namespace_says_nothing_in_another(
    bench: Bench,
) -> None:
    deploy(bench, "team-g", "pvc://weights/llama")
    obj = bench.verdict("team-g", "llama", "Error")
    assert condition(obj, "ReferencesResolved")["reason"] == "NotFound"
    assert "digest" not in obj["status"]["models"][0].get("resolved", {})
