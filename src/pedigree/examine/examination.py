# SPDX-License-Identifier: Apache-2.0
"""Examine one model: list, hash, read, fingerprint, and say what was found.

Wrong bytes are a finding, not an exception: the model has an exact identity and its
evidence says what is wrong with it.  Exceptions mean that there is no evidence.
Comparing with known models is done elsewhere; the evidence has no lineage yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pedigree import __version__
from pedigree.digests import Digest
from pedigree.errors import ArtifactError, SourceUnavailable, quote
from pedigree.evidence import (
    ESCAPED,
    Claim,
    Evidence,
    Finding,
    Resolution,
    Severity,
    Signatures,
)
from pedigree.examine.claims.against_weights import contradictions
from pedigree.examine.doubts import doubts
from pedigree.examine.facts import Facts, Seen, gather
from pedigree.examine.listing import Listing, Progress, list_model
from pedigree.examine.signed import signatures_of
from pedigree.examine.steady import UNSTEADY, SteadySource
from pedigree.examine.watched import Cancelled, WatchedSource
from pedigree.fingerprint.build import automatic_profile
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.source import fingerprint_source
from pedigree.fingerprint.spec import V2, Profile
from pedigree.manifest import is_ignored
from pedigree.ranges import FileEntry, ModelSource, Usage
from pedigree.refs import ModelRef, Scheme
from pedigree.signatures.trust import NOBODY, Trust
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.sources.held import HeldSource
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.remarks import Remark

_HELD_SHARE = 2
"""Of the memory for one model, this part may hold files that were read."""
_WORK_SHARE, _LARGEST_TIMES = 16, 3
"""Beside them there must be room for this part of it and so many times the largest
tensor as float32: about what deep fingerprints of models with 60 to 250 MB took."""
_WEIGHT = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


class FingerprintStore(Protocol):
    """Fingerprints kept by the digest of their model."""

    def get(self, model_digest: Digest) -> Fingerprint | None:
        """The fingerprint of a model, if kept."""
        ...

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> object:
        """Keep a fingerprint."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineSettings:
    """Settings of an examination.

    Attributes:
        sources: Where models may be read from.
        deadline_s: Seconds after which no further read begins; None for no end.
        profile: How much of the weights is kept; None for all that can be had for
            nothing: deep for files, whose bytes are all read anyway, else deep for
            small models and fast for large ones.
        trust: Whose signatures are believed.
    """

    sources: SourceSettings
    deadline_s: float | None = None
    profile: Profile | None = None
    trust: Trust = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What one examination gave.

    Attributes:
        evidence: All facts, without lineage.
        fingerprint: Of the weights; None when they could not be read, in which case a
            finding of severity Error says why.
        resolution: What the reference resolved to.
        reused: Whether the fingerprint was kept from before and no weights were read.
        usage: What reading took: requests, bytes, waits.
        seconds: Time it took.
    """

    evidence: Evidence
    fingerprint: Fingerprint | None
    resolution: Resolution
    reused: bool
    usage: Usage
    seconds: float

    @property
    def bytes_read(self) -> int:
        """Bytes had from the source."""
        return self.usage.bytes_read


def examine(
    ref: ModelRef,
    *,
    settings: ExamineSettings,
    store: FingerprintStore | None = None,
    now: datetime,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    opened_as: Callable[[ModelSource], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Examination:
    """Examine the model a reference means.

    Args:
        ref: The reference.
        settings: Sources and deadline.
        store: Where fingerprints are kept; looked at before weights are read, and
            given the new one.
        now: Time of the examination, with a time zone.
        progress: Told how far it is.
        cancelled: Asked before every read.
        opened_as: Given the source, for whoever tells what reading takes meanwhile.
        clock: Monotonic seconds.

    Raises:
        SourceRefused: The source said no.
        SourceUnavailable: The source failed for now; the model changed while it was
            read (``ChangedWhileReading``); stopped (``Cancelled``,
            ``DeadlineExceeded``).
        ArtifactError: The bytes are so wrong that there is no digest of them.
    """
    start = clock()
    deadline = None if settings.deadline_s is None else start + settings.deadline_s
    opened = open_source(ref, settings.sources)
    if ref.scheme in UNSTEADY:
        opened = SteadySource(opened)
    limits = settings.sources.limits
    held = HeldSource(opened, limits.read_max_bytes // _HELD_SHARE, _is_hashed)
    source = WatchedSource(held, cancelled, clock, deadline)
    if opened_as is not None:
        opened_as(source)
    listing = list_model(source, progress)
    weights = _read_weights(source, held, settings, listing, store, progress)
    seen = weights.metadata
    facts = gather(Seen(source=source, listing=listing, metadata=seen, limits=limits))
    signatures = signatures_of(source, listing.manifest, settings.trust, now)
    _check_unchanged(source, settings)
    resolution = Resolution(str(ref), str(source.ref), source.identity, _utc(now))
    if store is not None and weights.fingerprint is not None and not weights.reused:
        store.put(listing.manifest.digest, weights.fingerprint)
    evidence = _evidence(listing, weights, facts, signatures, resolution)
    return Examination(
        evidence=evidence,
        fingerprint=weights.fingerprint,
        resolution=resolution,
        reused=weights.reused,
        usage=source.usage,
        seconds=clock() - start,
    )


@dataclass(frozen=True, slots=True)
class _Weights:
    """What reading the weights gave."""

    fingerprint: Fingerprint | None
    parameters: int
    reused: bool = False
    remarks: tuple[Remark, ...] = ()
    metadata: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    error: ArtifactError | None = None


def _is_hashed(entry: FileEntry) -> bool:
    """Whether all bytes of a file are read anyway."""
    return entry.digest is None and not is_ignored(entry.path)


def _read_weights(
    source: WatchedSource,
    held: HeldSource,
    settings: ExamineSettings,
    listing: Listing,
    store: FingerprintStore | None,
    progress: Progress | None,
) -> _Weights:
    checkpoint = None
    try:
        # Headers are read even when the fingerprint is kept: what is wrong with them
        # is a fact of this version of the parser, not of the one that kept it.
        checkpoint = Checkpoint.open(source, settings.sources.limits)
        memory = settings.sources.limits.read_max_bytes
        work = memory // _WORK_SHARE + _LARGEST_TIMES * checkpoint.whole_max_bytes
        held.keep(memory - work)
        profile = _profile(source, settings, checkpoint)
        kept = store.get(listing.manifest.digest) if store is not None else None
        if kept is not None and _serves(kept, profile):
            return _weights(checkpoint, fingerprint=kept, reused=True)
        found: list[Remark] = []
        fingerprint = fingerprint_source(
            source,
            checkpoint=checkpoint,
            profile=profile,
            limits=settings.sources.limits,
            progress=_stage(progress),
            remarks=found,
        )
    except ArtifactError as error:
        return _weights(checkpoint, error=error)
    return _weights(checkpoint, fingerprint=fingerprint, remarks=tuple(found))


def _weights(
    checkpoint: Checkpoint | None,
    *,
    fingerprint: Fingerprint | None = None,
    reused: bool = False,
    remarks: tuple[Remark, ...] = (),
    error: ArtifactError | None = None,
) -> _Weights:
    if checkpoint is None:  # the headers are wrong
        return _Weights(fingerprint, 0, error=error)
    return _Weights(
        fingerprint,
        checkpoint.parameters,
        reused,
        (*checkpoint.remarks, *remarks),
        checkpoint.metadata,
        error,
    )


def _profile(
    source: WatchedSource, settings: ExamineSettings, checkpoint: Checkpoint
) -> Profile:
    if settings.profile is not None:
        return settings.profile
    if source.ref.scheme is Scheme.FILE:
        return Profile.DEEP
    return automatic_profile(checkpoint)


def _serves(kept: Fingerprint, wanted: Profile) -> bool:
    """Whether a kept fingerprint says all that a new one would."""
    order = tuple(Profile)
    return kept.settings == V2 and order.index(kept.profile) >= order.index(wanted)


def _stage(progress: Progress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress("fingerprint", done, total)


def _check_unchanged(source: WatchedSource, settings: ExamineSettings) -> None:
    """Files that came or went are seen here; changed ones are seen when read."""
    if source.ref.scheme is not Scheme.FILE:
        return  # a commit cannot change
    if resolve_identity(source.ref, settings.sources)[1] != source.identity:
        raise SourceUnavailable(
            f"model {quote(str(source.ref))} changed while it was being read",
            reason="ChangedWhileReading",
            hint="try again when the copy has finished",
        )


def _evidence(
    listing: Listing,
    weights: _Weights,
    facts: Facts,
    signatures: Signatures,
    resolution: Resolution,
) -> Evidence:
    manifest, fingerprint = listing.manifest, weights.fingerprint
    findings = [
        Finding(remark.reason, Severity(remark.severity), remark.path, remark.message)
        for remark in (
            *listing.remarks,
            *weights.remarks,
            *facts.remarks,
            *_contradictions(facts, fingerprint),
        )
    ]
    if weights.error is not None:
        error = weights.error
        findings.append(
            Finding(str(error.reason), Severity.ERROR, error.path, str(error))
        )
    if fingerprint is not None:
        findings += doubts(fingerprint)
    # What policies look at stands first, where no list of others can push it out.
    findings.sort(
        key=lambda f: (
            _WEIGHT[f.severity],
            f.reason not in ESCAPED,
            f.reason,
            f.path,
        )
    )
    return Evidence(
        digest=manifest.digest,
        root_digest=manifest.root_digest,
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        formats=listing.formats,
        architecture=fingerprint.architecture if fingerprint else "",
        parameters=fingerprint.parameters if fingerprint else weights.parameters,
        findings=tuple(findings),
        claims=tuple(
            Claim(item.field, item.value, item.source) for item in facts.declared
        ),
        fingerprint=fingerprint.digest if fingerprint else None,
        fingerprint_spec=fingerprint.spec if fingerprint else "",
        engine=__version__,
        examined_at=resolution.resolved_at,
        resolutions=(resolution,),
        signatures=signatures,
    )


def _contradictions(facts: Facts, fingerprint: Fingerprint | None) -> Iterable[Remark]:
    """Declarations that the weights contradict; an adapter's are of its base."""
    if fingerprint is None or fingerprint.reason:
        return ()
    return contradictions(
        facts.declared, fingerprint.architecture, fingerprint.parameters
    )


def _utc(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
