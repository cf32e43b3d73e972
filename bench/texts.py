# SPDX-License-Identifier: Apache-2.0
"""Text that is on any machine, and a small encoder for ``tokenizer.json``.

The text is Python's own standard library.  The encoder does byte-level BPE with the
file's merges; words are cut by an approximation, in the standard library's ``re``, of
GPT-2's pattern.  Both models of a comparison get the same tokens, so that a difference
to another encoder in rare places does no harm.
"""

from __future__ import annotations

import itertools
import json
import re
import sysconfig
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_WORDS = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
)

READING = (
    "textwrap.py",
    "heapq.py",
    "shlex.py",
    "calendar.py",
    "csv.py",
    "fractions.py",
    "graphlib.py",
    "queue.py",
)
"""Sources that agreement is measured on."""


def library(names: tuple[str, ...] = READING) -> str:
    """Sources of the standard library, one after the other."""
    folder = Path(sysconfig.get_path("stdlib"))
    return "\n".join((folder / name).read_text("utf-8") for name in names)


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """The letters that byte-level BPE writes bytes with (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + k) for k, byte in enumerate(rest)
    }


class Encoder:
    """Byte-level BPE from the bytes of a ``tokenizer.json``.

    Raises:
        ValueError: The tokenizer is of another kind.
    """

    def __init__(self, content: bytes) -> None:
        model = json.loads(content)["model"]
        if model.get("type") != "BPE" or "merges" not in model:
            raise ValueError(f"a tokenizer of type {model.get('type')!r}, wanted BPE")
        self.vocabulary: dict[str, int] = model["vocab"]
        self.strings = {number: token for token, number in self.vocabulary.items()}
        self._ranks = {
            tuple(m.split(" ")) if isinstance(m, str) else tuple(m): rank
            for rank, m in enumerate(model["merges"])
        }
        self._known: dict[str, list[str]] = {}

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, as they are written in the vocabulary."""
        found: list[str] = []
        for word in words(text):
            if word not in self._known:
                self._known[word] = self._word(word)
            found += self._known[word]
        return found

    def _word(self, word: str) -> list[str]:
        letters = byte_letters()
        parts = [letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = list(itertools.pairwise(parts))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, 1 << 60))
            if best not in self._ranks:
                break
            parts = joined(parts, best)
        return [part for part in parts if part in self.vocabulary]

    def encode(self, text: str) -> NDArray[np.int64]:
        """Numbers of the tokens of a text."""
        return np.array([self.vocabulary[t] for t in self.tokens(text)], np.int64)


def words(text: str) -> list[str]:
    """The words that merges do not cross."""
    return _WORDS.findall(text)


def joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    """The parts of a word, with each occurrence of a pair made one."""
    merged: list[str] = []
    k = 0
    while k < len(parts):
        if k + 1 < len(parts) and (parts[k], parts[k + 1]) == pair:
            merged.append(parts[k] + parts[k + 1])
            k += 2
        else:
            merged.append(parts[k])
            k += 1
    return merged
