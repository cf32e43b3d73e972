# SPDX-License-Identifier: Apache-2.0
"""Largest memory of commands that read a model with one tensor of several gigabytes.

The model is a sparse file: a bfloat16 embedding of ``--tokens`` rows of 4096 values and
one layer of a 7B-class model, all zeros.  Each command runs as a process of its own;
its peak is told, and how much that is above a command that reads no model.  Prints one
JSON document; Linux only::

    python -m bench.memory [--tokens 375000] [--profiles fast deep]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.machine import machine_facts
from bench.processes import run_once

from made_models import write_zeros
from pedigree.limits import DEFAULT

WIDTH, NEURONS = 4096, 11008


def _write(folder: Path, tokens: int) -> int:
    """A sparse model; returns its bytes."""
    layer = "model.layers.0."
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (tokens, WIDTH),
        "model.norm.weight": (WIDTH,),
        layer + "input_layernorm.weight": (WIDTH,),
        layer + "post_attention_layernorm.weight": (WIDTH,),
        layer + "mlp.gate_proj.weight": (NEURONS, WIDTH),
        layer + "mlp.up_proj.weight": (NEURONS, WIDTH),
        layer + "mlp.down_proj.weight": (WIDTH, NEURONS),
        **{f"{layer}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"},
    }
    write_zeros(folder, shapes)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "num_attention_heads": 32})
    )
    return (folder / "model.safetensors").stat().st_size


def main() -> None:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=375_000)
    parser.add_argument("--profiles", nargs="+", default=["fast", "deep"])
    given = parser.parse_args()
    pedigree = [sys.executable, "-m", "pedigree"]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        size = _write(Path(name), given.tokens)
        code = "import pedigree.fingerprint.source, pedigree.cli.fingerprint_command"
        idle = run_once([sys.executable, "-c", code]).peak_bytes
        for profile in given.profiles:
            command = [*pedigree, "fingerprint", name, "--profile", profile, "--json"]
            ran = run_once(command)
            rows.append(
                {
                    "command": f"fingerprint --profile {profile}",
                    "seconds": round(ran.seconds, 1),
                    "bytesRead": json.loads(ran.stdout)["bytesRead"],
                    "peakBytes": ran.peak_bytes,
                    "growthBytes": ran.peak_bytes - idle,
                    "withinBound": ran.peak_bytes - idle <= DEFAULT.read_max_bytes,
                }
            )
    result = {
        "schema": "pedigree.dev/bench/memory/v1",
        "machine": machine_facts(),
        "modelBytes": size,
        "largestTensorBytes": 2 * given.tokens * WIDTH,
        "boundBytes": DEFAULT.read_max_bytes,
        "idleBytes": idle,
        "runs": rows,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
