# SPDX-License-Identifier: Apache-2.0
"""Compare two fingerprints with every test of the family."""

from __future__ import annotations

from pedigree.errors import ArtifactError
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import adapt, hash_test, match, qf
from pedigree.lineage.align import run_neuron, run_residual
from pedigree.lineage.decide import decide, threshold_log10
from pedigree.lineage.emb import run_emb
from pedigree.lineage.gamma import run_gamma
from pedigree.lineage.pni import run_pni
from pedigree.lineage.results import TESTS, Comparison, TestResult
from pedigree.lineage.rownorm import run_rownorm
from pedigree.lineage.tsp import run_tsp

_RUNNERS = {
    "HASH": hash_test.run,
    "ALIGN-neuron": run_neuron,
    "ALIGN-residual": run_residual,
    "GAMMA": run_gamma,
    "EMB": run_emb,
    "ROWNORM": run_rownorm,
    "PNI": run_pni,
    "TSP": run_tsp,
    "MATCH": match.run,
    "QF": qf.run,
    "ADAPT": adapt.run,
}


def compare(
    a: Fingerprint, b: Fingerprint, *, family_size: int = 1, power: bool = True
) -> Comparison:
    """Say what two models are to each other.

    Symmetric in class and p-value: swapping the models swaps the direction.

    Args:
        a: First model, by convention the reference.
        b: Second model, by convention the one asked about.
        family_size: Number of references compared in the same scan; the false-positive
            rate of 1e-6 holds over all of them together.
        power: Whether to compute the smallest effect that would have been seen.

    Raises:
        ArtifactError: The fingerprints follow different specs (reason
            ``UnsupportedFingerprint``).
    """
    if a.settings != b.settings:
        raise ArtifactError(
            f"fingerprints follow {a.spec} and {b.spec}"
            f"{' with other parameters' if a.spec == b.spec else ''}, "
            "wanted equal ones",
            reason="UnsupportedFingerprint",
            hint="make both again with the same version of `pedigree fingerprint`, "
            "and with the same salt or none",
        )
    alpha = threshold_log10(family_size) if power else None
    tests = tuple(run_test(name, a, b, alpha_log10=alpha) for name in TESTS)
    return decide(a, b, tests, family_size=family_size)


def run_test(
    name: str, a: Fingerprint, b: Fingerprint, *, alpha_log10: float | None
) -> TestResult:
    """One test of the family.

    Args:
        name: One of :data:`TESTS`.
        a: First model.
        b: Second model.
        alpha_log10: log10 of the threshold of the test, to compute the smallest effect
            that would have been seen; None skips that.
    """
    return _RUNNERS[name](a, b, alpha_log10=alpha_log10)
