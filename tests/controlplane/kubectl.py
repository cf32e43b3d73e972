# SPDX-License-Identifier: Apache-2.0
"""Runs kubectl, and says clearly what it was asked and what it answered."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from controlplane.errors import CommandError

TIMEOUT_S = 120.0
SHOWN_INPUT = 400  # characters of standard input in a message; arbitrary


class Kubectl:
    """kubectl with one kubeconfig, unless a call brings another."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        """Run ``program`` as who ``kubeconfig`` says."""
        self.program = program
        self.kubeconfig = kubeconfig

    def run(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 - the name that subprocess has for it
        kubeconfig: Path | None = None,
        warnings: bool = False,
    ) -> str:
        """Run it to its end and return its standard output.

        With ``warnings``, what it printed to standard error comes first, as on a
        terminal: that is where warnings of admission webhooks are.

        Raises:
            CommandError: It ended with an error, or not within two minutes.
        """
        # The user's own settings (KUBECONFIG, KUBERC ...) must not have a say.
        env = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
        env["KUBECONFIG"] = str(self.kubeconfig if kubeconfig is None else kubeconfig)
        # Else in the home directory or, if there is none, where the tests are run.
        env["KUBECACHEDIR"] = str(self.kubeconfig.parent / "kubectl-cache")
        try:
            result = subprocess.run(
                [self.program, *arguments],
                input="" if input is None else input,
                env={**env, "KUBERC": "off"},
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CommandError(
                f"kubectl {' '.join(arguments)} did not end within {TIMEOUT_S:g} s",
                exit_code=-1,
                output="",
            ) from None
        if result.returncode != 0:
            given = "" if input is None else f"\nits input: {input[:SHOWN_INPUT]}"
            raise CommandError(
                f"kubectl {' '.join(arguments)} ended with exit code "
                f"{result.returncode}: {result.stderr.strip()}{given}",
                exit_code=result.returncode,
                output=result.stdout + result.stderr,
            )
        return result.stderr + result.stdout if warnings else result.stdout

    def create(self, *manifests: Mapping[str, object]) -> None:
        """Create objects, with their status where that is no subresource."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.run("create", "--filename=-", input=json.dumps(items))

    def token(self, namespace: str, name: str, lifetime_s: int) -> str:
        """A token of a ServiceAccount.

        Raises:
            CommandError: There is no such account, or the lifetime is refused.
        """
        try:
            return self.run(
                "create",
                "token",
                name,
                f"--namespace={namespace}",
                f"--duration={lifetime_s}s",
            ).strip()
        except CommandError as error:
            raise CommandError(
                f"there is no token for the ServiceAccount {namespace}:{name} with a "
                f"lifetime of {lifetime_s} s (the least is 600); if it does not exist, "
                f"create it first: kubectl create serviceaccount {name} "
                f"--namespace={namespace}\n{error}",
                exit_code=error.exit_code,
                output=error.output,
            ) from None
