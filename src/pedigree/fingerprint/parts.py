# SPDX-License-Identifier: Apache-2.0
"""Which arrays a fingerprint v2 may hold, and of which type and shape.  Data only.

A symbol in a shape is the same number wherever it stands in one fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pedigree.fingerprint.arrayfile import dtype_name
from pedigree.fingerprint.model import Shape
from pedigree.fingerprint.spec import FingerprintSpec, Profile

_ORDER = tuple(Profile)
ROWS_MAX = 2**20
"""Rows of a table; 70 blocks of the widest published models have fewer."""
FEATURES_MAX = 256
"""Columns of a table of features."""


@dataclass(frozen=True, slots=True)
class PartRule:
    """What one part may look like.

    Attributes:
        dtype: Storage type.
        shape: A number, or a symbol, per dimension; empty if anything goes.
        profile: The smallest profile that may hold it.
    """

    dtype: str
    shape: tuple[int | str, ...]
    profile: Profile = Profile.FAST


_MINIMAL, _DEEP = Profile.MINIMAL, Profile.DEEP
_SKETCH = PartRule("I8", ("blocks", "neurons", "sketch"), _MINIMAL)
_BYTES = PartRule("I8", ("blocks", "projected", "byte_tokens"))
_INDEX = PartRule("I8", ("blocks", "projected", "index_columns"))
_CHANNEL = PartRule("I8", ("layers", "channels", "channel_sketch"))
_QF = PartRule("I8", ("rows", "features"), _DEEP)
PARTS: Mapping[str, PartRule] = {
    "anchor.bytes": PartRule("U32", ("byte_tokens",), _MINIMAL),
    "anchor.index": PartRule("I32", ("index_tokens",), _MINIMAL),
    **{f"neuron.{role}": _SKETCH for role in ("gate", "up", "down")},
    **{f"neuron.tsp.{role}": _BYTES for role in ("gate", "up", "down")},
    **{f"neuron.tspi.{role}": _INDEX for role in ("gate", "up", "down")},
    "neuron.scalars": PartRule("I16", ("blocks", "projected", 6)),
    "channel.o": _CHANNEL,
    "channel.down": _CHANNEL,
    "channel.up": PartRule("I8", _CHANNEL.shape, _DEEP),
    "embedding.bytes": PartRule("I8", ("channels", "byte_tokens"), _MINIMAL),
    "embedding.index": PartRule("I8", ("channels", "index_tokens"), _MINIMAL),
    "head.bytes": PartRule("I8", ("channels", "byte_tokens")),
    "head.index": PartRule("I8", ("channels", "index_tokens")),
    "norm.ranks": PartRule("I8", ("layers", 2, "norm_channels"), _MINIMAL),
    "norm.final": PartRule("I8", ("norm_channels",), _MINIMAL),
    "raw": PartRule("U16", ("raws", "raw", "raw")),
    "raw.record": PartRule("I32", ("raws",)),
    "fossil.index": PartRule("U16", ("fossils", "fossil_channels")),
    "fossil.head": PartRule("U16", ("fossils", "fossil_channels")),
    "fossil.rows": PartRule("I32", ("fossils",)),
    "table.block": PartRule("I32", ("tables", 4), _DEEP),
    **{
        f"table.{role}": PartRule("I8", ("rows", "byte_tokens"), _DEEP)
        for role in ("gate", "up", "down")
    },
    **{
        f"tablei.{role}": PartRule("I8", ("rows", "index_columns"), _DEEP)
        for role in ("gate", "up", "down")
    },
    "table.scalars": PartRule("I16", ("rows", 6), _DEEP),
    **{f"table.qf.{role}": _QF for role in ("gate", "up", "down")},
    "code.e": PartRule("U8", (128,), _MINIMAL),
    "code.r": PartRule("U8", (128,), _MINIMAL),
    "code.v": PartRule("U8", (128,), _MINIMAL),
}
"""By name."""
_ADAPT = re.compile(r"adapt\.[a-z0-9][a-z0-9._-]{0,100}")
"""Parts for the adapters of a model, and for what adapters are compared with; their
shapes depend on the modules that are adapted."""


def largest(
    spec: FingerprintSpec, shape: Shape, layers: int, blocks: int
) -> dict[str, int]:
    """The largest number each symbol may stand for."""
    channels = min(spec.channels, shape.width)
    return {
        "blocks": blocks,
        "layers": layers,
        "neurons": spec.neurons,
        "projected": spec.neurons,
        "sketch": spec.sketch,
        "byte_tokens": min(spec.byte_tokens_deep, shape.vocabulary),
        "index_tokens": min(spec.index_tokens_deep, shape.vocabulary),
        "index_columns": min(spec.projected_index_tokens_deep, shape.vocabulary),
        "channels": channels,
        "channel_sketch": spec.channel_sketch,
        "norm_channels": min(spec.norm_channels, shape.width),
        "raws": ROWS_MAX,
        "raw": spec.raw_deep,
        "fossils": min(spec.fossils_deep, shape.vocabulary),
        "fossil_channels": min(spec.fossil_channels, channels),
        "tables": blocks,
        "rows": ROWS_MAX,
        "features": FEATURES_MAX,
    }


def check_parts(
    parts: Mapping[str, NDArray[Any]], profile: Profile, most: Mapping[str, int]
) -> None:
    """Refuse what no fingerprint of a profile holds.

    Args:
        parts: By name.
        profile: Of the fingerprint.
        most: Of :func:`largest`.

    Raises:
        ValueError: A part is unknown, empty, of a larger profile, or of another type
            or shape than its rule says.
    """
    bound: dict[str, int] = {}
    for name, array in sorted(parts.items()):
        if array.size == 0:
            raise ValueError(f"part {name[:100]} is empty")
        if _ADAPT.fullmatch(name):
            if profile is not Profile.DEEP:
                raise ValueError(
                    f"part {name} does not belong to profile {profile.value}"
                )
            continue
        rule = PARTS.get(name)
        if rule is None:
            raise ValueError(f"part {name[:100]!r} is unknown")
        if _ORDER.index(profile) < _ORDER.index(rule.profile):
            raise ValueError(f"part {name} does not belong to profile {profile.value}")
        if dtype_name(array) != rule.dtype:
            raise ValueError(f"part {name} has another type than {rule.dtype}")
        _check_shape(name, array.shape, rule.shape, bound, most)


def _check_shape(
    name: str,
    got: tuple[int, ...],
    wanted: tuple[int | str, ...],
    bound: dict[str, int],
    most: Mapping[str, int],
) -> None:
    fits = len(got) == len(wanted)
    for extent, symbol in zip(got, wanted, strict=False):
        if isinstance(symbol, int):
            fits &= extent == symbol
        else:
            fits &= extent == bound.setdefault(symbol, extent)
            fits &= extent <= most[symbol]
    for symbol in ("blocks", "layers"):
        fits &= bound.get(symbol, most[symbol]) == most[symbol]
    if not fits:
        raise ValueError(f"part {name} has shape {got}, wanted {wanted}")
