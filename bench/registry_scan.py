# SPDX-License-Identifier: Apache-2.0
"""How long it takes to find one model among many, next to reading the same bytes.

The coarse scan is timed on random codes in memory, on one core, against the time that
numpy takes to add up the same bytes.  The whole command is timed as a cold process on
registries that are made for it: nearly all references random, one the parent of the
model asked about.  Prints JSON.

    python bench/registry_scan.py [--largest N] [--registry N] [--rounds N]
        [--profile minimal|fast|deep]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.machine import machine_facts

from made_models import EXAMPLES, checkpoint
from pedigree.digests import sha256
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.codes import NAMES
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.registry import Entry, Parent, Registry
from pedigree.registry.candidates import NEAREST
from pedigree.registry.coarse import nearest
from pedigree.registry.writing import Addition, add_all

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 10_000, 100_000, 1_000_000, 2_000_000)
PARENT, CHILD = "llama-a", "llama-a.sft"


def timed(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of some work, over rounds: on the wall, and of one core.

    On a machine that is busy with other things only the second says what it costs.
    """
    seconds, cpu = [], []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return {
        "medianMs": round(statistics.median(seconds) * 1e3, 2),
        "leastMs": round(min(seconds) * 1e3, 2),
        "medianCpuMs": round(statistics.median(cpu) * 1e3, 2),
    }


def coarse(size: int, rounds: int) -> dict[str, Any]:
    """The exact coarse scan of random codes, all three of them."""
    random = np.random.default_rng(size)
    table = {name: random.integers(0, 2**64, (16, size), np.uint64) for name in NAMES}
    query = {name: random.integers(0, 2**64, 16, np.uint64) for name in NAMES}
    scan = timed(lambda: nearest([table], query, NEAREST), rounds)
    limit = timed(lambda: [code.sum() for code in table.values()], rounds)
    return {
        "references": size,
        "bytes": sum(code.nbytes for code in table.values()),
        "scan": scan,
        "sumOfTheSameBytes": limit,
        "ratioOfCpu": round(scan["medianCpuMs"] / limit["medianCpuMs"], 2),
    }


def additions(parent: Fingerprint, other: Fingerprint, size: int) -> Iterator[Addition]:
    """One parent among references that differ in code, name and shape.

    They share the bytes of one unrelated fingerprint, and shapes as real models do:
    a few hundred, one of them that of the model asked about.
    """
    random = np.random.default_rng(1)
    body, digest = other.encoded, other.digest
    shape = other.shape
    for number in range(size - 1):
        entry = Entry(
            name=f"org{number % 997}/model-{number}",
            fingerprint=digest,
            spec=other.spec,
            family=f"family {number % 311}",
            publisher=f"org{number % 997}",
            license="Apache-2.0",
            source=f"hf://org{number % 997}/model-{number}",
            parents=(Parent(f"org{number % 97}/base", "FineTuned"),),
        )
        width = shape.width + 64 * (number % 300)
        yield Addition(
            entry,
            body,
            (shape.layers, width, shape.neurons, shape.vocabulary),
            random.integers(0, 2**64, (3, 16), np.uint64),
        )
    entry = Entry(name="the/parent", fingerprint=parent.digest, spec=parent.spec)
    yield Addition.of(entry, parent)


def whole_command(size: int, rounds: int, profile: Profile) -> dict[str, Any]:
    """``pedigree scan`` as a process of its own, on a registry of that size."""
    prints = [
        build_fingerprint(checkpoint(EXAMPLES / name), profile=profile)
        for name in (PARENT, "llama-b")
    ]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "registry")
        started = time.perf_counter()
        add_all(root, additions(prints[0], prints[1], size))
        made = time.perf_counter() - started
        stored = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        opened = timed(lambda: Registry.open(root), rounds)
        one = time.perf_counter()
        again = prints[0].encoded
        entry = Entry(name="one/more", fingerprint=sha256(again), spec=prints[0].spec)
        add_all(root, [Addition.of(entry, prints[0])])
        one = time.perf_counter() - one
        command = [sys.executable, "-m", "pedigree", "scan", str(EXAMPLES / CHILD)]
        command += ["--registry", str(root), "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        outputs: list[bytes] = []

        def run() -> None:
            outputs.append(
                subprocess.run(
                    command, check=True, capture_output=True, env=environment
                ).stdout
            )

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        whole = timed(run, rounds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        bare = timed(
            lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True),
            rounds,
        )
        found = json.loads(outputs[-1])
    return {
        "references": size,
        "profile": str(profile),
        "storedBytes": stored,
        "makeSeconds": round(made, 2),
        "open": opened,
        "addOneMs": round(one * 1e3, 1),
        "wholeProcess": whole,
        "cpuSeconds": round(cpu / rounds, 3),
        "importNumpyAlone": bare,
        "best": found["matches"][0]["reference"],
        "verdict": found["matches"][0]["verdict"],
        "compared": len(found["matches"]),
        "screened": found["screened"],
        "secondsInside": found["seconds"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--registry", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--profile", type=Profile, default=Profile.MINIMAL, choices=list(Profile)
    )
    args = parser.parse_args()
    report = {
        "schema": "pedigree.dev/bench-registry-scan/v1",
        "machine": machine_facts(),
        "coarse": [coarse(size, args.rounds) for size in SIZES if size <= args.largest],
        "command": [
            whole_command(size, args.rounds, args.profile)
            for size in (1_000, 10_000, 100_000)
            if size <= args.registry
        ],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
