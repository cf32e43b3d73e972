# SPDX-License-Identifier: Apache-2.0
"""Every parser against hostile bytes.

    python -m bench.fuzz [--targets NAME,NAME] [--executions N] [--seconds S]
        [--plain] [--work FOLDER] [--keep] [--list]

Runs each target in turn, guided by coverage where atheris is installed, else with the
project's own mutator, which gives the same inputs for the same seed.  ``--executions``
and ``--seconds`` are of each target.  Prints one JSON document, and ends with 1 if
there are findings; their inputs are in ``FOLDER/findings``.  ``--keep`` adds to the
corpus in ``tests/data/corpus`` what reaches more of a parser than it does now; with
``--executions 0`` from what earlier runs left in ``FOLDER``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.fuzzing.catalogue import CORPUS, TARGETS, corpus
from bench.fuzzing.plain import run
from bench.fuzzing.target import Target, execute
from bench.machine import machine_facts

ROOT = Path(__file__).parents[1]
_HANG_S = 20
"""One input: far above what is a finding, so that the run goes on after those."""
_MEMORY_MB = 2048
_CORPUS_FILE_MAX = 1 << 11
_CORPUS_FILES_MAX = 24
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def guided(target: Target, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run a target under atheris in a process of its own."""
    folder = work / "corpus" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*target.seeds(), *corpus(target)]):
        (folder / f"seed-{number}").write_bytes(data)
    broken = work / "findings" / target.name
    broken.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "bench.fuzzing.guided", target.name, str(broken.parent),
        f"-runs={options.executions}", f"-max_total_time={int(options.seconds)}",
        f"-timeout={_HANG_S}", f"-rss_limit_mb={_MEMORY_MB}", "-print_final_stats=1",
        f"-artifact_prefix={broken}/ended-", f"-seed={options.seed}", str(folder),
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    spent = time.monotonic() - began
    match = _EXECUTED.search(done.stderr)
    if match is None:  # a process that was ended by an input says so at its end
        print(done.stderr[-2000:], file=sys.stderr)
    return {
        "executions": int(match[1]) if match else 0,
        "seconds": round(spent, 1),
        "corpus": sum(1 for _ in folder.iterdir()),
        "findings": _written(broken),
        "exit": done.returncode,
    }


def _written(folder: Path) -> dict[str, int]:
    """Findings in a folder by their kind."""
    found: dict[str, int] = {}
    for path in folder.iterdir():
        if path.suffix == ".json":
            key = json.loads(path.read_text())["key"]
            found[key] = found.get(key, 0) + 1
        elif path.name.startswith("ended-"):
            key = "-".join(path.name.split("-")[:2])
            found[key] = found.get(key, 0) + 1
    return found


def plain(target: Target, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run a target in this process."""
    done = run(
        target,
        executions=options.executions,
        seconds=options.seconds,
        seed=options.seed,
        folder=work / "findings",
    )
    found = {key: len(each) for key, each in done.findings.by_key.items()}
    return {
        "executions": done.executions,
        "seconds": round(done.seconds, 1),
        "corpus": len(corpus(target)),
        "findings": found,
        "exit": 0,
    }


def _size(data: bytes) -> tuple[int, bytes]:
    return len(data), data


def keep(target: Target, work: Path) -> int:
    """Add to the kept corpus the inputs of a run that reach something new.

    Returns:
        Files in the corpus afterwards.
    """
    kept, found = CORPUS / target.name, work / "corpus" / target.name
    if not found.is_dir():
        return len(corpus(target))
    kept.mkdir(parents=True, exist_ok=True)
    room = _CORPUS_FILES_MAX - sum(1 for _ in kept.iterdir())
    known = {path.read_bytes() for path in kept.iterdir()} | set(target.seeds())
    # Each input that atheris kept reaches what none before it reached, and was made
    # as short as it found.
    held = sorted({path.read_bytes() for path in found.iterdir()} - known, key=_size)
    fresh = [
        data
        for data in held
        if len(data) <= _CORPUS_FILE_MAX and execute(target, data) is None
    ]
    step = max(1, len(fresh) // max(room, 1))  # over all sizes: short ones reach little
    for data in fresh[::step][: max(room, 0)]:
        (kept / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return sum(1 for _ in kept.iterdir())


def main() -> int:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default="", help="names with commas; default all")
    parser.add_argument("--executions", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="do without atheris")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    names = [name for name in options.targets.split(",") if name] or list(TARGETS)
    if options.list:
        print("\n".join(TARGETS))
        return 0
    unknown = set(names) - set(TARGETS)
    if unknown:
        parser.error(f"no target is called {', '.join(sorted(unknown))}; see --list")
    work = options.work or Path(tempfile.mkdtemp(prefix="pedigree-fuzz-"))
    use_atheris = not options.plain and find_spec("atheris") is not None
    rows = {}
    for name in names:
        target = TARGETS[name]
        row: dict[str, Any] = {"executions": 0, "findings": {}}
        if options.executions:
            row = (guided if use_atheris else plain)(target, work, options)
            row["perSecond"] = round(row["executions"] / max(row["seconds"], 0.1))
        if options.keep and use_atheris:
            row["kept"] = keep(target, work)
        rows[name] = row
    if options.work is None:
        with suppress(OSError):  # what it found or kept stays
            work.rmdir()
    total = sum(row["executions"] for row in rows.values())
    # A process that ended otherwise than by itself has looked at less than it says.
    broken = sum(
        len(row["findings"]) or row.get("exit", 0) != 0 for row in rows.values()
    )
    document = {
        "machine": machine_facts(),
        "engine": "atheris" if use_atheris else "own mutator",
        "executions": total,
        "findings": broken,
        "targets": rows,
    }
    print(json.dumps(document, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
