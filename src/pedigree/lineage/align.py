# SPDX-License-Identifier: Apache-2.0
"""ALIGN: do weights with the same index point the same way?

Definition
    *Neuron axis*: neuron i of a feed-forward block is its gate and up rows (scaled by
    the norm before them) and its down column.  *Residual axis*: channel c is its row
    of o and of down and its column of up.  Each part is sketched (CountSketch), scaled
    to length 1, and weighs the same.  The statistic is the sum of the cosines of rows
    with equal index.
Effect
    Mean cosine of rows with equal index, less that of rows with different index.
Survives
    Fine-tuning, continued pretraining, merging, low-rank updates, quantisation,
    pruning, casts, renaming, dropped and reordered layers, experts copied from a
    dense block, a longer vocabulary.  Neuron axis: any change outside the feed-forward
    blocks.  Not: permuted neurons (neuron axis), permuted or rotated residual channels
    (both), another width.
Cost
    32 neurons and 64 channels of each matrix; two matrix products for all pairs of
    layers.
Null
    A uniform permutation of the axis (``lineage.permutation``): each block has its own
    on the neuron axis; all layers share one on the residual axis, so their similarities
    are summed before testing.
Assumes
    The axis is exchangeable: neurons of a block and residual channels are, under
    Adam and SGD with independent initialisation.  The vocabulary is not (semantics),
    pairs of rotary channels are not (frequencies): they are never the tested axis.  A
    fixed sinusoidal position table orders residual channels: then the test is refused
    (``lineage.axis``).  Matrices that started from an identity say which index a row
    has, and are left out where both models have them (``lineage.identity``).  A shared
    random seed is real dependence: it is found, and is
    not descent.
Source
    Hoeffding 1951; Zhu et al. 2025 (independence tests for language models),
    theorems 1-3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.axis import Axis, Blocks, Rows, run
from pedigree.lineage.identity import shared_identity
from pedigree.lineage.results import NotRun, TestResult
from pedigree.lineage.selection import (
    ROLES,
    is_v1,
    joined,
    labels,
    neurons,
    neurons_differ,
    nothing_shared,
    regular_blocks,
    width_differs,
)

NEURON = Axis("ALIGN-neuron", shared=False)
RESIDUAL = Axis("ALIGN-residual", shared=True)
_PARTS = {
    NEURON.name: ("neuron.gate", "neuron.up", "neuron.down"),
    RESIDUAL.name: ("channel.o", "channel.down", "channel.up"),
}
_CHECKED_FROM_LOG10 = -3.0
"""Less is no evidence, whatever made it."""


def run_neuron(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """The neuron axis; see the module's docstring."""
    return _checked(NEURON, neuron_blocks, a, b, alpha_log10)


def run_residual(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """The residual axis; see the module's docstring."""
    return _checked(RESIDUAL, residual_blocks, a, b, alpha_log10)


_Described = tuple[Blocks, Blocks] | TestResult


def _checked(
    axis: Axis,
    describe: Callable[..., _Described],
    a: Fingerprint,
    b: Fingerprint,
    alpha_log10: float | None,
) -> TestResult:
    """Run the test; if it found something, once more without identity matrices."""
    blocks = describe(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    result = run(axis, *blocks, alpha_log10=alpha_log10)
    if not result.ran or result.log10_p > _CHECKED_FROM_LOG10 or is_v1(a):
        return result
    left_out = shared_identity(a, b, _PARTS[axis.name])
    if not left_out:
        return result
    blocks = describe(a, b, left_out)
    if isinstance(blocks, TestResult):
        return TestResult(
            name=axis.name,
            reason=NotRun.ORDERED_ROWS,
            detail="both models have identity matrices, whose rows follow their index, "
            f"in {', '.join(left_out)}",
        )
    return run(axis, *blocks, alpha_log10=alpha_log10)


def neuron_blocks(
    a: Fingerprint, b: Fingerprint, left_out: Sequence[str] = ()
) -> _Described:
    """Both models over the sampled neurons, or why that cannot be.

    Args:
        a: First model.
        b: Second model.
        left_out: Parts that are not looked at.
    """
    refused = width_differs(NEURON.name, a, b) or neurons_differ(NEURON.name, a, b)
    if refused:
        return refused
    if is_v1(a):
        pairs, named = _v1_neurons(a, b)
    else:
        first, second = neurons(a, b, tables=False)
        named = (first.labels, second.labels)
        pairs = [
            (first.values("sketch", role), second.values("sketch", role))
            for role in ROLES
            if f"neuron.{role}" not in left_out
        ]
    features = joined(pairs)
    if features is None:
        return nothing_shared(NEURON.name, "weights of gate, up or down")
    empty = np.zeros((features[0].shape[1], 0), np.float32)
    return (
        Blocks(named[0], features[0], empty),
        Blocks(named[1], features[1], empty),
    )


def residual_blocks(
    a: Fingerprint, b: Fingerprint, left_out: Sequence[str] = ()
) -> _Described:
    """Both models over the sampled residual channels, or why that cannot be.

    Args:
        a: First model.
        b: Second model.
        left_out: Parts that are not looked at.
    """
    refused = width_differs(RESIDUAL.name, a, b)
    if refused:
        return refused
    if is_v1(a):
        parts = [x.part("v1.channels") for x in (a, b)]
        pairs = _by_part(*parts)
    else:
        names = [name for name in _PARTS[RESIDUAL.name] if name not in left_out]
        pairs = [(a.part(name), b.part(name)) for name in names]
    features = joined(pairs)
    if features is None:
        return nothing_shared(RESIDUAL.name, "weights of o, down or up")
    first, second = features
    empty = np.zeros((first.shape[1], 0), np.float32)
    return (
        Blocks(layer_labels(a, first), first, empty),
        Blocks(layer_labels(b, second), second, empty),
    )


Pair = tuple[Rows | None, Rows | None]


def _v1_neurons(
    a: Fingerprint, b: Fingerprint
) -> tuple[list[Pair], tuple[tuple[str, ...], tuple[str, ...]]]:
    used = regular_blocks(a), regular_blocks(b)
    parts = [x.part("v1.neurons") for x in (a, b)]
    kept = [None if p is None else p[u] for p, u in zip(parts, used, strict=True)]
    return _by_part(*kept), (labels(a, used[0]), labels(b, used[1]))


def _by_part(a: Rows | None, b: Rows | None) -> list[Pair]:
    """Version 1 keeps all roles in one array (blocks, rows, roles, values)."""
    if a is None or b is None:
        return []
    return [(a[:, :, k], b[:, :, k]) for k in range(a.shape[2])]


def layer_labels(fingerprint: Fingerprint, features: Rows) -> tuple[str, ...]:
    """Of the parts by layer."""
    return tuple(str(layer) for layer in fingerprint.layers[: len(features)])
