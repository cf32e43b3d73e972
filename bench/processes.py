# SPDX-License-Identifier: Apache-2.0
"""One process, measured from its start to its end.

Linux counts the memory of the process that starts a program as the program's own, so a
small process of its own starts it and takes its measure.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_AGENT = """
import json, os, sys, time
report, *command = sys.argv[1:]
started = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
with open(report, "w") as file:
    json.dump([seconds, usage.ru_maxrss * 1024, code], file)
"""
"""``ru_maxrss`` is in KiB on Linux."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took.

    Attributes:
        seconds: Wall time.
        peak_bytes: Largest resident memory; at least the 10 MB of the starter.
        stdout: What it printed.
    """

    seconds: float
    peak_bytes: int
    stdout: str


def run_once(command: Sequence[str]) -> Run:
    """Run a command to its end; Linux only.

    Args:
        command: Program and arguments.

    Raises:
        RuntimeError: It ended with another code than 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        agent = [sys.executable, "-I", "-S", "-c", _AGENT, str(report), *command]
        ran = subprocess.run(agent, capture_output=True, text=True, check=False)
        seconds, peak_bytes, code = json.loads(report.read_text())
    if code:
        raise RuntimeError(f"{command[0]} ended with {code}: {ran.stderr[-500:]}")
    return Run(seconds, peak_bytes, ran.stdout)
