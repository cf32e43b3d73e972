# SPDX-License-Identifier: Apache-2.0
"""TFV and VOA: how alike are two tokenizers?

TFV (tokenizer feature vector)
    Eleven features of the tokenizer, each compared by a rule of its own, and summed
    with the kit's weights (:data:`WEIGHTS`).
VOA (vocabulary overlap)
    Jaccard similarity of the two sets of tokens.

Says nothing of weights: two unrelated models that use one public tokenizer have 1.0
in both, and a child with a rebuilt tokenizer is far from its parent.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pedigree.lineage.context.model import (
    Absent,
    ContextSignal,
    NotShown,
    missing,
    shown,
)
from pedigree.lineage.context.vocabulary import UNSTATED, Vocabulary

WEIGHTS: Mapping[str, float] = {
    "class": 0.10,
    "size": 0.10,
    "boundaries": 0.08,
    "length": 0.07,
    "spaces": 0.05,
    "scripts": 0.10,
    "bytes": 0.05,
    "merges": 0.05,
    "first merges": 0.15,
    "specials": 0.10,
    "all merges": 0.15,
}
"""Source: the kit's ``tfv_similarity``."""
SPECIALS = ("bos", "eos", "pad", "unk", "mask")
_FIRST_MERGES = 50
_SPACES = ("\u2581", "\u0120", " ")
"""How SentencePiece, byte-level BPE and others write a leading space."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SCRIPTS = (
    ("CJK", ("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO")),
    ("Cyrillic", ("CYRILLIC",)),
    ("Arabic", ("ARABIC",)),
    ("Devanagari", ("DEVANAGARI",)),
    ("Latin", ("LATIN",)),
)
"""Words of a character's Unicode name by which the kit tells scripts."""


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """What is compared of a tokenizer.

    Attributes:
        kind: See :class:`~pedigree.lineage.context.vocabulary.Vocabulary`.
        tokens: All of them.
        specials: As above.
        mean_length: Characters of a token, rounded to two decimals.
        spaces: Share of tokens that begin with a space, rounded to four.
        scripts: Share of letters by script, rounded to four.
        has_bytes: Whether there are tokens such as ``<0x0A>``.
        merges: Number of BPE rules.
        first_merges: SHA-256 of the first 50.
        all_merges: SHA-256 of all.
        digest: Of the whole tokenizer.
    """

    kind: str
    tokens: frozenset[str]
    specials: Mapping[str, int | None]
    mean_length: float
    spaces: float
    scripts: Mapping[str, float]
    has_bytes: bool
    merges: int
    first_merges: str
    all_merges: str
    digest: str


def token_features(vocabulary: Vocabulary) -> TokenFeatures:
    """Measure a tokenizer."""
    tokens = vocabulary.ids
    count = max(1, len(tokens))
    return TokenFeatures(
        kind=vocabulary.kind,
        tokens=frozenset(tokens),
        specials=vocabulary.specials,
        mean_length=round(float(np.mean([len(token) for token in tokens] or [0])), 2),
        spaces=round(sum(token.startswith(_SPACES) for token in tokens) / count, 4),
        scripts=script_shares(tokens),
        has_bytes=round(sum(map(bool, map(_BYTE.fullmatch, tokens))) / count, 4) > 0,
        merges=len(vocabulary.merges),
        first_merges=_digest(vocabulary.merges[:_FIRST_MERGES]),
        all_merges=_digest(vocabulary.merges),
        digest=vocabulary.digest(),
    )


def script_shares(tokens: Iterable[str]) -> dict[str, float]:
    """Share of each script among the letters of all tokens, largest first.

    Args:
        tokens: Texts.
    """
    letters = Counter("".join(tokens))
    counts: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            counts[_script(letter)] += count
    total = counts.total()
    return {script: round(n / total, 4) for script, n in counts.most_common()}


def _script(letter: str) -> str:
    if letter.isascii():
        return "Latin"
    name = unicodedata.name(letter, "")
    return next(
        (script for script, words in _SCRIPTS if any(word in name for word in words)),
        "Other",
    )


def tfv(a: TokenFeatures, b: TokenFeatures) -> ContextSignal:
    """Compare two tokenizers by their features."""
    unstated = unstated_specials(a, b)
    if unstated:
        return missing("TFV", unstated)
    parts = {
        "class": float(a.kind == b.kind),
        "size": _ratio(len(a.tokens), len(b.tokens)),
        "boundaries": (_same(a, b, "bos") + _same(a, b, "eos")) / 2,
        "length": _ratio(a.mean_length, b.mean_length),
        "spaces": max(0.0, 1 - abs(a.spaces - b.spaces)),
        "scripts": _script_cosine(a.scripts, b.scripts),
        "bytes": float(a.has_bytes == b.has_bytes),
        "merges": _merge_ratio(a.merges, b.merges),
        "first merges": float(a.first_merges == b.first_merges),
        "specials": _special_share(a, b),
        "all merges": _all_merges(a, b),
    }
    return shown("TFV", sum(WEIGHTS[name] * part for name, part in parts.items()))


def voa(a: TokenFeatures, b: TokenFeatures) -> ContextSignal:
    """Share of tokens in both of the tokens in either."""
    shared, union = len(a.tokens & b.tokens), len(a.tokens | b.tokens)
    return shown("VOA", shared / union if union else 0.0, f"{shared} of {union} tokens")


def unstated_specials(
    a: TokenFeatures, b: TokenFeatures, names: Iterable[str] = SPECIALS
) -> Absent | None:
    """Why special tokens cannot be compared, or None if they can.

    Two tokenizers of one class that leave the same token to it have the same token.
    """
    for name in names:
        left, right = a.specials[name], b.specials[name]
        if UNSTATED in (left, right) and (left != right or a.kind != b.kind):
            return Absent(
                NotShown.UNSTATED, f"the files do not state the {name} token of both"
            )
    return None


def _same(a: TokenFeatures, b: TokenFeatures, special: str) -> float:
    return float(a.specials[special] == b.specials[special])


def _special_share(a: TokenFeatures, b: TokenFeatures) -> float:
    """Of three special tokens, those that neither or both have: how many agree?"""
    counted = agreed = 0
    for name in ("pad", "unk", "mask"):
        left, right = a.specials[name], b.specials[name]
        if (left is None) == (right is None):
            counted += 1
            agreed += left == right
    return agreed / counted if counted else 0.5


def _ratio(a: float, b: float) -> float:
    largest = max(a, b)
    return max(0.0, 1 - abs(a - b) / largest) if largest > 0 else 0.0


def _merge_ratio(a: int, b: int) -> float:
    if a and b:
        return _ratio(a, b)
    return float(a == b)


def _all_merges(a: TokenFeatures, b: TokenFeatures) -> float:
    if a.merges and b.merges:
        return float(a.all_merges == b.all_merges)
    return 0.5 if a.merges == b.merges else 0.0


def _script_cosine(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    scripts = sorted({*a, *b})
    left = np.array([a.get(script, 0.0) for script in scripts])
    right = np.array([b.get(script, 0.0) for script in scripts])
    length = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(np.dot(left, right)) / length if length > 1e-8 else 0.0


def _digest(merges: Iterable[str]) -> str:
    text = "\n".join(merges)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
