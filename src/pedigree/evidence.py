# SPDX-License-Identifier: Apache-2.0
"""Evidence: facts about one model, without opinion.

One model is one root digest.  Facts that follow from its bytes alone never change;
lineage follows from the bytes *and* from the set of known references, and is
replaced when that set changes.  Times are RFC 3339 UTC strings, effects are integer
per-mille and p-values integer log10 rounded towards zero, because these facts are
stored in Kubernetes objects, where floats are unwelcome, and are hashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pedigree.digests import Digest, json_digest
from pedigree.errors import LedgerError
from pedigree.lineage.classes import Direction, LineageClass

GROUP = "pedigree.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINDINGS_MAX = 32
MATCHES_MAX = 16
CLAIMS_MAX = 16
SOURCES_MAX = 16
MESSAGE_MAX_CHARS = 512


class Severity(StrEnum):
    """How a finding weighs before any policy looks at it."""

    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"
    """The artifact cannot be trusted to be what it says; no policy admits it."""


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
        field: What is declared: ``baseModel``, ``relation``, ``license``,
            ``architecture``.
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
    """

    uri: str
    pinned_uri: str
    identity: str
    resolved_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All facts about one model.

    Attributes:
        digest: Root digest, the model's exact identity.
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
    """

    digest: Digest
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

    @property
    def object_name(self) -> str:
        """Name of the ``ModelEvidence`` object."""
        return f"sha256-{self.digest.hex}"


def registry_digest(fingerprints: Mapping[str, str]) -> Digest:
    """Identity of a set of references: name to fingerprint digest, in any order."""
    return json_digest(dict(fingerprints))


def to_spec(evidence: Evidence) -> dict[str, Any]:
    """The immutable half, as the ``spec`` of a ``ModelEvidence`` object."""
    spec: dict[str, Any] = {
        "digest": str(evidence.digest),
        "files": evidence.files,
        "sizeBytes": evidence.size_bytes,
        "formats": list(evidence.formats),
        "architecture": evidence.architecture,
        "parameters": evidence.parameters,
        "findings": [
            {
                "reason": finding.reason,
                "severity": str(finding.severity),
                "path": finding.path,
                "message": finding.message[:MESSAGE_MAX_CHARS],
            }
            for finding in evidence.findings[:FINDINGS_MAX]
        ],
        "claims": [
            {"field": claim.field, "value": claim.value, "source": claim.source}
            for claim in evidence.claims[:CLAIMS_MAX]
        ],
        "engine": evidence.engine,
        "examinedAt": evidence.examined_at,
    }
    if evidence.fingerprint is not None:
        spec["fingerprint"] = {
            "digest": str(evidence.fingerprint),
            "spec": evidence.fingerprint_spec,
        }
    return spec


def to_status(evidence: Evidence) -> dict[str, Any]:
    """The changing half, as the ``status`` of a ``ModelEvidence`` object."""
    status: dict[str, Any] = {
        "resolutions": [
            {
                "uri": resolution.uri,
                "pinnedUri": resolution.pinned_uri,
                "identity": resolution.identity,
                "resolvedAt": resolution.resolved_at,
            }
            for resolution in evidence.resolutions[:SOURCES_MAX]
        ],
    }
    if evidence.lineage is not None:
        status["lineage"] = lineage_to_dict(evidence.lineage)
    return status


def lineage_to_dict(lineage: Lineage) -> dict[str, Any]:
    """JSON form of a lineage, as stored in ``status.lineage``."""
    return {
        "registryDigest": str(lineage.registry_digest),
        "references": lineage.references,
        "judgedAt": lineage.judged_at,
        "engine": lineage.engine,
        "matches": [match_to_dict(match) for match in lineage.matches[:MATCHES_MAX]],
    }


def match_to_dict(match: Match) -> dict[str, Any]:
    """JSON form of one match."""
    return {
        "reference": match.reference,
        "lineage": str(match.lineage),
        "relation": match.relation,
        "direction": str(match.direction),
        "log10P": match.log10_p,
        "effectPermille": match.effect_permille,
        "test": match.test,
        "reason": match.reason,
    }


def from_object(obj: Mapping[str, Any]) -> Evidence:
    """Read a ``ModelEvidence`` object.

    Raises:
        LedgerError: The object does not hold what this version writes (reason
            ``EvidenceUnreadable``); a stored object is never silently half-read.
    """
    try:
        return _from_object(obj)
    except (KeyError, TypeError, ValueError) as error:
        name = obj.get("metadata", {}).get("name", "?")
        raise LedgerError(
            f"ModelEvidence {name!r} cannot be read: {type(error).__name__}: {error}",
            reason="EvidenceUnreadable",
            hint="delete the object; the operator examines the model again",
        ) from error


def _from_object(obj: Mapping[str, Any]) -> Evidence:
    spec = obj["spec"]
    status = obj.get("status") or {}
    fingerprint = spec.get("fingerprint")
    lineage = status.get("lineage")
    return Evidence(
        digest=Digest.parse(spec["digest"]),
        files=spec["files"],
        size_bytes=spec["sizeBytes"],
        formats=tuple(spec["formats"]),
        architecture=spec.get("architecture", ""),
        parameters=spec.get("parameters", 0),
        findings=tuple(
            Finding(
                item["reason"],
                Severity(item["severity"]),
                item.get("path", ""),
                item["message"],
            )
            for item in spec.get("findings", ())
        ),
        claims=tuple(
            Claim(item["field"], item["value"], item["source"])
            for item in spec.get("claims", ())
        ),
        fingerprint=Digest.parse(fingerprint["digest"]) if fingerprint else None,
        fingerprint_spec=fingerprint["spec"] if fingerprint else "",
        engine=spec["engine"],
        examined_at=spec["examinedAt"],
        lineage=lineage_from_dict(lineage) if lineage else None,
        resolutions=tuple(
            Resolution(
                item["uri"],
                item.get("pinnedUri", item["uri"]),
                item["identity"],
                item["resolvedAt"],
            )
            for item in status.get("resolutions", ())
        ),
    )


def lineage_from_dict(data: Mapping[str, Any]) -> Lineage:
    """Read the JSON form of a lineage."""
    return Lineage(
        registry_digest=Digest.parse(data["registryDigest"]),
        references=data["references"],
        matches=_matches(data.get("matches", ())),
        judged_at=data["judgedAt"],
        engine=data["engine"],
    )


def _matches(items: Sequence[Mapping[str, Any]]) -> tuple[Match, ...]:
    return tuple(
        Match(
            reference=item["reference"],
            lineage=LineageClass(item["lineage"]),
            relation=item.get("relation", ""),
            direction=Direction(item.get("direction", Direction.UNDIRECTED)),
            log10_p=item.get("log10P", 0),
            effect_permille=item.get("effectPermille", 0),
            test=item.get("test", ""),
            reason=item.get("reason", ""),
        )
        for item in items
    )
