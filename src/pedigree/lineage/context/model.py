# SPDX-License-Identifier: Apache-2.0
"""What context signals are made of: features of one model, values for two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Feature = TypeVar("Feature")


class Cost(IntEnum):
    """What a signal has to read of a model; each includes the ones before."""

    NOTHING = 0
    VOCABULARY = 1
    """``config.json`` and ``tokenizer.json``: MFI, TFV, VOA."""
    ROWS = 2
    """64 rows of the embedding and the norm vectors: EAS, NLF."""
    EMBEDDING = 3
    """The whole embedding: END."""
    EVERYTHING = 4
    """Every matrix of every layer: LEP, WVC."""


class NotShown(StrEnum):
    """Why a signal has no value.  Closed set."""

    NOT_ASKED = "NotAsked"
    """It would have to read more than was asked for."""
    NO_CONFIG = "NoConfig"
    """The model has no readable ``config.json``."""
    NO_TOKENIZER = "NoTokenizer"
    """The model has no readable ``tokenizer.json``; the kit would stop here."""
    UNSTATED = "Unstated"
    """It rests on a value that the kit asks the transformers library, and that the
    files do not state."""
    UNKNOWN_TOKENIZER = "UnknownTokenizer"
    """The tokenizer has a part that is not understood here, so that the anchor tokens
    cannot be told."""
    NO_EMBEDDING = "NoEmbedding"
    """No tensor is known to be the token embedding, or it is not a matrix."""
    NO_NORMS = "NoNorms"
    """No norm vector of at least 64 values."""
    NO_LAYERS = "NoLayers"
    """No matrix of a numbered layer, or of a kind that the kit compares."""
    TOO_LITTLE = "TooLittle"
    """Too few layers, anchors or values in common."""
    CONSTANT = "Constant"
    """The values of one model do not vary, so that a correlation has no meaning."""
    UNREADABLE = "Unreadable"
    """The bytes that it needs are wrong, for example not finite."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A feature that a model does not have.

    Attributes:
        reason: Which.
        detail: For people.
    """

    reason: NotShown
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ContextSignal:
    """One signal of two models; 1 is most alike, 0 least.

    Attributes:
        name: ``MFI``, ``TFV``, ``VOA``, ``EAS``, ``NLF``, ``LEP``, ``END`` or ``WVC``.
        value: Rounded to four decimals; None if there is none.
        reason: Why there is none; None if there is one.
        detail: For people.
    """

    name: str
    value: float | None
    reason: NotShown | None = None
    detail: str = ""


def shown(name: str, value: float, detail: str = "") -> ContextSignal:
    """A signal with a value; one that is not a number counts as ``Constant``."""
    if np.isnan(value):
        return ContextSignal(name, None, NotShown.CONSTANT, "it has no variance")
    return ContextSignal(name, round(float(value), 4), None, detail)


def missing(name: str, absent: Absent) -> ContextSignal:
    """A signal without a value."""
    return ContextSignal(name, None, absent.reason, absent.detail)


def of_both(
    name: str,
    a: Feature | Absent,
    b: Feature | Absent,
    compare: Callable[[Feature, Feature], ContextSignal],
) -> ContextSignal:
    """Compare a feature of two models, if both have it.

    Args:
        name: Of the signal.
        a: Of the first model.
        b: Of the second.
        compare: What makes a signal of two features.
    """
    if isinstance(a, Absent):
        return missing(name, a)
    if isinstance(b, Absent):
        return missing(name, b)
    return compare(a, b)


def cosine(a: Floats, b: Floats) -> float:
    """Cosine of two vectors, negative ones as 0; NaN if one is nearly 0.

    Args:
        a: Shape (k,).
        b: Shape (k,).
    """
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    if length < 1e-10:  # the kit's bound
        return float("nan")
    return min(1.0, max(0.0, float(np.dot(a, b)) / length))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's correlation, brought from [-1, 1] to [0, 1]; NaN if one is constant.

    Args:
        a: Shape (k,).
        b: Shape (k,).
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    if min(a.std(), b.std()) < 1e-8:  # the kit's bound
        return float("nan")
    return float((np.corrcoef(a, b)[0, 1] + 1) / 2)
