# SPDX-License-Identifier: Apache-2.0
"""Every change by name: ``launder``, ``noise=0.1``, ``drop=1+launder+int4``.

A variant is one or more steps joined by ``+``; each step may have a strength after
``=``.  Steps run in order, each with random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bench.variants import changes, damage, growth, launder, shape
from bench.variants.changes import Change
from bench.variants.files import Model


@dataclass(frozen=True)
class Step:
    """A named change.

    Attributes:
        change: Changes the model in place.
        strength: Used when none is given.
        keeps: Whether the function stays, up to rounding.
        others: How many other models it needs.
        about: What it does and what the strength is.
    """

    change: Change
    strength: float
    keeps: bool
    about: str
    others: int = 0


S = Step
STEPS: dict[str, Step] = {
    # -- the same function ---------------------------------------------------------
    "copy": S(lambda m, s, r, o: None, 0, True, "nothing"),
    "neurons": S(
        lambda m, s, r, o: launder.permute_neurons(m.network, r),
        0,
        True,
        "neurons and experts permuted",
    ),
    "heads": S(
        lambda m, s, r, o: launder.permute_heads(m.network, r),
        0,
        True,
        "heads permuted, inside and among groups",
    ),
    "channels": S(
        lambda m, s, r, o: launder.permute_channels(m.network, r),
        0,
        True,
        "residual channels permuted",
    ),
    "rotation": S(
        lambda m, s, r, o: launder.rotate_channels(m.network, r, turn=s),
        1,
        True,
        "residual stream rotated, norms folded; strength: power of the rotation",
    ),
    "rotation-blocks": S(
        lambda m, s, r, o: launder.rotate_channels(m.network, r, block=int(s)),
        32,
        True,
        "the same in blocks of so many channels",
    ),
    "fold": S(
        lambda m, s, r, o: launder.fold_norms(m.network),
        0,
        True,
        "norms folded into what reads them",
    ),
    "scale-norms": S(
        lambda m, s, r, o: launder.scale_norms(m.network, r, spread=s),
        0.5,
        True,
        "norms scaled; strength: deviation of the logarithm",
    ),
    "scale-neurons": S(
        lambda m, s, r, o: launder.scale_neurons(m.network, r, spread=s),
        0.5,
        True,
        "up and down scaled, with signs",
    ),
    "mix-qk": S(
        lambda m, s, r, o: launder.mix_queries(m.network, r, spread=s),
        0.5,
        True,
        "q and k changed so that products stay",
    ),
    "mix-vo": S(
        lambda m, s, r, o: launder.mix_values(m.network, r, spread=s),
        0.5,
        True,
        "v and o times a matrix and its inverse; strength 0: orthogonal",
    ),
    "launder": S(
        lambda m, s, r, o: launder.launder(m.network, r, spread=s),
        0.5,
        True,
        "rotation, neurons, scale-neurons, heads, mix-qk and mix-vo",
    ),
    "vocabulary": S(
        lambda m, s, r, o: shape.permute_vocabulary(m, r),
        0,
        True,
        "tokens renumbered, with the tokenizer",
    ),
    "upcycle": S(
        lambda m, s, r, o: shape.upcycle(m, r, experts=int(s)),
        4,
        True,
        "each feed-forward network copied into so many experts",
    ),
    "split-neurons": S(
        lambda m, s, r, o: growth.split_neurons(m.network, r, share=s),
        0.25,
        True,
        "a share of the neurons doubled",
    ),
    "pad-neurons": S(
        lambda m, s, r, o: growth.pad_neurons(m.network, r, share=s),
        0.25,
        True,
        "random neurons added that write nothing",
    ),
    "decoys": S(
        lambda m, s, r, o: growth.add_decoys(m.network, r, times=s),
        1,
        True,
        "pairs of neurons that cancel, made of halves of real ones; strength: times",
    ),
    "pad-heads": S(
        lambda m, s, r, o: growth.pad_heads(m.network, r),
        0,
        True,
        "a random group of heads added that writes nothing; Llama only",
    ),
    "pad-channels": S(
        lambda m, s, r, o: growth.pad_channels(m.network, r, share=s),
        0.25,
        True,
        "residual stream widened by empty channels; Llama only",
    ),
    "insert-layers": S(
        lambda m, s, r, o: growth.insert_layers(m.network, r, count=int(s)),
        2,
        True,
        "so many layers added that write nothing",
    ),
    "relabel": S(
        lambda m, s, r, o: shape.relabel(m),
        0,
        True,
        "the config claims another model",
    ),
    "reshard": S(changes.in_shards, 3, True, "so many weight files"),
    "f32": S(changes.stored_as("F32"), 0, True, "stored as float32"),
    # -- rounding ------------------------------------------------------------------
    "f16": S(changes.stored_as("F16"), 0, False, "stored as float16"),
    "bf16": S(changes.stored_as("BF16"), 0, False, "stored as bfloat16"),
    "fp8-scaled": S(
        changes.stored_as("F8_E4M3"), 0, False, "stored as fp8 with scales"
    ),
    "fp8": S(changes.to_fp8, 0, False, "rounded to fp8 and back"),
    "int8": S(changes.to_integers(8, None), 1, False, "8 bits a row; strength: times"),
    "int4": S(
        changes.to_integers(4, 32), 1, False, "4 bits in groups of 32; strength: times"
    ),
    "int4-rows": S(changes.to_integers(4, None), 1, False, "4 bits a row"),
    "int3": S(changes.to_integers(3, 32), 1, False, "3 bits in groups of 32"),
    # -- damage --------------------------------------------------------------------
    "noise": S(
        lambda m, s, r, o: damage.add_noise(m.network, r, share=s),
        0.1,
        False,
        "noise of so many standard deviations of each matrix",
    ),
    "blur-neurons": S(
        lambda m, s, r, o: damage.blur_neurons(m.network, r, share=s),
        0.5,
        False,
        "such noise in gate and up alone",
    ),
    "prune": S(
        lambda m, s, r, o: damage.prune(m.network, share=s),
        0.5,
        False,
        "smallest weights zero",
    ),
    "redraw-neurons": S(
        lambda m, s, r, o: damage.redraw_neurons(m.network, r, share=s),
        0.25,
        False,
        "a share of the neurons drawn anew",
    ),
    "redraw-gates": S(
        lambda m, s, r, o: damage.redraw_gates(m.network, r, share=s),
        0.25,
        False,
        "a share of the gate rows drawn anew",
    ),
    "redraw-heads": S(
        lambda m, s, r, o: damage.redraw_attention(m.network, r, share=s),
        0.5,
        False,
        "a share of the groups of heads drawn anew",
    ),
    "redraw-embeddings": S(
        lambda m, s, r, o: damage.redraw_embeddings(m.network, r, share=s),
        0.25,
        False,
        "a share of the token rows drawn anew",
    ),
    "blend-embeddings": S(
        lambda m, s, r, o: damage.blend_embeddings(m.network, r, share=s),
        0.5,
        False,
        "all token rows moved towards random ones",
    ),
    "redraw-layers": S(
        lambda m, s, r, o: damage.redraw_layers(m.network, r, count=int(s)),
        1,
        False,
        "so many layers drawn anew",
    ),
    "take-embeddings": S(
        lambda m, s, r, o: damage.take_embeddings(m.network, o[0].network),
        0,
        False,
        "token rows of another model",
        others=1,
    ),
    "fit-embeddings": S(
        lambda m, s, r, o: damage.fit_embeddings(m.network, o[0].network),
        0,
        False,
        "token rows of another model, turned to fit",
        others=1,
    ),
    "heal": S(
        changes.train_on,
        100,
        False,
        "trained further for so many steps",
    ),
    # -- shape ---------------------------------------------------------------------
    "drop": S(
        lambda m, s, r, o: shape.drop_layers(m.network, r, count=int(s)),
        1,
        False,
        "so many layers left out",
    ),
    "duplicate": S(
        lambda m, s, r, o: shape.duplicate_layers(m.network, count=int(s)),
        2,
        False,
        "so many layers repeated",
    ),
    "reverse": S(
        lambda m, s, r, o: shape.reverse_layers(m.network),
        0,
        False,
        "layers in the opposite order",
    ),
    "prune-neurons": S(
        lambda m, s, r, o: shape.prune_neurons(m.network, r, share=s),
        0.5,
        False,
        "a share of the neurons left out",
    ),
    # -- merges --------------------------------------------------------------------
    "linear": S(
        changes.merge_linear, 0.3, False, "strength: the other's share", others=1
    ),
    "slerp": S(
        changes.merge_slerp, 0.5, False, "strength: the other's share", others=1
    ),
    "ties": S(
        changes.merge_ties, 0.5, False, "two others' changes of this base", others=2
    ),
    "dare": S(
        changes.merge_dare, 0.5, False, "two others' changes of this base", others=2
    ),
    "passthrough": S(
        changes.stack_layers, 0.5, False, "share of layers taken", others=1
    ),
}


def parse(variant: str) -> list[tuple[str, float]]:
    """The steps of a variant and their strengths.

    Raises:
        ValueError: There is no such step, or the strength is no number.
    """
    found = []
    for part in variant.split("+"):
        name, given, strength = part.partition("=")
        if name not in STEPS:
            raise ValueError(f"no step {name!r}, wanted one of {', '.join(STEPS)}")
        found.append((name, float(strength) if given else STEPS[name].strength))
    return found


def keeps_function(variant: str) -> bool:
    """Whether the variant computes the same as the model it is made of."""
    return all(STEPS[name].keeps for name, _ in parse(variant))


def make(
    model: Model, variant: str, *, seed: int, others: Sequence[Model] = ()
) -> Model:
    """Make a variant; the model itself stays as it is.

    Args:
        model: What it is made of.
        variant: Steps joined by ``+``.
        seed: Fixes every random number.
        others: Models that merges and embeddings are taken from.

    Raises:
        ValueError: No such step, or too few other models.
    """
    made = model.copy()
    for number, (name, strength) in enumerate(parse(variant)):
        step = STEPS[name]
        if len(others) < step.others:
            raise ValueError(f"{name} needs {step.others} other models")
        random = np.random.default_rng([seed, number])
        step.change(made, strength, random, others)
    return made
