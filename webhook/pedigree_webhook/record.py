# SPDX-License-Identifier: Apache-2.0
"""From a decision to the ledger entry that keeps it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pedigree import __version__
from pedigree.ledger.entry import (
    EntryModel,
    EntryObject,
    EntryRequest,
    admission_entry,
)
from pedigree_webhook.decision import Basis, Decision
from pedigree_webhook.review import AdmissionRequest


def is_recorded(request: AdmissionRequest, decision: Decision) -> bool:
    """Whether a decision belongs in the ledger.

    Dry runs change nothing, our records included.  Subresources carry no model, and
    status is written so often that it would bury what matters.
    """
    return not request.dry_run and decision.basis is not Basis.SUBRESOURCE


def record_key(request: AdmissionRequest) -> str:
    """Key of the entry, the same however often the API server asks."""
    return f"admission/{request.uid}"


def to_entry(
    request: AdmissionRequest, decision: Decision, now: datetime
) -> dict[str, Any]:
    """The ledger entry of a decision.

    A decision that rests on no verdict says its reason and message itself.

    Raises:
        LedgerError: It cannot be put into an entry (reason ``EntryInvalid``).
    """
    verdict = decision.verdict.to_dict() if decision.verdict is not None else None
    entry = admission_entry(
        engine=__version__,
        now=now,
        subject=_object(request),
        request=EntryRequest(
            request.uid, str(request.operation), request.user, request.groups
        ),
        decision=str(decision.action),
        basis=str(decision.basis),
        verdict=verdict,
        models=[
            EntryModel(
                model.name,
                model.uri,
                model.digest,
                model.ancestors,
                model.root_digest,
            )
            for model in decision.models
        ],
    )
    if verdict is None or decision.reason != verdict["reason"]:
        entry |= {"reason": decision.reason, "message": decision.message[:512]}
    return entry


def _object(request: AdmissionRequest) -> EntryObject:
    metadata = _metadata(request.object) or _metadata(request.old_object)
    name = request.name or str(
        metadata.get("name") or metadata.get("generateName") or ""
    )
    return EntryObject(
        request.kind.kind,
        request.namespace,
        name[:253],
        str(metadata.get("uid") or "")[:253],
    )


def _metadata(obj: Mapping[str, Any] | None) -> Mapping[str, Any]:
    metadata = obj.get("metadata") if obj is not None else None
    return metadata if isinstance(metadata, dict) else {}
