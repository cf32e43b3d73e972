# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of whole processes, against the kit and against reading alone.

    python -m bench.kit_speed [--kit PYTHON] [--sizes MB ...] [--repeats 5]
        [--folder DIR] [--out FILE.json]

Makes random Llama-like bf16 models of known size in a temporary folder (deleted
afterwards) and runs, each in a process of its own, page cache warm:

``compare``      ``pedigree compare A B --json`` on two models of 0.47B parameters
``kit``          the Model Provenance Kit on the same two, if ``--kit`` names an
                 interpreter that has it
``read``         numpy reads the same bytes once and sums them: what a program that
                 looks at every byte cannot undercut
``fingerprint``  ``pedigree fingerprint --profile fast`` and ``deep`` on one model of
                 each of ``--sizes``, beside ``read`` of that model

Rounds take turns, so that what else the machine does hits all alike.  Prints one JSON
document: median, least and all wall times in seconds, and the largest resident memory
in bytes, beside facts about the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine_facts
from bench.processes import Run, run_once
from bench.random_models import HALF_BILLION, Size, size_of, write_random

SUM = """
import sys
import numpy as np
buffer = np.empty(8 << 20, np.uint16)
total = 0.0
for path in sys.argv[1:]:
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            widened = buffer[: count // 2].astype(np.uint32) << 16
            total += float(widened.view(np.float32).sum())
print(total)
"""
"""Reads bf16 values, widens and sums them."""
KIT = "from provenancekit.cli import main; main()"
_TOKENIZER = Path(__file__).parents[1] / "examples/models/llama-a"
PROFILES = ("fast", "deep")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", metavar="PYTHON", help="interpreter that has the kit")
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 64, 940, 3000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to make the models")
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("examples/models/llama-a")
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        document = {
            "schema": "pedigree.dev/bench/kit-speed/v1",
            "machine": machine_facts(),
            "repeats": args.repeats,
            "compare": _compare(Path(folder), args),
            "fingerprint": [_fingerprint(Path(folder), mb, args) for mb in args.sizes],
        }
    text = json.dumps(document, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)
    return 0


def _compare(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    a, b = (_made(folder / name, HALF_BILLION, seed, args) for seed, name in _SIDES)
    commands = {
        "pedigree": [sys.executable, "-m", "pedigree", "compare", a, b, "--json"],
        "read": [sys.executable, "-c", SUM, *_weights(a, b)],
    }
    if args.kit:
        commands["kit"] = [args.kit, "-c", KIT, "compare", a, b, "--json", "--no-cache"]
    runs = rounds(commands, args.repeats)
    shutil.rmtree(a)
    shutil.rmtree(b)
    found: dict[str, Any] = {"parameters": HALF_BILLION.parameters}
    found |= {name: describe(runs[name]) for name in commands}
    found["verdict"] = json.loads(runs["pedigree"][-1].stdout)["verdict"]
    if args.kit:
        ours, theirs = found["pedigree"], found["kit"]
        found["timesFaster"] = round(theirs["median"] / ours["median"], 1)
        found["timesSmaller"] = round(theirs["peakBytes"] / ours["peakBytes"], 1)
    return found


_SIDES = ((1, "a"), (2, "b"))


def _fingerprint(folder: Path, megabytes: int, args: argparse.Namespace) -> Any:
    size = size_of(megabytes * 1_000_000)
    model = _made(folder / f"m{megabytes}", size, 3, args)
    ours = [sys.executable, "-m", "pedigree", "fingerprint", model, "--json"]
    commands = {name: [*ours, "--profile", name] for name in PROFILES}
    commands["read"] = [sys.executable, "-c", SUM, *_weights(model)]
    runs = rounds(commands, args.repeats)
    size_bytes = sum(Path(path).stat().st_size for path in _weights(model))
    shutil.rmtree(model)
    found: dict[str, Any] = {"bytes": size_bytes, "parameters": size.parameters}
    found |= {name: describe(runs[name]) for name in commands}
    for name in PROFILES:
        document = json.loads(runs[name][-1].stdout)
        found[name]["bytesRead"] = document["bytesRead"]
        found[name]["fingerprintBytes"] = document["fingerprintBytes"]
    return found


def _made(folder: Path, size: Size, seed: int, args: argparse.Namespace) -> str:
    write_random(folder, size, seed)
    for path in args.tokenizer.glob("tokenizer*.json"):
        shutil.copy(path, folder / path.name)
    return str(folder)


def _weights(*folders: str) -> list[str]:
    return [str(p) for f in folders for p in sorted(Path(f).glob("*.safetensors"))]


def rounds(commands: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[Run]]:
    """Run each command once unmeasured, then all in turns.

    Args:
        commands: Name and arguments.
        repeats: Measured runs of each.
    """
    for command in commands.values():
        run_once(command)
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run_once(command))
    return runs


def describe(runs: Sequence[Run]) -> dict[str, Any]:
    """Times in seconds and memory in bytes of runs of one command."""
    seconds = [run.seconds for run in runs]
    return {
        "median": round(statistics.median(seconds), 4),
        "least": round(min(seconds), 4),
        "all": [round(second, 4) for second in seconds],
        "peakBytes": max(run.peak_bytes for run in runs),
    }


if __name__ == "__main__":
    sys.exit(main())
