# SPDX-License-Identifier: Apache-2.0
"""SEED: trained apart from one random initialisation, or derived?

Definition
    Two models that start from the same random numbers keep a part of them: weights of
    the same index stay a little alike, everywhere to the same degree, and with them,
    less or as much, all that is computed from them.  A derivative keeps most of its
    parent's weights or, if they were moved or hidden, their invariants.
Decision
    ``SharedInit`` if both axes of ALIGN are sure, no tensor is equal, the matrices are
    not much alike (cosine at most 0.65), neither holds the other whole (both slopes at
    most 0.8), and one of:

    * the first singular directions of each, which training made, are less in the other
      than the rest is (``spectrum``: both ratios at most 0.88), or
    * nothing is strong: cosine at most 0.5, and norms, inner products within a neuron
      and what neurons read of tokens have effects of at most 0.6.
Thresholds
    Measured, with margins, in ``docs/lineage.md``.  Models of one seed: cosine 0.21 to
    0.57, larger slope at most 0.54, ratios 0.62 to 0.80, or all effects low.
    Descendants and siblings, heavily trained ones included: cosine 0.74 and more, or
    one slope near 1.  Nearest neurons: 0.40 to 0.80 between models of one seed, 0.70 to
    0.89 after heavy training, 0.95 and more between fine-tunes.
Limits
    Needs the deep profile of both models; between others it is ``Derived``.  Half
    noise looks like descent; a merge in which a model has the smaller part beside an
    independent one can look like a shared initialisation, and no longer computes what
    it did.  Models that were trained very little after their common initialisation are
    alike by more than the threshold, and are called ``Derived``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.nearest import nearest_likeness
from pedigree.lineage.results import TestResult
from pedigree.lineage.spectrum import Spectrum

ALIGN = ("ALIGN-neuron", "ALIGN-residual")
STRUCTURE = ("GAMMA", "ROWNORM", "PNI", "TSP", "MATCH", "QF")
SURE_LOG10 = -8.0
COSINE_MAX = 0.65
SLOPE_MAX = 0.8
TOP_MAX = 0.88
LOW_COSINE = 0.5
LOW_EFFECT = 0.6
NEAR_MAX = 0.9


@dataclass(frozen=True, slots=True)
class Seed:
    """Likeness of weights that only a common initialisation explains.

    Attributes:
        cosine: Of matrices.
        slope: The larger of the two slopes.
        evidence: What shows it.
    """

    cosine: float
    slope: float
    evidence: str


def read_seed(
    tests: Mapping[str, TestResult],
    spectrum: Spectrum | None,
    a: Fingerprint,
    b: Fingerprint,
) -> Seed | None:
    """What a pair shares, if that is no more than its initialisation; else None.

    Args:
        tests: Results by name.
        spectrum: Of the pair.
        a: First model.
        b: Second model.
    """
    ran = {name: test for name, test in tests.items() if test.ran}
    if not all(n in ran and ran[n].log10_p <= SURE_LOG10 for n in ALIGN):
        return None
    if spectrum is None or ("HASH" in ran and ran["HASH"].n > 0):
        return None
    slope = max(spectrum.slope_ab, spectrum.slope_ba)
    if spectrum.cosine > COSINE_MAX or slope > SLOPE_MAX:
        return None
    evidence = _first_directions(spectrum) or _nothing_strong(ran, spectrum)
    if not evidence:
        return None
    near = nearest_likeness(a, b)
    if near is None or near > NEAR_MAX:
        return None
    return Seed(spectrum.cosine, slope, evidence)


def _first_directions(spectrum: Spectrum) -> str:
    ratios = spectrum.top_ab, spectrum.top_ba
    if ratios[0] is None or ratios[1] is None or max(ratios[0], ratios[1]) > TOP_MAX:
        return ""
    return (
        "what training made of each is less in the other than the rest is, by factors "
        f"of {ratios[0]:.2f} and {ratios[1]:.2f}"
    )


def _nothing_strong(ran: Mapping[str, TestResult], spectrum: Spectrum) -> str:
    structure = [ran[name] for name in STRUCTURE if name in ran]
    if not structure or spectrum.cosine > LOW_COSINE:
        return ""
    best = max(structure, key=lambda test: test.effect)
    if best.effect > LOW_EFFECT:
        return ""
    return f"no trait that training makes is shared strongly ({best.name} most, " + (
        f"{best.effect:.2f})"
    )
