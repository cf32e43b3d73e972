# SPDX-License-Identifier: Apache-2.0
"""Which 64 tokens EAS looks at, for one tokenizer.

First digits and punctuation, then frequent words of each script that has at least 5 %
of the vocabulary's letters, in proportion, then rows drawn at random with a fixed seed.
Two tokenizers get different anchors, which EAS compares in order all the same.  Two
scripts of exactly equal share come in the order of the vocabulary here; the kit takes
them in the order of a hash table, which is another in every run.

Source: the kit's ``anchors.py``; its lists are facts of its format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pedigree.lineage.context.encoding import Encoder
from pedigree.lineage.context.tokens import script_shares
from pedigree.lineage.context.vocabulary import Vocabulary

ANCHORS = 64
_MARKS = tuple("0123456789.,!?:;")
_WORDS: Mapping[str, Sequence[str]] = {
    "Latin": (
        *("the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "on"),
        *("are", "with", "as", "be", "at", "ing", "tion", "er", "al", "ed", "es"),
        *("re", "en"),
    ),
    "CJK": tuple("的一是不人我在有了这中大"),
    "Cyrillic": ["и", "в", "не", "на", "я", "что", "он", "к"],
    "Arabic": ["من", "في", "على", "أن", "هذا", "الله", "إلى", "لا"],
    "Devanagari": ["के", "है", "का", "की", "यह", "से", "को", "पर"],
}
_SCRIPT_LEAST = 0.05
_SEED = 42
_POOL = 50_000


def anchor_ids(vocabulary: Vocabulary, rows: int) -> list[int]:
    """Rows of the embedding, in the kit's order.

    Args:
        vocabulary: Of the model.
        rows: Of its embedding.

    Raises:
        UnknownPart: The tokenizer has a part that is not understood.
    """
    encoder = Encoder(vocabulary)
    chosen: dict[int, None] = {}

    def choose(words: Sequence[str]) -> None:
        for word in words:
            token_id = encoder.first_token(word)
            if token_id is not None and 0 <= token_id < rows:
                chosen.setdefault(token_id)

    choose(_MARKS)
    for script, slots in _slots(vocabulary, ANCHORS - len(chosen)):
        choose(_WORDS[script][:slots])
    wanted = ANCHORS - len(chosen)
    pool = [row for row in range(min(rows, _POOL)) if row not in chosen]
    if wanted > 0 and pool:
        # The legacy generator and its stream are part of the definition.
        random = np.random.RandomState(_SEED)
        drawn = random.choice(pool, size=min(wanted, len(pool)), replace=False)
        chosen.update(dict.fromkeys(drawn.tolist()))
    return list(chosen)[:ANCHORS]


def _slots(vocabulary: Vocabulary, room: int) -> list[tuple[str, int]]:
    """Scripts by share of the vocabulary, largest first, and words for each."""
    shares = {
        script: share
        for script, share in script_shares(vocabulary.ids).items()
        if share >= _SCRIPT_LEAST and script in _WORDS
    } or {"Latin": 1.0}
    total = sum(shares.values())
    slots = {
        script: max(2, round(room * share / total)) for script, share in shares.items()
    }
    excess = sum(slots.values()) - room
    largest = max(slots, key=lambda script: slots[script])
    slots[largest] = max(2, slots[largest] - excess)
    return [
        (script, slots[script]) for script in sorted(shares, key=lambda s: -shares[s])
    ]
