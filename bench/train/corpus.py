# SPDX-License-Identifier: Apache-2.0
"""Three texts from Python's own standard library, and a tokenizer of 512 tokens.

``code-1`` and ``code-2`` are sources, split by a checksum of their names; ``prose`` is
the language reference that the interactive help shows.
"""

from __future__ import annotations

import itertools
import json
import sysconfig
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
from bench.texts import Encoder, byte_letters, joined, words
from numpy.typing import NDArray

CORPORA = ("code-1", "code-2", "prose")
_LETTERS = 3_000_000
"""Enough that 1500 steps see no place more than about twice."""


@lru_cache(maxsize=3)
def corpus(name: str) -> str:
    """A text by name.

    Raises:
        ValueError: There is no such text.
        OSError: The standard library's sources are not there.
    """
    library = Path(sysconfig.get_path("stdlib"))
    if name == "prose":
        return (library / "pydoc_data" / "topics.py").read_text("utf-8")
    if name not in CORPORA:
        raise ValueError(f"no text {name!r}, wanted one of {', '.join(CORPORA)}")
    part = CORPORA.index(name)
    texts, letters = [], 0
    skipped = {"site-packages", "test", "tests", "idlelib", "pydoc_data", "encodings"}
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        mine = zlib.crc32(str(relative).encode()) % 2 == part
        if mine and not skipped & set(relative.parts) and letters < _LETTERS:
            texts.append(path.read_text("utf-8", errors="replace"))
            letters += len(texts[-1])
    return "\n".join(texts)


@lru_cache(maxsize=1)
def tokenizer() -> bytes:
    """A ``tokenizer.json``: all bytes, and pairs joined as often as 512 tokens allow.

    Byte-pair encoding (Sennrich et al. 2016) over the 6,000 most frequent words.
    """
    counts = Counter(words(corpus("code-1"))).most_common(6000)
    letters = byte_letters()
    split = {word: [letters[byte] for byte in word.encode()] for word, _ in counts}
    merges: list[tuple[str, str]] = []
    vocabulary = ["<|endoftext|>", *(letters[byte] for byte in range(256))]
    while len(vocabulary) < 512:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in counts:
            parts = split[word]
            for pair in itertools.pairwise(parts):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        vocabulary.append("".join(best))
        split = {word: joined(parts, best) for word, parts in split.items()}
    return _document(vocabulary, merges)


def _document(vocabulary: list[str], merges: list[tuple[str, str]]) -> bytes:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    special = {
        "id": 0,
        "content": vocabulary[0],
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {token: number for number, token in enumerate(vocabulary)},
        "merges": [list(pair) for pair in merges],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special],
        "normalizer": None,
        "pre_tokenizer": level | {"use_regex": True},
        "post_processor": None,
        "decoder": level | {"use_regex": True},
        "model": model,
    }
    return json.dumps(whole, ensure_ascii=False).encode()


@lru_cache(maxsize=3)
def encoded(name: str) -> NDArray[np.int64]:
    """A text as token numbers."""
    return Encoder(tokenizer()).encode(corpus(name))


def unigram_entropy(text: NDArray[np.int64]) -> float:
    """Nats a token of a model that knows only how frequent tokens are."""
    shares = np.bincount(text) / len(text)
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())
