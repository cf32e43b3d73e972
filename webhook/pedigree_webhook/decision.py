# SPDX-License-Identifier: Apache-2.0
"""What a decision is: the answer to one admission request, with its grounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pedigree.evidence import Match
from pedigree.policy.verdict import Action, Reason, Verdict
from pedigree_webhook.review import StatusCause

UNSUPPORTED_KIND = "UnsupportedKind"
"""The one reason of this component's own: nobody taught it the kind of the object."""
REASONS: tuple[str, ...] = (*map(str, Reason), UNSUPPORTED_KIND)
"""Every reason a decision can have.  Closed set; a metric label."""

WARNING_MAX_CHARS = 256
"""The API server cuts longer ones when there are many."""
WARNINGS_MAX = 16
"""16 * 256 characters are the 4096 that the API server passes on in all."""
MESSAGE_MAX_CHARS = 2048
CAUSES_MAX = 16
ANNOTATION_MAX_CHARS = 512


class Basis(StrEnum):
    """What a decision rests on.  Closed set; a metric label and a ledger field."""

    VERDICT = "verdict"
    """The policies' verdict on known evidence."""
    PENDING = "pending"
    """The policies' ``onPending``: evidence is missing or outdated."""
    NO_POLICY = "no_policy"
    """No policy matches; ``PEDIGREE_NO_MATCH`` decides."""
    STALE = "stale"
    """The policies' ``onError``: the webhook's view of the cluster is too old."""
    NOT_SYNCED = "not_synced"
    """The webhook has not seen the cluster yet."""
    UNCHANGED = "unchanged"
    """The update leaves the models as they are."""
    DELETED = "deleted"
    """Deletion brings no model in."""
    SUBRESOURCE = "subresource"
    """No model can change through this subresource."""
    UNSUPPORTED = "unsupported"
    """Nobody taught this webhook the kind, or the subresource."""
    AUDIT_UNAVAILABLE = "audit_unavailable"
    """It would have been admitted, but could not be written down."""
    INTERNAL_ERROR = "internal_error"
    """A bug; answered fail-closed."""


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """One model of the object, and what was known of it."""

    name: str
    uri: str
    digest: str
    ancestors: tuple[Match, ...]
    root_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer to one admission request.

    Attributes:
        action: What is done.  The object is refused exactly when this is ``Deny``.
        basis: What the decision rests on.
        reason: Why, one of :data:`REASONS`.
        message: A sentence for the requester.
        causes: Every ground of a refusal.
        warnings: What kubectl prints as ``Warning:``.
        verdict: The policies' opinion; None where none was needed or possible.
        models: The models of the object.
        enforced: Whether a policy in ``Enforce`` looks at the object, or nothing is
            known about that; then an entry that cannot be written refuses.
        fault: What went wrong where that did not change the answer.
    """

    action: Action
    basis: Basis
    reason: str
    message: str
    causes: tuple[StatusCause, ...] = ()
    warnings: tuple[str, ...] = ()
    verdict: Verdict | None = None
    models: tuple[JudgedModel, ...] = ()
    enforced: bool = True
    fault: Exception | None = None

    @property
    def allowed(self) -> bool:
        """Whether the API server goes on with the request."""
        return self.action is not Action.DENY

    @property
    def code(self) -> int:
        """HTTP status for the requester."""
        return 200 if self.allowed else 403

    def annotations(self, record: str) -> Mapping[str, str]:
        """What the API server's own audit log keeps of it.

        Args:
            record: Key of the ledger entry; empty when nothing was recorded.
        """
        values = {
            "action": str(self.action),
            "basis": str(self.basis),
            "reason": self.reason,
            "record": record,
            "modelDigest": ",".join(
                f"{model.name}={model.digest}" for model in self.models if model.digest
            ),
        }
        if self.verdict is not None:
            values["verdict"] = str(self.verdict.result)
            values["policyDigest"] = str(self.verdict.policy_digest)
        return {
            key: plain(value, ANNOTATION_MAX_CHARS)
            for key, value in values.items()
            if value
        }


def plain(text: str, limit: int) -> str:
    """Text that an HTTP header may carry: one line, Unicode, at most ``limit`` long.

    The API server drops warnings with control characters, and names come from outside.
    """
    one_line = text
    if not text.isprintable():  # rare, and letter by letter is slow
        one_line = "".join(c if c.isprintable() else " " for c in text)
    return one_line if len(one_line) <= limit else one_line[: limit - 3] + "..."
