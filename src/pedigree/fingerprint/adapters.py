# SPDX-License-Identifier: Apache-2.0
"""What is kept of a model, and of a low-rank adapter, to tell whose adapter it is.

Gradients of an adapter's factors run along the directions that its base already uses:
``A`` (rank, in) turns towards what the module reads, ``B`` (out, rank) towards what it
writes.  Both show in the Gram matrix of an axis, which has the same form for a base
matrix W (``W'W`` of what it reads) and for a factor (``A'A``), whatever the rank.  Of
each Gram only the block between two disjoint samples of the axis is kept: row i of the
block is a feature of channel i in terms of *other* channels, so that permuting the
first sample alone is an exact null for the test (``lineage.adapt``).

Grams of factors are of their orthonormal bases, so that the scale of a factor, which
training is free in, does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.adapter_gguf import gguf_factors
from pedigree.fingerprint.roles import Role
from pedigree.fingerprint.sampling import Axis, order
from pedigree.fingerprint.sketches import quantise
from pedigree.fingerprint.spec import FingerprintSpec

Matrix = NDArray[np.float64]
Reader = Callable[[Role, int], "NDArray[np.floating] | None"]
"""Canonical weight (out, in) of a role in a layer, or None; not scaled by norms."""

GRAM = 64
"""Channels in each of the two samples, less on axes shorter than 128."""
GRAM_LAYERS = 16
"""Layers kept; a 7B-class base keeps 393 kB."""
READS, WRITES = "reads", "writes"


@dataclass(frozen=True, slots=True)
class Kind:
    """One Gram matrix of a layer: which roles add to it, and which of their sides."""

    axis: Axis
    side: str
    roles: tuple[Role, ...]


RESIDUAL_KINDS = (
    Kind(Axis.CHANNEL, READS, (Role.Q, Role.K, Role.V)),
    Kind(Axis.CHANNEL, READS, (Role.GATE, Role.UP)),
    Kind(Axis.CHANNEL, WRITES, (Role.O,)),
    Kind(Axis.CHANNEL, WRITES, (Role.DOWN,)),
)
NEURON_KINDS = (
    Kind(Axis.NEURON, WRITES, (Role.GATE, Role.UP)),
    Kind(Axis.NEURON, READS, (Role.DOWN,)),
)
_GROUPS = {"adapt.residual": RESIDUAL_KINDS, "adapt.neuron": NEURON_KINDS}

_TAILS: Mapping[str, tuple[Role, ...]] = {
    "q_proj": (Role.Q,),
    "k_proj": (Role.K,),
    "v_proj": (Role.V,),
    "q": (Role.Q,),
    "k": (Role.K,),
    "v": (Role.V,),
    "query": (Role.Q,),
    "key": (Role.K,),
    "value": (Role.V,),
    "qkv_proj": (Role.QKV,),
    "c_attn": (Role.QKV,),
    "query_key_value": (Role.QKV,),
    "wqkv": (Role.QKV,),
    "attn.c_proj": (Role.O,),
    "attention.dense": (Role.O,),
    "self_attention.dense": (Role.O,),
    "o_proj": (Role.O,),
    "out_proj": (Role.O,),
    "wo": (Role.O,),
    "gate_proj": (Role.GATE,),
    "w1": (Role.GATE,),
    "up_proj": (Role.UP,),
    "w3": (Role.UP,),
    "fc1": (Role.UP,),
    "c_fc": (Role.UP,),
    "dense_h_to_4h": (Role.UP,),
    "down_proj": (Role.DOWN,),
    "w2": (Role.DOWN,),
    "fc2": (Role.DOWN,),
    "mlp.c_proj": (Role.DOWN,),
    "dense_4h_to_h": (Role.DOWN,),
}
"""Names of adapted modules, as the published families call them."""
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<factor>[AB])(?:\.[A-Za-z0-9_-]+)?\.weight"
)
_LAYER = re.compile(r"\.(?:layers|h|layer|blocks|block)\.(\d{1,5})\.")


@dataclass(frozen=True, slots=True)
class Module:
    """One adapted matrix: stored names of its two factors.

    Attributes:
        role: Of the matrix; :attr:`Role.QKV` when fused.
        layer: Block index.
        a: Name of the factor (rank, in).
        b: Name of the factor (out, rank).
        turned: Whether both are stored the other way round.
    """

    role: Role
    layer: int
    a: str
    b: str
    turned: bool = False


def adapter_modules(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Module, ...]:
    """The pairs of factors among stored tensors, in the layout of PEFT or of GGUF.

    Names that do not end like the modules of published families are left out, and so
    are pairs whose ranks differ.

    Args:
        shapes: Shape of every stored tensor by name.
    """
    found: dict[str, dict[str, str]] = {}
    for name in sorted(shapes):
        match = _FACTOR.fullmatch(name)
        if match and len(shapes[name]) == 2 and 0 not in shapes[name]:
            found.setdefault(match["module"], {})[match["factor"]] = name
    modules = [Module(*factors) for factors in gguf_factors(shapes)]
    for path, factors in found.items():
        layer, role = _LAYER.search(path), _role(path)
        if layer is None or role is None or len(factors) != 2:
            continue
        a, b = factors["A"], factors["B"]
        if shapes[a][0] == shapes[b][1]:
            modules.append(Module(role, int(layer[1]), a, b))
    return tuple(modules)


def adapter_widths(
    modules: Iterable[Module], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[int, int]:
    """Residual width and feed-forward neurons that the factors fit; 0 if unknown."""
    width, neurons = 0, 0
    for module in modules:
        read = shapes[module.a][0 if module.turned else 1]
        written = shapes[module.b][1 if module.turned else 0]
        if module.role in (Role.Q, Role.K, Role.V, Role.QKV, Role.GATE, Role.UP):
            width = width or read
        if module.role in (Role.O, Role.DOWN):
            width = width or written
        if module.role in (Role.GATE, Role.UP):
            neurons = neurons or written
        if module.role is Role.DOWN:
            neurons = neurons or read
    return width, neurons


def base_parts(
    get: Reader,
    *,
    layers: Iterable[int],
    width: int,
    neurons: int,
    spec: FingerprintSpec,
) -> dict[str, NDArray[np.int8] | NDArray[np.int32]]:
    """The parts ``adapt.*`` of a model with weights of its own.

    Args:
        get: Reads one canonical weight; only :func:`kept_layers` are asked for.
        layers: Of the model.
        width: Residual channels.
        neurons: Of a feed-forward block; 0 when blocks differ or have experts.
        spec: Fixes the samples.
    """

    def side(kind: Kind, role: Role, layer: int) -> Matrix | None:
        weight = get(role, layer)
        if weight is None:
            return None
        return np.asarray(weight if kind.side == READS else weight.T, np.float64)

    return _parts(side, kept_layers(layers), width, neurons, spec)


def adapter_parts(
    read: Callable[[str], NDArray[np.floating]],
    modules: Iterable[Module],
    *,
    width: int,
    neurons: int,
    spec: FingerprintSpec,
) -> dict[str, NDArray[np.int8] | NDArray[np.int32]]:
    """The parts ``adapt.*`` of an adapter; see :func:`base_parts`.

    Args:
        read: A stored tensor by name, finite.
        modules: From :func:`adapter_modules`.
        width: See :func:`adapter_widths`.
        neurons: See there.
        spec: Fixes the samples.
    """
    by_place = {(module.role, module.layer): module for module in modules}

    def side(kind: Kind, role: Role, layer: int) -> Matrix | None:
        module = by_place.get((role, layer))
        fused = by_place.get((Role.QKV, layer)) if role is Role.Q else None
        module = module or fused
        if module is None:
            return None
        reads = kind.side == READS
        factor = read(module.a if reads else module.b)
        return _orthonormal(factor.T if reads != module.turned else factor).T

    layers = kept_layers(module.layer for module in by_place.values())
    return _parts(side, layers, width, neurons, spec)


def kept_layers(layers: Iterable[int]) -> list[int]:
    """At most :data:`GRAM_LAYERS` of them, spread evenly: 0, 16, 8, 24, 4 ... first.

    The order (by the reversed bits of the index) is fixed, so an adapter of some
    layers keeps those of them that its base keeps.
    """
    ranked = sorted(set(layers), key=lambda layer: f"{layer:020b}"[::-1])
    return sorted(ranked[:GRAM_LAYERS])


def halves(
    axis: Axis, size: int, spec: FingerprintSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two disjoint samples of an axis, each (min(GRAM, size // 2),)."""
    each = min(GRAM, size // 2)
    both = order(spec.seed, axis, size, 2 * each)
    return both[:each], both[each:]


def _parts(
    side: Callable[[Kind, Role, int], Matrix | None],
    layers: list[int],
    width: int,
    neurons: int,
    spec: FingerprintSpec,
) -> dict[str, NDArray[np.int8] | NDArray[np.int32]]:
    parts: dict[str, NDArray[np.int8] | NDArray[np.int32]] = {
        "adapt.layers": np.array(layers, np.int32)
    }
    for name, kinds in _GROUPS.items():
        axis = kinds[0].axis
        size = width if axis is Axis.CHANNEL else neurons
        first, second = halves(axis, size, spec)
        out = np.zeros((len(layers), len(kinds), len(first), len(second)), np.int8)
        for i, layer in enumerate(layers):
            for j, kind in enumerate(kinds):
                total = np.zeros((len(first), len(second)))
                for role in kind.roles:
                    rows = side(kind, role, layer)
                    if rows is None or rows.shape[1] != size or not size:
                        continue
                    gram = rows[:, first].T @ rows[:, second]
                    norm = float(np.sqrt((gram * gram).sum()))
                    total += gram / norm if norm > 0 else 0.0
                out[i, j] = quantise(total)
        parts[name] = out
    return parts


def _orthonormal(columns: NDArray[np.floating]) -> Matrix:
    """An orthonormal basis of the span of the columns, shape (n, rank)."""
    u, s, _ = np.linalg.svd(columns.astype(np.float64), full_matrices=False)
    if not s.size or s[0] <= 0:
        return np.zeros((len(columns), 1))
    basis: Matrix = u[:, s > 1e-6 * s[0]]
    return basis


def _role(path: str) -> Role | None:
    for length in (2, 1):
        tail = ".".join(path.split(".")[-length:]).lower()
        if tail in _TAILS:
            return _TAILS[tail][0]
    return None
