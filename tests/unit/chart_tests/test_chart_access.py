# SPDX-License-Identifier: Apache-2.0
"""Permissions in words: what each account may do, and what nobody may."""

from collections.abc import Iterator
from typing import Any

import pytest

from stack import chart

Documents = list[chart.Document]
GROUP = "pedigree.dev"
READ = "get list watch"
POLICIES = ("clusterlineagepolicies", "lineagepolicies")
# Account -> what it may do, as "verbs resource.group" or "verbs path". A change here is
# a change of what an intruder could do: it belongs in docs/threats.md as well.
EXPECTED = {
    "pedigree-operator": {
        **{
            f"{name}.{GROUP}": "list watch"
            for name in (*POLICIES, "modeldeployments", "referencemodels")
        },
        **{
            f"{name}/status.{GROUP}": "patch"
            for name in (
                *POLICIES,
                "modeldeployments",
                "modelevidences",
                "referencemodels",
            )
        },
        f"modelevidences.{GROUP}": f"{READ} create",
        f"modeldeployments/finalizers.{GROUP}": "update",
        "namespaces": READ,
        "deployments.apps": "get create patch",
        "pods": "list watch patch",
        "events": "create",
        "/api/v1/entries": "post",
    },
    "pedigree-webhook": {
        **{
            f"{name}.{GROUP}": "list watch"
            for name in (*POLICIES, "modelevidences", "referencemodels")
        },
        "namespaces": "list watch",
        "/api/v1/entries": "post",
    },
    "pedigree-audit": {
        "tokenreviews.authentication.k8s.io": "create",
        "subjectaccessreviews.authorization.k8s.io": "create",
    },
    "pedigree-auditor": {
        **{
            f"{name}.{GROUP}": READ
            for name in (
                *POLICIES,
                "modeldeployments",
                "modelevidences",
                "referencemodels",
            )
        },
        "/api/v1/verdicts": "read",
        "/api/v1/verify": "read",
    },
    "pedigree-view": {
        **{
            f"{name}.{GROUP}": READ
            for name in (
                *POLICIES,
                "modeldeployments",
                "modeldeployments/status",
                "modelevidences",
                "referencemodels",
            )
        },
    },
    "pedigree-edit": {
        f"modeldeployments.{GROUP}": "create delete deletecollection patch update"
    },
    "pedigree-admin": {
        f"lineagepolicies.{GROUP}": "create delete deletecollection patch update"
    },
}


def roles(documents: Documents) -> dict[str, list[dict[str, Any]]]:
    """ClusterRole -> its rules."""
    return {
        each["metadata"]["name"]: each["rules"]
        for each in documents
        if each["kind"] == "ClusterRole"
    }


def grants(rules: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every (what, verb) that rules allow."""
    for rule in rules:
        what = [
            f"{resource}.{group}".rstrip(".")
            for group in rule.get("apiGroups", [])
            for resource in rule.get("resources", [])
        ]
        for each in (*what, *rule.get("nonResourceURLs", [])):
            for verb in rule["verbs"]:
                yield each, verb


def test_there_are_these_roles_and_no_others(any_documents: Documents) -> None:
    assert roles(any_documents).keys() == EXPECTED.keys()
    kinds = {document["kind"] for document in any_documents}
    assert not {"Role", "RoleBinding"} & kinds


@pytest.mark.parametrize("name", EXPECTED)
def test_a_role_allows_what_is_written_here_and_nothing_else(
    documents: Documents, name: str
) -> None:
    found: dict[str, set[str]] = {}
    for what, verb in grants(roles(documents)[name]):
        found.setdefault(what, set()).add(verb)
    expected = {what: set(verbs.split()) for what, verbs in EXPECTED[name].items()}
    assert found == expected


def test_no_rule_has_a_wildcard_for_verbs_resources_or_groups(
    any_documents: Documents,
) -> None:
    for name, rules in roles(any_documents).items():
        for rule in rules:
            for key in ("verbs", "resources", "apiGroups"):
                assert "*" not in "".join(rule.get(key, [])), name


def test_nobody_can_gain_permissions_or_read_secrets(any_documents: Documents) -> None:
    for name, rules in roles(any_documents).items():
        for what, verb in grants(rules):
            resource = what.partition(".")[0]
            assert verb not in {"escalate", "bind", "impersonate", "approve"}, name
            assert resource not in {
                "secrets",
                "serviceaccounts",
                "serviceaccounts/token",
                "pods/exec",
                "pods/ephemeralcontainers",
                "nodes/proxy",
                "roles",
                "clusterroles",
                "rolebindings",
                "clusterrolebindings",
                "validatingwebhookconfigurations",
                "mutatingwebhookconfigurations",
            }, name


def test_only_the_operator_writes_and_nobody_deletes(any_documents: Documents) -> None:
    writing = {"create", "update", "patch", "delete", "deletecollection"}
    for name in ("pedigree-operator", "pedigree-webhook", "pedigree-audit"):
        done = set(grants(roles(any_documents)[name]))
        assert not [what for what, verb in done if verb.startswith("delete")]
        if name == "pedigree-webhook":
            assert not [what for what, verb in done if verb in writing]


def test_each_account_is_bound_to_its_own_role_alone(documents: Documents) -> None:
    bound = {
        each["metadata"]["name"]: (each["roleRef"], each["subjects"])
        for each in documents
        if each["kind"] == "ClusterRoleBinding"
    }
    assert bound.keys() == {"pedigree-operator", "pedigree-webhook", "pedigree-audit"}
    for name, (role, subjects) in bound.items():
        assert role == {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": name,
        }
        assert subjects == [
            {"kind": "ServiceAccount", "name": name, "namespace": "pedigree-system"}
        ]


def test_auditors_are_bound_only_if_they_are_named(render: Any) -> None:
    subject = {"kind": "ServiceAccount", "name": "reports", "namespace": "audit"}
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
            "rbac": {"auditors": [subject]},
        }
    )
    binding = chart.find(documents, "ClusterRoleBinding", "pedigree-auditor")
    assert binding["subjects"] == [subject]
    assert binding["roleRef"]["name"] == "pedigree-auditor"


def test_tenants_permissions_are_added_to_the_clusters_roles(
    documents: Documents,
) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        each["metadata"]["name"]: [
            label.removeprefix(prefix)
            for label, value in each["metadata"]["labels"].items()
            if label.startswith(prefix) and value == "true"
        ]
        for each in documents
        if each["kind"] == "ClusterRole"
    }
    assert {name: to for name, to in aggregated.items() if to} == {
        "pedigree-view": ["view"],
        "pedigree-edit": ["edit"],
        "pedigree-admin": ["admin"],
    }


def test_tenants_permissions_can_be_left_to_the_platform_team(render: Any) -> None:
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
            "rbac": {"aggregateToDefaultRoles": False},
        }
    )
    left_out = {"pedigree-view", "pedigree-edit", "pedigree-admin"}
    assert roles(documents).keys() == EXPECTED.keys() - left_out
