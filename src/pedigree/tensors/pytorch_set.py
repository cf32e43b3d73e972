# SPDX-License-Identifier: Apache-2.0
"""The PyTorch checkpoints of a model: archives, their pickles, merged to one map.

Nothing is loaded: see :mod:`pedigree.tensors.pickle_walk`.  A model in this format is
measured so that its lineage is known, and carries the error ``PickleWeights`` all the
same, for whoever loads it with PyTorch's own loader may run what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.ranges import ModelSource, RangeSource
from pedigree.tensors.formats import PYTORCH, format_by_name
from pedigree.tensors.layout import TensorInfo, WeightSet
from pedigree.tensors.pickle_walk import PICKLE_MAX_BYTES, walk
from pedigree.tensors.placement import check_placement
from pedigree.tensors.remarks import ERROR, Remark
from pedigree.tensors.shards import WeightFiles
from pedigree.tensors.state_dict import flattened
from pedigree.tensors.strictjson import load
from pedigree.tensors.strided import located
from pedigree.tensors.zip_members import Member, read_members

INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
_TOLD = frozenset(
    {"version", ".format_version", ".storage_alignment", ".data/serialization_id"}
)
"""Members beside pickle and data that PyTorch writes and that say nothing of values."""


def open_pytorch(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> WeightSet:
    """Read which tensors the PyTorch checkpoints of a model hold, loading none.

    Args:
        source: The model.
        sizes: Bytes of each file that counts, by path.
        limits: Bounds.

    Raises:
        ArtifactError: ``LegacyPickle``, ``MalformedZip``, ``ForbiddenPickle``,
            ``UnsupportedStride``, ``StorageMismatch``, ``DuplicateTensor``,
            ``AmbiguousWeights``, ``NoReadableWeights``, ``LimitExceeded``, or reasons
            of the index as in :mod:`pedigree.tensors.shards`.
        SourceError: The bytes could not be had.
    """
    weights = _find_weights(source, sizes, limits)
    files = {path: source.open(path) for path in weights.paths}
    found: dict[str, TensorInfo] = {}
    for path, file in files.items():
        for info in _read_file(file, limits):
            if info.name in found:
                _refuse(
                    "DuplicateTensor",
                    path,
                    f"has tensor {quote(info.name)}, which "
                    f"{quote(found[info.name].path)} has too, wanted one of them",
                )
            found[info.name] = info
        if len(found) > limits.tensors_max:
            _refuse("LimitExceeded", path, f"has over {limits.tensors_max} tensors")
    if not found:
        _refuse("NoReadableWeights", weights.paths[0], "holds no tensor")
    check_placement(weights, found)
    return WeightSet(
        form=PYTORCH,
        files=files,
        tensors=dict(sorted(found.items())),
        metadata={path: {} for path in files},
        remarks=_remarks(weights),
    )


def _refuse(reason: str, path: str, got: str) -> NoReturn:
    raise ArtifactError(f"file {quote(path)} {got}", reason=reason, path=path)


def _remarks(weights: WeightFiles) -> tuple[Remark, ...]:
    pickles = Remark(
        "PickleWeights",
        weights.paths[0],
        f"weights in {quote(weights.paths[0])} are a pickle, which can run code when "
        "it is loaded; lineage was measured without loading it, publish the weights "
        "as safetensors",
        ERROR,
    )
    unread = tuple(
        Remark(
            "UnreadWeights",
            path,
            f"file {quote(path)} is named like a pickle and was not compared",
            ERROR,
        )
        for path in weights.unread
    )
    return (pickles, *unread)


def _find_weights(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> WeightFiles:
    every = sorted(path for path in sizes if format_by_name(path) == PYTORCH)
    top = [path for path in every if "/" not in path]
    placement: dict[str, str] = {}
    if INDEX in sizes:
        placement = _placement(source.open(INDEX), every, limits)
        chosen = sorted(set(placement.values()))
        if SINGLE in sizes and SINGLE not in chosen:
            _refuse(
                "AmbiguousWeights",
                INDEX,
                f"does not name {SINGLE!r}, which the model has too; servers would "
                "load different weights",
            )
    elif SINGLE in sizes:
        chosen = [SINGLE]
    else:
        chosen = top
    if len(chosen) != 1 and not placement:
        reason = "AmbiguousWeights" if chosen else "NoReadableWeights"
        raise ArtifactError(
            f"model has the pickles {quote(every)}, wanted {SINGLE!r}, {INDEX!r} or "
            "one file at the top",
            reason=reason,
            hint="publish the weights as safetensors",
            path=chosen[0] if chosen else "",
        )
    unread = tuple(sorted(set(every) - set(chosen)))
    return WeightFiles(tuple(chosen), INDEX if placement else "", placement, unread)


def _placement(file: RangeSource, listed: list[str], limits: Limits) -> dict[str, str]:
    if file.size > limits.json_max_bytes:
        _refuse("LimitExceeded", INDEX, f"is {file.size} bytes, too many")
    index = load(
        file.read(0, file.size),
        what="index",
        path=INDEX,
        values_max=4 * limits.tensors_max,
        malformed="MalformedIndex",
    )
    placement = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(placement, dict) or not placement:
        _refuse("MalformedIndex", INDEX, "has no weight_map of tensors to shards")
    for shard in placement.values():
        if not isinstance(shard, str) or format_by_name(shard) != PYTORCH:
            _refuse("MalformedIndex", INDEX, f"names the shard {quote(shard, 64)}")
        if shard.startswith("/") or ".." in shard.split("/") or "\\" in shard:
            _refuse("IndexOutsideFolder", INDEX, f"names {quote(shard)} outside")
    missing = set(placement.values()) - set(listed)
    if missing:
        _refuse(
            "MissingShard",
            INDEX,
            f"names the shard {quote(min(missing))}, which the model does not have",
        )
    return placement


def _read_file(file: RangeSource, limits: Limits) -> list[TensorInfo]:
    _check_kind(file)
    members = read_members(file)
    root = next(iter(members)).partition("/")[0] + "/"
    pickle = members.get(root + "data.pkl")
    if pickle is None:
        _malformed(file.path, f"has no member {quote(root + 'data.pkl')}")
    if pickle.end - pickle.begin > PICKLE_MAX_BYTES:
        _refuse("LimitExceeded", file.path, f"has a pickle over {PICKLE_MAX_BYTES}")
    order = members.get(root + "byteorder")
    if order is not None:
        said = file.read(order.begin, min(order.end - order.begin, 16))
        if said != b"little":
            _malformed(file.path, f"has the byte order {quote(said)}, wanted little")
    raw = file.read(pickle.begin, pickle.end - pickle.begin)
    value, storages = walk(raw, path=file.path)
    _check_members(file.path, members, root, set(storages))
    found = flattened(value, path=file.path, limits=limits)
    return [
        located(name, tensor, members[f"{root}data/{tensor.storage.key}"], file.path,
                limits)
        for name, tensor in found.items()
    ]  # fmt: skip


def _malformed(path: str, got: str) -> NoReturn:
    _refuse("MalformedZip", path, got)


def _check_kind(file: RangeSource) -> None:
    head = file.read(0, min(file.size, 512))
    if head[257:262] == b"ustar" or head[:1] == b"\x80":
        what = "a tar archive" if head[:1] != b"\x80" else "a bare pickle"
        raise ArtifactError(
            f"file {quote(file.path)} is {what}, wanted the zip archive that PyTorch "
            "writes since 1.6",
            reason="LegacyPickle",
            hint="do not load this file; ask for the weights as safetensors",
            path=file.path,
        )


def _check_members(
    path: str, members: Mapping[str, Member], root: str, keys: set[str]
) -> None:
    """Refuse an archive that holds other than what its pickle names.

    A second pickle, or code, can be what another loader reads.
    """
    data = {f"{root}data/{key}" for key in keys}
    known = data | {root + name for name in ("data.pkl", "byteorder", *_TOLD)}
    for name in members:
        if name not in known:
            _malformed(path, f"has the member {quote(name)}, which its pickle ignores")
    for name in data:
        if name not in members:
            _malformed(path, f"has no member {quote(name)}, which its pickle names")
