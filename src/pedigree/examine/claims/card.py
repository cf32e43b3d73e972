# SPDX-License-Identifier: Apache-2.0
"""Model cards: the YAML front matter of ``README.md``.

Keys as the Hub documents them; the base and its relation are what the Hub draws its
trees of models from, and nobody checks them.
"""

from __future__ import annotations

from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.nodes import declared_in, pairs_of
from pedigree.tensors.remarks import Declared

CARD = "README.md"
FIELDS = {
    "base_model": Field.BASE_MODEL,
    "base_model_relation": Field.RELATION,
    "license": Field.LICENSE,
    "license_name": Field.LICENSE_NAME,
    "license_link": Field.LICENSE_LINK,
    "model_name": Field.MODEL_NAME,
    "quantized_by": Field.QUANTIZED_BY,
    "datasets": Field.DATASETS,
}


def card_declarations(text: bytes) -> list[Declared]:
    """Declarations in the front matter of a model card.

    Args:
        text: The card's first bytes.

    Raises:
        ArtifactError: The front matter is not YAML, or nested too deeply
            (``MalformedModelCard``).
    """
    front = _front_matter(text.decode("utf-8", "replace"))
    if front is None:
        return []
    pairs = pairs_of(
        front, path=CARD, what="front matter of", reason="MalformedModelCard"
    )
    return list(declared_in(pairs, FIELDS, CARD))


def _front_matter(text: str) -> str | None:
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return None
    for index, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "\n".join(lines[1:index])
    return None


def is_whole(text: bytes) -> bool:
    """Whether the beginning of a card holds all of its front matter, or it has none."""
    lines = text.decode("utf-8", "replace").lstrip("\ufeff").splitlines()
    starts = bool(lines) and lines[0].rstrip() == "---"
    return not starts or any(line.rstrip() == "---" for line in lines[1:])
