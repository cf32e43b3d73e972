# SPDX-License-Identifier: Apache-2.0
"""Compare two fingerprints with every test of the family."""

from __future__ import annotations

from pedigree.errors import ArtifactError
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage import hash_test
from pedigree.lineage.align import run_neuron, run_residual
from pedigree.lineage.decide import decide, threshold_log10
from pedigree.lineage.gamma import run_gamma
from pedigree.lineage.results import Comparison


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
        power: Whether to compute the smallest effect that would have been seen, which
            takes most of the time of a comparison without evidence.

    Raises:
        ArtifactError: The fingerprints follow different specs (reason
            ``UnsupportedFingerprint``).
    """
    if a.settings != b.settings:
        raise ArtifactError(
            f"fingerprints follow {a.spec} and {b.spec} with other parameters, "
            "wanted equal ones",
            reason="UnsupportedFingerprint",
            hint="make both again with the same version of `pedigree fingerprint`",
        )
    alpha = threshold_log10(family_size) if power else None
    tests = (
        hash_test.run(a, b),
        run_neuron(a, b, alpha_log10=alpha),
        run_residual(a, b, alpha_log10=alpha),
        run_gamma(a, b, alpha_log10=alpha),
    )
    return decide(a, b, tests, family_size=family_size)
