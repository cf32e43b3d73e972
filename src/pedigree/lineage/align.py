# SPDX-License-Identifier: Apache-2.0
"""ALIGN: do weights with the same index point the same way?

Definition
    *Neuron axis*: neuron i of a feed-forward block is its gate and up rows (scaled by
    the norm before them) and its down column.  *Residual axis*: channel c is its row
    of o and of down, its column of up and of embedding and head.  Each part is
    sketched (CountSketch), scaled to length 1, and weighs the same.  The statistic is
    the sum of the cosines of rows with equal index.
Effect
    Mean cosine of rows with equal index, less that of rows with different index.
Survives
    Fine-tuning, continued pretraining, merging, low-rank updates, quantisation,
    pruning, casts, renaming, dropped and reordered layers, experts copied from a
    dense block, a longer vocabulary.  Neuron axis: any change outside the feed-forward
    blocks.  Not: permuted neurons (neuron axis), permuted or rotated residual channels
    (both), another width.
Cost
    64 rows of each matrix; two matrix products for all pairs of layers.
Null
    A uniform permutation of the axis (``lineage.permutation``): each block has its own
    on the neuron axis; all layers share one on the residual axis, so their similarities
    are summed before testing.
Assumes
    The axis is exchangeable: neurons of a block and residual channels are, under
    Adam and SGD with independent initialisation.  The vocabulary is not (semantics),
    pairs of rotary channels are not (frequencies): they are never the tested axis.  A
    fixed sinusoidal position table makes residual channels unexchangeable.  A shared
    random seed is real dependence: it is found, and is not descent.
Source
    Hoeffding 1951; Zhu et al. 2025 (independence tests for language models),
    theorems 1-3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Part, Role
from pedigree.fingerprint.sampling import Axis as SampledAxis
from pedigree.fingerprint.sampling import sample
from pedigree.lineage.axis import Axis, Blocks, Rows, run, unit_rows
from pedigree.lineage.results import NotRun, TestResult

NEURON = Axis("ALIGN-neuron", shared=False)
RESIDUAL = Axis("ALIGN-residual", shared=True)


def run_neuron(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """The neuron axis; see the module's docstring."""
    blocks = neuron_blocks(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    return run(NEURON, *blocks, alpha_log10=alpha_log10)


def run_residual(
    a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """The residual axis; see the module's docstring."""
    blocks = residual_blocks(a, b)
    if isinstance(blocks, TestResult):
        return blocks
    return run(RESIDUAL, *blocks, alpha_log10=alpha_log10)


def neuron_blocks(a: Fingerprint, b: Fingerprint) -> tuple[Blocks, Blocks] | TestResult:
    """Both models over the neurons that both sampled, or why that cannot be."""
    refused = width_differs(NEURON.name, a, b)
    if refused:
        return refused
    rows_a, rows_b = _common(a, b, SampledAxis.NEURON)
    used_a, used_b = _regular_blocks(a), _regular_blocks(b)
    first = a.neurons[used_a][:, rows_a]  # (blocks, rows, 3, sketch)
    second = b.neurons[used_b][:, rows_b]
    features = _shared_parts(first, second)
    if features is None:
        return _nothing_shared(NEURON.name, "gate, up or down")
    empty = np.zeros((len(rows_a), 0), np.float32)
    return (
        Blocks(_labels(a, used_a), features[0], empty),
        Blocks(_labels(b, used_b), features[1], empty),
    )


def residual_blocks(
    a: Fingerprint, b: Fingerprint
) -> tuple[Blocks, Blocks] | TestResult:
    """Both models over the sampled residual channels, or why that cannot be."""
    refused = width_differs(RESIDUAL.name, a, b)
    if refused:
        return refused
    features = _shared_parts(a.channels, b.channels)
    common_a, common_b = _token_rows(a, b)
    if features is None and not common_a.shape[1]:
        return _nothing_shared(RESIDUAL.name, "o, up, down, embedding or head")
    if features is None:
        blank = np.zeros((0, len(common_a), 0), np.float32)
        features = (blank, blank)
    return (
        Blocks(_layers(a, features[0]), features[0], common_a),
        Blocks(_layers(b, features[1]), features[1], common_b),
    )


def width_differs(name: str, a: Fingerprint, b: Fingerprint) -> TestResult | None:
    """The result of a test that needs known models of one width, if it cannot run."""
    for label, model in (("A", a), ("B", b)):
        if not model.architecture:
            return TestResult(
                name=name,
                reason=NotRun(model.reason or NotRun.UNKNOWN_ARCHITECTURE),
                detail=f"the roles of the tensors of {label} are not known",
            )
    if a.shape.width != b.shape.width:
        return TestResult(
            name=name,
            reason=NotRun.WIDTH_DIFFERS,
            detail=f"A has {a.shape.width} residual channels, B has {b.shape.width}",
        )
    return None


def _nothing_shared(name: str, what: str) -> TestResult:
    return TestResult(
        name=name,
        reason=NotRun.NOTHING_SHARED,
        detail=f"the models do not both have weights of {what}",
    )


def _common(
    a: Fingerprint, b: Fingerprint, axis: SampledAxis
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions, in each sample, of the indices that both models sampled."""
    spec = a.settings
    sizes, count = {
        SampledAxis.NEURON: ((a.shape.neurons, b.shape.neurons), spec.neurons),
        SampledAxis.TOKEN: ((a.shape.vocabulary, b.shape.vocabulary), spec.tokens),
    }[axis]
    first, second = (sample(spec.seed, axis, size, count) for size in sizes)
    _, at_a, at_b = np.intersect1d(
        first, second, assume_unique=True, return_indices=True
    )
    return at_a, at_b


def _regular_blocks(fingerprint: Fingerprint) -> NDArray[np.int64]:
    """Blocks with as many neurons as the first; others were sampled elsewhere."""
    shape = fingerprint.shape
    wanted = shape.neurons * shape.width
    sizes = {
        (r.slot.layer, r.slot.expert): r.size
        for r in fingerprint.tensors
        if r.slot.role is Role.UP and r.slot.part is Part.WEIGHT
    }
    return np.array(
        [i for i, key in enumerate(fingerprint.blocks) if sizes.get(key) == wanted],
        np.int64,
    )


def _shared_parts(a: NDArray[np.int8], b: NDArray[np.int8]) -> tuple[Rows, Rows] | None:
    """Rows over the parts that both models have.

    Args:
        a: Shape (blocks, rows, parts, sketch).
        b: The same, with its own number of blocks.

    Returns:
        Two arrays (blocks, rows, shared parts * sketch), or None without shared parts.
    """
    parts = [p for p in range(a.shape[2]) if a[:, :, p].any() and b[:, :, p].any()]
    if not parts or a.shape[1] == 0:
        return None
    scale = np.float32(1 / np.sqrt(len(parts)))
    first, second = (
        (unit_rows(x[:, :, parts]) * scale).reshape(len(x), x.shape[1], -1)
        for x in (a, b)
    )
    return first, second


def _token_rows(a: Fingerprint, b: Fingerprint) -> tuple[Rows, Rows]:
    """Channels over embedding and head rows that both models sampled."""
    at_a, at_b = _common(a, b, SampledAxis.TOKEN)
    pairs = [
        (unit_rows(x[:, at_a]), unit_rows(y[:, at_b]))
        for x, y in ((a.embedding, b.embedding), (a.head, b.head))
        if len(x) and len(y)
    ]
    if not pairs or not len(at_a):
        blank = np.zeros((len(a.embedding), 0), np.float32)
        return blank, blank
    scale = np.float32(1 / np.sqrt(len(pairs)))
    first = np.concatenate([x for x, _ in pairs], axis=1) * scale
    second = np.concatenate([y for _, y in pairs], axis=1) * scale
    return first, second


def _labels(fingerprint: Fingerprint, used: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(
        f"{layer}/{expert}" if expert >= 0 else str(layer)
        for layer, expert in (fingerprint.blocks[i] for i in used)
    )


def _layers(fingerprint: Fingerprint, features: Rows) -> tuple[str, ...]:
    return tuple(str(layer) for layer in fingerprint.layers[: len(features)])
