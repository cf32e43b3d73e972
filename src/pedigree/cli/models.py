# SPDX-License-Identifier: Apache-2.0
"""Models named on the command line, brought to fingerprints."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.far import with_options
from pedigree.cli.progress import byte_progress
from pedigree.cli.unread import unread_of, warn_of
from pedigree.errors import ModelRefError, SourceRefused
from pedigree.refs import ModelRef, Scheme, is_reference, parse

if TYPE_CHECKING:
    from pedigree.fingerprint.model import Fingerprint
    from pedigree.fingerprint.spec import Profile
    from pedigree.ranges import FileEntry, ModelSource
    from pedigree.sources import SourceSettings
    from pedigree.tensors.checkpoint import Checkpoint
    from pedigree.tensors.remarks import Remark

FINGERPRINT_SUFFIX = ".fingerprint.safetensors"
"""A file of this name is read as a fingerprint, any other as weights."""
PLACE_HELP = (
    "a folder or file of weights, or a reference (file, hf, s3, gs, az, oci, https; "
    "such as hf://org/repo[@revision])"
)
HELD_FILE_MAX_BYTES = 8 << 20
"""Larger files are read by ranges, as asked: who keeps many subjects needs room."""
HELD_MAX_BYTES = 24 << 20
"""Of one model, in memory."""
MODEL_HELP = f"{PLACE_HELP}, or a stored fingerprint (*{FINGERPRINT_SUFFIX})"


@dataclass(frozen=True, slots=True)
class Subject:
    """One model of a command.

    Attributes:
        name: As it was written.
        uri: Its reference, pinned as far as its source can.
        fingerprint: Of its weights.
        bytes_read: Bytes had from its source.
        seconds: Time it took.
        source: Where it is; None if stored, or not held.
        checkpoint: Its weights; None if stored, or not held.
        unread: What of its weights was not read, and so not compared.
    """

    name: str
    uri: str
    fingerprint: Fingerprint
    bytes_read: int
    seconds: float
    source: ModelSource | None = None
    checkpoint: Checkpoint | None = None
    unread: tuple[Remark, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        made = self.fingerprint
        return {
            "model": self.name,
            "uri": self.uri,
            "architecture": made.architecture,
            "parameters": made.parameters,
            "layers": made.shape.layers,
            "width": made.shape.width,
            "fingerprint": {
                "digest": str(made.digest),
                "spec": made.spec,
                "profile": made.profile.value,
            },
            "unread": [
                {"reason": x.reason, "path": x.path, "message": x.message}
                for x in self.unread
            ],
            "bytesRead": self.bytes_read,
        }


def to_ref(text: str) -> ModelRef:
    """A reference from what a person types: a path needs no ``file://``.

    Raises:
        ModelRefError: It is neither a path nor a reference.
    """
    if not text:  # of a variable that is not set: never the folder one happens to be in
        raise ModelRefError(
            "the model is '', wanted a folder or a reference",
            hint="write . for this folder",
        )
    if is_reference(text):
        return parse(text)
    # Not resolved: a link may change, and the source decides which links it follows.
    path = os.path.abspath(Path(text).expanduser())  # noqa: PTH100
    return parse(f"file://{path}")


def source_settings(args: argparse.Namespace | None = None) -> SourceSettings:
    """Settings of sources for a person on their own machine.

    The only place where the command reads the variables of stores.

    Args:
        args: With the options of :func:`pedigree.cli.far.add_options`, if the command
            has them.

    Raises:
        ConfigError: A variable or an option cannot be understood.
    """
    from pedigree.sources import SourceSettings

    return with_options(SourceSettings.from_env(os.environ), args)


def read_subject(
    text: str,
    *,
    profile: Profile | None = None,
    salt: bytes | None = None,
    hold: bool = True,
    sources: SourceSettings | None = None,
) -> Subject:
    """Read the fingerprint of a model, from its weights or as it was stored.

    Args:
        text: What the person typed.
        profile: How much to keep; None for what suits the size of the model.  A
            stored fingerprint is what it is.
        salt: Secret that decides what is sampled, or None.
        hold: Whether the subject can be read from again: it keeps small files in
            memory, up to :data:`HELD_MAX_BYTES`, while it lives.
        sources: How it is read; None for what the environment says.

    Raises:
        PedigreeError: The model cannot be had or read.
    """
    started = time.perf_counter()
    ref = to_ref(text)
    if ref.scheme is Scheme.FILE and ref.location.endswith(FINGERPRINT_SUFFIX):
        return _read_stored(text, ref, started)
    from pedigree.fingerprint.source import fingerprint_source
    from pedigree.sources import open_source
    from pedigree.sources.held import HeldSource
    from pedigree.tensors.checkpoint import Checkpoint

    settings = source_settings() if sources is None else sources
    source = HeldSource(open_source(ref, settings), HELD_MAX_BYTES, _is_small)
    checkpoint = Checkpoint.open(source, settings.limits)
    spent = None if ref.scheme is Scheme.FILE else lambda: source.usage
    with byte_progress(f"reading {text}", spent) as progress:
        fingerprint = fingerprint_source(
            source,
            checkpoint=checkpoint,
            profile=profile,
            salt=salt,
            limits=settings.limits,
            progress=progress,
        )
    unread = unread_of(source, checkpoint)
    warn_of(text, unread)
    return Subject(
        text,
        str(source.ref),
        fingerprint,
        source.bytes_read,
        time.perf_counter() - started,
        source if hold else None,
        checkpoint if hold else None,
        unread,
    )


def _is_small(entry: FileEntry) -> bool:
    return entry.size <= HELD_FILE_MAX_BYTES


def _read_stored(text: str, ref: ModelRef, started: float) -> Subject:
    from pedigree.fingerprint.codec import STORED_MAX_BYTES, decode
    from pedigree.registry.files import read_bounded

    data = read_bounded(Path(ref.location), STORED_MAX_BYTES)
    if data is None:
        raise SourceRefused(f"there is no fingerprint {text!r}", reason="NotFound")
    fingerprint = decode(data, path=text)
    return Subject(
        text, str(ref), fingerprint, len(data), time.perf_counter() - started
    )
