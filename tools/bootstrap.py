# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment that every make target uses.

Standard library only: this runs before anything is installed.  Safe to repeat; does
nothing when ``pyproject.toml`` has not changed since the last complete run and the
environment still runs this folder's code.  A run that was interrupted leaves no stamp,
so the next one does the work again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "pedigree-stamp"
OLDEST = (3, 11)
TICK_S = 5.0


def wanted_stamp() -> str:
    """What a finished environment was made from."""
    content = (ROOT / "pyproject.toml").read_bytes()
    return hashlib.sha256(
        content + sys.version.encode() + str(ROOT).encode()
    ).hexdigest()


def is_linked() -> bool:
    """Whether the environment runs the code of this folder, not a copy of it.

    ``pip install .`` within it puts a copy in the place of the link, after which every
    check would pass or fail on code that is no longer edited.
    """
    return any(VENV.glob("lib/python*/site-packages/*pedigree_gate*.pth"))


def step(number: int, total: int, what: str, command: list[str]) -> None:
    """Run one command, saying what it is and how long it takes.

    The command's own output is shown only when it fails.
    """
    began = time.monotonic()
    label = f"[set-up {number}/{total}] {what}"
    print(f"{label} ...", flush=True)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(TICK_S):
            print(f"{label} ... {time.monotonic() - began:.0f} s", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        check=False,
    )
    done.set()
    if result.returncode != 0:
        print(result.stdout[-6000:], file=sys.stderr)
        raise SystemExit(
            f"error: {what} failed with exit code {result.returncode}; "
            "the last lines of its output are above"
        )
    print(f"{label} done in {time.monotonic() - began:.0f} s", flush=True)


def main() -> int:
    """Create or refresh ``.venv``."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SystemExit(
            f"error: this is Python {found} ({sys.executable}), wanted 3.11 or newer; "
            "name one with: make PYTHON=/path/to/python3.11 ..."
        )
    stamp = wanted_stamp()
    if STAMP.is_file() and STAMP.read_text().strip() == stamp and is_linked():
        return 0
    python = VENV / "bin" / "python"
    step(1, 3, "create .venv", [sys.executable, "-m", "venv", str(VENV)])
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    # Dependency groups of pyproject.toml need pip 25.1.
    step(2, 3, "upgrade pip", [*pip, "install", "--quiet", "--upgrade", "pip>=25.1"])
    step(
        3,
        3,
        "install Pedigree and its tools",
        [*pip, "install", "--quiet", "--editable", ".", "--group", "dev"],
    )
    STAMP.write_text(stamp + os.linesep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
