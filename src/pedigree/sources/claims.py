# SPDX-License-Identifier: Apache-2.0
"""``pvc://``: a volume claim, which only a Pod in its own namespace can read.

This process cannot.  The operator starts a Job that mounts the claim read-only and
examines it there as files.
"""

from __future__ import annotations

from typing import NoReturn

from pedigree.errors import SourceRefused, quote
from pedigree.ranges import ModelSource
from pedigree.refs import ModelRef
from pedigree.sources.settings import SourceSettings


def open_model(ref: ModelRef, settings: SourceSettings) -> ModelSource:
    """Refuse.

    Raises:
        SourceRefused: Always (``OnlyInCluster``).
    """
    _refuse(ref)


def resolve(ref: ModelRef, settings: SourceSettings) -> tuple[ModelRef, str]:
    """Refuse; see :func:`open_model`."""
    _refuse(ref)


def _refuse(ref: ModelRef) -> NoReturn:
    raise SourceRefused(
        f"{quote(str(ref))} is a volume claim, which is read by a Job in its namespace",
        reason="OnlyInCluster",
        hint="mount it and give its folder as file:///folder",
    )
