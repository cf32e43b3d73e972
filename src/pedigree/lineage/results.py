# SPDX-License-Identifier: Apache-2.0
"""What one test of dependence says, and what all of them together say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.findings import DirectionFinding, LayerMap, RelationFinding


class NotRun(StrEnum):
    """Why a test could not be run.  Closed set."""

    WIDTH_DIFFERS = "WidthDiffers"
    """The residual widths differ, so rows of one have no partner in the other."""
    NEURONS_DIFFER = "NeuronsDiffer"
    """The feed-forward blocks differ in size, so neurons have no partner by index."""
    UNKNOWN_ARCHITECTURE = "UnknownArchitecture"
    """No family of the role map fits one of the models."""
    ADAPTER_WEIGHTS = "AdapterWeights"
    """One of the models is an adapter, without the weights it adapts."""
    NOTHING_SHARED = "NothingShared"
    """The two models have no role in common that the test looks at."""
    NOTHING_INFORMATIVE = "NothingInformative"
    """The weights are constant, or nearly so: equality would prove nothing."""
    UNTRAINED_NORMS = "UntrainedNorms"
    """The norm vectors of one model are all equal, as after initialisation."""
    TOO_FEW_ROWS = "TooFewRows"
    """Fewer common rows than :data:`ROWS_MIN`."""
    TOO_FEW_SHARED_TOKENS = "TooFewSharedTokens"
    """Fewer tokens that both fingerprints kept than the test needs."""
    ORDERED_ROWS = "OrderedRows"
    """The rows are ordered by what is compared, so the axis is not exchangeable."""
    NEEDS_DEEP = "NeedsDeep"
    """Neither fingerprint has the tables of whole blocks that a deep one keeps."""
    NOT_KEPT = "NotKept"
    """The profile of one fingerprint, or its version, does not keep what is needed."""
    QF_TOO_LARGE = "QfTooLarge"
    """The model is too large for features of whole matrices."""
    NOT_AN_ADAPTER = "NotAnAdapter"
    """Both models have weights of their own: there is no adapter to place."""


TESTS = (
    "HASH",
    "ALIGN-neuron",
    "ALIGN-residual",
    "GAMMA",
    "EMB",
    "ROWNORM",
    "PNI",
    "TSP",
    "MATCH",
    "QF",
    "ADAPT",
)
"""The family of tests, in the order of every report.  It is fixed before any weight is
seen; its size multiplies every p-value, whether or not a test could run."""
ROWS_MIN = 16
"""1/16! = 5e-14 is the least p-value; fewer rows could not reach the threshold."""


@dataclass(frozen=True, slots=True)
class LayerPair:
    """Two blocks that match, as ``layer`` or ``layer/expert``."""

    a: str
    b: str
    z: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """What one test says about one pair of models.

    Attributes:
        name: One of :data:`TESTS`.
        reason: Empty if the test ran, else why it did not.
        detail: The same for people, with the numbers.
        effect: 0 for none, 1 for the same weights; what it is, the test says.
        z: Standard deviations of the permutation null; 0 for tests without one.
        log10_p: Of the whole test, all its cells taken into account; 0 if not run.
        method: How the p-value was obtained.
        n: Rows compared in the deciding cell.
        cells: Pairs of layers, and the pool of all, that were tested.
        samples: Stored numbers of each model that took part in the deciding cell.
        deciding: ``pooled``, or the pair of blocks with the smallest p-value.
        smallest_effect: What would have been seen with 99 % power; None if not
            computed or if no effect would have been.
        pairs: Blocks of B with the block of A they match best, strong ones only.
    """

    __test__ = False  # not a test case, whatever its name says

    name: str
    reason: NotRun | None = None
    detail: str = ""
    effect: float = 0.0
    z: float = 0.0
    log10_p: float = 0.0
    method: str = ""
    n: int = 0
    cells: int = 0
    samples: int = 0
    deciding: str = ""
    smallest_effect: float | None = None
    pairs: tuple[LayerPair, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether there was anything to test."""
        return self.reason is None


FAR = 2.0
"""Distance of relatives whose weights cannot be laid side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two models are to each other.

    Attributes:
        lineage: The class.
        relation: Kind of descent, see ``docs/lineage.md``; empty when untold.
        direction: Which way it runs.
        direction_evidence: Why, or empty.
        reason: For ``Inconclusive``: which; else empty.
        statement: One sentence for people, about ``A`` and ``B``.
        log10_p: Family-wise: over tests, cells and ``family_size``.
        deciding: Result with the smallest p-value; None if none ran.
        tests: Every test of the family, run or not.
        family_size: Number of references in the scan this belongs to.
        relations: Every kind of descent that holds, the one named ``relation`` first.
        directions: Every mark that tells who came first, also if they disagree.
        layer_map: Which block of A each of B comes from; None if nothing shows it.
        change: Size of the change of the layers' weights relative to them; None if
            their indices do not agree.
    """

    lineage: LineageClass
    relation: str
    direction: Direction
    direction_evidence: str
    reason: str
    statement: str
    log10_p: float
    deciding: TestResult | None
    tests: tuple[TestResult, ...]
    family_size: int
    relations: tuple[RelationFinding, ...] = ()
    directions: tuple[DirectionFinding, ...] = ()
    layer_map: LayerMap | None = None
    change: float | None = None

    @property
    def distance(self) -> float:
        """How far two relatives are apart: 0 if identical, else the size of the change.

        From 1 to :data:`FAR` by effect where weights cannot be laid side by side.
        """
        if self.lineage is LineageClass.IDENTICAL:
            return 0.0
        if self.change is not None:
            return self.change
        effect = self.deciding.effect if self.deciding else 0.0
        return FAR - min(1.0, max(0.0, effect))
