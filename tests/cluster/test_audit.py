# SPDX-License-Identifier: Apache-2.0
"""Access to the audit service, decided by a real API server for real accounts."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from audit_world.entries import admission
from audit_world.service import Service
from controlplane import CommandError, ControlPlane
from pedigree.cli import main
from pedigree.ledger.delivery import Deliverer
from pedigree.ledger.outbox import Outbox

ACCOUNTS = ("auditing", "producing", "reading", "stranger")


def manifests(namespace: str) -> list[dict[str, object]]:
    """Four accounts, and for three of them the roles that docs/audit.md shows."""
    objects: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        }
        for name in ACCOUNTS
    ]
    rules = {
        "producing": [{"nonResourceURLs": ["/api/v1/entries"], "verbs": ["post"]}],
        "reading": [
            {
                "nonResourceURLs": ["/api/v1/verdicts", "/api/v1/verify"],
                "verbs": ["read"],
            }
        ],
    }
    for name, rule in rules.items():
        objects.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": f"{namespace}-{name}"},
                "rules": rule,
            }
        )
    roles = {name: f"{namespace}-{name}" for name in rules}
    roles["auditing"] = "system:auth-delegator"
    for name, role in roles.items():
        objects.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": f"{namespace}-{name}"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": role,
                },
                "subjects": [
                    {"kind": "ServiceAccount", "name": name, "namespace": namespace}
                ],
            }
        )
    return objects


@pytest.fixture
def accounts(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> Iterator[dict[str, Path]]:
    """Account -> file with its token."""
    wanted = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": manifests(namespace)}
    )
    control_plane.kubectl("apply", "-f", "-", input=wanted)
    files = {}
    for name in ACCOUNTS:
        kubeconfig = control_plane.kubeconfig_for(f"{namespace}:{name}")
        token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
        files[name] = tmp_path / f"{name}.token"
        files[name].write_text(token)
    yield files
    control_plane.kubectl("delete", "-f", "-", "--wait=false", input=wanted)


@pytest.fixture
def service(
    control_plane: ControlPlane,
    namespace: str,
    accounts: dict[str, Path],
    tmp_path: Path,
) -> Iterator[Service]:
    """The real service under its own ServiceAccount, not as an administrator."""
    kubeconfig = control_plane.kubeconfig_for(f"{namespace}:auditing")
    (tmp_path / "audit").mkdir()
    with Service(
        tmp_path / "audit",
        PEDIGREE_AUDIT_AUTH="kubernetes",
        PEDIGREE_KUBECONFIG=str(kubeconfig),
    ) as service:
        yield service


def test_an_account_that_may_append_does_and_is_named_as_producer(
    service: Service, accounts: dict[str, Path], namespace: str, tmp_path: Path
) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.append(admission(1))
    delivery = Deliverer(outbox, service.url, accounts["producing"], service.ca_file)
    delivery.start()
    assert delivery.flush(20), delivery.stats()
    delivery.stop()
    outbox.close()
    record = service.get("/api/v1/entries/1", accounts["reading"]).body
    assert record["producer"] == f"system:serviceaccount:{namespace}:producing"
    assert record["entry"] == admission(1)


@pytest.mark.parametrize("account", ["reading", "stranger", "auditing"])
def test_an_account_that_may_not_append_is_told_so(
    service: Service, accounts: dict[str, Path], namespace: str, account: str
) -> None:
    answer = service.post([admission(1)], accounts[account])
    assert answer.status == 403
    assert answer.body["error"] == {
        "reason": "AccessForbidden",
        "message": f"user 'system:serviceaccount:{namespace}:{account}' may not post "
        "/api/v1/entries",
        "hint": "",
    }
    head = service.get("/api/v1/head", accounts["reading"]).body
    assert head["entries"] == 0


@pytest.mark.parametrize(
    "path", ["/api/v1/verdicts", "/api/v1/entries/1", "/api/v1/verify", "/api/v1/head"]
)
def test_reading_is_for_accounts_that_may_read(
    service: Service, accounts: dict[str, Path], path: str
) -> None:
    assert service.get(path, accounts["reading"]).status in (200, 404)
    for account in ("producing", "stranger"):
        assert service.get(path, accounts[account]).status == 403


def test_reading_is_not_the_verb_that_everybody_has(
    control_plane: ControlPlane, accounts: dict[str, Path], namespace: str
) -> None:
    """``system:discovery`` lets every account get /api/*: why ours is ``read``."""
    stranger = control_plane.kubeconfig_for(f"{namespace}:stranger")
    ask = ("auth", "can-i")
    path = "/api/v1/verdicts"
    assert control_plane.kubectl(*ask, "get", path, kubeconfig=stranger) == "yes\n"
    with pytest.raises(CommandError, match="exit code 1"):
        control_plane.kubectl(*ask, "read", path, kubeconfig=stranger)


def test_what_is_no_token_of_this_cluster_is_not_let_in(
    service: Service, accounts: dict[str, Path], tmp_path: Path
) -> None:
    header, payload, signature = accounts["producing"].read_text().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = claims["sub"].replace("producing", "reading")
    forged = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    for text in ("x", f"{header}.{forged}.{signature}", f"{header}.{payload}."):
        token = tmp_path / "token"
        token.write_text(text)
        assert service.post([admission(1)], token).status == 401
    assert service.post([admission(1)]).status == 401
    # Our own client sends no such thing, so these are sent by hand.
    for value in ("Bearer ", "Bearer", "Basic eDp5", ""):
        assert answered(service, value) == 401


def answered(service: Service, authorization: str) -> int:
    """Status of an append with a header of one's own."""
    endpoint = service.endpoint(None)
    request = urllib.request.Request(
        f"{endpoint.url}/api/v1/entries",
        data=json.dumps({"entries": [admission(1)]}).encode(),
        headers={"Authorization": authorization, "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)


def test_a_service_that_may_not_ask_the_api_server_lets_nobody_in(
    control_plane: ControlPlane,
    namespace: str,
    accounts: dict[str, Path],
    tmp_path: Path,
) -> None:
    kubeconfig = control_plane.kubeconfig_for(f"{namespace}:stranger")
    (tmp_path / "other").mkdir()
    with Service(
        tmp_path / "other",
        PEDIGREE_AUDIT_AUTH="kubernetes",
        PEDIGREE_KUBECONFIG=str(kubeconfig),
    ) as service:
        answer = service.post([admission(1)], accounts["producing"])
        assert (answer.status, answer.retry_after_s) == (503, 5)
        assert answer.body["error"]["reason"] == "AccessUnavailable"
        assert "access cannot be decided" in service.log


def test_people_query_and_verify_with_a_token(
    service: Service,
    accounts: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    service.post([admission(1), admission(2)], accounts["producing"])
    place = ["--url", service.url, "--ca-file", str(service.ca_file)]
    token = ["--token-file", str(accounts["reading"])]
    assert main(["audit", "verify", *place, *token]) == 0
    assert "intact    2 entries" in capsys.readouterr().out
    assert main(["audit", "query", *place, *token, "--decision", "Deny"]) == 0
    assert "LineageDenied" in capsys.readouterr().out
    stranger = ["--token-file", str(accounts["stranger"])]
    assert main(["audit", "query", *place, *stranger]) == 3
    error = capsys.readouterr().err
    assert "AccessForbidden" in error
    assert "nonResourceURLs" in error
