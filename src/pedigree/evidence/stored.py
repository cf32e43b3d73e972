# SPDX-License-Identifier: Apache-2.0
"""Evidence as a ``ModelEvidence`` object, within the bounds of the CRD, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pedigree.digests import Digest
from pedigree.errors import LedgerError, quote
from pedigree.evidence.chat_templates import CHAT_TEMPLATE, MORE
from pedigree.evidence.room import (
    FINDINGS_MAX_BYTES,
    SPEC_MAX_BYTES,
    cut,
    fitting,
    status_room,
    stored_bytes,
)
from pedigree.evidence.signed import signatures_from_dict, signatures_to_dict
from pedigree.evidence.terms import (
    Claim,
    Evidence,
    Finding,
    Lineage,
    Match,
    Resolution,
    Severity,
)
from pedigree.lineage.classes import Direction, LineageClass

GROUP = "pedigree.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINDINGS_MAX = 32
MATCHES_MAX = 16
CLAIMS_MAX = 16
SOURCES_MAX = 16
FORMATS_MAX = 8
MESSAGE_MAX_CHARS = 512
PATH_MAX_CHARS = 256
VALUE_MAX_CHARS = 256
NAME_MAX_CHARS = 253
URI_MAX_CHARS = 512
IDENTITY_MAX_CHARS = 256
SCOPE_MAX_CHARS = 317
"""A namespace, a slash, and the name of a Secret."""
RESOLUTION_MAX_BYTES = 1792
"""Enough for texts as long as they may be.  A store may name versions in characters
that take six bytes each, and would leave no room for what others learnt."""
_MARKER_BYTES = 160
"""The finding that says how many were left out."""
_STATUS_FRAME_BYTES = 64
"""Braces, keys and commas between the parts of a status."""


def to_object(evidence: Evidence) -> dict[str, Any]:
    """The whole ``ModelEvidence`` object; never more than ``OBJECT_MAX_BYTES``.

    ``from_object(to_object(e)) == e`` for every evidence within the bounds.  Beyond
    them texts are cut and lists end early; what matters most stands first, and what
    was left out is said: by a finding, and by ``Lineage.omitted``.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelEvidence",
        "metadata": {"name": evidence.object_name},
        "spec": to_spec(evidence),
        "status": to_status(evidence),
    }


def to_spec(evidence: Evidence) -> dict[str, Any]:
    """The immutable half, as the ``spec`` of a ``ModelEvidence`` object."""
    spec: dict[str, Any] = {
        "digest": str(evidence.digest),
        "rootDigest": str(evidence.root_digest),
        "files": evidence.files,
        "sizeBytes": evidence.size_bytes,
        "formats": [cut(item, 32) for item in evidence.formats[:FORMATS_MAX]],
        "architecture": cut(evidence.architecture, 64),
        "parameters": evidence.parameters,
        "findings": _stored_findings(evidence.findings),
        "claims": [],
        "engine": cut(evidence.engine, 64),
        "examinedAt": cut(evidence.examined_at, 32),
    }
    if evidence.fingerprint is not None:
        spec["fingerprint"] = {
            "digest": str(evidence.fingerprint),
            "spec": cut(evidence.fingerprint_spec, 64),
        }
    if evidence.confined_to:
        spec["confinedTo"] = evidence.confined_to
    room = SPEC_MAX_BYTES - stored_bytes(spec)
    spec["claims"] = _stored_claims(evidence.claims, room)
    return spec


def _stored_claims(claims: Sequence[Claim], room: int) -> list[dict[str, Any]]:
    """The first claims that there is room for; that templates are left out is said."""
    stored = [
        {
            "field": cut(claim.field, 64),
            "value": cut(claim.value, VALUE_MAX_CHARS),
            "source": cut(claim.source, PATH_MAX_CHARS),
        }
        for claim in claims[:CLAIMS_MAX]
    ]
    kept = fitting(stored, room)
    if all(claim.field != CHAT_TEMPLATE for claim in claims[len(kept) :]):
        return kept
    more = {"field": CHAT_TEMPLATE, "value": MORE, "source": ""}
    kept = fitting(stored[: CLAIMS_MAX - 1], room - stored_bytes(more) - 1)
    return [*kept, more]


def _stored_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The most severe findings that there is room for, and how many there is none."""
    ranks = {severity: rank for rank, severity in enumerate(reversed(Severity))}
    ordered = sorted(findings, key=lambda finding: ranks[finding.severity])
    stored = [_finding_to_dict(finding) for finding in ordered]
    kept = fitting(stored[:FINDINGS_MAX], FINDINGS_MAX_BYTES)
    if len(kept) == len(stored):
        return kept
    kept = fitting(kept[: FINDINGS_MAX - 1], FINDINGS_MAX_BYTES - _MARKER_BYTES)
    note = f"{len(stored) - len(kept)} further findings were left out"
    marker = Finding("FindingsOmitted", Severity.INFO, "", note)
    return [*kept, _finding_to_dict(marker)]


def _finding_to_dict(finding: Finding) -> dict[str, Any]:
    return {
        "reason": cut(finding.reason, 64),
        "severity": str(finding.severity),
        "path": cut(finding.path, PATH_MAX_CHARS),
        "message": cut(finding.message, MESSAGE_MAX_CHARS),
    }


def to_status(evidence: Evidence) -> dict[str, Any]:
    """The changing half, as the ``status`` of a ``ModelEvidence`` object.

    Room goes to the newest resolution, then to signatures, which have a bound of their
    own, then to the matches, then to older resolutions.
    """
    room = status_room(to_spec(evidence)) - _STATUS_FRAME_BYTES
    resolutions = [
        _resolution_to_dict(resolution)
        for resolution in evidence.resolutions[:SOURCES_MAX]
        if _storable(resolution)
    ]
    status: dict[str, Any] = {"resolutions": fitting(resolutions[:1], room)}
    if evidence.signatures is not None:
        status["signatures"] = signatures_to_dict(evidence.signatures)
    if evidence.lineage is not None:
        left = room - stored_bytes(status)
        status["lineage"] = _stored_lineage(evidence.lineage, left)
    left = room - stored_bytes(status)
    if status["resolutions"]:
        status["resolutions"] += fitting(resolutions[1:], left)
    return status


def _storable(resolution: Resolution) -> bool:
    """Whether a resolution can be stored exactly: a cut one would be a wrong one."""
    bounds = (
        (resolution.uri, URI_MAX_CHARS),
        (resolution.pinned_uri, URI_MAX_CHARS),
        (resolution.identity, IDENTITY_MAX_CHARS),
        (resolution.scope, SCOPE_MAX_CHARS),
    )
    exact = all(
        len(text) <= limit and cut(text, 8 * limit) == text for text, limit in bounds
    )
    # Texts that are not exact may hold half characters, which cannot be measured.
    return exact and stored_bytes(_resolution_to_dict(resolution)) <= (
        RESOLUTION_MAX_BYTES
    )


def _resolution_to_dict(resolution: Resolution) -> dict[str, Any]:
    stored = {
        "uri": resolution.uri,
        "identity": resolution.identity,
        "resolvedAt": cut(resolution.resolved_at, 32),
    }
    if resolution.pinned_uri != resolution.uri:
        stored["pinnedUri"] = resolution.pinned_uri
    if resolution.scope:
        stored["scope"] = resolution.scope
    return stored


def _stored_lineage(lineage: Lineage, room: int) -> dict[str, Any]:
    stored = lineage_to_dict(replace(lineage, matches=()))
    matches = [match_to_dict(match) for match in lineage.matches]
    kept = fitting(matches[:MATCHES_MAX], room - stored_bytes(stored))
    left_out = len(matches) - len(kept)
    return {**stored, "matches": kept, "omitted": lineage.omitted + left_out}


def lineage_to_dict(lineage: Lineage) -> dict[str, Any]:
    """JSON form of a lineage, as stored in ``status.lineage``."""
    kept = lineage.matches[:MATCHES_MAX]
    return {
        "registryDigest": str(lineage.registry_digest),
        "references": lineage.references,
        "judgedAt": cut(lineage.judged_at, 32),
        "engine": cut(lineage.engine, 64),
        "matches": [match_to_dict(match) for match in kept],
        "omitted": lineage.omitted + len(lineage.matches) - len(kept),
    }


def match_to_dict(match: Match) -> dict[str, Any]:
    """JSON form of one match."""
    return {
        "reference": cut(match.reference, NAME_MAX_CHARS),
        "lineage": str(match.lineage),
        "relation": cut(match.relation, 32),
        "direction": str(match.direction),
        "log10P": match.log10_p,
        "effectPermille": match.effect_permille,
        "test": cut(match.test, 64),
        "reason": cut(match.reason, 64),
    }


def from_object(obj: Mapping[str, Any]) -> Evidence:
    """Read a ``ModelEvidence`` object.

    Raises:
        LedgerError: The object does not hold what this version writes (reason
            ``EvidenceUnreadable``); a stored object is never silently half-read.
    """
    try:
        return _from_object(obj)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        name = _name(obj)
        raise LedgerError(
            f"ModelEvidence {quote(name)} cannot be read: "
            f"{type(error).__name__}: {error}",
            reason="EvidenceUnreadable",
            hint="delete the object; the operator examines the model again",
        ) from error


def _name(obj: Mapping[str, Any]) -> object:
    metadata = obj.get("metadata")
    return metadata.get("name", "?") if isinstance(metadata, Mapping) else "?"


def _from_object(obj: Mapping[str, Any]) -> Evidence:
    spec = obj["spec"]
    status = obj.get("status") or {}
    fingerprint = spec.get("fingerprint")
    lineage = status.get("lineage")
    signatures = status.get("signatures")
    return Evidence(
        digest=Digest.parse(spec["digest"]),
        root_digest=Digest.parse(spec["rootDigest"]),
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
        signatures=signatures_from_dict(signatures) if signatures else None,
        resolutions=tuple(
            Resolution(
                item["uri"],
                item.get("pinnedUri", item["uri"]),
                item["identity"],
                item["resolvedAt"],
                item.get("scope", ""),
            )
            for item in status.get("resolutions", ())
        ),
        confined_to=spec.get("confinedTo", ""),
    )


def lineage_from_dict(data: Mapping[str, Any]) -> Lineage:
    """Read the JSON form of a lineage."""
    return Lineage(
        registry_digest=Digest.parse(data["registryDigest"]),
        references=data["references"],
        matches=_matches(data.get("matches", ())),
        judged_at=data["judgedAt"],
        engine=data["engine"],
        omitted=data.get("omitted", 0),
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
