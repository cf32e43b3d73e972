# SPDX-License-Identifier: Apache-2.0
"""Facts about the machine a benchmark ran on, and intervals for its counts."""

from __future__ import annotations

import os
import platform

import numpy as np

from pedigree import __version__


def machine_facts() -> dict[str, str | int]:
    """What a reader needs to place a measured time."""
    return {
        "pedigree": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count() or 0,
        "load1m": int(os.getloadavg()[0]),
    }


def upper_limit(hits: int, trials: int) -> float | None:
    """One-sided 95 % upper limit of a rate (Clopper & Pearson 1934), by bisection."""
    if trials == 0:
        return None
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) > 0.05:
            low = middle
        else:
            high = middle
    return round(high, 5)


def _at_most(hits: int, trials: int, rate: float) -> float:
    """Probability of at most ``hits`` among ``trials``."""
    term = (1 - rate) ** trials
    total = term
    for k in range(hits):
        term *= (trials - k) / (k + 1) * rate / (1 - rate)
        total += term
    return total


def interval(hits: int, trials: int) -> list[float] | None:
    """Two-sided 95 % interval of a rate (Clopper & Pearson 1934), by bisection."""
    if trials == 0:
        return None
    return [
        round(1 - _limit(trials - hits, trials), 5),
        round(_limit(hits, trials), 5),
    ]


def _limit(hits: int, trials: int) -> float:
    """The rate at which ``hits`` or fewer have probability 0.025."""
    if hits == trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) > 0.025:
            low = middle
        else:
            high = middle
    return high
