# SPDX-License-Identifier: Apache-2.0
"""Gathers for ``pedigree gate`` what the operator gathers in a cluster.

References become fingerprints, models become evidence in its stored form, so that
:func:`pedigree.policy.evaluate.judge` sees here what it sees there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pedigree import __version__
from pedigree.errors import (
    ArtifactError,
    ConfigError,
    PedigreeError,
    SourceError,
    quote,
)
from pedigree.evidence import Evidence, from_object, to_object
from pedigree.evidence.chat_templates import chat_templates
from pedigree.examine import ExamineSettings, examine
from pedigree.policy.facts import FactState, ModelFacts, failed_facts
from pedigree.policy.references import Reference, reference_from_object
from pedigree.policy.subject import Subject, is_pinned, source_uri
from pedigree.refs import ModelRef, Scheme, parse
from pedigree.registry import ReferenceSet, Registry
from pedigree.registry.scan import scan
from pedigree.signatures.trust import NOBODY, Trust

if TYPE_CHECKING:
    from pedigree.cli.manifests import Document
    from pedigree.cli.progress import StageReport
    from pedigree.fingerprint.model import Fingerprint
    from pedigree.sources import SourceSettings


@dataclass(frozen=True, slots=True)
class Mount:
    """That ``file://`` references under a path are read from another folder here."""

    path: PurePosixPath
    folder: Path

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Read ``/path=folder``.

        Raises:
            ConfigError: The text is anything else.
        """
        path, equals, folder = text.partition("=")
        if not equals or not path.startswith("/") or not folder:
            raise ConfigError(
                f"mount is {quote(text)}, wanted one like /models=./models"
            )
        return cls(PurePosixPath(path), Path(folder).expanduser().absolute())


class Gatherer:
    """Examines models, each place once.

    Attributes:
        bytes_read: Bytes had from all sources.
        trusted_signers: Digest of the set of signers whose signatures are believed.
    """

    def __init__(
        self,
        sources: SourceSettings,
        mounts: Iterable[Mount],
        now: datetime,
        progress: Callable[[str], StageReport | None],
        trust: Trust | None = None,
    ) -> None:
        self.bytes_read = 0
        self._settings = ExamineSettings(sources=sources, trust=trust or NOBODY)
        self.trusted_signers = self._settings.trust.digest
        # The longest path first, as with every other mount table.
        self._mounts = sorted(mounts, key=lambda m: len(m.path.parts), reverse=True)
        self._now = now
        self._progress = progress
        self._seen: dict[str, tuple[Evidence, Fingerprint | None]] = {}

    def references(
        self, registry: Path | None, documents: Iterable[Document]
    ) -> tuple[dict[str, Reference], ReferenceSet]:
        """All known models, with their fingerprints.

        An object of the same name as a registry entry says what the reference is and
        how far it is trusted; its fingerprint is taken from the registry, and its
        chat templates, which no registry knows, from the object's status.

        Raises:
            PedigreeError: One cannot be had; one missing reference could be the very
                ancestor that is denied.
        """
        known: dict[str, Reference] = {}
        fingerprints: dict[str, Fingerprint] = {}
        if registry is not None:
            opened = Registry.open(registry)
            fingerprints.update(opened.references())
            for entry in opened.entries:
                known[entry.name] = Reference(
                    name=entry.name,
                    family=entry.family,
                    publisher=entry.publisher,
                    license=entry.license,
                    aliases=entry.aliases,
                    fingerprint=str(entry.fingerprint),
                )
        for document in documents:
            reference = reference_from_object(document.obj)
            templates = reference.chat_templates
            if reference.name not in fingerprints:
                evidence, made = self._reference(document)
                fingerprints[reference.name] = made
                templates = chat_templates(_stored(evidence).claims).digests
            known[reference.name] = replace(
                reference,
                fingerprint=str(fingerprints[reference.name].digest),
                chat_templates=templates,
            )
        return known, ReferenceSet(fingerprints)

    def facts(
        self, subject: Subject, references: ReferenceSet
    ) -> dict[str, ModelFacts]:
        """What can be known of a subject's models."""
        facts: dict[str, ModelFacts] = {}
        for model in subject.models:
            if model.ref is None:
                continue
            try:
                evidence, fingerprint = self._examine(model.ref)
            except PedigreeError as error:
                facts[model.name] = failed_facts(error)
                continue
            facts[model.name] = ModelFacts(
                FactState.KNOWN,
                self._compare(evidence, fingerprint, references),
                self._now,
                pinned=is_pinned(model),
            )
        return facts

    def _compare(
        self,
        evidence: Evidence,
        fingerprint: Fingerprint | None,
        references: Mapping[str, Fingerprint],
    ) -> Evidence:
        if fingerprint is not None:
            lineage = scan(fingerprint, references, now=self._now, engine=__version__)
            evidence = replace(evidence, lineage=lineage)
        return _stored(evidence)

    def _reference(self, document: Document) -> tuple[Evidence, Fingerprint]:
        spec = document.obj.get("spec")
        try:
            uri = source_uri(spec.get("source") if isinstance(spec, dict) else None)
        except ValueError as error:
            raise ConfigError(
                f"{document.origin}: spec.source {error}", reason="ManifestInvalid"
            ) from error
        ref = parse(uri)
        try:
            evidence, fingerprint = self._examine(ref)
        except SourceError as error:  # which of them it is, or it reads as the model's
            what = f"reference model {quote(uri)} of {document.origin} cannot be read"
            error.message = f"{what}: {error.message}"
            if ref.scheme is Scheme.FILE and error.reason == "NotFound":
                error.hint = "say where its folder is here: --mount /PATH=DIR"
            raise
        if fingerprint is None:
            why = evidence.findings[0].message if evidence.findings else "no weights"
            raise ArtifactError(
                f"reference model {uri} of {document.origin} gives no fingerprint: "
                f"{why}"
            )
        return evidence, fingerprint

    def _examine(self, ref: ModelRef) -> tuple[Evidence, Fingerprint | None]:
        place = self._place(ref)
        if str(place) not in self._seen:
            found = examine(
                place,
                settings=self._settings,
                now=self._now,
                progress=self._progress(str(ref)),
            )
            self.bytes_read += found.bytes_read
            self._seen[str(place)] = (found.evidence, found.fingerprint)
        return self._seen[str(place)]

    def _place(self, ref: ModelRef) -> ModelRef:
        if ref.scheme is not Scheme.FILE:
            return ref
        path = PurePosixPath(ref.location)
        for mount in self._mounts:
            if path.is_relative_to(mount.path):
                return replace(
                    ref, location=str(mount.folder / path.relative_to(mount.path))
                )
        return ref


def _stored(evidence: Evidence) -> Evidence:
    """What a cluster stores of evidence is bounded; judge exactly that."""
    return from_object(to_object(evidence))
