# SPDX-License-Identifier: Apache-2.0
"""All context features of one model, and all signals of two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from pedigree.errors import ArtifactError
from pedigree.lineage.context.documents import read_document
from pedigree.lineage.context.embedding import (
    anchor_cosines,
    eas,
    end,
    find_embedding,
    norm_histogram,
)
from pedigree.lineage.context.matrices import (
    Matrices,
    Progress,
    lep,
    read_matrices,
    wvc,
)
from pedigree.lineage.context.metadata import Metadata, mfi, read_metadata
from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    Cost,
    Floats,
    NotShown,
    of_both,
)
from pedigree.lineage.context.norms import Norms, nlf, read_norms
from pedigree.lineage.context.tokens import TokenFeatures, tfv, token_features, voa
from pedigree.lineage.context.vocabulary import Vocabulary, read_vocabulary
from pedigree.ranges import ModelSource
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.layout import TensorInfo

COSTS = {
    "MFI": Cost.VOCABULARY,
    "TFV": Cost.VOCABULARY,
    "VOA": Cost.VOCABULARY,
    "EAS": Cost.ROWS,
    "NLF": Cost.ROWS,
    "LEP": Cost.EVERYTHING,
    "END": Cost.EMBEDDING,
    "WVC": Cost.EVERYTHING,
}
"""What each signal has to read, in the order in which they are shown."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class ContextFeatures:
    """What the signals look at of one model; each part may be absent.

    Attributes:
        metadata: For MFI.
        tokens: For TFV and VOA.
        anchors: For EAS; shape (k, k).
        norms: For NLF.
        lengths: For END; shape (20,).
        matrices: For LEP and WVC.
    """

    metadata: Metadata | Absent
    tokens: TokenFeatures | Absent
    anchors: Floats | Absent
    norms: Norms | Absent
    lengths: Floats | Absent
    matrices: Matrices | Absent


def read_features(
    source: ModelSource,
    checkpoint: Checkpoint,
    cost: Cost = Cost.EVERYTHING,
    progress: Progress | None = None,
) -> ContextFeatures:
    """Read the features of one model, as far as ``cost`` allows.

    Bytes that are refused make the features that need them absent, with the reason.

    Args:
        source: The model.
        checkpoint: Its weights.
        cost: What may be read.
        progress: Told after each matrix how many bytes are done, and of how many.

    Raises:
        SourceError: The bytes could not be had.
    """

    def read(least: Cost, read_one: Callable[[], _Value | Absent]) -> _Value | Absent:
        if cost < least:
            return Absent(NotShown.NOT_ASKED, f"it reads {_WORDS[least]}")
        try:
            # Sums that overflow end as a correlation of nothing, with its reason.
            with np.errstate(over="ignore", invalid="ignore"):
                return read_one()
        except ArtifactError as error:
            return Absent(NotShown.UNREADABLE, error.message)

    vocabulary = read(Cost.VOCABULARY, lambda: read_vocabulary(source))
    tokens = (
        vocabulary if isinstance(vocabulary, Absent) else token_features(vocabulary)
    )
    embedding = find_embedding(checkpoint)
    return ContextFeatures(
        metadata=read(Cost.VOCABULARY, lambda: _metadata(source, tokens)),
        tokens=tokens,
        anchors=read(Cost.ROWS, lambda: _anchors(checkpoint, embedding, vocabulary)),
        norms=read(Cost.ROWS, lambda: read_norms(checkpoint)),
        lengths=read(Cost.EMBEDDING, lambda: _lengths(checkpoint, embedding)),
        matrices=read(Cost.EVERYTHING, lambda: read_matrices(checkpoint, progress)),
    )


def context_signals(
    a: ContextFeatures, b: ContextFeatures
) -> tuple[ContextSignal, ...]:
    """The eight signals of two models, in the order of :data:`COSTS`."""
    return (
        of_both("MFI", a.metadata, b.metadata, mfi),
        of_both("TFV", a.tokens, b.tokens, tfv),
        of_both("VOA", a.tokens, b.tokens, voa),
        of_both("EAS", a.anchors, b.anchors, eas),
        of_both("NLF", a.norms, b.norms, nlf),
        of_both("LEP", a.matrices, b.matrices, lep),
        of_both("END", a.lengths, b.lengths, end),
        of_both("WVC", a.matrices, b.matrices, wvc),
    )


_WORDS = {
    Cost.VOCABULARY: "the configuration and the tokenizer",
    Cost.ROWS: "rows of the embedding and the norms",
    Cost.EMBEDDING: "the whole embedding",
    Cost.EVERYTHING: "every matrix",
}


def _metadata(source: ModelSource, tokens: TokenFeatures | Absent) -> Metadata | Absent:
    if isinstance(tokens, Absent):
        return tokens
    document = read_document(source, "config.json")
    if document is None:
        return Absent(NotShown.NO_CONFIG, "the model has no config.json")
    return read_metadata(document, tokens)


def _anchors(
    checkpoint: Checkpoint,
    embedding: TensorInfo | Absent,
    vocabulary: Vocabulary | Absent,
) -> Floats | Absent:
    if isinstance(embedding, Absent):
        return embedding
    if isinstance(vocabulary, Absent):
        return vocabulary
    return anchor_cosines(checkpoint, embedding, vocabulary)


def _lengths(checkpoint: Checkpoint, embedding: TensorInfo | Absent) -> Floats | Absent:
    if isinstance(embedding, Absent):
        return embedding
    return norm_histogram(checkpoint, embedding)
