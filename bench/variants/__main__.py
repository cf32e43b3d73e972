# SPDX-License-Identifier: Apache-2.0
"""Make a variant of a model folder.

python -m bench.variants MODEL_FOLDER OUT_FOLDER --variant launder+int4 --seed 1
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.variants.catalogue import STEPS, keeps_function, make
from bench.variants.files import read_model, write_model


def main() -> int:
    """Run the command."""
    steps = "\n".join(f"  {name:18} {step.about}" for name, step in STEPS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench.variants",
        description="Make a variant of a model folder.",
        epilog=f"steps (join with +, strength after =):\n{steps}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other", type=Path, action="append", default=[])
    args = parser.parse_args()
    others = [read_model(folder) for folder in args.other]
    model = read_model(args.model)
    made = make(model, args.variant, seed=args.seed, others=others)
    write_model(args.out, made)
    facts = {
        "parents": [args.model.name, *(folder.name for folder in args.other)],
        "how": args.variant,
        "linked": True,
        "keepsFunction": keeps_function(args.variant),
        "seed": args.seed,
        "name": args.out.name,
    }
    (args.out / "zoo.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
