# SPDX-License-Identifier: Apache-2.0
"""Durations as the API writes them: ``24h``, ``90m``, ``1h30m``, ``45s``."""

from __future__ import annotations

import re
from datetime import timedelta

from pedigree.errors import quote

PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
"""The same pattern stands in the CRDs; a part of what Go and CEL read, so that all
three agree on every duration that is accepted."""

_DURATION = re.compile(
    r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", re.ASCII
)


def parse_duration(text: str) -> timedelta:
    """Read hours, minutes and seconds, in this order, each at most once.

    Raises:
        ValueError: The text is anything else.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(
            f"duration is {quote(text, 80)}, wanted one like '24h' or '90m'"
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
