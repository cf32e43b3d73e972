# SPDX-License-Identifier: Apache-2.0
"""The first token of a short text, by the rules in ``tokenizer.json``.

EAS chooses its anchors with it.  Only texts of a few letters are asked, and only their
first token, so each step (normalise, split, model) keeps just the first piece.  A part
that is not understood raises :class:`UnknownPart`: no id is better than a wrong one.

Source: the behaviour of the tokenizers library, which the tests compare for each kind.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from pedigree.lineage.context.pieces import UnknownPart, split_first
from pedigree.lineage.context.vocabulary import Vocabulary

__all__ = ["Encoder", "UnknownPart"]

_NORMALISED_MAX_CHARS = 1_024
"""Of a text of a few letters: each part of a normaliser may double it."""
_UNKNOWN_PENALTY = 10.0
"""What a character without a piece costs a Unigram, below its least score."""


class Encoder:
    """Finds first tokens by one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        document = vocabulary.document
        self._normalizer: Any = document.get("normalizer")
        self._splitter: Any = document.get("pre_tokenizer")
        self._model: Mapping[str, Any] = document["model"]
        self._kind = _kind(self._model)
        self._ranks: dict[str, int] = {}
        if self._kind == "BPE":
            merges = vocabulary.merges
            self._ranks = {merge: rank for rank, merge in enumerate(merges)}

    def first_token(self, text: str) -> int | None:
        """Id of the first token; None if the text has none.

        Args:
            text: A few letters, no space.

        Raises:
            UnknownPart: The tokenizer has a part that is not understood.
        """
        at, token_id = self._first_added(text)
        if at == 0:
            return token_id
        piece = split_first(self._splitter, normalised(self._normalizer, text[:at]))
        if not piece:
            return None
        return _MODELS[self._kind](self, piece)

    def _first_added(self, text: str) -> tuple[int | None, int | None]:
        """Where the first added token begins in the text; the longest counts."""
        found = [
            (text.index(token), -len(token), token_id)
            for token, token_id in self._vocabulary.added.items()
            if token and token in text
        ]
        if not found:
            return None, None
        at, _, token_id = min(found)
        return at, token_id

    def _bpe(self, piece: str) -> int | None:
        ids = self._vocabulary.ids
        if self._model.get("ignore_merges") and piece in ids:
            return ids[piece]
        symbols = [part for letter in piece for part in self._letter(letter)]
        while len(symbols) > 1:
            pairs = [f"{a} {b}" for a, b in pairwise(symbols)]
            rank, at = min(
                (self._ranks.get(pair, len(self._ranks)), at)
                for at, pair in enumerate(pairs)
            )
            if rank == len(self._ranks):
                break
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        return ids.get(symbols[0]) if symbols else None

    def _letter(self, letter: str) -> list[str]:
        """A letter as the symbols a BPE begins with."""
        ids = self._vocabulary.ids
        if letter in ids:
            return [letter]
        if self._model.get("byte_fallback"):
            symbols = [f"<0x{byte:02X}>" for byte in letter.encode()]
            if all(symbol in ids for symbol in symbols):
                return symbols
        unknown = self._model.get("unk_token")
        return [unknown] if isinstance(unknown, str) and unknown in ids else []

    def _wordpiece(self, piece: str) -> int | None:
        """The longest prefix that is a token, if the rest can be covered too."""
        ids, begin, first = self._vocabulary.ids, 0, None
        prefix = str(self._model.get("continuing_subword_prefix", "##"))
        while begin < len(piece):
            lead = prefix if begin else ""
            ends = (
                e for e in range(len(piece), begin, -1) if lead + piece[begin:e] in ids
            )
            end = next(ends, None)
            if end is None:
                return ids.get(str(self._model.get("unk_token")))
            first = ids[lead + piece[begin:end]] if begin == 0 else first
            begin = end
        return first

    def _wordlevel(self, piece: str) -> int | None:
        ids = self._vocabulary.ids
        return ids.get(piece, ids.get(str(self._model.get("unk_token"))))

    def _unigram(self, piece: str) -> int | None:
        """First piece of the most probable split (Viterbi)."""
        scores = self._unigram_scores()
        unknown = min(scores.values(), default=0.0) - _UNKNOWN_PENALTY
        # best[end]: (score, first piece) of the best split of piece[:end]
        best: list[tuple[float, str]] = [(0.0, "")]
        for end in range(1, len(piece) + 1):
            found = [
                (best[begin][0] + scores[piece[begin:end]], begin)
                for begin in range(end)
                if piece[begin:end] in scores
            ]
            if piece[end - 1] not in scores:
                found.append((best[end - 1][0] + unknown, end - 1))
            score, begin = max(found)
            best.append((score, best[begin][1] if begin else piece[:end]))
        first = best[-1][1]
        if first in scores:
            return self._vocabulary.ids[first]
        if self._model.get("byte_fallback"):
            return self._vocabulary.ids.get(f"<0x{first.encode()[0]:02X}>")
        unknown_id = self._model.get("unk_id")
        return unknown_id if isinstance(unknown_id, int) else None

    def _unigram_scores(self) -> Mapping[str, float]:
        if not hasattr(self, "_scores"):
            self._scores = {
                str(item[0]): float(item[1])
                for item in self._model["vocab"]
                if len(item) == 2 and isinstance(item[1], int | float)
            }
        return self._scores


_MODELS: Mapping[str, Callable[[Encoder, str], int | None]] = {
    "BPE": Encoder._bpe,
    "WordPiece": Encoder._wordpiece,
    "WordLevel": Encoder._wordlevel,
    "Unigram": Encoder._unigram,
}


def _kind(model: Mapping[str, Any]) -> str:
    """Type of a model; older files do not state it."""
    kind = model.get("type")
    if kind is None:
        kind = "BPE" if "merges" in model else "WordPiece"
    if not isinstance(kind, str) or kind not in _MODELS:
        raise UnknownPart(f"model {str(kind)[:32]!r}")
    if kind == "BPE":
        for key in ("continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(key):
                raise UnknownPart(f"model BPE with {key}")
    return kind


def normalised(normalizer: Any, text: str) -> str:
    """A text after the normaliser.

    Args:
        normalizer: As in ``tokenizer.json``; None changes nothing.
        text: Any.

    Raises:
        UnknownPart: It is of a kind that is not understood.
    """
    if normalizer is None:
        return text
    kind = normalizer.get("type") if isinstance(normalizer, dict) else None
    match kind:
        case "Sequence":
            parts = normalizer.get("normalizers") or []
            for part in parts if isinstance(parts, list) else [parts]:
                text = normalised(part, text)
                if len(text) > _NORMALISED_MAX_CHARS:
                    raise UnknownPart("a normalizer that makes text longer and longer")
            return text
        case "NFC" | "NFD" | "NFKC" | "NFKD":
            return unicodedata.normalize(kind, text)
        case "Precompiled":  # SentencePiece's table; NFKC for the letters asked here
            return unicodedata.normalize("NFKC", text)
        case "Lowercase":
            return text.lower()
        case "Prepend":
            return str(normalizer.get("prepend", "")) + text
        case "Replace":
            pattern = normalizer.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("String"), str):
                content = str(normalizer.get("content"))[:_NORMALISED_MAX_CHARS]
                return text.replace(pattern["String"], content)
            if (
                isinstance(pattern, dict)
                and str(pattern.get("Regex")).strip() in _BLANK
            ):
                return text
        case "StripAccents":
            return "".join(c for c in text if unicodedata.category(c) != "Mn")
        case "Strip" | "Nmt" | "ByteLevel":
            return text if kind != "ByteLevel" else _refuse(kind)
        case "BertNormalizer":
            return _bert(normalizer, text)
    return _refuse(kind)


_BLANK = (" {2,}", "\\s+", "\\s{2,}")
"""Patterns of spaces; the texts asked here have none."""


def _bert(normalizer: Mapping[str, Any], text: str) -> str:
    lower = bool(normalizer.get("lowercase", True))
    strip = normalizer.get("strip_accents")
    if lower if strip is None else strip:
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(c for c in decomposed if unicodedata.category(c) != "Mn")
    return text.lower() if lower else text


def _refuse(kind: object) -> str:
    raise UnknownPart(f"normalizer {str(kind)[:32]!r}")
