# SPDX-License-Identifier: Apache-2.0
"""Whether this process may be sent requests, and if not, why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pedigree_webhook.store import Store, StoreKind


class Readiness:
    """Answers the probes.

    Args:
        store: Must hold everything, and recently.
        max_age_s: How old it may be, in seconds.
        watch_errors: What each failing watch last said, by kind.
        alive: Whether every watching thread still runs.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_age_s: float,
        watch_errors: Callable[[], Mapping[StoreKind, str]],
        alive: Callable[[], bool],
    ) -> None:
        self._store = store
        self._max_age_s = max_age_s
        self._watch_errors = watch_errors
        self._alive = alive
        self._draining = False

    def drain(self) -> None:
        """Say from now on that no more requests are wanted."""
        self._draining = True

    @property
    def draining(self) -> bool:
        """Whether the process is about to end."""
        return self._draining

    def unhealthy(self) -> Sequence[str]:
        """Why the process must be restarted; empty when it need not."""
        return () if self._alive() else ("a thread that watches the cluster has ended",)

    def not_ready(self) -> Sequence[str]:
        """Why no requests must be sent here; empty when they may."""
        reasons = ["the process is shutting down"] if self._draining else []
        errors = self._watch_errors()
        for kind, age_s in self._store.view().age_s.items():
            if math.isinf(age_s):
                why = f": {errors[kind]}" if kind in errors else ""
                reasons.append(f"{kind}: not read yet{why}")
            elif age_s > self._max_age_s:
                why = f": {errors[kind]}" if kind in errors else ""
                reasons.append(
                    f"{kind}: last confirmed {age_s:.0f} s ago, allowed are "
                    f"{self._max_age_s:.0f} s{why}"
                )
        return reasons
