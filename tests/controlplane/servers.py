# SPDX-License-Identifier: Apache-2.0
"""The command line of each program, and the files that it reads.

Pure but for writing those files; ``plane`` starts what is described here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controlplane.certificates import KeyPair, make_key, public_key, write_private
from controlplane.ports import Port
from controlplane.processes import Process
from controlplane.programs import stage_files

ISSUER = "https://kubernetes.default.svc"
SERVICE_CIDR = (
    "10.0.0.0/24"  # nothing routes there; services get addresses all the same
)
API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)

# Requests about our own objects with their bodies; no word about the control plane's
# own heartbeats; of everything else who did what, when, and what webhooks annotated.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Request", "resources": [{"group": "pedigree.dev"}]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io"}]},
        {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class Layout:
    """Where one control plane keeps its files.

    Attributes:
        data: Holds all of them; removed at the end.
    """

    data: Path

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.data / "logs"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.data / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """One kubeconfig per client."""
        return self.data / "kubeconfigs"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, JSON lines."""
        return self.logs / "audit.jsonl"

    def make(self) -> None:
        """Make the folders."""
        for folder in (self.logs, self.pki, self.kubeconfigs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def etcd(program: Path, layout: Layout, client: Port, peer: Port) -> Process:
    """The store. It does not sync to disk: its data need not survive a power cut."""
    client_url, peer_url = client.url("http"), peer.url("http")
    command: list[str | Path] = [
        program,
        f"--data-dir={layout.data / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--log-level=warn",
    ]
    return _process("etcd", command, layout)


def api_server(
    program: Path,
    layout: Layout,
    *,
    ca: KeyPair,
    serving: KeyPair,
    port: Port,
    etcd_url: str,
    service_accounts_admitted: bool,
    flags: Sequence[str],
) -> Process:
    """The API server: TLS, RBAC, audit, all default admission plugins.

    Args:
        program: kube-apiserver.
        layout: Gets certificates, keys and the audit policy.
        ca: Signs its clients.
        serving: Its own certificate.
        port: Where it listens.
        etcd_url: Where its store is.
        service_accounts_admitted: Whether Pods must have a ServiceAccount that exists.
            Only kube-controller-manager makes the account ``default``, so without that
            program every Pod would be refused.
        flags: More flags, last.
    """
    ca_file, _ = ca.write(layout.pki, "ca")
    serving_file, serving_key = serving.write(layout.pki, "kube-apiserver")
    signing_key = layout.pki / "service-accounts.key"
    signing_public = layout.pki / "service-accounts.pub"
    if not signing_key.exists():  # tokens stay valid if the API server starts again
        key = make_key()
        write_private(signing_key, key)
        signing_public.write_bytes(public_key(key))
    policy = layout.data / "audit-policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY, indent=1), "utf-8")
    command: list[str | Path] = [
        program,
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port.number}",
        "--endpoint-reconciler-type=none",  # refuses 127.0.0.1, nobody asks for it
        "--authorization-mode=RBAC",
        f"--client-ca-file={ca_file}",
        f"--tls-cert-file={serving_file}",
        f"--tls-private-key-file={serving_key}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={signing_public}",
        f"--service-account-signing-key-file={signing_key}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        "--allow-privileged=true",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={layout.audit_log}",
        "--audit-log-maxsize=0",  # one file: who reads it need not follow rotations
    ]
    if not service_accounts_admitted:
        command.append("--disable-admission-plugins=ServiceAccount")
    return _process("kube-apiserver", [*command, *flags], layout)


def controller_manager(program: Path, layout: Layout, kubeconfig: Path) -> Process:
    """Makes ServiceAccounts, ReplicaSets and Pods; collects garbage."""
    command: list[str | Path] = [
        program,
        *_clients(kubeconfig),
        f"--root-ca-file={layout.pki / 'ca.crt'}",
        f"--service-account-private-key-file={layout.pki / 'service-accounts.key'}",
        "--use-service-account-credentials=true",
    ]
    return _process("kube-controller-manager", command, layout)


def scheduler(program: Path, layout: Layout, kubeconfig: Path) -> Process:
    """Gives Pods without scheduling gates a node."""
    command = [program, *_clients(kubeconfig)]
    return _process("kube-scheduler", command, layout)


def kwok(program: Path, layout: Layout, kubeconfig: Path) -> Process:
    """Reports every node ready and its Pods running."""
    command: list[str | Path] = [
        program,
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=true",
        *(f"--config={stage}" for stage in stage_files(program)),
    ]
    return _process("kwok", command, layout)


def node(name: str, labels: Mapping[str, str]) -> dict[str, object]:
    """A Node for kwok to play: large, so that no test runs out of it by accident."""
    resources = {"cpu": "64", "memory": "512Gi", "pods": "1000"}
    resources |= {"ephemeral-storage": "1Ti", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                **labels,
            },
        },
        "status": {"capacity": resources, "allocatable": resources},
    }


def _clients(kubeconfig: Path) -> list[str | Path]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",  # nobody asks them for anything
        # Their own limits (20 and 50 requests a second) are meant for large clusters;
        # here they would make the start five seconds longer.
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    ]


def _process(name: str, command: Sequence[str | Path], layout: Layout) -> Process:
    return Process(name, command, log=layout.logs / f"{name}.log", cwd=layout.data)
