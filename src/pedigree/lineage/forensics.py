# SPDX-License-Identifier: Apache-2.0
"""Everything that relation and direction are read from, of one related pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.delta import Delta, measure
from pedigree.lineage.findings import LayerMap
from pedigree.lineage.fossil import Fossil, read_fossil
from pedigree.lineage.lattice import lattice_of
from pedigree.lineage.layers import (
    SURE_LOG10,
    Structure,
    block_map,
    layer_map,
    remarks,
    structure,
)
from pedigree.lineage.paired import BLOCK_ROLES, Pair, pairs
from pedigree.lineage.results import TestResult
from pedigree.lineage.spectrum import Spectrum, measure_spectrum

INVARIANT = ("ROWNORM", "PNI", "TSP", "MATCH", "QF")
"""Tests that see through permuted or rotated channels."""
COMPARABLE_COSINE = 0.3
"""Below it the weights are not at the same places, whatever a test found: differences
then say nothing of how B was made."""


@dataclass(frozen=True, slots=True)
class Forensics:
    """What was read from a pair that the tests found related.

    Attributes:
        a: First model.
        b: Second model.
        tests: By name.
        layers: Which block comes from which; None if no test shows it.
        structure: What that says; None without a map.
        delta: Change of single weights; None if indices do not agree.
        spectrum: What of each model's matrices is in the other's; None as above.
        fossil: Untouched embedding rows; None if not kept.
        lattice_a: Lattice that A's weights lie on, or empty.
        lattice_b: The same of B.
        zeros_a: Share of zeros in A's matrices.
        zeros_b: The same of B.
    """

    a: Fingerprint
    b: Fingerprint
    tests: dict[str, TestResult]
    layers: LayerMap | None
    structure: Structure | None
    delta: Delta | None
    spectrum: Spectrum | None
    fossil: Fossil | None
    lattice_a: str
    lattice_b: str
    zeros_a: float
    zeros_b: float

    def fired(self, name: str) -> bool:
        """Whether a test alone was sure."""
        test = self.tests.get(name)
        return test is not None and test.ran and test.log10_p <= SURE_LOG10

    def silent(self, name: str) -> bool:
        """Whether a test ran and saw nothing."""
        test = self.tests.get(name)
        return test is not None and test.ran and test.log10_p > SURE_LOG10


def gather(a: Fingerprint, b: Fingerprint, tests: Sequence[TestResult]) -> Forensics:
    """Read all there is to read.

    Args:
        a: First model.
        b: Second model, found related.
        tests: Results of the family.
    """
    found = layer_map(a, b, tests)
    shape = structure(found) if found is not None else None
    if found is not None and shape is not None:
        found = replace(found, remarks=remarks(shape))
    first = Forensics(
        a=a,
        b=b,
        tests={test.name: test for test in tests},
        layers=found,
        structure=shape,
        delta=None,
        spectrum=None,
        fossil=None,
        lattice_a=lattice_of(a),
        lattice_b=lattice_of(b),
        zeros_a=zero_share(a),
        zeros_b=zero_share(b),
    )
    side_by_side = _pairs(first)
    delta = measure(side_by_side)
    if delta is not None and delta.cosine < COMPARABLE_COSINE:
        delta = None
    return replace(
        first,
        delta=delta,
        spectrum=measure_spectrum(side_by_side),
        fossil=_fossil(first),
    )


def zero_share(fingerprint: Fingerprint) -> float:
    """Share of zeros among the trained matrices; 0 without any."""
    counted = [record for record in fingerprint.tensors if record.informative]
    seen = sum(record.seen for record in counted)
    return sum(record.zeros for record in counted) / seen if seen else 0.0


def _pairs(of: Forensics) -> list[Pair]:
    """Matrices whose indices agree; none if ALIGN saw nothing."""
    if of.a.shape.width != of.b.shape.width or not of.a.shape.width:
        return []
    if not (of.fired("ALIGN-neuron") or of.fired("ALIGN-residual")):
        return []
    found = pairs(of.a, of.b, block_map(of.layers, of.a, of.b))
    if of.a.shape.neurons != of.b.shape.neurons or of.silent("ALIGN-neuron"):
        found = [pair for pair in found if pair.role not in BLOCK_ROLES]
    return found


def _fossil(of: Forensics) -> Fossil | None:
    if not (of.fired("EMB") or of.fired("ALIGN-residual")):
        return None
    return read_fossil(of.a, of.b)
