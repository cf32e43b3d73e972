# SPDX-License-Identifier: Apache-2.0
"""The GGUF files of a model: one file or one split set, merged to one map."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.ranges import ModelSource, RangeSource
from pedigree.tensors.adapter_files import name_one
from pedigree.tensors.formats import GGUF, format_by_name
from pedigree.tensors.gguf_adapters import (
    check_kind,
    likely_head,
    without_adapters,
)
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, BlockCoding
from pedigree.tensors.gguf_grids import grid
from pedigree.tensors.gguf_header import (
    DEFAULT_ALIGNMENT,
    PLAIN_TYPES,
    GgufHeader,
    GgufTensor,
    read_gguf_header,
)
from pedigree.tensors.gguf_order import PERMUTED, HalvedHeads, PlainCoding
from pedigree.tensors.gguf_scales import with_scales
from pedigree.tensors.gguf_tokens import stored_tokens
from pedigree.tensors.gguf_words import words_of
from pedigree.tensors.layout import Coding, TensorInfo, WeightSet
from pedigree.tensors.remarks import INFO, WARNING, Remark

_SPLIT = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.IGNORECASE)
_QUERY = re.compile(r"blk\.[0-9]{1,5}\.attn_q\.(?:weight(?:\.lora_b)?|bias)")
_KEY = re.compile(r"blk\.[0-9]{1,5}\.attn_k\.(?:weight(?:\.lora_b)?|bias)")
_SHIFTED = ("gemma", "nemotron", "qwen3next", "qwen3_next")
"""Architectures whose converter adds the one that their norms are stored without."""
_BESIDE = ("mmproj", "mtp-")
"""How the names of files begin that belong beside a model: what sees and hears for it,
and layers that predict several tokens."""
_CONFIG = {
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "num_hidden_layers": "block_count",
    "num_local_experts": "expert_count",
}
"""Key of ``config.json`` to what follows the architecture in keys of GGUF."""


def open_gguf(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> WeightSet:
    """Read the headers of the GGUF files of a model.

    Args:
        source: The model.
        sizes: Bytes of each file that counts, by path.
        limits: Bounds.

    Raises:
        ArtifactError: Several models (``AmbiguousWeights``), an incomplete split set
            (``MissingShard``), a tensor in two files (``DuplicateTensor``), no tensor,
            or none that tells a base (``NoReadableWeights``), a type whose table of
            points is not there (``UnsupportedDtype``), or reasons of
            :mod:`pedigree.tensors.gguf_header`.
        SourceError: The bytes could not be had.
    """
    open_once = cache(source.open)
    header_of = cache(lambda path: read_gguf_header(open_once(path), limits))
    paths, unread = _choose(sizes, limits, header_of)
    files = {path: open_once(path) for path in paths}
    headers = {path: header_of(path) for path in paths}
    first = headers[paths[0]]
    check_kind(first, paths[0])
    _check_split(headers)
    _check_types(headers)
    guess = likely_head(first)
    tensors = _tensors(headers, first, guess)
    _check_number(tensors, paths[0], limits)
    remarks = [_unread(path) for path in unread]
    remarks += [r for path in paths for r in _unowned(headers[path], files[path])]
    if _order_unknown(first, tensors):
        remarks.append(_heads_unknown(paths[0], guess))
    return WeightSet(
        form=GGUF,
        files=files,
        tensors=dict(sorted(with_scales(tensors).items())),
        metadata={
            path: words_of(header, files[path]) for path, header in headers.items()
        },
        remarks=tuple(remarks),
        config=_config(first),
        tokens=stored_tokens(first, paths[0]),
    )


def _tensors(
    headers: Mapping[str, GgufHeader], first: GgufHeader, guess: int
) -> dict[str, TensorInfo]:
    """Every tensor of the files, by name."""
    tensors: dict[str, TensorInfo] = {}
    for path, header in headers.items():
        for stored in header.tensors:
            if stored.name in tensors:
                raise ArtifactError(
                    f"tensor {quote(stored.name)} is in "
                    f"{quote(tensors[stored.name].path)} and in {quote(path)}, wanted "
                    "one of them",
                    reason="DuplicateTensor",
                    path=path,
                )
            tensors[stored.name] = _info(stored, path, first, guess)
    return tensors


def _heads_unknown(path: str, guess: int) -> Remark:
    """What the order of rows in q and k was taken to be."""
    so = "they were compared as they are"
    if guess:  # an adapter, whose base is told by other rows
        so = f"heads of {guess} rows were assumed; only exact copies depend on it"
    return Remark(
        "UnknownHeads",
        path,
        "rows of q and k are in the order of another program and the number of heads "
        f"is not stated, so {so}",
        INFO if guess else WARNING,
    )


def _choose(
    sizes: Mapping[str, int], limits: Limits, header_of: Callable[[str], GgufHeader]
) -> tuple[list[str], list[str]]:
    """Files of the model, in order, and those that are not read."""
    every = [path for path in sizes if format_by_name(path) == GGUF]
    beside = [p for p in every if p.rpartition("/")[2].lower().startswith(_BESIDE)]
    # Whoever names such a file alone means it.
    own = [path for path in every if path not in beside] or every
    top = [path for path in own if "/" not in path]
    candidates = top or own
    models: dict[str, list[str]] = {}
    for path in sorted(candidates):
        split = _SPLIT.fullmatch(path)
        stem = f"{split[1]}-*-of-{split[3]}.gguf" if split else path
        models.setdefault(stem, []).append(path)
    if not models:  # an index alone is named like one of them
        raise ArtifactError(
            "model has no GGUF file, wanted one", reason="NoReadableWeights"
        )
    if len(models) > 1:
        models = without_adapters(models, header_of)
    if len(models) > 1:
        raise ArtifactError(
            f"model has {len(models)} different GGUF models, {quote(list(models))}, "
            "wanted one",
            reason="AmbiguousWeights",
            hint=name_one("file"),
        )
    paths = next(iter(models.values()))
    split = _SPLIT.fullmatch(paths[0])
    if split and len(paths) != int(split[3]):
        raise ArtifactError(
            f"split set of {quote(paths[0])} has {len(paths)} files, wanted "
            f"{int(split[3])}",
            reason="MissingShard",
            path=paths[0],
        )
    if len(paths) > limits.files_max:
        raise ArtifactError(
            f"split set has {len(paths)} files, allowed are {limits.files_max}",
            reason="LimitExceeded",
        )
    return paths, sorted(set(every) - set(paths))


def _check_split(headers: Mapping[str, GgufHeader]) -> None:
    """Refuse files that say they are another part than their names do."""
    total = len(headers)
    for number, (path, header) in enumerate(headers.items()):
        split = _SPLIT.fullmatch(path)
        count = header.scalars.get("split.count", 0 if split is None else None)
        place = header.scalars.get("split.no", 0 if split is None else None)
        named = int(split[2]) - 1 if split else 0
        whole = split is None and count in (0, 1) and place == 0
        if not whole and (named, place, count) != (number, number, total):
            raise ArtifactError(
                f"file {quote(path)} says it is part {quote(place, 32)} of "
                f"{quote(count, 32)}, wanted part {number} of {total}",
                reason="MissingShard",
                path=path,
            )


def _check_types(headers: Mapping[str, GgufHeader]) -> None:
    """Refuse a model of which only some tensors could be compared."""
    found = [
        (path, stored.name, BLOCK_TYPES[stored.kind])
        for path, header in headers.items()
        for stored in header.tensors
        if stored.kind in BLOCK_TYPES and BLOCK_TYPES[stored.kind].table
    ]
    for path, name, block in found:
        try:
            grid(block.table)
        except ArtifactError as error:
            raise ArtifactError(
                f"file {quote(path)} stores tensor {quote(name)} as {block.name}, and "
                f"{error.message}; so what the model descends from is not decided "
                f"(tensors in such types: {len(found)})",
                reason=error.reason,
                hint=error.hint,
                path=path,
            ) from error


def _check_number(tensors: Mapping[str, TensorInfo], path: str, limits: Limits) -> None:
    if len(tensors) > limits.tensors_max:
        raise ArtifactError(
            f"model has {len(tensors)} tensors, allowed are {limits.tensors_max}",
            reason="LimitExceeded",
        )
    if not tensors:
        raise ArtifactError(
            f"weight file {quote(path)} holds no tensor, wanted weights",
            reason="NoReadableWeights",
            path=path,
        )


def _info(stored: GgufTensor, path: str, first: GgufHeader, guess: int) -> TensorInfo:
    columns = stored.shape[-1]
    coding: Coding | None = None
    plain = PLAIN_TYPES.get(stored.kind)
    if plain is None:
        block = BLOCK_TYPES[stored.kind]
        coding = BlockCoding(block, path, stored.begin, columns)
    head = _head_rows(stored, first, guess)
    if head:
        if coding is None and plain is not None:
            coding = PlainCoding(plain, path, stored.begin, columns)
        if coding is not None:
            one_line = columns if len(stored.shape) == 1 else 0
            coding = HalvedHeads(coding, head, one_line)
    dtype = plain or BLOCK_TYPES[stored.kind].name
    return TensorInfo(
        stored.name, dtype, stored.shape, path, stored.begin, stored.end, coding
    )


def _head_rows(stored: GgufTensor, first: GgufHeader, guess: int) -> int:
    """Rows of each head that were reordered; 0 for tensors in their own order.

    ``guess`` are the rows where the number of heads is not stated.
    """
    arch = _architecture(first)
    if arch not in PERMUTED or len(stored.shape) > 2:
        return 0
    heads = _number(first, "attention.head_count")
    if _KEY.fullmatch(stored.name):
        heads = _number(first, "attention.head_count_kv") or heads
    elif not _QUERY.fullmatch(stored.name):
        return 0
    rows = stored.shape[0]
    if not heads and guess:
        return guess if rows % guess == 0 else 0
    if not heads or rows % heads or rows // heads % 2:
        return 0
    return rows // heads


def _order_unknown(first: GgufHeader, tensors: Mapping[str, TensorInfo]) -> bool:
    if _architecture(first) not in PERMUTED:
        return False
    stated = bool(_number(first, "attention.head_count"))
    return any(
        (_QUERY.fullmatch(name) or _KEY.fullmatch(name))
        and not (stated and isinstance(info.coding, HalvedHeads))
        for name, info in tensors.items()
    )


def _architecture(header: GgufHeader) -> str:
    value = header.scalars.get("general.architecture")
    return value.lower() if isinstance(value, str) else ""


def _number(header: GgufHeader, key: str) -> int:
    """A count of the architecture's own; 0 where none is stated."""
    value = header.scalars.get(f"{_architecture(header)}.{key}")
    return value if type(value) is int and value > 0 else 0


def _config(header: GgufHeader) -> dict[str, Any]:
    arch = _architecture(header)
    if not arch:
        return {}
    shifted = any(word in arch for word in _SHIFTED)
    config: dict[str, Any] = {"model_type": f"gguf-{arch}" if shifted else arch}
    for ours, theirs in _CONFIG.items():
        if number := _number(header, theirs):
            config[ours] = number
    return config


def _unowned(header: GgufHeader, file: RangeSource) -> list[Remark]:
    """Bytes that belong to no tensor and that no padding explains."""
    padding = header.scalars.get("general.alignment", DEFAULT_ALIGNMENT)
    begins = [each.begin for each in header.tensors] + [file.size]
    ends = [header.data_begin] + [each.end for each in header.tensors]
    gaps = [b - e for b, e in zip(begins, ends, strict=True)]
    large = [gap if gap >= int(padding) else 0 for gap in gaps]
    found = {"HoleInData": sum(large[:-1]), "TrailingData": large[-1]}
    return [
        Remark(
            reason,
            file.path,
            f"{length} bytes of {quote(file.path)} belong to no tensor, and are more "
            "than padding; no reader of the weights looks at them",
            WARNING,
        )
        for reason, length in found.items()
        if length
    ]


def _unread(path: str) -> Remark:
    return Remark(
        "UnreadWeights",
        path,
        f"weights in {quote(path)} were not compared, for the model's own do not "
        "include them; name the file in a reference of its own to compare it",
        WARNING,
    )
