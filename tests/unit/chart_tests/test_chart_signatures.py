# SPDX-License-Identifier: Apache-2.0
"""Whom a release believes: one set, for the operator and for the webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from made_signatures import issue, new_key, public_pem
from pedigree.signatures.trust import read_trust
from stack import chart

KEY = public_pem(new_key()).decode()
ROOT = issue("root", authority=True).pem.decode()
DATA = Path(__file__).parents[2] / "data" / "oms"
SIGSTORE = (DATA / "public.root.json").read_text()
IDENTITY = (DATA / "somebody.identity.json").read_text()
TRUST = {
    "acme.pub": KEY,
    "house.pem": ROOT,
    "releases.identity.json": IDENTITY,
    "public.root.json": SIGSTORE,
}
VALUES: dict[str, Any] = {
    "image": {"repository": "images.example/pedigree"},
    "certificates": {"mode": "certManager"},
}


def _installed(render: Any, trust: dict[str, str]) -> list[chart.Document]:
    found: list[chart.Document] = render({**VALUES, "signatures": {"trust": trust}})
    return found


def _pod(documents: list[chart.Document], component: str) -> dict[str, Any]:
    (found,) = [
        each["spec"]["template"]
        for each in documents
        if each["kind"] == "Deployment"
        and each["metadata"]["name"] == f"pedigree-{component}"
    ]
    template: dict[str, Any] = found
    return template


def _variables(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_nothing_is_mounted_as_long_as_nobody_is_trusted(render: Any) -> None:
    documents = _installed(render, {})
    names = {each["metadata"]["name"] for each in documents}
    assert "pedigree-trust" not in names
    for component in ("operator", "webhook"):
        pod = _pod(documents, component)
        assert _variables(pod)["PEDIGREE_TRUST"] == ""
        assert "trust" not in [each["name"] for each in pod["spec"]["volumes"]]


def test_what_is_mounted_is_what_both_read(render: Any, tmp_path: Path) -> None:
    documents = _installed(render, TRUST)
    (mounted,) = [e for e in documents if e["metadata"]["name"] == "pedigree-trust"]
    for name, text in mounted["data"].items():
        (tmp_path / name).write_text(text)
    trust = read_trust(tmp_path)
    assert [key.name for key in trust.keys] == ["acme"]
    assert [each.name for each in trust.authorities] == ["house"]
    assert [(e.name, e.root) for e in trust.identities] == [("releases", "public")]
    assert trust.roots[0].data == SIGSTORE.encode()
    for component in ("operator", "webhook"):
        pod = _pod(documents, component)
        folder = _variables(pod)["PEDIGREE_TRUST"]
        (container,) = pod["spec"]["containers"]
        (mount,) = [e for e in container["volumeMounts"] if e["mountPath"] == folder]
        (volume,) = [e for e in pod["spec"]["volumes"] if e["name"] == mount["name"]]
        assert volume["configMap"]["name"] == "pedigree-trust"
        assert mount["readOnly"] is True
    assert "PEDIGREE_TRUST" not in _variables(_pod(documents, "audit"))


def test_other_signers_mean_new_pods(render: Any) -> None:
    def marks(trust: dict[str, str]) -> set[str]:
        documents = _installed(render, trust)
        pods = [_pod(documents, name) for name in ("operator", "webhook")]
        label = "pedigree.dev/trust-sha256"
        return {pod["metadata"]["annotations"][label] for pod in pods}

    first, second = marks(TRUST), marks({"acme.pub": KEY})
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize(
    ("trust", "told"),
    [
        ({"acme.txt": KEY}, "does not match pattern"),
        ({"-.pub": KEY}, "does not match pattern"),
        ({"acme.pub": "acme.pub"}, "signatures.trust holds no PEM public key as acme"),
        ({"acme.pem": KEY}, "signatures.trust holds no PEM certificate as acme.pem"),
        ({"acme.json": IDENTITY}, "does not match pattern"),
        (
            {"acme.identity.json": "releases@example.com"},
            "signatures.trust holds no JSON identity",
        ),
        (
            {"public.root.json": IDENTITY},
            "signatures.trust holds no trusted_root.json of Sigstore as public.root",
        ),
        ({"a.identity.json": '{"issuer"'}, "signatures.trust holds no JSON as a.ident"),
        (
            {"a.identity.json": '{"issuer": "https://a", "subjekt": "b@c"}'},
            "an identity with the members issuer, subjekt, at which",
        ),
        (
            {"a.identity.json": '{"issuer": "https://a"}'},
            "an identity with the members issuer, at which",
        ),
        ({"a.identity.json": IDENTITY}, 'the root "public", and no public.root.json'),
        (
            {"a.identity.json": '{"issuer": "https://a", "subject": "b@c"}'},
            "an identity without a root, and 0 NAME.root.json",
        ),
        (
            {"acme.pub": KEY + "-----BEGIN EC PRIVATE KEY-----\n"},
            "signatures.trust holds a private key as acme.pub",
        ),
    ],
)
def test_what_cannot_be_trusted_stops_the_rendering(
    helm: Path, trust: dict[str, str], told: str
) -> None:
    values = {**VALUES, "signatures": {"trust": trust}}
    with pytest.raises(chart.ChartError, match=told.replace(".", r"\.")):
        chart.render(helm, namespace="pedigree-system", values=values)


def test_the_only_root_need_not_be_named(render: Any, tmp_path: Path) -> None:
    plain = '{"issuer": "https://accounts.example.com", "subject": "anna@example.com"}'
    trust = {"anna.identity.json": plain, "public.root.json": SIGSTORE}
    names = {each["metadata"]["name"] for each in _installed(render, trust)}
    assert "pedigree-trust" in names
    for name, text in trust.items():
        (tmp_path / name).write_text(text)
    assert read_trust(tmp_path).identities[0].root == "public"
