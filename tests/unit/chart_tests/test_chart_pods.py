# SPDX-License-Identifier: Apache-2.0
"""What runs: restricted Pods, settings the services read, replicas that fit the job."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from stack import chart

COMPONENTS = ("operator", "webhook", "audit")
PORTS = {"operator": {}, "webhook": {"https": 8443}, "audit": {"https": 8444}}
Documents = list[chart.Document]


def pod(documents: Documents, component: str) -> dict[str, Any]:
    """The Pod's spec of a component."""
    deployment = chart.find(documents, "Deployment", f"pedigree-{component}")
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_keep_the_restricted_pod_security_standard(
    running_documents: Documents, component: str
) -> None:
    security = pod(running_documents, component)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] >= 1
    assert security["runAsGroup"] >= 1
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert chart.container(running_documents, component)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_share_nothing_with_their_node(
    running_documents: Documents, component: str
) -> None:
    spec = pod(running_documents, component)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    kinds = {key for volume in spec["volumes"] for key in volume} - {"name"}
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    assert kinds <= allowed


def test_the_platform_may_choose_the_ids(render: Any) -> None:
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
            "podSecurity": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        }
    )
    for component in COMPONENTS:
        assert pod(documents, component)["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_token_is_short_lived_and_bound_to_the_pod(
    running_documents: Documents, component: str
) -> None:
    spec = pod(running_documents, component)
    name = f"pedigree-{component}"
    account = chart.find(running_documents, "ServiceAccount", name)
    assert account["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == name
    assert tokens(spec, "kubernetes") == [{"path": "token", "expirationSeconds": 3607}]


def tokens(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The tokens in a projected volume."""
    (volume,) = [each for each in spec["volumes"] if each["name"] == name]
    return [
        source["serviceAccountToken"]
        for source in volume["projected"]["sources"]
        if "serviceAccountToken" in source
    ]


@pytest.mark.parametrize("component", ["operator", "webhook"])
def test_what_is_sent_to_the_audit_service_is_no_token_for_the_api_server(
    documents: Documents, component: str
) -> None:
    (token,) = tokens(pod(documents, component), "audit-token")
    assert token["audience"] == "pedigree-audit"
    wanted = chart.environment(documents, "audit")["PEDIGREE_AUDIT_AUDIENCES"]
    assert wanted == token["audience"]
    container = chart.container(documents, component)
    (folder,) = [
        mount["mountPath"]
        for mount in container["volumeMounts"]
        if mount["name"] == "audit-token"
    ]
    sent = chart.environment(documents, component)["PEDIGREE_TOKEN_FILE"]
    assert sent == f"{folder}/{token['path']}"


def test_tokens_of_the_api_server_can_be_taken_for_the_audit_service(
    render: Any,
) -> None:
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
            "audit": {"tokenAudience": ""},
        }
    )
    (token,) = tokens(pod(documents, "webhook"), "audit-token")
    assert "audience" not in token
    assert chart.environment(documents, "audit")["PEDIGREE_AUDIT_AUDIENCES"] == ""


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_root_file_system_is_read_only_but_tmp_and_data_are_volumes(
    running_documents: Documents, component: str
) -> None:
    container = chart.container(running_documents, component)
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    environment = chart.environment(running_documents, component)
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert (
        {"/tmp", "/var/lib/pedigree"}
        <= writable
        <= {*mounts}
        - {
            "/etc/pedigree/ca",
            "/etc/pedigree/tls",
        }
    )
    assert environment["PEDIGREE_DATA_DIR"] == "/var/lib/pedigree"
    volumes = {
        volume["name"] for volume in pod(running_documents, component)["volumes"]
    }
    assert {mount["name"] for mount in mounts.values()} == volumes


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_file_that_a_setting_names_is_in_a_mounted_volume(
    running_documents: Documents, component: str
) -> None:
    container = chart.container(running_documents, component)
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = {
        name: value
        for name, value in chart.environment(running_documents, component).items()
        if name.endswith("_FILE")
    }
    assert files
    for name, value in files.items():
        assert str(Path(value).parent) in mounted, name


@pytest.mark.parametrize("component", COMPONENTS)
def test_probes_ask_the_plain_port_that_the_service_listens_on(
    running_documents: Documents, component: str
) -> None:
    container = chart.container(running_documents, component)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": 8080, **PORTS[component]}
    environment = chart.environment(running_documents, component)
    assert environment["PEDIGREE_METRICS_PORT"] == str(ports["metrics"])
    assert environment.get("PEDIGREE_PORT", "") == str(ports.get("https", ""))
    paths = {
        probe: container[probe]["httpGet"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
    }


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_command_runs_a_module_that_is_there(
    documents: Documents, component: str
) -> None:
    command = chart.container(documents, component)["command"]
    assert command == ["python", "-m", f"pedigree_{component}"]
    assert importlib.util.find_spec(f"pedigree_{component}.__main__") is not None


def test_nobody_but_its_owner_mounts_a_private_key(
    running_documents: Documents,
) -> None:
    holders: dict[str, set[str]] = {}
    for component in COMPONENTS:
        for volume in pod(running_documents, component)["volumes"]:
            items = volume.get("secret", {}).get("items", [])
            if "secret" in volume and any(i["key"] != "ca.crt" for i in items):
                secret = volume["secret"]["secretName"]
                holders.setdefault(secret, set()).add(component)
            assert "secret" not in volume or items, "a whole Secret is mounted"
    assert holders == {
        "pedigree-webhook-tls": {"webhook"},
        "pedigree-audit-tls": {"audit"},
    }


@pytest.mark.parametrize(
    ("component", "replicas", "strategy"),
    [
        ("operator", 1, "Recreate"),
        ("webhook", 2, "RollingUpdate"),
        ("audit", 1, "Recreate"),
    ],
)
def test_single_writers_are_recreated_and_the_webhook_rolls(
    documents: Documents, component: str, replicas: int, strategy: str
) -> None:
    spec = chart.find(documents, "Deployment", f"pedigree-{component}")["spec"]
    assert spec["replicas"] == replicas
    assert spec["strategy"]["type"] == strategy


def test_the_webhook_is_never_less_than_complete_while_it_rolls(
    documents: Documents,
) -> None:
    spec = chart.find(documents, "Deployment", "pedigree-webhook")["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    environment = chart.environment(documents, "webhook")
    grace_s = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert float(environment["PEDIGREE_DRAIN_S"]) + 30 <= grace_s
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    budget = chart.find(documents, "PodDisruptionBudget", "pedigree-webhook")["spec"]
    assert budget["maxUnavailable"] == 1
    for chosen in (budget["selector"], *(each["labelSelector"] for each in spread)):
        assert chosen == spec["selector"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_selectors_find_the_pods_of_one_component_and_no_others(
    running_documents: Documents, component: str
) -> None:
    wanted = {
        "app.kubernetes.io/name": "pedigree",
        "app.kubernetes.io/component": component,
    }
    selectors = [
        document["spec"]["selector"].get("matchLabels", document["spec"]["selector"])
        for document in running_documents
        if document["kind"] in {"Deployment", "Service", "PodDisruptionBudget"}
        and document["metadata"]["name"] == f"pedigree-{component}"
    ]
    assert selectors
    assert all(selector == wanted for selector in selectors)
    deployment = chart.find(running_documents, "Deployment", f"pedigree-{component}")
    assert (
        wanted.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )


def test_services_lead_to_ports_that_containers_name(documents: Documents) -> None:
    for component, port in (("webhook", 443), ("audit", 8444)):
        service = chart.find(documents, "Service", f"pedigree-{component}")["spec"]
        assert service["ports"] == [
            {"name": "https", "port": port, "targetPort": "https"}
        ]


def test_the_ledger_outlives_the_release_and_the_operators_data_does_not(
    documents: Documents,
) -> None:
    kept = {
        document["metadata"]["name"]: document["metadata"].get("annotations", {})
        for document in documents
        if document["kind"] == "PersistentVolumeClaim"
    }
    assert kept == {
        "pedigree-audit": {"helm.sh/resource-policy": "keep"},
        "pedigree-operator": {},
    }


def test_an_image_is_pulled_by_digest_if_there_is_one(
    documents: Documents, running_documents: Documents
) -> None:
    least = chart.container(documents, "audit")["image"]
    assert least == "images.example/pedigree:0.1.0"
    for component in COMPONENTS:
        image = chart.container(running_documents, component)["image"]
        assert image in {least, f"{least}@sha256:{'0' * 64}"}


def test_a_new_ca_means_new_pods(render: Any, documents: Documents) -> None:
    other = "-----BEGIN CERTIFICATE-----\nYW5vdGhlcg==\n-----END CERTIFICATE-----\n"
    values = {"image": {"repository": "p"}, "certificates": {"caBundle": other}}
    changed = render(values)
    for component in COMPONENTS:
        before, after = (
            chart.find(each, "Deployment", f"pedigree-{component}")["spec"]["template"][
                "metadata"
            ]["annotations"]["pedigree.dev/ca-sha256"]
            for each in (documents, changed)
        )
        assert before != after


def test_nothing_runs_in_the_cluster_when_the_webhook_is_outside(render: Any) -> None:
    documents = render(
        {
            "certificates": {"caBundle": "-----BEGIN CERTIFICATE-----\n"},
            "webhook": {"service": {"externalName": "localhost", "port": 9443}},
        }
    )
    kinds = {document["kind"] for document in documents}
    assert kinds == {
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Service",
        "ValidatingWebhookConfiguration",
    }
    (service,) = [each for each in documents if each["kind"] == "Service"]
    assert service["spec"] == {
        "type": "ExternalName",
        "externalName": "localhost",
        "ports": [{"name": "https", "port": 9443}],
    }


def test_every_object_says_which_namespace_it_is_in_and_who_made_it(
    any_documents: Documents,
) -> None:
    cluster_wide = {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "ValidatingWebhookConfiguration",
    }
    for document in any_documents:
        metadata = document["metadata"]
        place = metadata.get("namespace")
        wanted = None if document["kind"] in cluster_wide else "pedigree-system"
        assert place == wanted, document["kind"]
        if document["kind"] != "CustomResourceDefinition":
            assert metadata["labels"]["app.kubernetes.io/part-of"] == "pedigree"
            assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_no_two_objects_are_the_same_one(any_documents: Documents) -> None:
    seen = [
        (each["apiVersion"], each["kind"], each["metadata"]["name"])
        for each in any_documents
    ]
    assert len(seen) == len(set(seen))
