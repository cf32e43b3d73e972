# SPDX-License-Identifier: Apache-2.0
"""What a source needs to know about this process; nothing is read from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pedigree.limits import DEFAULT, Limits

HUB_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Settings of all sources.

    Attributes:
        file_roots: Folders that ``file://`` references may be in; None allows every
            folder (the command line on somebody's own machine).
        hub_token: Token sent to the Hub endpoint, and to no other host; None or empty
            sends none.  Not shown in ``repr``.
        hub_endpoint: Base address of the Hub or of a mirror (``HF_ENDPOINT``).
        timeout_s: Seconds without an answer after which a request has failed.
        attempts: Tries of one request that fails for now, before giving up.
        limits: Bounds.
    """

    file_roots: tuple[Path, ...] | None = None
    hub_token: str | None = field(default=None, repr=False)
    hub_endpoint: str = HUB_ENDPOINT
    timeout_s: float = 30.0
    attempts: int = 3
    limits: Limits = DEFAULT
