# SPDX-License-Identifier: Apache-2.0
"""Secrets of tenants: readable only where the administrator says so."""

from typing import Any

import pytest

from stack import chart

NAME = "pedigree-operator-credentials"
VALUES: dict[str, Any] = {
    "image": {"repository": "images.example/pedigree"},
    "certificates": {"mode": "certManager"},
}


def installed(render: Any, *namespaces: str) -> list[chart.Document]:
    credentials = {"namespaces": list(namespaces)}
    found: list[chart.Document] = render(
        {**VALUES, "operator": {"credentials": credentials}}
    )
    return found


def test_no_secret_can_be_read_unless_a_namespace_is_named(render: Any) -> None:
    kinds = {document["kind"] for document in installed(render)}
    assert not {"Role", "RoleBinding"} & kinds


def test_the_operator_may_get_secrets_in_named_namespaces_and_do_nothing_else(
    render: Any,
) -> None:
    documents = installed(render, "team-a", "team-b")
    roles = [each for each in documents if each["kind"] == "Role"]
    assert [each["metadata"]["namespace"] for each in roles] == ["team-a", "team-b"]
    for role in roles:
        assert role["metadata"]["name"] == NAME
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
        ]
    bindings = [each for each in documents if each["kind"] == "RoleBinding"]
    assert [each["metadata"]["namespace"] for each in bindings] == ["team-a", "team-b"]
    for binding in bindings:
        assert binding["roleRef"]["kind"] == "Role"
        assert binding["roleRef"]["name"] == NAME
        assert binding["subjects"] == [
            {
                "kind": "ServiceAccount",
                "name": "pedigree-operator",
                "namespace": "pedigree-system",
            }
        ]


def test_no_role_of_the_whole_cluster_reads_secrets_even_then(render: Any) -> None:
    for each in installed(render, "team-a"):
        if each["kind"] == "ClusterRole":
            for rule in each["rules"]:
                assert "secrets" not in rule.get("resources", [])


@pytest.mark.parametrize("name", ["*", "Team", "", "a/b"])
def test_what_is_no_namespace_is_refused(render: Any, name: str) -> None:
    with pytest.raises(Exception, match="namespaces"):
        installed(render, name)
