# SPDX-License-Identifier: Apache-2.0
"""The chart as it ships, installed on a real API server.

No component runs here: this is about what the API server itself makes of the objects,
and above all about what happens while no webhook answers.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import CommandError, ControlPlane
from controlplane.certificates import make_ca
from controlplane.ports import Port
from helm_or_skip import helm_or_skip
from stack import chart

NAMESPACE = "pedigree-system"
TEAM = "team-a"
GUIDE = (chart.CHART.parents[1] / "docs" / "install.md").read_text("utf-8")
OBJECTS_OF_THE_GUIDE = [
    block
    for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    if "apiVersion" in yaml.safe_load(block)
]
IN_FORCE_TIMEOUT_S = 20.0


def model(name: str, namespace: str, **metadata: Any) -> dict[str, Any]:
    """A ModelDeployment that the CRD takes."""
    containers = [{"name": "server", "image": "server"}]
    return {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {
            "models": [{"name": "base", "source": {"uri": "file:///models/a"}}],
            "workload": {"template": {"podSpec": {"containers": containers}}},
        },
    }


def create(plane: ControlPlane, document: dict[str, Any], *flags: str) -> str:
    return plane.kubectl("create", "--filename=-", *flags, input=json.dumps(document))


@pytest.fixture(scope="module")
def helm() -> Path:
    return helm_or_skip()


@pytest.fixture(scope="module")
def ca_pem() -> str:
    return make_ca("Pedigree serving CA").certificate_pem.decode()


@pytest.fixture(scope="module")
def plane(programs: dict[str, Path], helm: Path, ca_pem: str) -> Iterator[ControlPlane]:
    """A control plane of its own with the chart installed, where no webhook answers.

    Not the shared one: this webhook would stand in everybody's way there.
    """
    with Port() as nobody, ControlPlane(programs=programs) as started:
        service = {"externalName": "localhost", "port": nobody.number}
        documents = chart.render(
            helm,
            namespace=NAMESPACE,
            values={
                "certificates": {"caBundle": ca_pem},
                "webhook": {"service": service},
            },
        )
        webhooks = [each for each in documents if each["kind"] == chart.WEBHOOKS]
        chart.install(started, [each for each in documents if each not in webhooks])
        started.kubectl("create", "namespace", TEAM)
        for name in ("changed", "deleted", "finalized"):
            create(started, model(name, TEAM))
        chart.install(started, webhooks)
        _wait_until_in_force(started)
        yield started


def _wait_until_in_force(plane: ControlPlane) -> None:
    """API servers learn of a webhook configuration a moment later."""
    deadline = time.monotonic() + IN_FORCE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            create(plane, model("probe", TEAM), "--dry-run=server")
        except CommandError:
            return
        time.sleep(0.1)
    pytest.fail("the webhook configuration did not come into force")


def refusal(plane: ControlPlane, *arguments: str, text: str | None = None) -> str:
    """What the API server says to a request that must not pass."""
    with pytest.raises(CommandError) as caught:
        plane.kubectl(*arguments, input=text)
    return str(caught.value.output)


FAILED = 'failed calling webhook "gate.pedigree.dev"'


def test_a_new_model_is_refused_while_no_webhook_answers(plane: ControlPlane) -> None:
    said = refusal(plane, "create", "--filename=-", text=json.dumps(model("new", TEAM)))
    assert "Error from server (InternalError)" in said
    assert FAILED in said
    assert f"pedigree-webhook.{NAMESPACE}.svc" in said
    assert "/validate?timeout=5s" in said
    names = plane.kubectl("get", "mldep", f"--namespace={TEAM}", "--output=name")
    assert "/new\n" not in names


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"models": [{"name": "base", "source": {"uri": "file:///models/b"}}]}},
        {"spec": {"workload": {"template": {"replicas": 3}}}},
        {"metadata": {"labels": {"team": "b"}}},
    ],
    ids=["models", "workload", "labels"],
)
def test_a_changed_spec_or_label_is_refused_while_no_webhook_answers(
    plane: ControlPlane, patch: dict[str, Any]
) -> None:
    said = refusal(
        plane,
        "patch",
        "mldep/changed",
        f"--namespace={TEAM}",
        "--type=merge",
        f"--patch={json.dumps(patch)}",
    )
    assert FAILED in said


@pytest.mark.parametrize("namespace", ["kube-system", NAMESPACE])
def test_the_systems_and_the_gates_own_namespace_are_not_asked_about(
    plane: ControlPlane, namespace: str
) -> None:
    create(plane, model("own", namespace))
    plane.kubectl("delete", "mldep/own", f"--namespace={namespace}", "--wait=false")


def test_no_namespace_can_label_itself_out_of_the_gate(plane: ControlPlane) -> None:
    label = "kubernetes.io/metadata.name=kube-system"
    plane.kubectl("create", "namespace", "clever")
    try:
        plane.kubectl("label", "--overwrite", "namespace/clever", label)
    except CommandError as error:
        assert "kubernetes.io/metadata.name" in error.output  # noqa: PT017
    document = json.dumps(model("smuggled", "clever"))
    assert FAILED in refusal(plane, "create", "--filename=-", text=document)


def test_other_objects_are_not_asked_about(plane: ControlPlane) -> None:
    place = f"--namespace={TEAM}"
    plane.kubectl("create", "configmap", "settings", "--from-literal=a=b", place)
    plane.kubectl("create", "deployment", "server", "--image=server", place)
    plane.kubectl("scale", "deployment/server", "--replicas=2", place)


def test_status_and_annotations_are_written_while_no_webhook_answers(
    plane: ControlPlane,
) -> None:
    place = f"--namespace={TEAM}"
    status = {"status": {"observedGeneration": 1}}
    plane.kubectl(
        "patch",
        "mldep/changed",
        place,
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps(status)}",
    )
    plane.kubectl("annotate", "mldep/changed", "example.com/note=1", place)
    written = json.loads(plane.kubectl("get", "mldep/changed", place, "--output=json"))
    assert written["status"]["observedGeneration"] == 1
    assert written["metadata"]["annotations"]["example.com/note"] == "1"


def test_objects_are_deleted_while_no_webhook_answers_also_with_finalizers(
    plane: ControlPlane,
) -> None:
    place = f"--namespace={TEAM}"
    plane.kubectl("delete", "mldep/deleted", place, "--timeout=10s")
    for finalizers in (["example.com/wait"], []):
        patch = {"metadata": {"finalizers": finalizers}}
        plane.kubectl(
            "patch",
            "mldep/finalized",
            place,
            "--type=merge",
            f"--patch={json.dumps(patch)}",
        )
        if finalizers:
            plane.kubectl("delete", "mldep/finalized", place, "--wait=false")
    plane.kubectl("wait", "mldep/finalized", place, "--for=delete", "--timeout=10s")


@pytest.mark.parametrize("text", OBJECTS_OF_THE_GUIDE)
def test_objects_that_the_guide_shows_are_accepted(
    plane: ControlPlane, text: str
) -> None:
    document = yaml.safe_load(text)
    if "namespace" in document["metadata"]:
        document["metadata"]["namespace"] = NAMESPACE  # where no webhook is missed
    create(plane, document, "--dry-run=server", "--validate=strict")


def test_the_pods_run_in_a_namespace_that_admits_only_restricted_ones(
    plane: ControlPlane, helm: Path, ca_pem: str
) -> None:
    namespace = "restricted"
    without_claim = {"persistence": {"enabled": False}}  # nobody provides volumes here
    documents = chart.render(
        helm,
        namespace=namespace,
        values={
            "image": {"repository": "images.example/pedigree"},
            "certificates": {"caBundle": ca_pem},
            "operator": without_claim,
            "audit": without_claim,
        },
    )
    plane.kubectl("create", "namespace", namespace)
    plane.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    inside = [each for each in documents if "namespace" in each["metadata"]]
    assert {"Deployment", "PodDisruptionBudget"} <= {each["kind"] for each in inside}
    chart.install(plane, inside)
    plane.kubectl(
        "wait",
        "deployments",
        "--all",
        f"--namespace={namespace}",
        "--for=condition=Available",
        "--timeout=60s",
    )
    places = f"--namespace={namespace}"
    pods = plane.kubectl("get", "pods", places, "--output=name").splitlines()
    assert len(pods) == 4  # two webhooks, one operator, one audit service


@pytest.fixture(scope="module")
def empty_plane(programs: dict[str, Path]) -> Iterator[ControlPlane]:
    """A control plane on which nothing is installed."""
    with ControlPlane(programs=programs, workloads=False) as started:
        yield started


def test_helm_installs_once_upgrades_and_leaves_the_ledger_and_the_definitions(
    empty_plane: ControlPlane, helm: Path, ca_pem: str, tmp_path: Path
) -> None:
    values = tmp_path / "values.json"
    values.write_text(
        json.dumps(
            {
                "image": {"repository": "images.example/pedigree"},
                "certificates": {"caBundle": ca_pem},
            }
        )
    )
    access = f"--kubeconfig={empty_plane.kubeconfig}"
    place = f"--namespace={NAMESPACE}"
    how = (str(chart.CHART), f"--values={values}", access)
    chart.run(helm, "install", chart.RELEASE, *how, place, "--create-namespace")
    with pytest.raises(chart.ChartError, match="invalid ownership metadata"):
        chart.run(helm, "install", "second", *how, "-n=other", "--create-namespace")
    chart.run(helm, "upgrade", chart.RELEASE, *how, place, "--set=webhook.replicas=3")
    replicas = empty_plane.kubectl(
        "get",
        "deployment/pedigree-webhook",
        place,
        "--output=jsonpath={.spec.replicas}",
    )
    assert replicas == "3"
    chart.run(helm, "uninstall", chart.RELEASE, access, place)
    kinds = "deployments,services,configmaps,serviceaccounts,persistentvolumeclaims"
    ours = "--selector=app.kubernetes.io/part-of=pedigree"
    found = json.loads(empty_plane.kubectl("get", kinds, place, ours, "--output=json"))
    left = [  # what else is still there waits for a controller that does not run here
        (each["kind"], each["metadata"]["name"])
        for each in found["items"]
        if "deletionTimestamp" not in each["metadata"]
    ]
    assert left == [("PersistentVolumeClaim", "pedigree-audit")]
    cluster_wide = empty_plane.kubectl(
        "get",
        "clusterroles,clusterrolebindings,validatingwebhookconfigurations,crds",
        ours,
        "--output=name",
    )
    assert {name.partition("/")[0] for name in cluster_wide.split()} == {
        "customresourcedefinition.apiextensions.k8s.io"
    }
