# SPDX-License-Identifier: Apache-2.0
"""Context features out of a record of the Model Provenance Kit's database.

A record keeps what the kit read from the configuration, and vectors of its weight
signals if they were installed.  It keeps no vocabulary, so TFV and VOA are absent (the
kit's own scan sets the second to 0 and cannot compute all of the first).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.lineage.context.features import ContextFeatures
from pedigree.lineage.context.matrices import Matrices
from pedigree.lineage.context.metadata import Metadata, recorded_fields
from pedigree.lineage.context.model import Absent, Floats, NotShown
from pedigree.lineage.context.norms import Norms
from pedigree.lineage.context.tokens import TokenFeatures

_NO_VOCABULARY = Absent(NotShown.NO_TOKENIZER, "the kit's records keep no vocabulary")
_NOT_INSTALLED = Absent(NotShown.NOT_ASKED, "the record has no weight signals")


def record_features(
    metadata: Mapping[str, Any],
    vectors: Mapping[str, NDArray[np.float32]],
    layers: Mapping[int, NDArray[np.float32]],
    *,
    whole_norms: bool,
) -> ContextFeatures:
    """Features of one record.

    Args:
        metadata: Its ``mfi`` part.
        vectors: ``eas`` (k * k values), ``nlf``, ``lep`` and ``end``, as far as kept.
        layers: Values for WVC by layer number.
        whole_norms: Whether ``nlf`` holds the norm vectors, not their statistics.
    """
    lep = vectors.get("lep")
    return ContextFeatures(
        metadata=_metadata(metadata),
        tokens=_NO_VOCABULARY,
        anchors=_square(vectors.get("eas")),
        norms=_norms(vectors.get("nlf"), metadata, whole=whole_norms),
        lengths=_floats(vectors.get("end")),
        matrices=_NOT_INSTALLED
        if lep is None
        else Matrices(lep.astype(np.float64), dict(layers)),
    )


def _metadata(recorded: Mapping[str, Any]) -> Metadata | Absent:
    fields = recorded_fields(recorded)
    if isinstance(fields, Absent):
        return fields
    specials = dict.fromkeys(("pad", "unk", "mask")) | {
        name: recorded.get(f"{name}_token_id") for name in ("bos", "eos")
    }
    tokens = TokenFeatures(
        kind="",
        tokens=frozenset(),
        specials=specials,
        mean_length=0,
        spaces=0,
        scripts={},
        has_bytes=False,
        merges=0,
        first_merges="",
        all_merges="",
        digest=str(recorded.get("tokenizer_hash", "")),
    )
    return Metadata(fields, tokens)


def _floats(vector: NDArray[np.float32] | None) -> Floats | Absent:
    if vector is None:
        return _NOT_INSTALLED
    return vector.astype(np.float64)


def _square(vector: NDArray[np.float32] | None) -> Floats | Absent:
    values = _floats(vector)
    if isinstance(values, Absent):
        return values
    side = round(values.size**0.5)
    if side * side != values.size:
        return Absent(NotShown.UNREADABLE, f"{values.size} cosines are no square")
    return values.reshape(side, side)


def _norms(
    vector: NDArray[np.float32] | None, metadata: Mapping[str, Any], *, whole: bool
) -> Norms | Absent:
    if vector is None:
        return _NOT_INSTALLED
    if not whole:
        return Norms((), vector.astype(np.float64))
    width = metadata.get("hidden_size")
    if not isinstance(width, int) or width <= 0 or vector.size % width:
        return Absent(NotShown.UNREADABLE, f"{vector.size} values of width {width!r}")
    return Norms(tuple(vector.reshape(-1, width)))
