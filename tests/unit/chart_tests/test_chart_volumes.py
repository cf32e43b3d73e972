# SPDX-License-Identifier: Apache-2.0
"""Reading volume claims: off by default, and permissions only where it is on."""

from collections.abc import Callable
from typing import Any

from pedigree_operator.config import Config
from pedigree_operator.volume_settings import VolumeSettings
from stack import chart

Render = Callable[[dict[str, Any]], list[chart.Document]]
Documents = list[chart.Document]
NAME = "pedigree-operator-volumes"
VALUES: dict[str, Any] = {
    "image": {"repository": "images.example/pedigree", "tag": "1"},
    "certificates": {"mode": "certManager"},
}
# What the operator may in each of the namespaces. A change here is a change of what an
# intruder could do.
ALLOWED = {
    "persistentvolumeclaims": {"get"},
    "jobs": {"get", "create", "patch", "delete"},
    "pods": {"list"},
    "serviceaccounts": {"create"},
    "roles": {"create"},
    "rolebindings": {"create"},
    "configmaps": {"get", "create", "patch"},
}


def with_volumes(render: Render, **volumes: Any) -> Documents:
    on = {"enabled": True, "namespaces": ["team-a", "team-b"]}
    return render({**VALUES, "volumes": {**on, **volumes}})


def settings(documents: Documents) -> VolumeSettings:
    return Config.from_env(chart.environment(documents, "operator")).volumes


def test_by_default_no_claim_is_read_and_nothing_more_is_allowed(
    documents: Documents,
) -> None:
    assert settings(documents) == VolumeSettings()
    assert NAME not in [each["metadata"]["name"] for each in documents]


def test_the_operator_has_its_permissions_in_these_namespaces_alone(
    render: Render,
) -> None:
    documents = with_volumes(render)
    found = [each for each in documents if each["metadata"]["name"] == NAME]
    places = sorted((each["kind"], each["metadata"]["namespace"]) for each in found)
    assert places == [
        ("Role", "team-a"),
        ("Role", "team-b"),
        ("RoleBinding", "team-a"),
        ("RoleBinding", "team-b"),
    ]
    for each in found:
        if each["kind"] == "RoleBinding":
            assert each["roleRef"]["name"] == NAME
            (subject,) = each["subjects"]
            assert subject["name"] == "pedigree-operator"
            assert subject["namespace"] == "pedigree-system"


def test_the_role_allows_what_is_written_here_and_nothing_else(render: Render) -> None:
    role = chart.find(with_volumes(render), "Role", NAME)
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    assert found == ALLOWED


def test_jobs_run_the_image_of_the_operator_with_the_charts_settings(
    render: Render,
) -> None:
    documents = with_volumes(
        render,
        reexamineSeconds=600,
        imagePullSecrets=["mine"],
        runAsUser=None,
        runAsGroup=None,
        resources={"cpu": "2", "memory": "8Gi"},
    )
    image = chart.container(documents, "operator")["image"]
    assert settings(documents) == VolumeSettings(
        namespaces=("team-a", "team-b"),
        image=image,
        pull_secrets=("mine",),
        reexamine_s=600.0,
        user="",
        cpu="2",
        memory="8Gi",
    )
