# SPDX-License-Identifier: Apache-2.0
"""What the steps of the demonstration act on: a cluster, the services, the models."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from controlplane import CommandError, ControlPlane
from controlplane.processes import Process
from demo import models
from demo.narrator import Narrator
from stack import Stack
from stack.stack import NAMESPACE

MANIFESTS = Path(__file__).resolve().parent / "manifests"
TENANT = "team-a"
WAIT_S = 60.0  # about ten times what any step takes on two idle cores
POLL_S = 0.1


class DemoError(Exception):
    """A step did not come out as promised."""


class World:
    """A cluster with Pedigree installed, an auditor, a tenant, and models on disk."""

    def __init__(self, plane: ControlPlane, folder: Path, narrator: Narrator) -> None:
        self.plane = plane
        self.folder = folder
        self.tell = narrator
        self.models = folder / "models"
        self.stack = Stack(plane, folder / "pedigree", file_roots=[self.models])
        self.interrupt: Callable[[int], None] = lambda step: None
        """Called in the middle of each step; tests kill services here."""

    def prepare(self) -> None:
        """Lay out the models, install and start everything, declare what is known."""
        self.tell.title("Pedigree's chart is installed and its services start")
        models.lay_out(self.models)
        self.stack.start()
        self.tell.good(
            "operator, webhook and audit service run as processes of their own, under "
            "the ServiceAccounts, RBAC and webhook configuration of the chart"
        )
        self.plane.kubectl("create", "namespace", TENANT)
        self._make_auditor()
        self.tell.title("What the cluster knows, and what its policy says")
        self.apply("references.yaml")
        for name in ("aurora-1", "nightshade-1"):
            self.wait(
                f"reference {name} has its fingerprint",
                partial(self.condition, "referencemodels", name, "Ready"),
            )
        self.tell.good("aurora-1 and nightshade-1 are read and fingerprinted, once")
        self.apply("policy.yaml")
        self.wait(
            "the policy is accepted",
            partial(self.condition, "clusterlineagepolicies", "production", "Ready"),
        )
        self.wait("the webhook knows the policy", self._webhook_knows_the_policy)

    def _webhook_knows_the_policy(self) -> bool:
        webhook = self.stack.services["webhook"]
        kind = "ClusterLineagePolicy"
        return webhook.metric("pedigree_store_objects", kind=kind) == 1

    def _make_auditor(self) -> None:
        for arguments in (
            ("serviceaccount", "auditor", f"--namespace={NAMESPACE}"),
            (
                "clusterrolebinding",
                "auditor",
                "--clusterrole=pedigree-auditor",
                f"--serviceaccount={NAMESPACE}:auditor",
            ),
        ):
            self.plane.kubectl("create", *arguments)

    def apply(self, manifest: str) -> str:
        """``kubectl apply`` a manifest of the demonstration, and show it.

        Raises:
            CommandError: The API server refused it.
        """
        text = (MANIFESTS / manifest).read_text().replace("MODELS", str(self.models))
        self.tell.command(f"kubectl apply -f examples/demo/manifests/{manifest}")
        printed = self.plane.kubectl("apply", "-f", "-", input=text, warnings=True)
        self.tell.output(printed)
        return printed

    def refused(self, manifest: str) -> str:
        """``kubectl apply`` something that must be refused; what the tenant reads."""
        try:
            printed = self.apply(manifest)
        except CommandError as error:
            self.tell.output(error.output)
            return error.output
        raise DemoError(f"{manifest} was admitted: {printed}")

    def wait(self, what: str, ready: Callable[[], object]) -> None:
        """Wait until something is true.

        Raises:
            DemoError: It is not, after a minute.
        """
        deadline = time.monotonic() + WAIT_S
        while not ready():
            if time.monotonic() > deadline:
                raise DemoError(f"after {WAIT_S:.0f} s it is not so that {what}")
            time.sleep(POLL_S)

    def wait_verdict(self, name: str, result: str, reason: str) -> Mapping[str, Any]:
        """Wait for a ModelDeployment's verdict, show its sentence, and return it.

        Raises:
            DemoError: Another verdict stands after a minute.
        """
        found: dict[str, Any] = {}

        def judged() -> bool:
            found.clear()
            found.update(self.status(name).get("verdict", {}))
            return (found.get("result"), found.get("reason")) == (result, reason)

        try:
            self.wait(f"{name} is judged {result} {reason}", judged)
        except DemoError as error:
            raise DemoError(f"{error}; its verdict is {found}") from None
        self.tell.good(f"{name}: {result} {reason}. {found['message']}")
        return found

    def get(self, kind: str, name: str = "", namespace: str = "") -> dict[str, Any]:
        """One object, or a list; empty if there is none."""
        arguments = [kind, *([name] if name else []), "--output=json"]
        if namespace:
            arguments.append(f"--namespace={namespace}")
        printed = self.plane.kubectl("get", *arguments, "--ignore-not-found")
        found: dict[str, Any] = json.loads(printed) if printed.strip() else {}
        return found

    def status(self, name: str) -> dict[str, Any]:
        """Status of a tenant's ModelDeployment."""
        found = self.get("modeldeployments.pedigree.dev", name, TENANT)
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, kind: str, name: str, condition: str) -> bool:
        """Whether a cluster-scoped object's condition is True."""
        conditions = self.get(f"{kind}.pedigree.dev", name)
        return any(
            each["type"] == condition and each["status"] == "True"
            for each in conditions.get("status", {}).get("conditions", [])
        )

    def available(self, deployment: str) -> int:
        """Pods of a tenant's Deployment that run."""
        found = self.get("deployments.apps", deployment, TENANT)
        return int(found.get("status", {}).get("availableReplicas", 0))

    def examined_bytes(self) -> int:
        """Bytes of models that the operator has read since it started."""
        return int(
            self.stack.services["operator"].metric("pedigree_fingerprint_bytes_total")
        )

    def pedigree(self, *arguments: str) -> str:
        """Run the ``pedigree`` command as the auditor, and show it.

        Raises:
            DemoError: It ended with an error.
        """
        self.tell.command(f"pedigree {' '.join(arguments)}")
        access = (
            f"--url={self.stack.audit_url}",
            f"--ca-file={self.stack.folder / 'ca.crt'}",
            f"--token-file={self.stack.token_file('auditor')}",
        )
        log = self.folder / "command.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-Im", "pedigree", *arguments, *access]
        exit_code = Process("pedigree", command, log=log).start().wait(timeout_s=WAIT_S)
        printed = log.read_text()
        self.tell.output(printed)
        if exit_code != 0:
            raise DemoError(f"pedigree {' '.join(arguments)} ended with {exit_code}")
        return printed

    def stop(self) -> None:
        """End the services; the control plane is stopped by who started it."""
        self.stack.stop()
