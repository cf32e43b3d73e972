# SPDX-License-Identifier: Apache-2.0
"""One model against the entries of a registry that hold signals of the kit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pedigree.lineage.context.features import ContextFeatures, context_signals
from pedigree.lineage.context.matrices import Matrices, read_matrices
from pedigree.lineage.context.model import Absent, ContextSignal, NotShown
from pedigree.lineage.context.norms import read_norms
from pedigree.lineage.context.records import record_features
from pedigree.lineage.decide import ALPHA_LOG10
from pedigree.lineage.results import TestResult
from pedigree.registry.folder import Registry
from pedigree.registry.kit_signals import KitSignals, decode_signals
from pedigree.registry.kit_tests import (
    Places,
    corrected_log10_p,
    neuron_places,
    run_gamma,
    run_rows,
)
from pedigree.tensors.checkpoint import Checkpoint

MATRICES_MAX_BYTES = 2_000_000_000
"""Of a model whose matrices are all read for one test; above, it is not run."""


@dataclass(frozen=True, slots=True)
class KitMatch:
    """What could be tested against one entry.

    Attributes:
        reference: Its name.
        tests: Both tests, run or not.
        log10_p: Over both tests and all references of the registry.
        context: The kit's own signals, which never decide; empty if not asked for.
    """

    reference: str
    tests: tuple[TestResult, ...]
    log10_p: float
    context: tuple[ContextSignal, ...] = ()

    @property
    def is_related(self) -> bool:
        """Whether the weights behind the entry and the model depend on each other."""
        return self.log10_p <= ALPHA_LOG10


def scan_kit(
    checkpoint: Checkpoint,
    registry: Registry,
    *,
    context: Callable[[], ContextFeatures | None] = lambda: None,
) -> tuple[KitMatch, ...]:
    """Test a model against every entry of the kit.

    Args:
        checkpoint: The model's weights; stored fingerprints cannot be tested, since
            they keep other values.
        registry: Known models.
        context: Called once, if there are entries, for the model's context features.

    Returns:
        Entries for which a test ran, smallest p-value first.

    Raises:
        PedigreeError: An entry is damaged, or the weights cannot be read.
    """
    entries = [
        (table.name(number), registry.bodies.read(table.name(number), place))
        for table in registry.tables
        if table.is_kit
        for number in range(table.count)
        for place in [table.place(number)]
    ]
    if not entries:
        return ()
    norms = read_norms(checkpoint)
    records = [(name, decode_signals(body, name)) for name, body in entries]
    matrices, places = _matrices(checkpoint, [record for _, record in records])
    features = context()
    found = []
    for name, record in records:
        tests = (run_gamma(record, norms), run_rows(record, matrices, places))
        if any(test.ran for test in tests):
            log10_p = min(corrected_log10_p(test, len(registry)) for test in tests)
            signals = _context(features, record)
            found.append(KitMatch(name, tests, log10_p, signals))
    return tuple(sorted(found, key=lambda match: (match.log10_p, match.reference)))


def _context(
    features: ContextFeatures | None, record: KitSignals
) -> tuple[ContextSignal, ...]:
    if features is None:
        return ()
    kept = record_features(
        record.metadata,
        record.vectors,
        record.layers,
        whole_norms=record.mode == "direct",
    )
    return context_signals(features, kept)


def _matrices(
    checkpoint: Checkpoint, records: list[KitSignals]
) -> tuple[Matrices | Absent, Places]:
    """The model's values, if any entry has some to compare them with."""
    places = neuron_places(checkpoint)
    size = sum(info.nbytes for info in checkpoint.tensors.values())
    if not places or not any(record.layers for record in records):
        return Absent(NotShown.NO_LAYERS, "nothing to compare with"), {}
    if size > MATRICES_MAX_BYTES:
        return Absent(NotShown.NO_LAYERS, f"the model has {size} bytes"), {}
    return read_matrices(checkpoint), places
