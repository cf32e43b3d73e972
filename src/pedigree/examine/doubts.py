# SPDX-License-Identifier: Apache-2.0
"""Findings about weights that were read, but that no test of lineage compares."""

from __future__ import annotations

from collections.abc import Iterator

from pedigree.evidence import UNCOMPARED_WEIGHTS, Finding, Severity
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Role
from pedigree.lineage.adapt import is_adapter

UNCOMPARED_PERMILLE = 10
"""Share of all weights without a role that is still let pass: heads of classifiers and
buffers have less, a second model in a folder has far more.  Arbitrary."""


def doubts(fingerprint: Fingerprint) -> Iterator[Finding]:
    """What in a model's weights escapes comparison, as findings."""
    if fingerprint.reason:
        yield _finding(fingerprint.reason, _whole(fingerprint))
        return
    others = [t for t in fingerprint.tensors if t.slot.role is Role.OTHER]
    size = sum(tensor.size for tensor in others)
    permille = 1000 * size // max(fingerprint.parameters, 1)
    if permille > UNCOMPARED_PERMILLE:
        yield _finding(
            UNCOMPARED_WEIGHTS,
            f"{len(others)} tensors with {permille / 10:.1f} % of the weights have no "
            f"role in a {fingerprint.architecture} model, as a second model in a "
            "folder has none; nothing but exact copies of tensors can be found in them",
        )


def _whole(fingerprint: Fingerprint) -> str:
    copies = "nothing but exact copies of tensors can be found in them"
    if not is_adapter(fingerprint):
        return f"the names of the tensors fit no known architecture; {copies}"
    what = "the weights are those of an adapter, without their base"
    if fingerprint.part("adapt.residual") is None:
        return f"{what}; {copies}"
    return f"{what}; it is found among references with deep fingerprints"


def _finding(reason: str, message: str) -> Finding:
    return Finding(reason, Severity.WARNING, "", message)
