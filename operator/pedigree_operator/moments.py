# SPDX-License-Identifier: Apache-2.0
"""Times as Kubernetes objects write them."""

from __future__ import annotations

from datetime import UTC, datetime

from pedigree.ledger.entry import format_time

__all__ = ["EPOCH", "format_time", "read_time", "seconds"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(moment: datetime) -> str:
    """RFC 3339 in UTC to the second, as conditions and Events have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime:
    """Read RFC 3339; what is none is the epoch, so that it counts as long past."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return EPOCH
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
