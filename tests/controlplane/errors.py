# SPDX-License-Identifier: Apache-2.0
"""What can go wrong here, grouped by who must act.

Every message says what failed, what was got, what was wanted, and what to do next.
"""


class ControlPlaneError(Exception):
    """The real Kubernetes control plane could not do what was asked."""


class ProgramError(ControlPlaneError):
    """A program is neither here nor could be built: the machine's owner must act."""


class ProcessError(ControlPlaneError):
    """A started program ended, or did not become ready; the message has its log."""


class CommandError(ControlPlaneError):
    """A command that was run against the control plane ended with an error.

    Attributes:
        exit_code: What the command ended with.
        output: Its standard output and standard error, in this order.
    """

    def __init__(self, message: str, *, exit_code: int, output: str) -> None:
        """Keep the exit code and the output for tests to look at."""
        super().__init__(message)
        self.exit_code = exit_code
        self.output = output
