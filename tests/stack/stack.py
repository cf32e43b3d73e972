# SPDX-License-Identifier: Apache-2.0
"""Installs the chart on a control plane and runs the services beside it."""

import base64
import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controlplane import ControlPlane
from controlplane.binaries import ensure
from controlplane.certificates import KeyPair, make_ca, make_leaf, write_private
from controlplane.ports import Port
from controlplane.processes import stop_all
from stack.chart import install, render
from stack.services import Service

NAMESPACE = "pedigree-system"
TOKEN_LIFETIME_S = 86_400
AUDIENCE = "pedigree-audit"  # the chart's audit.tokenAudience
PORTS = ("webhook", "audit", "operator-http", "webhook-http", "audit-http")


class Stack:
    """Operator, webhook and audit service on a control plane that runs already."""

    def __init__(
        self, plane: ControlPlane, folder: Path, *, file_roots: Sequence[Path]
    ) -> None:
        """Describe a stack; nothing happens before ``start``.

        Args:
            plane: Runs already, with workloads.
            folder: For certificates, tokens, logs and the services' data.
            file_roots: Folders that ``file://`` models may be read from.
        """
        self.plane = plane
        self.folder = folder
        self.ca = make_ca("Pedigree serving CA")
        self._file_roots = file_roots
        self._ports = {
            name: Port()
            for name in (
                "webhook",
                "audit",
                "operator-http",
                "webhook-http",
                "audit-http",
            )
        }
        self.services: dict[str, Service] = {}

    def start(self) -> Self:
        """Install what ships, start the three services, wait until all are ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._install()
        self._write_certificates()
        self.services = {
            "audit": self._service("audit", self._audit_environment()),
            "webhook": self._service("webhook", self._webhook_environment()),
            "operator": self._service("operator", self._operator_environment()),
        }
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait_ready()
        return self

    def _install(self) -> None:
        values = {
            "certificates": {
                "mode": "existingSecret",
                "caBundle": base64.b64encode(self.ca.certificate_pem).decode(),
            },
            "webhook": {
                "service": {
                    "externalName": "localhost",
                    "port": self._ports["webhook"].number,
                }
            },
        }
        helm = ensure(["helm"])["helm"]
        documents = render(helm, namespace=NAMESPACE, values=values)
        install(self.plane, documents)

    def _write_certificates(self) -> None:
        (self.folder / "ca.crt").write_bytes(self.ca.certificate_pem)
        for name in ("webhook", "audit"):
            self.write_certificate(name, self.make_certificate(name))

    def make_certificate(self, name: str) -> KeyPair:
        """A new serving certificate for one service, not yet in use."""
        return make_leaf(
            self.ca,
            dns_names=(f"pedigree-{name}.{NAMESPACE}.svc", "localhost"),
            ip_addresses=("127.0.0.1",),
        )

    def write_certificate(self, name: str, pair: KeyPair) -> None:
        """Put a serving certificate where the service reads it, as a kubelet would."""
        target = self.folder / f"{name}-tls"
        target.mkdir(exist_ok=True)
        (target / "tls.crt").write_bytes(pair.certificate_pem)
        write_private(target / "tls.key", pair.key_pem)

    def _service(self, name: str, environment: dict[str, str]) -> Service:
        data = self.folder / name
        data.mkdir(exist_ok=True)
        account = f"{NAMESPACE}:pedigree-{name}"
        kubeconfig = self.plane.kubeconfig_for(account, lifetime_s=TOKEN_LIFETIME_S)
        port = self._ports[f"{name}-http"].number
        return Service(
            name,
            port,
            {
                "PEDIGREE_KUBECONFIG": str(kubeconfig),
                "PEDIGREE_DATA_DIR": str(data),
                "PEDIGREE_HOST": "127.0.0.1",
                "PEDIGREE_METRICS_PORT": str(port),
                **environment,
            },
            self.folder / f"{name}.log",
        )

    def _delivery(self, name: str) -> dict[str, str]:
        return {
            "PEDIGREE_AUDIT_URL": self.audit_url,
            "PEDIGREE_AUDIT_CA_FILE": str(self.folder / "ca.crt"),
            "PEDIGREE_TOKEN_FILE": str(self.token_file(f"pedigree-{name}")),
        }

    def _serving(self, name: str) -> dict[str, str]:
        return {
            "PEDIGREE_PORT": str(self._ports[name].number),
            "PEDIGREE_TLS_CERT_FILE": str(self.folder / f"{name}-tls" / "tls.crt"),
            "PEDIGREE_TLS_KEY_FILE": str(self.folder / f"{name}-tls" / "tls.key"),
            "PEDIGREE_TLS_CA_FILE": str(self.folder / "ca.crt"),
        }

    def _audit_environment(self) -> dict[str, str]:
        return {
            **self._serving("audit"),
            "PEDIGREE_AUDIT_AUTH": "kubernetes",
            "PEDIGREE_AUDIT_AUDIENCES": AUDIENCE,
        }

    def _webhook_environment(self) -> dict[str, str]:
        return {**self._serving("webhook"), **self._delivery("webhook")}

    def _operator_environment(self) -> dict[str, str]:
        roots = ":".join(str(root) for root in self._file_roots)
        return {**self._delivery("operator"), "PEDIGREE_FILE_ROOTS": roots}

    def token_file(self, account: str) -> Path:
        """A file with a fresh token of an account in Pedigree's namespace.

        It is good for the audit service only, as those that the chart projects.
        """
        token = self.plane.kubectl(
            "create",
            "token",
            account,
            f"--namespace={NAMESPACE}",
            f"--duration={TOKEN_LIFETIME_S}s",
            f"--audience={AUDIENCE}",
        ).strip()
        path = self.folder / f"{account}.token"
        write_private(path, token.encode())
        return path

    @property
    def audit_url(self) -> str:
        """Where the audit service answers."""
        return self._ports["audit"].url("https")

    def ask_audit(self, path: str, token_file: Path, **filters: str) -> dict[str, Any]:
        """GET from the audit service as whoever the token belongs to."""
        query = urllib.parse.urlencode(filters)
        request = urllib.request.Request(
            f"{self.audit_url}{path}?{query}",
            headers={"Authorization": f"Bearer {token_file.read_text()}"},
        )
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            result: dict[str, Any] = json.load(answer)
        return result

    def stop(self) -> None:
        """End the services and free their ports; what was installed stays."""
        stop_all([service.process for service in self.services.values()])
        for port in self._ports.values():
            port.release()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
