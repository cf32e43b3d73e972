# SPDX-License-Identifier: Apache-2.0
"""Options of commands that read models over a network, and what it took."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pedigree.cli.render import human_bytes

if TYPE_CHECKING:
    from pedigree.ranges import Usage
    from pedigree.sources import SourceSettings
    from pedigree.sources.settings import CacheSettings

PATIENCE_S = 60.0
"""Seconds a person, or the operator's child, waits in all for a source that says it is
busy; longer waits are told, with the time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cache``, ``--offline`` and ``--memory``."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep what is received of far models there, and take up from it after an "
        "interruption (PEDIGREE_CACHE; by default only while the command runs)",
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="read hf:// models from the cache and the Hub client's own folder alone "
        "(HF_HUB_OFFLINE)",
    )
    parser.add_argument(
        "--memory",
        type=int,
        metavar="BYTES",
        help="bytes of weights held at once (PEDIGREE_MEMORY_BYTES; 512000000)",
    )


def with_options(
    settings: SourceSettings, args: argparse.Namespace | None
) -> SourceSettings:
    """Settings of the environment, with what was given on the command line.

    Raises:
        ConfigError: The memory is below what any model needs.
    """
    from pedigree.sources.settings import CacheSettings, memory_limits

    settings = replace(settings, patience_s=PATIENCE_S)
    if getattr(args, "offline", False):
        settings = replace(settings, offline=True)
    if (folder := getattr(args, "cache", None)) is not None:
        kept = settings.cache or CacheSettings(folder=folder)
        settings = replace(settings, cache=replace(kept, folder=folder))
    elif settings.cache is None and not settings.offline:
        settings = replace(settings, make_cache=cache(_passing_cache))
    if (memory := getattr(args, "memory", None)) is not None:
        settings = replace(settings, limits=memory_limits(memory, settings.limits))
    return settings


def _passing_cache() -> CacheSettings | None:
    """As that of :mod:`pedigree.cli.passing`, loaded when a model is far."""
    from pedigree.cli.passing import passing_cache

    return passing_cache()


def usage_words(usage: Usage) -> str:
    """What reading took, in one phrase."""
    words = f"{human_bytes(usage.bytes_read)} read"
    if usage.requests:
        words += f" in {usage.requests} requests"
    if usage.bytes_kept:
        words += f", {human_bytes(usage.bytes_kept)} from the cache"
    if usage.limited_s >= 1:
        words += f", {usage.limited_s:.0f} s waited for a busy source"
    return words
