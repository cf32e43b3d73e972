# SPDX-License-Identifier: Apache-2.0
"""EAS and END: how alike are two embeddings?

EAS (embedding anchor similarity)
    Cosines between 64 anchor rows of one model's embedding, correlated with the same
    of the other (:mod:`pedigree.lineage.context.anchors`).  Near 0.6 to 0.75 for
    independent models of one language, because tokens mean the same to both.
END (embedding norm distribution)
    Cosine of two histograms of row lengths, 20 bins each.  The bins are each model's
    own, so one row of unusual length changes all of them, and independent models of
    one recipe are near 1.
Source
    The kit's ``weight_signals.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pedigree.errors import quote
from pedigree.lineage.context.anchors import anchor_ids
from pedigree.lineage.context.encoding import UnknownPart
from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    Floats,
    NotShown,
    correlation,
    cosine,
    missing,
    shown,
)
from pedigree.lineage.context.order import kit_order
from pedigree.lineage.context.vocabulary import Vocabulary
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import TensorInfo

_FAMILIES = (
    *("bert", "roberta", "deberta", "distilbert"),
    *("electra", "albert", "xlm-roberta", "camembert"),
)
_KNOWN = (
    "model.embed_tokens.weight",
    "transformer.wte.weight",
    "embeddings.word_embeddings.weight",
    "gpt_neox.embed_in.weight",
    "transformer.word_embeddings.weight",
    "shared.weight",
    "model.shared.weight",
    "encoder.embed_tokens.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    *(f"{family}.embeddings.word_embeddings.weight" for family in _FAMILIES),
    "word_embeddings.weight",
    "wte.weight",
)
"""Names of a token embedding, in the order in which the kit tries them."""
_ROWS_MAX = 1_000_000
_ANCHORS_LEAST = 16
_COMPARED_LEAST = 8
_BINS = 20


def find_embedding(checkpoint: Checkpoint) -> TensorInfo | Absent:
    """The tensor that the kit takes for the token embedding."""
    known = [checkpoint.tensors[name] for name in _KNOWN if name in checkpoint.tensors]
    info = next(iter([*known, *_by_name(checkpoint)]), None)
    if info is None:
        return Absent(NotShown.NO_EMBEDDING, "no tensor is named like an embedding")
    if len(info.shape) != 2 or not 0 < info.shape[0] <= _ROWS_MAX:
        return Absent(
            NotShown.NO_EMBEDDING,
            f"{quote(info.name)} has the shape {list(info.shape)}, wanted a matrix of "
            f"at most {_ROWS_MAX} rows",
        )
    return info


def _by_name(checkpoint: Checkpoint) -> list[TensorInfo]:
    return [
        info
        for info in kit_order(checkpoint)
        if len(info.shape) == 2
        and ("embed" in info.name.lower() or "wte" in info.name.lower())
        and "position" not in info.name.lower()
    ]


def anchor_cosines(
    checkpoint: Checkpoint, embedding: TensorInfo, vocabulary: Vocabulary
) -> Floats | Absent:
    """Cosines between the anchor rows; shape (k, k), k <= 64.

    Args:
        checkpoint: The model.
        embedding: Its embedding.
        vocabulary: Its tokenizer, which chooses the anchors.

    Raises:
        ArtifactError: A row is refused.
        SourceError: The bytes could not be had.
    """
    try:
        rows = anchor_ids(vocabulary, embedding.shape[0])
    except UnknownPart as unknown:
        return Absent(
            NotShown.UNKNOWN_TOKENIZER, f"{unknown} of tokenizer.json is not understood"
        )
    if len(rows) < _ANCHORS_LEAST:
        return Absent(NotShown.TOO_LITTLE, f"{len(rows)} anchors, wanted 16")
    values = checkpoint.read_rows(embedding.name, rows)  # (k, d)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.maximum(lengths, np.float32(1e-8))
    cosines: Floats = (unit @ unit.T).astype(np.float64)
    return cosines


def norm_histogram(checkpoint: Checkpoint, embedding: TensorInfo) -> Floats | Absent:
    """Share of the embedding's rows by length; shape (20,).

    Raises:
        ArtifactError: The tensor is refused.
        SourceError: The bytes could not be had.
    """
    blocks = checkpoint.blocks(embedding.name)
    lengths = np.concatenate([_lengths(block) for block in blocks])
    if not np.isfinite(lengths).all():
        return Absent(NotShown.UNREADABLE, "a row is longer than float32 can tell")
    density, _ = np.histogram(lengths, bins=_BINS, density=True)
    shares: Floats = density / (density.sum() + 1e-10)
    return shares


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    lengths: NDArray[np.float32] = np.sqrt(squares).astype(np.float32)
    return lengths


def eas(a: Floats, b: Floats) -> ContextSignal:
    """Correlate two sets of anchor cosines, anchors in order.

    Args:
        a: Shape (k, k).
        b: Shape (j, j).
    """
    count = min(len(a), len(b))
    if count < _COMPARED_LEAST:
        return missing("EAS", Absent(NotShown.TOO_LITTLE, f"{count} anchors"))
    above = np.triu_indices(count, k=1)
    return shown("EAS", correlation(a[above], b[above]), f"{count} anchors")


def end(a: Floats, b: Floats) -> ContextSignal:
    """Cosine of two histograms of row lengths."""
    return shown("END", cosine(a, b))
