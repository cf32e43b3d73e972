# SPDX-License-Identifier: Apache-2.0
"""Where the bytes of a model come from: :func:`open_source` for a reference.

Each kind of place has a module with two functions, ``open_model(ref, settings)`` and
``resolve(ref, settings)``, imported when it is first asked for: clients of stores take
long to import, and some are extras.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from pedigree.ranges import ModelSource
from pedigree.refs import ModelRef, Scheme
from pedigree.sources.files import FileSource
from pedigree.sources.settings import SourceSettings
from pedigree.sources.within import WithinSource

__all__ = ["FileSource", "SourceSettings", "open_source", "resolve_identity"]

_MODULES = {
    Scheme.FILE: "files",
    Scheme.HUB: "hub",
    Scheme.S3: "objects",
    Scheme.GCS: "objects",
    Scheme.AZURE: "objects",
    Scheme.OCI: "oci",
    Scheme.HTTPS: "web",
    Scheme.PVC: "claims",
}


def open_source(ref: ModelRef, settings: SourceSettings) -> ModelSource:
    """List a model where it is, pinned as far as its source can pin it.

    Args:
        ref: The reference.
        settings: Roots, credentials, endpoint, bounds.

    Raises:
        SourceRefused: The source said no; the reason says why.
        SourceUnavailable: The source failed for now.
    """
    module = import_module(f"pedigree.sources.{_MODULES[ref.scheme]}")
    far = ref.scheme is not Scheme.FILE
    if far and settings.cache is None and settings.make_cache is not None:
        settings = replace(settings, cache=settings.make_cache())
    source: ModelSource = module.open_model(ref, settings)
    if far and settings.cache is not None:
        kept = import_module("pedigree.sources.kept")
        source = kept.CachedSource(source, settings)
    return source if ref.within is None else WithinSource(source, ref.within)


def resolve_identity(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """Pinned reference and cheap identity of a model, without reading content.

    One listing of a folder or bucket, or one call to the Hub or registry.

    Returns:
        The reference pinned as far as its source can, and the identity that
        ``open_source(ref, settings).identity`` would have.

    Raises:
        SourceError: As :func:`open_source`.
    """
    module = import_module(f"pedigree.sources.{_MODULES[ref.scheme]}")
    pinned, identity = module.resolve(ref, settings)
    return pinned, identity
