# SPDX-License-Identifier: Apache-2.0
"""Starts and stops the control plane; the way in for tests and demonstrations."""

import http.client
import json
import os
import shutil
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controlplane import servers
from controlplane.certificates import make_ca, make_leaf
from controlplane.errors import ControlPlaneError, ProcessError
from controlplane.kubeconfigs import certificate_user, write_kubeconfig
from controlplane.kubectl import Kubectl
from controlplane.ports import Port
from controlplane.processes import Process, kill_all, stop_all
from controlplane.programs import ensure

CORE = ("etcd", "kube-apiserver", "kubectl")
WORKLOADS = ("kube-controller-manager", "kube-scheduler", "kwok")
KEEP = "PEDIGREE_KEEP_CONTROL_PLANE"  # environment variable; any text but "" keeps

START_TIMEOUT_S = 60.0  # about ten times what it takes on two idle cores
START_ATTEMPTS = 3
STOP_GRACE_S = 3.0
ANSWER_TIMEOUT_S = 2.0
ADMINISTRATORS = "system:masters"  # the group that RBAC never refuses anything
PORT_TAKEN = "address already in use"


class ControlPlane:
    """One real control plane; ``start`` it, or use it as a context manager."""

    def __init__(
        self,
        *,
        programs: Mapping[str, Path] | None = None,
        workloads: bool = True,
        nodes: Mapping[str, Mapping[str, str]] | None = None,
        api_server_flags: Sequence[str] = (),
        keep: bool | None = None,
    ) -> None:
        """Describe a control plane; nothing runs before ``start``.

        Args:
            programs: What ``ensure`` returned; None means to call it, which
                builds what is missing.
            workloads: True: Deployments become Running Pods (five programs). False:
                only etcd and kube-apiserver, which start in half the time. Nothing
                makes ServiceAccounts named ``default`` then, so Pods are admitted
                without one; and deleted namespaces stay ``Terminating``.
            nodes: Name -> labels of the nodes that kwok plays; None means one, "node".
            api_server_flags: More flags for kube-apiserver.
            keep: Whether ``stop`` leaves the data folder; None means whether
                ``PEDIGREE_KEEP_CONTROL_PLANE`` is set.
        """
        self.workloads = workloads
        self.processes: dict[str, Process] = {}
        self._programs = programs
        self._nodes = {"node": {}} if nodes is None else nodes
        self._flags = tuple(api_server_flags)
        self._keep = bool(os.environ.get(KEEP)) if keep is None else keep
        self._ports: list[Port] = []
        self._layout: servers.Layout | None = None
        self._ca = make_ca("Pedigree control plane CA")
        self._client: Kubectl | None = None

    def start(self) -> Self:
        """Start everything and return when it is ready to be used.

        Raises:
            ProgramError: A program is missing and could not be built.
            ProcessError: A program ended or was not ready in time; with its log.
        """
        if self._layout is not None:
            raise ControlPlaneError(
                f"the control plane at {self.url} is not started again: it was not "
                "stopped; call stop() first"
            )
        names = (*CORE, *WORKLOADS) if self.workloads else CORE
        programs = ensure(names) if self._programs is None else self._programs
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start(programs)
            except BaseException as error:
                again = attempt < START_ATTEMPTS and self._port_was_taken(error)
                self._stop(keep=self._keep and not again)
                if not again:
                    raise
            else:
                break
        return self

    def _start(self, programs: Mapping[str, Path]) -> None:
        self._layout = servers.Layout(Path(tempfile.mkdtemp(prefix="pedigree-plane-")))
        self._layout.make()
        self._ports = [Port() for _ in range(3)]
        api, client, peer = self._ports
        store = servers.etcd(programs["etcd"], self._layout, client, peer)
        api_server = servers.api_server(
            programs["kube-apiserver"],
            self._layout,
            ca=self._ca,
            serving=make_leaf(
                self._ca,
                dns_names=servers.API_SERVER_NAMES,
                ip_addresses=("127.0.0.1",),
            ),
            port=api,
            etcd_url=client.url("http"),
            service_accounts_admitted=self.workloads,
            flags=self._flags,
        )
        admin = self._write_kubeconfig("admin")
        self._client = Kubectl(programs["kubectl"], admin)
        self._run(store)
        store.wait_until(
            lambda: answers(client.number, "/readyz", None),
            timeout_s=START_TIMEOUT_S,
            wanted="answers /readyz",
        )
        self._run(api_server)
        self._wait_for_api_server(api_server)
        if self.workloads:
            self._start_workloads(programs)

    def _start_workloads(self, programs: Mapping[str, Path]) -> None:
        layout = self._files
        names = "controller-manager", "scheduler", "kwok"
        manager, scheduler, kwok = (self._write_kubeconfig(name) for name in names)
        name = "kube-controller-manager"
        self._run(servers.controller_manager(programs[name], layout, manager))
        name = "kube-scheduler"
        self._run(servers.scheduler(programs[name], layout, scheduler))
        self._run(servers.kwok(programs["kwok"], layout, kwok))
        if self._nodes:
            self._kubectl.create(*(servers.node(*item) for item in self._nodes.items()))
            self._wait("nodes", "--all", "--for=condition=Ready")
        self.wait_for_account("default:default")  # no Pod is admitted before

    def _wait(self, *arguments: str) -> None:
        self.kubectl("wait", *arguments, f"--timeout={START_TIMEOUT_S:g}s")

    def _run(self, process: Process) -> None:
        self.processes[process.name] = process
        process.start()

    def _wait_for_api_server(self, api_server: Process) -> None:
        context = ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))
        api_server.wait_until(
            lambda: answers(self._ports[0].number, "/readyz", context),
            timeout_s=START_TIMEOUT_S,
            wanted="answers /readyz",
        )

    def _port_was_taken(self, error: BaseException) -> bool:
        return isinstance(error, ProcessError) and PORT_TAKEN in str(error)

    def _write_kubeconfig(self, name: str) -> Path:
        leaf = make_leaf(self._ca, common_name=name, organizations=(ADMINISTRATORS,))
        return write_kubeconfig(
            self._files.kubeconfigs / name,
            url=self.url,
            ca_pem=self.ca_pem,
            user=certificate_user(leaf),
        )

    @property
    def url(self) -> str:
        """Where the API server is."""
        self._files  # noqa: B018 - raises if nothing runs
        return self._ports[0].url("https")

    @property
    def ca_pem(self) -> bytes:
        """Who signed the API server's certificate."""
        return self._ca.certificate_pem

    @property
    def data(self) -> Path:
        """The folder that everything is in: logs, keys, kubeconfigs, the store."""
        return self._files.data

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: one JSON object of audit.k8s.io/v1 per line."""
        return self._files.audit_log

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self._kubectl.kubeconfig

    def kubeconfig_for(self, account: str, *, lifetime_s: int = 3600) -> Path:
        """A kubeconfig with a fresh token of a ServiceAccount that exists.

        Args:
            account: ``NAMESPACE:NAME``.
            lifetime_s: Of the token; the API server wants at least 600.

        Returns:
            A file of its own for each account, overwritten by the next call for it.

        Raises:
            CommandError: There is no such account, or the lifetime is refused.
        """
        namespace, name = split_account(account)
        return write_kubeconfig(
            self._files.kubeconfigs / f"{namespace}.{name}",
            url=self.url,
            ca_pem=self.ca_pem,
            user={"token": self._kubectl.token(namespace, name, lifetime_s)},
            namespace=namespace,
        )

    def wait_for_account(self, account: str) -> None:
        """Wait until a ServiceAccount exists: a new namespace gets ``default`` late.

        Args:
            account: ``NAMESPACE:NAME``.
        """
        namespace, name = split_account(account)
        self._wait(f"serviceaccount/{name}", f"--namespace={namespace}", "--for=create")

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - the name that subprocess has for it
        kubeconfig: Path | None = None,
        warnings: bool = False,
    ) -> str:
        """Run kubectl to its end and return what it printed.

        Args:
            *arguments: As on the command line.
            input: Its standard input, for ``-f -``.
            kubeconfig: Who asks; None means the administrator.
            warnings: Whether standard error, which has warnings, comes first.

        Raises:
            CommandError: It ended with an error; has the exit code and all output.
        """
        return self._kubectl.run(
            *arguments, input=input, kubeconfig=kubeconfig, warnings=warnings
        )

    def get(self, *arguments: str, kubeconfig: Path | None = None) -> Any:
        """What ``kubectl get ... --output=json`` prints: an object or a List."""
        text = self.kubectl("get", *arguments, "--output=json", kubeconfig=kubeconfig)
        return json.loads(text)

    def apply(
        self, *manifests: Mapping[str, Any], kubeconfig: Path | None = None
    ) -> str:
        """Apply objects on the server's side, in one call; returns what kubectl said.

        Args:
            *manifests: Whole objects, each with its namespace.
            kubeconfig: Who asks; None means the administrator.
        """
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        return self.kubectl(
            "apply",
            "--server-side",
            "--filename=-",
            input=json.dumps(items),
            kubeconfig=kubeconfig,
        )

    def stop(self) -> None:
        """Stop everything and remove the data folder (see ``keep``); twice is fine."""
        self._stop(keep=self._keep)

    def _stop(self, *, keep: bool) -> None:
        running = [*reversed(self.processes.values())]  # etcd was the first
        if keep:  # the store last: the API server gives its lease back to it
            stop_all(running[:-1], STOP_GRACE_S)
            stop_all(running[-1:], STOP_GRACE_S)
        else:  # nobody will read what an orderly end (1.2 s) would write
            kill_all(running)
        for port in self._ports:
            port.release()
        if self._layout is not None and not keep:
            shutil.rmtree(self._layout.data)
        self.processes, self._ports = {}, []
        self._layout = self._client = None

    @property
    def _files(self) -> servers.Layout:
        if self._layout is None:
            raise ControlPlaneError(
                "the control plane does not run; call start() first"
            )
        return self._layout

    @property
    def _kubectl(self) -> Kubectl:
        if self._client is None:
            raise ControlPlaneError(
                "the control plane does not run; call start() first"
            )
        return self._client

    def __enter__(self) -> Self:
        """Start it if it does not run."""
        return self.start() if self._layout is None else self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()


def split_account(account: str) -> tuple[str, str]:
    """``"NAMESPACE:NAME"`` -> namespace, name."""
    namespace, _, name = account.partition(":")
    if not (namespace and name):
        raise ControlPlaneError(
            f"{account!r} does not name a ServiceAccount; give NAMESPACE:NAME"
        )
    return namespace, name


def answers(port: int, path: str, context: ssl.SSLContext | None) -> bool:
    """Whether GET answers 200 on 127.0.0.1; with a context it is asked over TLS."""
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
        if context is None
        else http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=ANSWER_TIMEOUT_S, context=context
        )
    )
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
