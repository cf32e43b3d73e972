# SPDX-License-Identifier: Apache-2.0
"""Words by which descent is declared, and the kinds that weights show for them.

Weights show kinds by conventions and without a rate of error, so a difference is worth
a warning and never a denial.  Words that no weights could bear out ("distilled",
"pretrained") are not here: of them nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pedigree.lineage.findings import Relation

_FINETUNED = frozenset(
    {
        *("FineTuned", "ContinuedPretraining", "LoraMerged", "VocabularyChanged"),
        *("PartialCopy", "Pruned", "LayersDropped", "WidthPruned", "Upcycled"),
    }
)
_MERGED = frozenset({"Merged", "DepthUpscaled", "LayersReordered"})
_QUANTISED = frozenset({"Quantised"})
KINDS: Mapping[str, frozenset[str]] = {
    "adapter": frozenset({"Adapter"}),
    "copy": frozenset({"Copy", "Identical"}),
    "finetune": _FINETUNED,
    "finetuned": _FINETUNED,
    "merge": _MERGED,
    "merged": _MERGED,
    "quantised": _QUANTISED,
    "quantized": _QUANTISED,
}
"""Declared word, in lower case: kinds of :class:`pedigree.lineage.findings.Relation`
that fit it."""
_EQUAL = frozenset({"Copy", "Identical"})
UNTOLD = frozenset({"", "Derived", "Laundered"})
"""Kinds that say no more than that there is descent."""


def fits(declared: str, kinds: Iterable[str]) -> bool | None:
    """Whether declared descent is of a kind that the weights show.

    Args:
        declared: Such as ``finetune``; case does not count.
        kinds: Every kind that holds.

    Returns:
        None where nothing can be said: the word or all kinds say nothing exact.
    """
    wanted = KINDS.get(declared.strip().casefold())
    told = set(kinds) - UNTOLD
    if wanted is None or not told:
        return None
    return bool(wanted & told)


def fits_first(declared: str, kind: str) -> bool | None:
    """The same where only the kind is known that is named first.

    Kinds behind it in the order of :class:`~pedigree.lineage.findings.Relation` may
    hold as well: a model can be tuned and then quantised.  Equal weights exclude all.

    Args:
        declared: Such as ``finetune``.
        kind: The kind that is named, or ``Identical``.

    Returns:
        None where nothing can be said.
    """
    told = fits(declared, [kind])
    if told is not False or kind in _EQUAL:
        return told
    order = [relation.value for relation in Relation]
    wanted = KINDS[declared.strip().casefold()] & set(order)
    later = kind not in order or any(
        order.index(other) > order.index(kind) for other in wanted
    )
    return None if later else False
