# SPDX-License-Identifier: Apache-2.0
"""What a model's files say of how its weights were packed.

Only a hint: the shapes of the stored tensors decide where they can, and a false hint
costs a comparison and makes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pedigree.errors import ArtifactError
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.documents import (
    CONFIG,
    CONFIG_MAX_BYTES,
    json_map,
    nested_maps,
    whole_file,
)

_OWN = ("quantize_config.json", "quant_config.json")
"""Where GPTQ and AWQ tools write the same map when it is not in the configuration."""
_KEYS = ("quantization_config", "compression_config")
_SUFFIX = re.compile(
    r"(?:\.qweight|\.weight_packed|_scale|_scales|_scale_inv|\.SCB|\.absmax"
    r"|\.quant_state\.[^.]+|\.weight_shape)\Z"
)
"""Ends of names that only quantised models have."""


def is_packed(names: Iterable[str]) -> bool:
    """Whether a name looks like a part of a quantised tensor."""
    return any(_SUFFIX.search(name) for name in names)


def read_quantisation(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits
) -> Mapping[str, Any]:
    """Read the quantisation settings of a model.

    Args:
        source: The model.
        sizes: Bytes of each file that counts, by path.
        limits: Bounds.

    Returns:
        The settings, unchecked; empty when there are none that can be read (what is
        wrong with the configuration is remarked on with the declarations).

    Raises:
        SourceError: The bytes could not be had.
    """
    config = _read(source, sizes, limits, CONFIG)
    for holder in (config, *nested_maps(config)):
        for key in _KEYS:
            if isinstance(holder.get(key), dict):
                settings: Mapping[str, Any] = holder[key]
                return settings
    for path in _OWN:
        settings = _read(source, sizes, limits, path)
        if settings:
            return settings
    return {}


def _read(
    source: ModelSource, sizes: Mapping[str, int], limits: Limits, path: str
) -> Mapping[str, Any]:
    size = sizes.get(path, 0)
    most = min(CONFIG_MAX_BYTES, limits.json_max_bytes)
    if not size:
        return {}
    try:
        return json_map(whole_file(source, path, size, most), path)
    except ArtifactError:
        return {}
