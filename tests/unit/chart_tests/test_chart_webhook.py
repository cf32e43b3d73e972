# SPDX-License-Identifier: Apache-2.0
"""The webhook configuration, certificates and CRDs as they ship."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import chart

Documents = list[chart.Document]
CRDS = chart.CHART.parents[1] / "crds"


def webhook(documents: Documents) -> dict[str, Any]:
    """The one webhook."""
    found: dict[str, Any]
    (found,) = chart.find(documents, chart.WEBHOOKS, "pedigree-webhook")["webhooks"]
    return found


def test_only_creating_and_changing_model_deployments_is_asked_about(
    any_documents: Documents,
) -> None:
    assert webhook(any_documents)["rules"] == [
        {
            "apiGroups": ["pedigree.dev"],
            "apiVersions": ["v1alpha1"],
            "resources": ["modeldeployments"],
            "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced",
        }
    ]
    assert webhook(any_documents)["matchPolicy"] == "Equivalent"


def test_kube_system_and_the_gates_own_namespace_are_left_out_by_name(
    helm: Path,
) -> None:
    documents = chart.render(
        helm,
        namespace="elsewhere",
        values={
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
        },
    )
    assert webhook(documents)["namespaceSelector"] == {
        "matchExpressions": [
            {
                "key": "kubernetes.io/metadata.name",
                "operator": "NotIn",
                "values": ["kube-system", "elsewhere"],
            }
        ]
    }
    assert "objectSelector" not in webhook(documents)


def test_no_answer_means_no_within_seconds_and_a_dry_run_leaves_no_trace(
    any_documents: Documents,
) -> None:
    found = webhook(any_documents)
    assert found["failurePolicy"] == "Fail"
    assert found["timeoutSeconds"] == 5
    assert found["sideEffects"] == "NoneOnDryRun"
    assert found["admissionReviewVersions"] == ["v1"]


def test_the_api_server_calls_the_port_that_the_service_has(
    any_documents: Documents,
) -> None:
    called = webhook(any_documents)["clientConfig"]["service"]
    service = chart.find(any_documents, "Service", called["name"])
    assert called["namespace"] == service["metadata"]["namespace"]
    assert called["port"] == service["spec"]["ports"][0]["port"]
    assert called["path"] == "/validate"


def test_cert_manager_makes_both_certificates_and_injects_the_ca(render: Any) -> None:
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
        }
    )
    configuration = chart.find(documents, chart.WEBHOOKS, "pedigree-webhook")
    namespace, name = configuration["metadata"]["annotations"][
        "cert-manager.io/inject-ca-from"
    ].split("/")
    assert "caBundle" not in webhook(documents)["clientConfig"]
    certificate = chart.find(documents, "Certificate", name)
    assert certificate["metadata"]["namespace"] == namespace
    for component in ("webhook", "audit"):
        spec = chart.find(documents, "Certificate", f"pedigree-{component}")["spec"]
        assert spec["secretName"] == f"pedigree-{component}-tls"
        assert f"pedigree-{component}.pedigree-system.svc" in spec["dnsNames"]
        assert spec["issuerRef"]["name"] == "pedigree-ca"
    issuer = chart.find(documents, "Issuer", "pedigree-ca")["spec"]
    assert issuer == {"ca": {"secretName": "pedigree-ca"}}


def test_cert_manager_can_use_an_issuer_that_exists(render: Any) -> None:
    issuer = {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {
                "mode": "certManager",
                "certManager": {"issuerRef": issuer},
            },
        }
    )
    certificates = [each for each in documents if each["kind"] == "Certificate"]
    assert [each["spec"]["issuerRef"] for each in certificates] == [issuer, issuer]
    assert "Issuer" not in {each["kind"] for each in documents}


def test_no_certificate_or_key_is_made_or_held_by_the_chart_itself(
    any_documents: Documents,
) -> None:
    assert "Secret" not in {each["kind"] for each in any_documents}
    assert "PRIVATE KEY" not in yaml.safe_dump_all(any_documents)


def test_no_policy_is_installed(any_documents: Documents) -> None:
    ours = [each for each in any_documents if "pedigree.dev" in each["apiVersion"]]
    assert ours == []


def test_the_charts_crds_are_the_projects_crds() -> None:
    projects = {path.name: path.read_bytes() for path in sorted(CRDS.glob("*.yaml"))}
    charts = {
        path.name: path.read_bytes()
        for path in sorted((chart.CHART / "crds").glob("*.yaml"))
    }
    assert projects, "there are no CRDs"
    assert charts == projects, f"run: cp {CRDS}/*.yaml {chart.CHART / 'crds'}/"


@pytest.mark.parametrize(
    "kind",
    [
        "ClusterLineagePolicy",
        "LineagePolicy",
        "ModelDeployment",
        "ModelEvidence",
        "ReferenceModel",
    ],
)
def test_a_release_brings_every_kind_of_object(documents: Documents, kind: str) -> None:
    kinds = [
        each["spec"]["names"]["kind"] for each in documents if each["kind"] == chart.CRD
    ]
    assert kinds.count(kind) == 1
