# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a model come from: :func:`open_source` for a reference."""

from __future__ import annotations

from pedigree.ranges import ModelSource
from pedigree.refs import ModelRef, Scheme
from pedigree.sources.files import FileSource
from pedigree.sources.settings import SourceSettings

__all__ = ["FileSource", "SourceSettings", "open_source", "resolve_identity"]


def open_source(ref: ModelRef, settings: SourceSettings) -> ModelSource:
    """List a model where it is, pinned as far as its source can pin it.

    Args:
        ref: The reference.
        settings: Roots, token, endpoint, bounds.

    Raises:
        SourceRefused: The source said no; the reason says why.
        SourceUnavailable: The source failed for now.
    """
    if ref.scheme is Scheme.FILE:
        return FileSource(ref, settings)
    # Imported only when used: the Hub's client takes long to import.
    from pedigree.sources.hub import HubSource

    return HubSource(ref, settings)


def resolve_identity(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """Pinned reference and cheap identity of a model, without reading content.

    One listing of a folder, or one call to the Hub.

    Returns:
        The reference pinned as far as its source can, and the identity that
        ``open_source(ref, settings).identity`` would have.

    Raises:
        SourceError: As :func:`open_source`.
    """
    if ref.scheme is Scheme.FILE:
        return ref, FileSource(ref, settings).identity
    from pedigree.sources.hub import pin

    pinned = pin(ref, settings)
    return pinned, f"commit:{pinned.revision}"
