# SPDX-License-Identifier: Apache-2.0
"""Train many small independent models, for the calibration of null distributions.

    python -m bench.null_bases FOLDER [--count 20] [--first 0]

Llama and GPT-2 in turn, of one shape each, with the same text and tokenizer; seeds and
the order of the text differ.  They are trained briefly, but well past the point where
embeddings, norms and outlier channels take their form, so that whatever breaks the
exchangeability of an axis has had its time.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.train.corpus import encoded, tokenizer
from bench.train.optimise import Schedule, Sizes, initial, train
from bench.train.recipes import config_of
from bench.variants.files import Model, write_model

SCHEDULE = Schedule(steps=250, rate=3e-3, batch=8, length=64, warm=25)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.null_bases")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    for k in range(args.first, args.first + args.count):
        kind = ("llama", "gpt2")[k % 2]
        name = f"{kind}-n{1000 + k}"
        if (args.folder / name / "zoo.json").exists():
            continue
        sizes = Sizes(kind=kind, layers=2, neurons=256 if kind == "gpt2" else 176)
        network = initial(sizes, 1000 + k)
        loss = train(network, encoded("code-1"), SCHEDULE, order=1000 + k)
        model = Model(network, config_of(network), {"tokenizer.json": tokenizer()})
        write_model(args.folder / name, model)
        facts = {"name": name, "parents": [], "seed": 1000 + k, "loss": round(loss, 4)}
        (args.folder / name / "zoo.json").write_text(json.dumps(facts) + "\n")
        print(json.dumps(facts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
