# SPDX-License-Identifier: Apache-2.0
"""Names of the tensors of a checkpoint, whatever dictionaries they lie in."""

from __future__ import annotations

import re
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.limits import Limits
from pedigree.tensors.pickle_words import Strided

_DEPTH_MAX = 16
_VISITS_MAX = 2_000_000
"""A pickle of few bytes can describe a tree of any size, by sharing its parts."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def flattened(value: object, *, path: str, limits: Limits) -> dict[str, Strided]:
    """Tensors by name: keys joined with dots.

    A checkpoint whose tensors all lie in one inner dictionary, such as
    ``{"state_dict": {...}}``, is that dictionary; where they lie in several, every
    name keeps its whole path.

    Args:
        value: What the pickle describes.
        path: File, for messages.
        limits: Bounds.

    Raises:
        ArtifactError: ``LimitExceeded``, ``MalformedName`` or ``DuplicateTensor``.
    """
    found = _visited(value, path, limits)
    while found and all(len(keys) > 1 for keys, _ in found):
        first = found[0][0][0]
        if any(keys[0] != first for keys, _ in found):
            break
        found = [(keys[1:], tensor) for keys, tensor in found]
    named: dict[str, Strided] = {}
    for keys, tensor in found:
        name = ".".join(keys)
        if not name or len(name) > limits.tensor_name_max_chars:
            _refuse(path, "MalformedName", f"has a tensor name of {len(name)} letters")
        if _CONTROL.search(name):
            _refuse(path, "MalformedName", f"has the tensor name {quote(name)}")
        if name in named:
            _refuse(path, "DuplicateTensor", f"has tensor {quote(name)} twice")
        named[name] = tensor
    return named


def _visited(
    value: object, path: str, limits: Limits
) -> list[tuple[tuple[str, ...], Strided]]:
    found: list[tuple[tuple[str, ...], Strided]] = []
    waiting: list[tuple[tuple[str, ...], Any]] = [((), value)]
    visits = 0
    while waiting:
        keys, item = waiting.pop()
        if isinstance(item, Strided):
            found.append((keys, item))
            if len(found) > limits.tensors_max:
                _refuse(path, "LimitExceeded", f"has over {limits.tensors_max} tensors")
            continue
        if not isinstance(item, dict | list | tuple):
            continue
        visits += len(item) + 1
        if len(keys) >= _DEPTH_MAX or visits > _VISITS_MAX:
            _refuse(path, "LimitExceeded", "describes a tree too deep or too large")
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        waiting.extend(((*keys, str(key)), inner) for key, inner in pairs)
    return found


def _refuse(path: str, reason: str, got: str) -> None:
    raise ArtifactError(f"checkpoint {quote(path)} {got}", reason=reason, path=path)
