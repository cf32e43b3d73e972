# SPDX-License-Identifier: Apache-2.0
"""One process, measured from its start to its end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took.

    Attributes:
        seconds: Wall time.
        peak_bytes: Largest resident memory.
        stdout: What it printed.
    """

    seconds: float
    peak_bytes: int
    stdout: str


def run_once(command: Sequence[str]) -> Run:
    """Run a command to its end; Linux only, for ``ru_maxrss`` is in KiB there.

    Args:
        command: Program and arguments.

    Raises:
        RuntimeError: It ended with another code than 0.
    """
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, problem = "", ""
        assert process.stdout is not None
        assert process.stderr is not None
        out = process.stdout.read()
        problem = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(
            f"{command[0]} ended with {process.returncode}: {problem[-500:]}"
        )
    return Run(seconds, usage.ru_maxrss * 1024, out)
