# SPDX-License-Identifier: Apache-2.0
"""The webhook as a process of its own, for a control plane to ask."""

import base64
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509

from controlplane import ControlPlane
from controlplane.certificates import KeyPair, make_ca, make_leaf, write_private
from controlplane.ports import Port
from controlplane.processes import Process
from outbox_file import entries_in
from scraped import get, sum_of

HOME = "webhook-test"
ACCOUNT = "webhook"
LABEL = "webhook-test"
HOOK = "gate.pedigree.dev"
READY_S = 60.0
Object = dict[str, Any]


def wait_for(true: Callable[[], bool], wanted: str, timeout_s: float = READY_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {wanted}"
        time.sleep(0.05)


class Webhook:
    """One webhook process with its folder, ports and certificates."""

    def __init__(self, plane: ControlPlane, folder: Path, **settings: str) -> None:
        self.plane = plane
        self.folder = folder
        self.ca = make_ca("webhook test CA")
        self.https, self.http = Port(), Port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_bytes(self.ca.certificate_pem)
        self.write_certificate(self.new_certificate())
        self.environment = {
            "PATH": os.environ["PATH"],
            "PEDIGREE_KUBECONFIG": str(plane.kubeconfig_for(f"{HOME}:{ACCOUNT}")),
            "PEDIGREE_DATA_DIR": str(folder),
            "PEDIGREE_HOST": "127.0.0.1",
            "PEDIGREE_PORT": str(self.https.number),
            "PEDIGREE_METRICS_PORT": str(self.http.number),
            "PEDIGREE_TLS_CERT_FILE": str(folder / "tls.crt"),
            "PEDIGREE_TLS_KEY_FILE": str(folder / "tls.key"),
            "PEDIGREE_TLS_CA_FILE": str(folder / "ca.crt"),
            "PEDIGREE_DRAIN_S": "0",
            **settings,
        }
        self.process = self._process()

    def _process(self) -> Process:
        return Process(
            "webhook",
            [sys.executable, "-m", "pedigree_webhook"],
            log=self.folder / "webhook.log",
            env=self.environment,
        )

    def new_certificate(self) -> KeyPair:
        return make_leaf(self.ca, ip_addresses=("127.0.0.1",))

    def write_certificate(self, pair: KeyPair) -> None:
        (self.folder / "tls.crt").write_bytes(pair.certificate_pem)
        write_private(self.folder / "tls.key", pair.key_pem)

    def start(self) -> "Webhook":
        self.process.start()
        return self

    def start_again(self) -> None:
        self.process = self._process()
        self.start().wait_ready()

    def wait_ready(self) -> "Webhook":
        self.process.wait_until(
            lambda: self.get("/readyz")[0] == 200,
            timeout_s=READY_S,
            wanted="answers 200 to /readyz",
        )
        return self

    def get(self, path: str) -> tuple[int, str]:
        return get(self.http.number, path)

    def metric(self, name: str, **labels: str) -> float:
        return sum_of(self.get("/metrics")[1], name, **labels)

    def entries(self, namespace: str) -> list[Object]:
        """Ledger entries about the ModelDeployments of a namespace, in order.

        Other namespaces come and go meanwhile, and their ends are written down too.
        """
        return [
            entry
            for entry in entries_in(self.folder / "webhook-outbox.db")
            if entry["object"]["namespace"] == namespace
            and entry["object"]["kind"] == "ModelDeployment"
        ]

    def serial(self) -> int:
        """Serial number of the certificate that a new connection gets."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", self.https.number), 5) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
        ):
            der = connection.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number

    def configuration(self, namespace_label: str) -> Object:
        """Makes the API server ask this process about some namespaces."""
        bundle = base64.b64encode(self.ca.certificate_pem).decode()
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": f"pedigree-{namespace_label}"},
            "webhooks": [
                {
                    "name": HOOK,
                    "admissionReviewVersions": ["v1"],
                    "clientConfig": {
                        "url": f"{self.https.url('https')}/validate",
                        "caBundle": bundle,
                    },
                    "rules": [
                        {
                            "apiGroups": ["pedigree.dev"],
                            "apiVersions": ["v1alpha1"],
                            "resources": [
                                "modeldeployments",
                                "modeldeployments/status",
                            ],
                            "operations": ["CREATE", "UPDATE", "DELETE"],
                        },
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "resources": ["configmaps"],
                            "operations": ["CREATE", "DELETE"],
                        },
                    ],
                    "namespaceSelector": {"matchLabels": {LABEL: namespace_label}},
                    "failurePolicy": "Fail",
                    "sideEffects": "NoneOnDryRun",
                    "timeoutSeconds": 10,
                }
            ],
        }

    def stop(self) -> None:
        self.process.stop()
        self.https.release()
        self.http.release()
