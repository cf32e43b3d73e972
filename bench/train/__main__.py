# SPDX-License-Identifier: Apache-2.0
"""Train the small zoo, one model after the other; what is there already is kept.

python -m bench.train FOLDER [--only NAME ...] [--shorter 0.1]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from bench.train.recipes import RECIPES, make_model


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.train", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--shorter", type=float, default=1.0)
    args = parser.parse_args()
    for name in args.only:
        if (args.folder / name / "zoo.json").exists():
            continue
        started = time.perf_counter()

        def tell(step: int, loss: float, name: str = name) -> None:
            print(f"{name}: step {step}, loss {loss:.3f}", file=sys.stderr)

        facts = make_model(name, args.folder, shorter=args.shorter, tell=tell)
        facts["seconds"] = round(time.perf_counter() - started)
        print(json.dumps(facts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
