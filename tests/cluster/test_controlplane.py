# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from controlplane import CommandError, ControlPlane, ControlPlaneError
from controlplane.ports import Port
from controlplane.processes import is_alive

GATE = "pedigree.dev/lineage"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "server"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "server"}},
        "template": {
            "metadata": {"labels": {"app": "server"}},
            "spec": {
                "schedulingGates": [{"name": GATE}],
                "containers": [{"name": "server", "image": "example.invalid/server"}],
            },
        },
    },
}
READ_CONFIG_MAPS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""
CHILD = """
import sys, time
from controlplane import ControlPlane
plane = ControlPlane(workloads=sys.argv[1] == "workloads").start()
print(*(process.pid for process in plane.processes.values()), flush=True)
time.sleep(600)
"""


class TakenPort(Port):
    """Somebody listens on it already."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen()


def start_budget_s() -> float:
    """15 s, in proportion more where others keep the processors busy."""
    return 15 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_for(true: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(0.05)


def child_environment(tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": path}


def pods(control_plane: ControlPlane, namespace: str) -> list[Any]:
    items: list[Any] = control_plane.get("pods", "-n", namespace)["items"]
    return items


def gated(pod: Any) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(condition.get("reason") == "SchedulingGated" for condition in conditions)


def test_it_answers_with_the_pinned_version_over_verified_tls(
    control_plane: ControlPlane, admin: client.ApiClient
) -> None:
    assert client.VersionApi(admin).get_code().git_version == "v1.37.2"
    assert admin.configuration.verify_ssl
    assert admin.configuration.host == control_plane.url


def test_held_pods_wait_for_their_gate_and_then_run(
    control_plane: ControlPlane, namespace: str
) -> None:
    here = f"--namespace={namespace}"
    control_plane.kubectl("create", here, "-f-", input=json.dumps(DEPLOYMENT))
    wait_for(lambda: list(map(gated, pods(control_plane, namespace))) == [True] * 2)
    assert not any("nodeName" in pod["spec"] for pod in pods(control_plane, namespace))

    release = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])
    for pod in pods(control_plane, namespace):
        name = pod["metadata"]["name"]
        control_plane.kubectl(
            "patch", "pod", name, here, "--type=json", f"--patch={release}"
        )

    def running() -> bool:
        found = pods(control_plane, namespace)
        return [pod["status"]["phase"] for pod in found] == ["Running"] * 2

    wait_for(running)
    assert {p["spec"]["nodeName"] for p in pods(control_plane, namespace)} == {"node"}
    control_plane.kubectl(
        "wait", here, "deployment/server", "--for=condition=Available", "--timeout=30s"
    )


def test_a_service_account_may_only_do_what_rbac_allows(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    reader = control_plane.kubeconfig_for(f"{namespace}:reader")
    with pytest.raises(CommandError, match=f"{namespace}:reader.*cannot list"):
        control_plane.kubectl("get", "configmaps", kubeconfig=reader)
    control_plane.kubectl("apply", "-n", namespace, "-f-", input=READ_CONFIG_MAPS)

    def allowed() -> bool:  # the authoriser sees a new role a moment later
        try:
            seen = control_plane.kubectl("get", "configmaps", kubeconfig=reader)
        except CommandError:
            return False
        return "kube-root-ca.crt" in seen

    wait_for(allowed)
    with pytest.raises(CommandError, match="cannot list resource"):
        control_plane.kubectl("get", "secrets", kubeconfig=reader)


def test_the_official_client_works_with_the_kubeconfig_of_an_account(
    control_plane: ControlPlane, namespace: str
) -> None:
    kubeconfig = control_plane.kubeconfig_for(f"{namespace}:default")
    api: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
        str(kubeconfig)
    )
    with api:
        review = client.AuthenticationV1Api(api).create_self_subject_review(
            client.V1SelfSubjectReview()
        )
    assert review.status is not None
    assert review.status.user_info is not None
    who = review.status.user_info.username
    assert who == f"system:serviceaccount:{namespace}:default"


def test_a_kubeconfig_for_a_missing_account_says_what_to_create(
    control_plane: ControlPlane, namespace: str
) -> None:
    with pytest.raises(CommandError, match="kubectl create serviceaccount ghost"):
        control_plane.kubeconfig_for(f"{namespace}:ghost")


def test_an_account_without_a_namespace_is_refused(
    control_plane: ControlPlane,
) -> None:
    with pytest.raises(ControlPlaneError, match="give NAMESPACE:NAME"):
        control_plane.kubeconfig_for("reader")


def test_the_audit_log_says_who_did_what(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("create", "configmap", "seen", "-n", namespace)
    lines = control_plane.audit_log.read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    [event] = [
        event
        for event in events
        if event["verb"] == "create"
        and event.get("objectRef", {}).get("namespace") == namespace
        and event["objectRef"]["resource"] == "configmaps"
        and event["user"]["username"] == "admin"
    ]
    assert event["stage"] == "ResponseComplete"
    assert event["level"] == "Metadata"
    assert event["responseStatus"]["code"] == 201


def test_the_audit_log_holds_the_bodies_of_requests_about_our_objects(
    control_plane: ControlPlane, namespace: str, crds: tuple[str, ...]
) -> None:
    assert "modeldeployments.pedigree.dev" in crds
    document = {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "seen", "namespace": namespace},
        "spec": {},
    }
    with contextlib.suppress(CommandError):  # whatever its schema says, it is logged
        control_plane.kubectl("create", "-f-", input=json.dumps(document))
    lines = control_plane.audit_log.read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines if '"pedigree.dev"' in line]
    [body] = [
        event["requestObject"]
        for event in events
        if event["verb"] == "create" and event["objectRef"]["namespace"] == namespace
    ]
    assert body["kind"] == "ModelDeployment"
    assert body["metadata"]["name"] == "seen"


def test_every_crd_of_the_repository_is_established(
    control_plane: ControlPlane, crds: tuple[str, ...]
) -> None:
    served = control_plane.kubectl("api-resources", "--cached=false", "--output=name")
    assert crds
    assert set(crds) <= set(served.split())


@pytest.mark.parametrize("size", ["core", "workloads"])
def test_no_program_outlives_a_killed_parent(
    size: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", CHILD, size],
        env=child_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == {"core": 2, "workloads": 5}[size]
        assert all(is_alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in pids), timeout_s=5.0)
    shutil.rmtree(tmp_path)  # nobody else removes the 64 MB of the store's log


def test_a_small_one_starts_admits_pods_and_leaves_nothing(
    programs: dict[str, Path], record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    plane = ControlPlane(programs=programs, workloads=False, keep=False).start()
    took = time.monotonic() - started
    print(f"etcd and kube-apiserver were ready after {took:.1f} s")
    record_property("start_s", round(took, 1))
    data, pids = plane.data, [p.pid for p in plane.processes.values()]
    try:
        assert took < start_budget_s()
        assert list(plane.processes) == ["etcd", "kube-apiserver"]
        plane.kubectl("run", "alone", "--image=example.invalid/server")
        assert "alone" in plane.kubectl("get", "pods")
    finally:
        plane.stop()
    assert not data.exists()
    assert not any(is_alive(pid) for pid in pids)
    plane.stop()  # twice is fine


def test_all_five_programs_are_ready_within_fifteen_seconds(
    programs: dict[str, Path], record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    with ControlPlane(programs=programs, nodes={"a": {"zone": "x"}, "b": {}}) as plane:
        took = time.monotonic() - started
        print(f"all five programs were ready after {took:.1f} s")
        record_property("start_s", round(took, 1))
        assert took < start_budget_s()
        assert plane.kubectl("get", "nodes", "-l", "zone=x", "-oname") == "node/a\n"
        # a Pod is admitted and scheduled from the first moment on
        plane.kubectl("run", "first", "--image=example.invalid/server")
        plane.kubectl("wait", "pod/first", "--for=condition=Ready", "--timeout=30s")


def test_a_program_that_fails_to_start_shows_its_log_and_leaves_nothing(
    programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plane = ControlPlane(
        programs=programs, workloads=False, api_server_flags=["--no-such-flag"]
    )
    with pytest.raises(ControlPlaneError, match=r"(?s)ended with.*no-such-flag"):
        plane.start()
    assert not list(tmp_path.iterdir())


def test_it_starts_on_other_ports_when_its_own_are_taken(
    programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken: list[TakenPort] = []

    def port() -> Port:
        if len(taken) == 3:  # the first attempt's are taken, the second's are free
            return Port()
        taken.append(TakenPort())
        return taken[-1]

    monkeypatch.setattr("controlplane.plane.Port", port)
    with ControlPlane(programs=programs, workloads=False) as plane:
        assert plane.get("namespace", "default")["status"]["phase"] == "Active"
        assert plane.url not in {port.url("https") for port in taken}
        assert [plane.data] == list(tmp_path.iterdir())
    assert len(taken) == 3


def test_what_is_kept_holds_one_log_per_program(
    programs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ControlPlane(programs=programs, workloads=False, keep=True) as plane:
        logs = plane.data / "logs"
    assert sorted(log.name for log in logs.iterdir()) == [
        "audit.jsonl",
        "etcd.log",
        "kube-apiserver.log",
    ]
    shutil.rmtree(logs.parent)


def test_the_command_prints_how_to_use_it_and_ctrl_c_ends_it(
    programs: dict[str, Path], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "controlplane", "--no-workloads"],
        env=child_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, children included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as command:
        assert command.stdout is not None
        lines = [command.stdout.readline() for _ in range(3)]
        kubeconfig = lines[2].removeprefix("export KUBECONFIG=").strip()
        found = subprocess.run(
            [programs["kubectl"], "get", "namespaces", "--output=name"],
            env={"KUBECONFIG": kubeconfig, "KUBECACHEDIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "namespace/default" in found.stdout
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=30)
    assert (command.returncode, errors) == (0, "")
    assert not list(tmp_path.iterdir())
