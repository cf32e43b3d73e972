# SPDX-License-Identifier: Apache-2.0
"""GGUF files that change a model, and are none: adapters and control vectors.

A low-rank adapter has two factors for each matrix that it changes, and some have norms
beside them; its keys say no more of the model than the name of the architecture.  A
control vector has one direction for each layer, which servers add to what it writes:
nothing in it was multiplied with weights, so it tells no base.

Whether a file is an adapter is told from its tensors.  A key alone would let whoever
names a whole model so hide it behind another one.

Source: ``convert_lora_to_gguf.py``, ``llama-adapter.cpp`` and ``common.cpp`` (control
vectors) of llama.cpp, what they write and read; no text of theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.adapter_files import several_adapters
from pedigree.tensors.gguf_header import GgufHeader

LOOKED_MAX = 16
"""Files whose headers are read to tell adapters from models; folders with more have
one model in many sizes, which needs a choice anyhow."""
_FACTOR = re.compile(r".+\.weight\.lora_[ab]")
_ORDERED = re.compile(r"blk\.[0-9]{1,5}\.attn_[qk]\.weight\.lora_b")
_NORM = re.compile(r".+_norm\.weight")
_DIRECTION = re.compile(r"direction\.[0-9]{1,5}")
_SMALL_HEAD, _HEAD = 64, 128
_SMALL_ROWS = 2048
"""Up to so many rows of q, published models have heads of 64 (Llama 3.2 1B, TinyLlama),
beyond of 128."""


def is_adapter(header: GgufHeader) -> bool:
    """Whether a file holds an adapter or a control vector, and nothing else."""
    names = [tensor.name for tensor in header.tensors]
    if _are_directions(names):
        return True
    return any(map(_FACTOR.fullmatch, names)) and all(
        _FACTOR.fullmatch(name) or _NORM.fullmatch(name) for name in names
    )


def _are_directions(names: Sequence[str]) -> bool:
    """Whether these are the tensors of a control vector."""
    return bool(names) and all(map(_DIRECTION.fullmatch, names))


def check_kind(header: GgufHeader, path: str) -> None:
    """Refuse files of which no base can be told.

    Raises:
        ArtifactError: A control vector, or an adapter of another kind than low rank
            (``NoReadableWeights``).
    """
    kind = header.scalars.get("adapter.type")
    named = header.scalars.get("general.architecture") == "controlvector"
    if named or _are_directions([tensor.name for tensor in header.tensors]):
        what = "a control vector, which is added to what layers write"
    elif header.scalars.get("general.type") == "adapter" and kind != "lora":
        told = "of no stated kind" if kind is None else f"of the kind {quote(kind, 32)}"
        what = f"an adapter {told}"
    else:
        return
    raise ArtifactError(
        f"file {quote(path)} holds {what}, wanted weights or a low-rank adapter; "
        "nothing in it tells the model it was made for",
        reason="NoReadableWeights",
        hint="examine the model that it is used with; refuse what cannot be compared",
        path=path,
    )


def without_adapters(
    models: Mapping[str, list[str]], read: Callable[[str], GgufHeader]
) -> dict[str, list[str]]:
    """Of several models in one folder those that are whole.

    Args:
        models: Paths of each, by what people call it; more than one.
        read: The header of a file.

    Returns:
        The only whole model, or ``models`` as they are: if several are whole, or more
        are there than :data:`LOOKED_MAX`.

    Raises:
        ArtifactError: There are adapters only (``AmbiguousWeights``).
        SourceError: The bytes could not be had.
    """
    if len(models) > LOOKED_MAX:
        return dict(models)
    whole: dict[str, list[str]] = {}
    for name, paths in models.items():
        if len(paths) > 1 or not _reads_as_adapter(paths[0], read):
            whole[name] = paths
        if len(whole) > 1:
            return dict(models)
    if not whole:
        raise several_adapters(list(models), "file")
    return whole


def _reads_as_adapter(path: str, read: Callable[[str], GgufHeader]) -> bool:
    try:
        return is_adapter(read(path))
    except ArtifactError:
        return False  # what cannot be read may be anything


def likely_head(header: GgufHeader) -> int:
    """Rows of a head of the model that an adapter belongs to; 0 where none matter.

    Converters leave the number of heads out of adapters, and reorder rows by it.  A
    wrong guess leaves rows of q and k in an order of no meaning, as no guess does: it
    can hide a copy, and make none.
    """
    rows = [t.shape[0] for t in header.tensors if _ORDERED.fullmatch(t.name)]
    if not rows or not is_adapter(header):
        return 0
    return _SMALL_HEAD if max(rows) <= _SMALL_ROWS else _HEAD
