# SPDX-License-Identifier: Apache-2.0
"""Kubeconfig files with everything embedded; JSON, which is YAML as well."""

import base64
import json
from pathlib import Path

from controlplane.certificates import KeyPair, write_private


def certificate_user(pair: KeyPair) -> dict[str, str]:
    """The ``user`` of a client that shows a certificate."""
    return {
        "client-certificate-data": _text(pair.certificate_pem),
        "client-key-data": _text(pair.key_pem),
    }


def write_kubeconfig(
    path: Path,
    *,
    url: str,
    ca_pem: bytes,
    user: dict[str, str],
    namespace: str = "default",
) -> Path:
    """Write a kubeconfig that only its owner may read, and return its path.

    Args:
        path: Overwritten if it exists.
        url: Of the API server.
        ca_pem: Who signed the API server's certificate.
        user: ``certificate_user(...)`` or ``{"token": ...}``.
        namespace: Of requests that name none.
    """
    name = "pedigree"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": url,
                    "certificate-authority-data": _text(ca_pem),
                },
            }
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [
            {
                "name": name,
                "context": {"cluster": name, "user": name, "namespace": namespace},
            }
        ],
        "current-context": name,
    }
    write_private(path, json.dumps(document, indent=1).encode())
    return path


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
