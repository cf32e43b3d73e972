# SPDX-License-Identifier: Apache-2.0
"""Kubernetes Events, one per transition.

The name of an Event follows from what it tells, so that telling it twice, as after a
crash, is refused by the API server as a duplicate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pedigree.evidence import API_VERSION
from pedigree_operator.moments import seconds
from pedigree_operator.workloads import Json

COMPONENT = "pedigree-operator"
MESSAGE_MAX_CHARS = 1024
_NAME_MAX_CHARS = 230  # of 253, with room for the hash
NORMAL = "Normal"
WARNING = "Warning"


def build_event(
    about: Mapping[str, Any],
    *,
    type_: str,
    reason: str,
    message: str,
    parts: tuple[str, ...],
    now: datetime,
) -> Json:
    """An Event about a ModelDeployment.

    Args:
        about: The object.
        type_: ``Normal`` or ``Warning``.
        reason: CamelCase token, also the reason of the condition that changed.
        message: For people.
        parts: What makes this transition different from every other of the object;
            its uid, generation and the reason count in any case.
        now: The time.
    """
    metadata = about["metadata"]
    told = (metadata["uid"], str(metadata.get("generation", 0)), reason, *parts)
    digest = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:_NAME_MAX_CHARS]}.{digest}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "ModelDeployment",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": type_,
        "reason": reason,
        "message": message[:MESSAGE_MAX_CHARS],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": seconds(now),
        "lastTimestamp": seconds(now),
        "count": 1,
    }
