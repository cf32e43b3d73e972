# SPDX-License-Identifier: Apache-2.0
"""A loop without atheris: the same inputs for the same seed, on any Python."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.fuzzing.catalogue import corpus
from bench.fuzzing.mutate import Mutator
from bench.fuzzing.target import Findings, Target, execute

_FRESH = 0.5
"""Share of inputs made of a first one; others are made of what was made before."""
_POOL_MAX = 200


@dataclass(frozen=True, slots=True)
class Run:
    """What a loop did."""

    executions: int
    seconds: float
    findings: Findings


def run(
    target: Target,
    *,
    executions: int,
    seconds: float = float("inf"),
    seed: int = 0,
    folder: Path | None = None,
) -> Run:
    """Run a target on its seeds, its corpus and changes of both.

    Args:
        target: The parser.
        executions: Most inputs.
        seconds: Most time.
        seed: Same inputs for the same seed.
        folder: Where findings are written, or None.
    """
    random = Random(seed)
    mutator, findings = Mutator(target, random), Findings(folder)
    first = [*target.seeds(), *corpus(target)]
    pool = list(first)
    began, done = time.monotonic(), 0
    while done < executions and time.monotonic() - began < seconds:
        if done < len(first):
            data = first[done]
        else:
            base = random.choice(first if random.random() < _FRESH else pool)
            data = mutator.mutated(base, pool)
            if len(pool) < _POOL_MAX:
                pool.append(data)
            else:
                pool[random.randrange(_POOL_MAX)] = data
        found = execute(target, data)
        if found is not None:
            findings.add(found)
        done += 1
    return Run(done, time.monotonic() - began, findings)
