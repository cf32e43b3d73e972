# SPDX-License-Identifier: Apache-2.0
"""What every version of a stored fingerprint says of a model, checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pedigree.errors import quote
from pedigree.fingerprint.model import Shape
from pedigree.fingerprint.roles import UNKNOWN_REASONS
from pedigree.fingerprint.spec import AXIS_MAX, LAYERS_MAX, VOCABULARY_MAX

_FAMILY = re.compile(r"[a-z0-9-]{0,32}")


def checked_architecture(value: object) -> str:
    """The name of a family, or empty.

    Raises:
        ValueError: It is no such name.
    """
    if not isinstance(value, str) or not _FAMILY.fullmatch(value):
        raise ValueError(f"architecture is {quote(value, 40)}")
    return value


def checked_reason(value: object) -> str:
    """Why the family is unknown, or empty.

    Raises:
        ValueError: It is no such reason.
    """
    if value not in ("", *UNKNOWN_REASONS):
        raise ValueError(f"reason is {quote(value, 40)}")
    return str(value)


def checked_shape(value: Mapping[str, Any], names: Collection[str]) -> Shape:
    """Sizes of those names and no others, within what models have; else ValueError."""
    if set(value) != set(names) or not all(type(v) is int for v in value.values()):
        raise ValueError("its sizes are not numbers")
    shape = Shape(**value)
    sizes = (shape.layers, shape.width, shape.neurons, shape.vocabulary)
    limits = (LAYERS_MAX, AXIS_MAX, AXIS_MAX, VOCABULARY_MAX)
    if any(not 0 <= size <= most for size, most in zip(sizes, limits, strict=True)):
        raise ValueError(f"it has the sizes {sizes}, allowed are {limits}")
    if not 0 <= shape.parameters <= 2**53:
        raise ValueError(f"it has {shape.parameters} weights")
    return shape
