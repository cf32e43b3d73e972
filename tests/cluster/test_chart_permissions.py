# SPDX-License-Identifier: Apache-2.0
"""What the chart's accounts and roles may do, asked of a real API server, both ways."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import CommandError, ControlPlane
from helm_or_skip import helm_or_skip
from stack import chart

NAMESPACE = "pedigree-system"
TEAM = "team-a"
IN_FORCE_TIMEOUT_S = 20.0
READ = ("get", "list", "watch")
CHANGE = ("create", "update", "patch", "delete")
POLICIES = ("clusterlineagepolicies", "lineagepolicies")
OURS = (*POLICIES, "modeldeployments", "modelevidences", "referencemodels")
# (verb, resource, account): what each needs for its work.
MUST = [
    *(
        (verb, f"{name}.pedigree.dev", "operator")
        for name in OURS
        for verb in ("list", "watch")
    ),
    *(
        ("patch", f"{name}.pedigree.dev/status", "operator")
        for name in (*POLICIES, "modeldeployments", "modelevidences", "referencemodels")
    ),
    ("create", "modelevidences.pedigree.dev", "operator"),
    ("get", "deployments.apps", "operator"),
    ("create", "deployments.apps", "operator"),
    ("patch", "deployments.apps", "operator"),
    ("list", "pods", "operator"),
    ("patch", "pods", "operator"),
    ("create", "events", "operator"),
    ("watch", "namespaces", "operator"),
    ("post", "/api/v1/entries", "operator"),
    *(
        (verb, f"{name}.pedigree.dev", "webhook")
        for name in (*POLICIES, "modelevidences", "referencemodels")
        for verb in ("list", "watch")
    ),
    ("list", "namespaces", "webhook"),
    ("post", "/api/v1/entries", "webhook"),
    ("create", "tokenreviews.authentication.k8s.io", "audit"),
    ("create", "subjectaccessreviews.authorization.k8s.io", "audit"),
]
MUST_NOT = [
    *(
        (verb, resource, account)
        for account in ("operator", "webhook", "audit")
        for verb, resource in (
            *((verb, "secrets") for verb in (*READ, *CHANGE)),
            ("create", "serviceaccounts/token"),
            ("create", "pods"),
            ("create", "pods/exec"),
            ("delete", "pods"),
            ("delete", "deployments.apps"),
            ("delete", "namespaces"),
            ("patch", "namespaces"),
            ("impersonate", "users"),
            ("escalate", "clusterroles.rbac.authorization.k8s.io"),
            ("bind", "clusterroles.rbac.authorization.k8s.io"),
            ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
            *(
                (verb, f"{kind}webhookconfigurations.admissionregistration.k8s.io")
                for kind in ("validating", "mutating")
                for verb in CHANGE
            ),
            *(
                (verb, f"{name}.pedigree.dev")
                for name in OURS
                for verb in ("update", "patch", "delete")
            ),
            *(
                ("create", f"{name}.pedigree.dev")
                for name in OURS
                if name != "modelevidences"
            ),
            ("read", "/api/v1/verdicts"),
            ("read", "/api/v1/verify"),
        )
    ),
    *(
        (verb, f"{name}.pedigree.dev{part}", account)
        for account in ("webhook", "audit")
        for name in OURS
        for part in ("", "/status")
        for verb in CHANGE
    ),
    *((verb, f"{name}.pedigree.dev", "audit") for name in OURS for verb in READ),
    ("create", "modelevidences.pedigree.dev", "webhook"),
    ("list", "modeldeployments.pedigree.dev", "webhook"),
    ("post", "/api/v1/entries", "audit"),
    ("create", "tokenreviews.authentication.k8s.io", "operator"),
    ("create", "tokenreviews.authentication.k8s.io", "webhook"),
]


@pytest.fixture(scope="module")
def plane(programs: dict[str, Path]) -> Iterator[ControlPlane]:
    """A control plane of its own: roles are the same everywhere in a cluster."""
    documents = chart.render(
        helm_or_skip(),
        namespace=NAMESPACE,
        values={
            "certificates": {"mode": "certManager"},
            "webhook": {"service": {"externalName": "localhost"}},
        },
    )
    shipped = {chart.CRD, "ServiceAccount", "ClusterRole", "ClusterRoleBinding"}
    with ControlPlane(programs=programs, nodes={}) as started:
        chart.install(started, [each for each in documents if each["kind"] in shipped])
        started.kubectl("create", "namespace", TEAM)
        yield started


def may(plane: ControlPlane, verb: str, resource: str, user: str, *flags: str) -> bool:
    """What ``kubectl auth can-i`` says for somebody else."""
    what, _, part = resource.partition("/")
    named = (
        [resource] if not what else [what, *([f"--subresource={part}"] * bool(part))]
    )
    try:
        answer = plane.kubectl("auth", "can-i", verb, *named, f"--as={user}", *flags)
    except CommandError as error:
        if error.exit_code == 1 and error.output.strip().startswith("no"):
            return False
        raise
    return answer.strip() == "yes"


def service_account(name: str) -> str:
    return f"system:serviceaccount:{NAMESPACE}:pedigree-{name}"


def reviewed(
    plane: ControlPlane, questions: list[tuple[str, str, str]]
) -> dict[tuple[str, str, str], bool]:
    """The same question as ``may``, many at once: SubjectAccessReviews."""
    items = []
    for verb, what, account in questions:
        if what.startswith("/"):
            asked: dict[str, Any] = {
                "nonResourceAttributes": {"path": what, "verb": verb}
            }
        else:
            name, _, part = what.partition("/")
            resource, _, group = name.partition(".")
            attributes = {
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": part,
                "namespace": TEAM,
            }
            asked = {"resourceAttributes": attributes}
        items.append(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": service_account(account),
                    # What everybody may counts as well: every account is in these.
                    "groups": ["system:serviceaccounts", "system:authenticated"],
                    **asked,
                },
            }
        )
    answer = plane.kubectl(
        "create",
        "--filename=-",
        '--output=jsonpath={.status.allowed}{"\\n"}',
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
    )
    words = answer.split()
    assert set(words) <= {"true", "false"}
    return {
        question: word == "true"
        for question, word in zip(questions, words, strict=True)
    }


def test_every_account_may_do_what_its_work_needs(plane: ControlPlane) -> None:
    answers = reviewed(plane, MUST)
    assert [question for question, allowed in answers.items() if not allowed] == []


def test_no_account_may_do_what_an_intruder_would_want(plane: ControlPlane) -> None:
    answers = reviewed(plane, list(dict.fromkeys(MUST_NOT)))
    assert [question for question, allowed in answers.items() if allowed] == []


def test_kubectl_gives_the_same_answers_about_accounts(plane: ControlPlane) -> None:
    for verb, resource, account in (*MUST[:3], *MUST[-3:]):
        assert may(plane, verb, resource, service_account(account), f"-n={TEAM}")
    for verb, resource, account in (MUST_NOT[0], MUST_NOT[-1], MUST_NOT[-3]):
        assert not may(plane, verb, resource, service_account(account), f"-n={TEAM}")


def rules(plane: ControlPlane, user: str) -> set[tuple[str, str, str]]:
    """(verb, group, resource or path) of everything a user may do in a namespace."""
    answer = plane.kubectl(
        "create",
        "--filename=-",
        "--output=json",
        "--validate=false",  # for which one must be allowed to read definitions
        f"--as={user}",
        "--as-group=system:serviceaccounts",
        "--as-group=system:authenticated",
        input=json.dumps(
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectRulesReview",
                "spec": {"namespace": TEAM},
            }
        ),
    )
    status = json.loads(answer)["status"]
    assert not status["incomplete"]
    return {
        (verb, group, resource)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    } | {
        (verb, "", path)
        for rule in status["nonResourceRules"]
        for verb in rule["verbs"]
        for path in rule["nonResourceURLs"]
    }


@pytest.mark.parametrize("account", ["operator", "webhook", "audit"])
def test_an_account_has_the_permissions_of_its_role_and_no_others(
    plane: ControlPlane, account: str
) -> None:
    role = json.loads(
        plane.kubectl("get", "clusterrole", f"pedigree-{account}", "--output=json")
    )
    written = {
        (verb, group, what)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule.get("apiGroups", [""])
        for what in (*rule.get("resources", []), *rule.get("nonResourceURLs", []))
    }
    everybodys = rules(plane, f"system:serviceaccount:{TEAM}:somebody")
    assert rules(plane, service_account(account)) - everybodys == written - everybodys


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        (
            "view",
            [("list", "modeldeployments"), ("get", "lineagepolicies")],
            [("create", "modeldeployments"), ("patch", "modeldeployments/status")],
        ),
        (
            "edit",
            [("create", "modeldeployments"), ("delete", "modeldeployments")],
            [
                ("patch", "modeldeployments/status"),
                ("update", "modeldeployments/status"),
                ("delete", "lineagepolicies"),
            ],
        ),
        (
            "admin",
            [("create", "modeldeployments"), ("delete", "lineagepolicies")],
            [
                ("patch", "modeldeployments/status"),
                ("patch", "clusterlineagepolicies"),
                ("create", "modelevidences"),
            ],
        ),
    ],
)
def test_a_tenant_writes_what_is_theirs_and_never_a_verdict(
    plane: ControlPlane,
    role: str,
    allowed: list[tuple[str, str]],
    refused: list[tuple[str, str]],
) -> None:
    user = f"{role}er"
    place = f"--namespace={TEAM}"
    plane.kubectl(
        "create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", place
    )
    deadline = time.monotonic() + IN_FORCE_TIMEOUT_S
    verb, resource = allowed[0]  # a controller adds up the roles
    while not may(plane, verb, f"{resource}.pedigree.dev", user, place):
        assert time.monotonic() < deadline, "the permissions were not aggregated"
        time.sleep(0.1)
    for verb, resource in allowed:
        assert may(plane, verb, _full(resource), user, place), (verb, resource)
    for verb, resource in refused:
        assert not may(plane, verb, _full(resource), user, place), (verb, resource)
    assert not may(plane, "list", _full("modeldeployments"), user, "-n=default")


def _full(resource: str) -> str:
    name, slash, part = resource.partition("/")
    return f"{name}.pedigree.dev{slash}{part}"


def test_a_token_for_the_audit_service_is_none_for_the_api_server(
    plane: ControlPlane,
) -> None:
    token = plane.kubectl(
        "create",
        "token",
        "pedigree-webhook",
        f"--namespace={NAMESPACE}",
        "--audience=pedigree-audit",
    ).strip()
    audit = plane.kubeconfig_for(f"{NAMESPACE}:pedigree-audit")

    def review(**audiences: list[str]) -> dict[str, Any]:
        document = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, **audiences},
        }
        answer = plane.kubectl(
            "create",
            "--filename=-",
            "--output=json",
            "--validate=false",  # for which one must be allowed to read definitions
            input=json.dumps(document),
            kubeconfig=audit,
        )
        status: dict[str, Any] = json.loads(answer)["status"]
        return status

    ours = review(audiences=["pedigree-audit"])
    assert ours["authenticated"] is True
    assert ours["user"]["username"] == service_account("webhook")
    assert review().get("authenticated", False) is False
