# SPDX-License-Identifier: Apache-2.0
"""What it costs to escape: attacks swept in strength against the function that is kept.

    python -m bench.evasion [MODEL...] [--twin FOLDER] [--quick] [--out FILE.json]

Each attack is made at growing strength, alone and laundered, until the verdict no
longer says that the weights are related; the share of next tokens on which the child
still agrees with its parent says what the attack cost.  A child is *useful* if it
agrees on half of them.  For scale, the same share is measured for a model trained apart
on the same text (``--twin``).  Attacks that take parts of another model take them from
that one.

``--heal STEPS...`` adds the dear attacks: whole parts are drawn anew and the model is
trained on for so many steps, then laundered.  Meant for the models of ``bench.train``,
whose own training takes 1200 steps of the same size.

Models default to the two bases in ``examples/models``.  Text, tokenizer and seeds are
fixed; children are written to disk as bfloat16 and read back.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine import Verdict, fingerprint, verdict
from bench.forward import agreement, predictions, reading
from bench.machine import machine_facts
from bench.variants.catalogue import STEPS, make, parse
from bench.variants.files import Model, read_model, write_model

from pedigree.fingerprint.model import Fingerprint

EXAMPLES = Path(__file__).parent.parent / "examples" / "models"
USEFUL = 0.5
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
NOISE = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Attack:
    """A variant with ``{}`` where the strength goes, and the strengths.

    ``laundered`` says whether it is swept again with laundering after it.
    """

    variant: str
    strengths: Sequence[float]
    laundered: bool = True


ATTACKS = (
    Attack("noise={}", NOISE),
    Attack("blur-neurons={}", NOISE),
    Attack("prune={}", (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)),
    # Rounding comes last: laundering after it would leave no lattice.
    Attack("int4={}", (1, 2, 4, 8), laundered=False),
    Attack("int3={}", (1, 2, 4), laundered=False),
    Attack("launder+int4={}", (1, 2, 4, 8), laundered=False),
    Attack("launder+int3={}", (1, 2, 4), laundered=False),
    Attack("redraw-neurons={}", SHARES),
    Attack("redraw-gates={}", SHARES),
    Attack("redraw-heads={}", (0.5, 1.0)),
    Attack("redraw-layers={}", (1, 2, 3, 4)),
    Attack("redraw-embeddings={}", SHARES),
    Attack("blend-embeddings={}", SHARES),
    Attack("prune-neurons={}", (0.25, 0.5, 0.75, 0.9)),
    Attack("drop={}", (1, 2, 3)),
    Attack("rotation={}", (0.05, 0.1, 0.25, 0.5, 1.0), laundered=False),
    Attack("rotation-blocks={}", (2, 8, 32), laundered=False),
    Attack("linear={}", (0.1, 0.3, 0.5, 0.7, 0.9)),
    Attack("passthrough={}", (0.25, 0.5, 0.75, 1.0)),
    Attack("decoys={}", (0.1, 0.25, 0.5, 1, 2)),
    Attack("take-embeddings", (0,)),
    Attack("fit-embeddings", (0,)),
    # Combinations aimed at single tests: tokens gone, then neurons or values blurred.
    Attack("blend-embeddings=0.5+noise={}", NOISE),
    Attack("fit-embeddings+noise={}", NOISE),
    Attack("fit-embeddings+redraw-gates={}", SHARES),
    Attack("redraw-gates={0}+noise={0}", (0.1, 0.2, 0.3, 0.5)),
    Attack("redraw-neurons={0}+redraw-embeddings={0}+noise={0}", (0.1, 0.2, 0.3, 0.5)),
    Attack("drop=1+prune-neurons={0}+noise={0}", (0.1, 0.2, 0.3, 0.5)),
)
LAUNDERED = "+launder"
REGROWN = "+insert-layers+split-neurons+pad-neurons+launder"
ALONE = (
    *("neurons", "heads", "channels", "scale-norms", "scale-neurons", "mix-qk"),
    *("mix-vo", "vocabulary", "vocabulary+launder", "upcycle+launder", "launder+int4"),
    "pad-channels+launder",
    "pad-channels+pad-heads+split-neurons+pad-neurons+insert-layers+launder+vocabulary",
)
# Parts drawn anew and trained until they work again; {} is the number of steps.
HEALED = (
    "redraw-embeddings=1+heal={}+launder",
    "redraw-gates=1+heal={}+launder",
    "redraw-neurons=0.5+heal={}+launder",
    "redraw-neurons=1+heal={}+launder",
    "redraw-embeddings=1+redraw-gates=1+heal={}+launder",
    "redraw-embeddings=1+redraw-neurons=0.5+noise=0.3+heal={}+launder",
    "redraw-embeddings=1+redraw-neurons=1+heal={}+launder",
)
GROWN = ("noise={}", "redraw-neurons={}", "blend-embeddings={}", "linear={}")
"""Swept a third time, with the shapes changed before the laundering."""
QUICK = ("noise={}", "redraw-neurons={}", "blend-embeddings={}", "linear={}")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.evasion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--twin", type=Path, default=EXAMPLES / "llama-b")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--heal", type=int, nargs="*", default=[], metavar="STEPS")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    models = args.models or [EXAMPLES / name for name in ("llama-a", "gpt2-a")]
    started = time.perf_counter()
    parents = {
        folder.name: _sweep_all(folder, args)
        for folder in models[: 1 if args.quick else None]
    }
    document = {
        "schema": "pedigree.dev/bench/evasion/v1",
        "machine": machine_facts(),
        "seconds": round(time.perf_counter() - started),
        "summary": {name: _summary(found) for name, found in parents.items()},
        "parents": parents,
    }
    if args.out:
        args.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["summary"], indent=1))
    return 0


class _Parent:
    """A model that is attacked, and how its children are judged."""

    def __init__(self, folder: Path, twin: Path, sequences: int, seed: int) -> None:
        self.name = folder.name
        self.model = read_model(folder)
        self.print, _ = fingerprint(folder)
        self.tokens = reading(self.model, sequences=sequences)
        self.seed = seed
        other = read_model(twin)
        same = other.network.kind == self.model.network.kind
        self.twin = other if same else None
        self.known = predictions(self.model.network, self.tokens)
        self.twin_agrees = self._agreement(other) if same else None

    def child(self, variant: str) -> dict[str, Any] | None:
        """Make, judge and measure a child; None if this parent cannot have it."""
        others = [self.twin] if self.twin is not None else []
        steps = [STEPS[name] for name, _ in parse(variant)]
        if any(step.others > len(others) for step in steps):
            return None
        try:
            made = make(self.model, variant, seed=self.seed, others=others)
        except ValueError:
            return None  # a shape that this architecture does not allow
        with tempfile.TemporaryDirectory() as work:
            folder = write_model(Path(work) / "child", made)
            found = self._judge(*fingerprint(folder)[:1])
            kept = self._agreement(read_model(folder))
        strongest = found.said.deciding
        return {
            "variant": variant,
            "agreement": round(kept, 4),
            "verdict": found.lineage,
            "related": found.related,
            "log10P": round(found.log10_p, 1),
            "by": strongest.name if strongest is not None else "",
        }

    def _agreement(self, child: Model) -> float:
        return agreement(self.model, child, self.tokens, self.known)

    def _judge(self, child: Fingerprint) -> Verdict:
        return verdict(self.print, child)


def _sweep_all(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    parent = _Parent(folder, args.twin, args.sequences, args.seed)
    curves = []
    for variant, strengths in _plan(args.quick):
        points = list(_sweep(parent, variant, strengths))
        if points:
            curves.append({"attack": variant, "points": points})
            print(_line(parent.name, curves[-1]), file=sys.stderr)
    for healed in HEALED if args.heal else ():
        # Healing keeps more and more of the function: no early end.
        points = [_healed(parent, healed, steps) for steps in sorted(args.heal)]
        curves.append({"attack": healed, "points": points})
        print(_line(parent.name, curves[-1]), file=sys.stderr)
    alone = [parent.child(variant) for variant in ALONE]
    return {
        "twinAgreement": parent.twin_agrees,
        "positions": int(parent.tokens.size),
        "keepsFunction": [child for child in alone if child is not None],
        "curves": curves,
    }


def _plan(quick: bool) -> Iterator[tuple[str, Sequence[float]]]:
    """Variants to sweep: each attack as it is, laundered, and some of them grown."""
    for attack in ATTACKS:
        if quick and attack.variant not in QUICK:
            continue
        yield attack.variant, attack.strengths
        if attack.laundered:
            yield attack.variant + LAUNDERED, attack.strengths
        if attack.variant in GROWN and not quick:
            yield attack.variant + REGROWN, attack.strengths


def _healed(parent: _Parent, variant: str, steps: int) -> dict[str, Any]:
    child = parent.child(variant.format(steps))
    if child is None:
        raise ValueError(f"{parent.name} cannot be healed, wanted a dense model")
    return child | {"strength": steps}


def _sweep(
    parent: _Parent, variant: str, strengths: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Children of growing strength, up to the first that escapes."""
    for strength in strengths:
        child = parent.child(variant.format(strength))
        if child is None:
            return
        yield child | {"strength": strength}
        if not child["related"]:
            return


def _line(parent: str, curve: Mapping[str, Any]) -> str:
    last = curve["points"][-1]
    return (
        f"{parent} {curve['attack']}: {last['verdict']} at {last['strength']}, "
        f"agreement {last['agreement']}, log10 p {last['log10P']} by {last['by']}"
    )


def _summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """The frontier, and every useful child that escapes."""
    children = [p for curve in found["curves"] for p in curve["points"]]
    children += found["keepsFunction"]
    lost = [child for child in children if not child["related"]]
    useful = [child for child in lost if child["agreement"] >= USEFUL]
    chance = found["twinAgreement"] or 0.0
    best = max(lost, key=lambda child: child["agreement"], default=None)
    return {
        "children": len(children),
        "useful": sum(1 for child in children if child["agreement"] >= USEFUL),
        "usefulThatEscape": useful,
        # A model trained apart on the same text agrees that much, and owes nothing.
        "ofThoseAboveTwin": [c for c in useful if c["agreement"] > chance],
        "mostUsefulThatEscapes": best,
        "twinAgreement": found["twinAgreement"],
        "frontier": [_frontier(curve) for curve in found["curves"]],
        "keepsFunctionAndEscapes": [
            child["variant"] for child in found["keepsFunction"] if not child["related"]
        ],
    }


def _frontier(curve: Mapping[str, Any]) -> dict[str, Any]:
    """Where the verdict is lost: agreement at the last found and the first lost."""
    held = [point for point in curve["points"] if point["related"]]
    lost = [point for point in curve["points"] if not point["related"]]
    # Of healed children the one that is worth most counts, not the first.
    lost.sort(key=lambda point: -point["agreement"])
    return {
        "attack": curve["attack"],
        "heldUpTo": held[-1]["strength"] if held else None,
        "agreementHeld": held[-1]["agreement"] if held else None,
        "lostAt": lost[0]["strength"] if lost else None,
        "agreementLost": lost[0]["agreement"] if lost else None,
    }


if __name__ == "__main__":
    sys.exit(main())
