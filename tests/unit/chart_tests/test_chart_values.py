# SPDX-License-Identifier: Apache-2.0
"""Values: all are documented and typed, unknown and contradicting ones are refused."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedigree import __version__
from stack import chart

SCHEMA = json.loads((chart.CHART / "values.schema.json").read_text("utf-8"))
DEFAULTS = yaml.safe_load((chart.CHART / "values.yaml").read_text("utf-8"))
METADATA = yaml.safe_load((chart.CHART / "Chart.yaml").read_text("utf-8"))
NAMESPACE = "pedigree-system"
CA = "-----BEGIN CERTIFICATE-----\nbm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n"
GOOD = {"image": {"repository": "images.example/pedigree"}}
# Each is wrong in one way; the message must hold the text.
UNKNOWN_OR_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"nonsense": 1}, "additional properties 'nonsense' not allowed"),
    ({"webhook": {"replica": 3}}, "additional properties 'replica' not allowed"),
    ({"webhook": {"replicas": 0}}, "at '/webhook/replicas': minimum: got 0, want 1"),
    ({"webhook": {"failurePolicy": "Maybe"}}, "value must be one of 'Fail', 'Ignore'"),
    ({"webhook": {"timeoutSeconds": 60}}, "maximum: got 60, want 30"),
    ({"noMatch": "Warn"}, "value must be one of 'Deny', 'Allow'"),
    ({"podSecurity": {"runAsUser": 0}}, "minimum: got 0, want 1"),
    ({"image": {"repository": "a/b:tag"}}, "'a/b:tag' does not match pattern"),
    ({"image": {"digest": "sha256:12"}}, "'sha256:12' does not match pattern"),
    ({"operator": {"fileRoots": ["models"]}}, "'models' does not match pattern"),
    ({"operator": {"fileRoots": []}}, "minItems: got 0, want 1"),
    ({"volumes": {"namespaces": ["A"]}}, "'A' does not match pattern"),
    ({"volumes": {"runAsUser": 0}}, "minimum: got 0, want 1"),
    ({"audit": {"replicas": 2}}, "additional properties 'replicas' not allowed"),
    ({"certificates": {"mode": "selfSigned"}}, "must be one of 'existingSecret'"),
    ({"audit": {"extraEnv": [{"name": "A"}]}}, "missing property 'value'"),
    (
        {"rbac": {"auditors": [{"kind": "ServiceAccount", "name": "ci"}]}},
        "missing property 'namespace'",
    ),
    (
        {"webhook": {"resources": {"limits": {"memory": "lots"}}}},
        "'lots' does not match pattern",
    ),
]
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"image": {"repository": ""}}, "image.repository is empty; build the image"),
    (
        {"certificates": {"caBundle": ""}},
        "certificates.mode is existingSecret and certificates.caBundle is empty",
    ),
    (
        {"certificates": {"caBundle": "ca.crt"}},
        "certificates.caBundle holds no PEM certificate",
    ),
    (
        {"certificates": {"caBundle": f"{CA}-----BEGIN PRIVATE KEY-----\n"}},
        "certificates.caBundle holds a private key",
    ),
    (
        {"certificates": {"mode": "certManager"}},
        "certificates.caBundle is set while certificates.mode is certManager",
    ),
    (
        {"certificates": {"webhookSecretName": "a", "auditSecretName": "a"}},
        'are both "a", so each service could pass itself off as the other',
    ),
    (
        {"audit": {"persistence": {"enabled": False, "existingClaim": "mine"}}},
        'audit.persistence.existingClaim is "mine" while audit.persistence.enabled',
    ),
    ({"volumes": {"enabled": True}}, "volumes.namespaces is empty"),
    (
        {"volumes": {"namespaces": ["team"]}},
        "volumes.namespaces is set while volumes.enabled is false",
    ),
    ({"volumes": {"runAsGroup": None}}, "one of volumes.runAsUser and"),
    (
        {"webhook": {"extraEnv": [{"name": "PEDIGREE_NO_MATCH", "value": "Allow"}]}},
        "webhook.extraEnv sets PEDIGREE_NO_MATCH",
    ),
    (
        {"operator": {"podLabels": {"app.kubernetes.io/name": "mine"}}},
        "operator.podLabels sets app.kubernetes.io/name",
    ),
]


def merged(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` over values that are good, one level deep."""
    result: dict[str, Any] = {**GOOD, "certificates": {"caBundle": CA}}
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = {**result[key], **value} if both else value
    return result


@pytest.mark.parametrize(("values", "message"), UNKNOWN_OR_WRONG)
def test_the_schema_refuses_unknown_and_wrong_values(
    helm: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(chart.ChartError) as caught:
        chart.render(helm, namespace=NAMESPACE, values=merged(values))
    assert message in str(caught.value)


@pytest.mark.parametrize(("values", "message"), CONTRADICTIONS)
def test_values_that_contradict_each_other_fail_with_what_to_do(
    helm: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(chart.ChartError) as caught:
        chart.render(helm, namespace=NAMESPACE, values=merged(values))
    assert message in str(caught.value)
    (problem,) = [line for line in str(caught.value).splitlines() if "  * " in line]
    assert ";" in problem  # what is wrong; what to do


def test_all_problems_are_told_at_once(helm: Path) -> None:
    with pytest.raises(chart.ChartError) as caught:
        chart.render(helm, namespace="default", values={})
    for part in ("image.repository", "certificates.caBundle", 'namespace "default"'):
        assert part in str(caught.value)


@pytest.mark.parametrize("namespace", ["default", "kube-system", "kube-public"])
def test_a_namespace_that_others_use_is_refused_because_it_would_be_exempt(
    helm: Path, namespace: str
) -> None:
    with pytest.raises(chart.ChartError, match="exempt from the gate"):
        chart.render(helm, namespace=namespace, values=merged({}))


@pytest.mark.parametrize("encode", [False, True])
def test_the_ca_may_be_given_as_pem_or_as_base64(helm: Path, encode: bool) -> None:
    given = base64.b64encode(CA.encode()).decode() if encode else CA
    documents = chart.render(
        helm,
        namespace=NAMESPACE,
        values=merged({"certificates": {"caBundle": given}}),
    )
    (webhook,) = chart.find(documents, chart.WEBHOOKS, "pedigree-webhook")["webhooks"]
    assert base64.b64decode(webhook["clientConfig"]["caBundle"]).decode() == CA
    mounted = chart.find(documents, "ConfigMap", "pedigree-ca")["data"]["ca.crt"]
    assert mounted.strip() == CA.strip()


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every schema that describes an object with known keys, with its path."""
    if "properties" in schema and schema.get("type") == "object":
        yield path, schema
    for key in ("properties", "definitions"):
        for name, inner in schema.get(key, {}).items():
            yield from schemas(inner, f"{path}/{name}")


@pytest.mark.parametrize(("path", "schema"), list(schemas(SCHEMA)))
def test_no_object_of_the_schema_takes_unknown_keys(
    path: str, schema: dict[str, Any]
) -> None:
    assert schema["additionalProperties"] is False, path


def leaves(
    values: dict[str, Any], schema: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Paths of the values that a user sets, down to where users' own objects begin."""
    for key, value in values.items():
        inner = schema["properties"][key]
        if "$ref" in inner:
            inner = SCHEMA["definitions"][inner["$ref"].rpartition("/")[2]]
        if isinstance(value, dict) and "properties" in inner:
            yield from leaves(value, inner, (*path, key))
        else:
            yield (*path, key)


def names(schema: dict[str, Any], path: str = "") -> set[str]:
    """Paths of the values that the schema knows."""
    found: set[str] = set()
    for key, inner in schema.get("properties", {}).items():
        if "$ref" in inner:
            inner = SCHEMA["definitions"][inner["$ref"].rpartition("/")[2]]
        found |= names(inner, f"{path}.{key}") or {f"{path}.{key}"}
    return found


def test_every_value_that_the_schema_knows_has_a_default_that_is_shown() -> None:
    shown = {f".{'.'.join(path)}" for path in leaves(DEFAULTS, SCHEMA)}
    # `global` is Helm's own; quantities are shown by example.
    assert names(SCHEMA) - {".global"} == shown - {"."}


def test_a_comment_stands_above_every_value_or_above_the_map_that_it_is_in() -> None:
    text = (chart.CHART / "values.yaml").read_text("utf-8")
    lines = text.splitlines()
    unexplained = []
    for path in leaves(DEFAULTS, SCHEMA):
        node = yaml.compose(text)
        above = []  # the lines above the keys of the path
        for key in path:
            assert isinstance(node, yaml.MappingNode)
            ((at, node),) = [pair for pair in node.value if pair[0].value == key]
            above.append(lines[at.start_mark.line - 1].strip())
        # What is said above a component as a whole explains none of its values.
        nearest = above[-2:] if len(path) > 2 else above[-1:]
        if not any(line.startswith("#") for line in nearest):
            unexplained.append(".".join(path))
    assert unexplained == []


def test_chart_application_and_package_have_one_version() -> None:
    assert METADATA["version"] == METADATA["appVersion"] == __version__


INSTALL = (chart.CHART.parents[1] / "docs" / "install.md").read_text("utf-8")
# Blocks that are part of a values file; the others are objects of the cluster.
FRAGMENTS = [
    block
    for block in re.findall(r"```yaml\n(.*?)```", INSTALL, re.DOTALL)
    if "apiVersion" not in yaml.safe_load(block)
]


def test_the_guide_sets_only_values_that_exist() -> None:
    known = {".".join(path) for path in leaves(DEFAULTS, SCHEMA)}
    named = set(re.findall(r"--set(?:-file)? ([\w.]+)=", INSTALL))
    assert len(named) > 3
    assert named - known == set()


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_values_that_the_guide_shows_are_accepted(helm: Path, fragment: str) -> None:
    chart.render(helm, namespace=NAMESPACE, values=merged(yaml.safe_load(fragment)))


def test_the_notes_tell_the_next_three_commands(helm: Path) -> None:
    notes = install_notes(helm, merged({}))
    for step in (
        "1. ",
        "kubectl -n pedigree-system rollout status deployment/pedigree-webhook",
        "2. ",
        "kubectl get clusterlineagepolicies.pedigree.dev",
        "3. ",
        "kubectl get modeldeployments.pedigree.dev --all-namespaces",
    ):
        assert step in notes
    assert "a ModelDeployment that no policy matches is denied" in notes
    assert "WARNING" not in notes


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"noMatch": "Allow"}, "noMatch is Allow"),
        ({"webhook": {"failurePolicy": "Ignore"}}, "failurePolicy is Ignore"),
        ({"webhook": {"replicas": 1}}, "webhook.replicas is 1"),
        (
            {"audit": {"persistence": {"enabled": False}}},
            "the ledger is lost when the audit Pod is replaced",
        ),
    ],
)
def test_the_notes_warn_of_what_is_less_safe_than_the_default(
    helm: Path, values: dict[str, Any], warning: str
) -> None:
    (line,) = [
        line
        for line in install_notes(helm, merged(values)).splitlines()
        if "WARNING" in line
    ]
    assert warning in line


def install_notes(helm: Path, values: dict[str, Any]) -> str:
    """What ``helm install`` tells its user at the end."""
    said = chart.run(
        helm,
        "install",
        chart.RELEASE,
        str(chart.CHART),
        f"--namespace={NAMESPACE}",
        "--dry-run=client",
        "--values=-",
        text=json.dumps(values),
    )
    return said.partition("\nNOTES:\n")[2]
