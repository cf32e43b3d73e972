# SPDX-License-Identifier: Apache-2.0
"""The words evidence is told in: findings, claims, matches, resolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pedigree.digests import Digest, json_digest
from pedigree.evidence.signed import Signatures
from pedigree.lineage.classes import Direction, LineageClass


class Severity(StrEnum):
    """How a finding weighs before any policy looks at it."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    """The artifact cannot be trusted to be what it says; no policy admits it."""


UNCOMPARED_WEIGHTS = "UncomparedWeights"
"""Reason of the finding that a good part of the weights escapes every test."""
UNREAD_WEIGHTS = "UnreadWeights"
"""Reason of the finding that a file of weights belongs to no model that was read."""
ESCAPED = frozenset({UNCOMPARED_WEIGHTS, UNREAD_WEIGHTS})
"""Reasons of findings after which nobody knows where all weights come from."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One noteworthy fact about the files of a model.

    Attributes:
        reason: Stable CamelCase token, such as ``HeaderTooLarge``.
        severity: How it weighs.
        path: File it was found in, relative to the model's root; may be empty.
        message: What was found, for people.
    """

    reason: str
    severity: Severity
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the model's own files declare: never believed, only compared.

    Attributes:
        field: What is declared, such as ``baseModel``; see ``docs/claims.md``.
        value: The declared value.
        source: The file that declares it.
    """

    field: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Match:
    """What the tests found between the model and one reference.

    Attributes:
        reference: Name of the reference.
        lineage: The class.
        relation: Kind of descent (``Finetune``, ``Copy`` ...) or empty when untold.
        direction: Which way it runs.
        log10_p: log10 of the family-wise p-value, rounded towards zero; 0 for none.
        effect_permille: Effect size of the deciding test, -1000 to 1000.
        test: Name of the deciding test.
        reason: For ``Inconclusive``: why.
    """

    reference: str
    lineage: LineageClass
    relation: str = ""
    direction: Direction = Direction.UNDIRECTED
    log10_p: int = 0
    effect_permille: int = 0
    test: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The model against a whole set of references.

    Attributes:
        registry_digest: Which set; see :func:`pedigree.evidence.registry_digest`.
        references: How many references were compared.
        matches: References with dependence, strongest first, then inconclusive ones;
            those with no evidence are left out.
        judged_at: When.
        engine: Version of the engine that compared.
        omitted: How many further matches there was no room for.  While it is not
            zero, nobody may conclude that a reference is not an ancestor.
    """

    registry_digest: Digest
    references: int
    matches: tuple[Match, ...]
    judged_at: str
    engine: str
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Resolution:
    """That a reference resolved to this model, and when.

    Attributes:
        uri: The reference as it was written.
        pinned_uri: The reference pinned as far as its source can.
        identity: The source's cheap identity at that time.
        resolved_at: When.
        scope: With whose access that was learnt, and so for whom it is true; see
            :func:`pedigree.policy.subject.scope_of`.  Empty means anybody's.
    """

    uri: str
    pinned_uri: str
    identity: str
    resolved_at: str
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All facts about one model.

    Attributes:
        digest: Model digest, the model's exact identity: of names and contents.
        root_digest: The OpenSSF Model Signing subject digest of the same files, so that
            evidence and signatures can be told to speak of one model.
        files: Number of files.
        size_bytes: Their sizes together.
        formats: Weight formats found, sorted: ``safetensors`` ... or ``none``.
        architecture: Family of the role map that fitted, or empty.
        parameters: Number of weights.
        findings: Noteworthy facts, most severe first.
        claims: What the files declare.
        fingerprint: Digest of the stored fingerprint; None when the weights could not
            be read, in which case a finding says why.
        fingerprint_spec: Which fingerprint format.
        engine: Version that examined.
        examined_at: When.
        lineage: Against the known references; None until compared.
        resolutions: References that resolved to this model, newest first.
        signatures: Who signed it, of those trusted; None until looked at.
        confined_to: The namespace whose users could have tampered with the process
            that gathered these facts: they count there only.  Empty means everywhere.
    """

    digest: Digest
    root_digest: Digest
    files: int
    size_bytes: int
    formats: tuple[str, ...]
    engine: str
    examined_at: str
    architecture: str = ""
    parameters: int = 0
    findings: tuple[Finding, ...] = ()
    claims: tuple[Claim, ...] = ()
    fingerprint: Digest | None = None
    fingerprint_spec: str = ""
    lineage: Lineage | None = None
    resolutions: tuple[Resolution, ...] = field(default=())
    signatures: Signatures | None = None
    confined_to: str = ""

    @property
    def object_name(self) -> str:
        """Name of the ``ModelEvidence`` object."""
        return evidence_name(self.digest, self.confined_to)


def evidence_name(digest: Digest, confined_to: str) -> str:
    """Name of the ``ModelEvidence`` object of a digest.

    Args:
        digest: Model digest.
        confined_to: The namespace that the evidence counts in; empty for everywhere.
    """
    name = f"sha256-{digest.hex}"
    return f"{name}.{confined_to}" if confined_to else name


def registry_digest(fingerprints: Mapping[str, str]) -> Digest:
    """Identity of a set of references: name to fingerprint digest, in any order."""
    return json_digest(dict(fingerprints))
