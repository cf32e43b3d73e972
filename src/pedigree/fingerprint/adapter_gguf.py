# SPDX-License-Identifier: Apache-2.0
"""Factors of low-rank adapters as converters to GGUF name and turn them.

The factors of the matrix ``blk.0.attn_q.weight`` are ``blk.0.attn_q.weight.lora_a``,
shape (rank, in), and ``.lora_b``, shape (out, rank).  GPT-2 is the exception: its
matrices are published as (in, out) and the converter turns them, which makes of factors
that PEFT never stored so ``lora_a`` (rank, out) and ``lora_b`` (in, rank).  Servers
refuse such a file at the fused q, k and v; its factors are those of the adapter all the
same, and are taken back here.

Source: ``convert_lora_to_gguf.py``, ``conversion/gpt2.py`` and ``llama-adapter.cpp`` of
llama.cpp, what they write and read; no text of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from pedigree.fingerprint.slots import Role

Shape = tuple[int, ...]

_FACTOR = re.compile(
    r"blk\.(?P<layer>[0-9]{1,5})\.(?P<matrix>[a-z_]{1,32})\.weight\.lora_(?P<factor>[ab])"
)
_ENDING = re.compile(r".+\.weight\.lora_[ab]", re.DOTALL)
_ROLES: Mapping[str, Role] = {
    "attn_q": Role.Q,
    "attn_k": Role.K,
    "attn_v": Role.V,
    "attn_qkv": Role.QKV,
    "attn_output": Role.O,
    "ffn_gate": Role.GATE,
    "ffn_up": Role.UP,
    "ffn_down": Role.DOWN,
    "ffn_gate_shexp": Role.GATE,
    "ffn_up_shexp": Role.UP,
    "ffn_down_shexp": Role.DOWN,
}


class Factors(NamedTuple):
    """The two factors of one matrix.

    Attributes:
        role: Of the matrix; :attr:`Role.QKV` when fused.
        layer: Block index.
        reads: Name of the factor that holds (rank, in).
        writes: Name of the factor that holds (out, rank).
        turned: Whether each is stored the other way round.
    """

    role: Role
    layer: int
    reads: str
    writes: str
    turned: bool


def is_factor(name: str) -> bool:
    """Whether a tensor is called as a factor in a GGUF file is."""
    return _ENDING.fullmatch(name) is not None


def gguf_factors(shapes: Mapping[str, Shape]) -> tuple[Factors, ...]:
    """Pairs of factors among stored tensors, sorted by their names.

    Names of other matrices, stacks of experts, pairs whose ranks differ, and gate and
    up in one matrix are left out, as they are of other formats.

    Args:
        shapes: Shape of every stored tensor by name.
    """
    found = _pairs(shapes)
    turned = _is_turned(found, shapes)
    fused = _fused_gates(found, shapes)
    return tuple(
        Factors(_ROLES[matrix], layer, *((b, a) if turned else (a, b)), turned)
        for (layer, matrix), (a, b) in sorted(found.items())
        if (layer, matrix) not in fused
    )


def turned_names(shapes: Mapping[str, Shape]) -> frozenset[str]:
    """Names of factors that are stored the other way round."""
    return frozenset(
        name
        for factors in gguf_factors(shapes)
        if factors.turned
        for name in (factors.reads, factors.writes)
    )


def _pairs(shapes: Mapping[str, Shape]) -> dict[tuple[int, str], tuple[str, str]]:
    halves: dict[tuple[int, str], dict[str, str]] = {}
    for name, shape in shapes.items():
        match = _FACTOR.fullmatch(name)
        if match and match["matrix"] in _ROLES and len(shape) == 2 and 0 not in shape:
            place = int(match["layer"]), match["matrix"]
            halves.setdefault(place, {})[match["factor"]] = name
    return {
        place: (pair["a"], pair["b"])
        for place, pair in halves.items()
        if len(pair) == 2 and shapes[pair["a"]][0] == shapes[pair["b"]][1]
    }


def _is_turned(
    pairs: Mapping[tuple[int, str], tuple[str, str]], shapes: Mapping[str, Shape]
) -> bool:
    """Whether the matrices of the file read what they should write.

    A fused q, k and v writes more than it reads, whatever its heads share.  Without
    one, four times as many neurons as channels and no gate are GPT-2's; other models
    of that kind (experts of few neurons) have gates.
    """
    matrices = {matrix for _, matrix in pairs}
    gated = any("gate" in matrix or matrix == "attn_q" for matrix in matrices)
    for (_, matrix), (a, b) in pairs.items():
        reads, writes = shapes[a][1], shapes[b][0]
        if matrix == "attn_qkv":
            return reads == 3 * writes
        if matrix == "ffn_up" and not gated and reads == 4 * writes:
            return True
        if matrix == "ffn_down" and not gated and writes == 4 * reads:
            return True
    return False


def _fused_gates(
    pairs: Mapping[tuple[int, str], tuple[str, str]], shapes: Mapping[str, Shape]
) -> set[tuple[int, str]]:
    """Matrices called up that hold gate and up, as their neurons say."""
    fused = set()
    for (layer, matrix), (_, b) in pairs.items():
        down = pairs.get((layer, "ffn_down"))
        if matrix == "ffn_up" and down and shapes[b][0] == 2 * shapes[down[0]][1]:
            fused.add((layer, matrix))
    return fused
