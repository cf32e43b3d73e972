# SPDX-License-Identifier: Apache-2.0
"""One target under atheris, guided by coverage; a process of its own.

    python -m bench.fuzzing.guided TARGET FINDINGS [options of libFuzzer] CORPUS

libFuzzer ends the process when it is done, so what it counted is read from what it
prints.  Findings are written as they come, and the run goes on after each.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]

with atheris.instrument_imports(
    include=["pedigree", "pedigree_webhook", "pedigree_audit", "pedigree_operator"]
):
    from bench.fuzzing.catalogue import TARGETS, corpus
    from bench.fuzzing.mutate import Mutator
    from bench.fuzzing.target import Findings, execute


def main() -> None:
    """Fuzz until libFuzzer's options say stop."""
    warnings.simplefilter("error")
    target = TARGETS[sys.argv[1]]
    findings = Findings(Path(sys.argv[2]))
    seeds = [*target.seeds(), *corpus(target)]

    def one(data: bytes) -> None:
        found = execute(target, data)
        if found is not None:
            findings.add(found)

    def changed(data: bytes, size_max: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, size_max))
        return Mutator(target, random).mutated(data, seeds)[:size_max]

    options = [f"-max_len={target.bytes_max}", *sys.argv[3:]]
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
