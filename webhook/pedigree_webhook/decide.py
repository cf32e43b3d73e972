# SPDX-License-Identifier: Apache-2.0
"""Decides one admission request.  Pure: no clock, no I/O, no state of its own.

Every way a request can end is one row of :data:`TABLE`, tried from the top; the first
row that applies answers.  Only the last two ask the policies.  Whatever raises in here
becomes a refusal in :mod:`pedigree_webhook.gate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from pedigree.digests import Digest
from pedigree.errors import quote
from pedigree.evidence import NO_TRUST
from pedigree.policy.subject import Subject
from pedigree.policy.verdict import Action, Reason
from pedigree_webhook.decision import (
    MESSAGE_MAX_CHARS,
    UNSUPPORTED_KIND,
    Basis,
    Decision,
    plain,
)
from pedigree_webhook.judging import (
    Judged,
    advise,
    decision_of,
    judge_blind,
    judge_now,
)
from pedigree_webhook.review import AdmissionRequest, Operation, StatusCause
from pedigree_webhook.store import StoreView
from pedigree_webhook.workload import Adapter, adapter_for, models_unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an administrator decides about deciding.

    Attributes:
        max_age_s: How old the view of the cluster may be, in seconds.
        no_match: What happens to an object that no policy matches.
        trusted_signers: Digest of the set of signers whose signatures are believed.
    """

    max_age_s: float = 120.0
    no_match: Action = Action.DENY
    trusted_signers: Digest = NO_TRUST


@dataclass(frozen=True, slots=True)
class Known:
    """What the webhook knows when a request comes.

    Attributes:
        view: The cluster, and how old that view is.
        now: Wall clock, with time zone; freshness is measured against it.
    """

    view: StoreView
    now: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    """A request, and what is known when it comes; None when looking failed."""

    request: AdmissionRequest
    known: Known | None
    settings: Settings

    @property
    def view(self) -> StoreView:
        """The cluster; asked for only by rows below the one for not knowing."""
        return self._seen.view

    @property
    def now(self) -> datetime:
        """The time; likewise."""
        return self._seen.now

    @property
    def _seen(self) -> Known:
        if self.known is None:
            raise AssertionError("this row must stand below the one for not knowing")
        return self.known

    @property
    def adapter(self) -> Adapter | None:
        """How objects of this kind are read."""
        request = self.request
        return adapter_for(request.kind, request.resource, request.subresource)

    @property
    def called(self) -> str:
        """The object, for messages."""
        request = self.request
        at = (
            f"{request.namespace}/{request.name}" if request.namespace else request.name
        )
        return f"{request.kind.kind} {quote(at.rstrip('/') or '(unnamed)', 120)}"


def decide(
    request: AdmissionRequest, known: Known | None, settings: Settings
) -> Decision:
    """The answer to a request.

    Args:
        request: What is asked.
        known: What is known of cluster and time; None when looking at them failed,
            which still lets through what needs no knowledge.
        settings: The administrator's choices.
    """
    situation = Situation(request, known, settings)
    for row in TABLE:
        if row.applies(situation):
            return row.answer(situation)
    raise AssertionError("the last row of the table applies to everything")


# -- when ------------------------------------------------------------------------------


def _is_delete(it: Situation) -> bool:
    return it.request.operation is Operation.DELETE


def _is_skipped_subresource(it: Situation) -> bool:
    adapter = it.adapter
    return (
        adapter is not None and it.request.subresource in adapter.skipped_subresources
    )


def _is_unsupported(it: Situation) -> bool:
    request = it.request
    if request.operation is Operation.CONNECT or request.subresource:
        return True
    return it.adapter is None or request.object is None


def _is_unchanged(it: Situation) -> bool:
    adapter, request = it.adapter, it.request
    return (
        adapter is not None
        and request.operation is Operation.UPDATE
        and models_unchanged(adapter, request.old_object, request.object)
    )


def _is_blind(it: Situation) -> bool:
    return it.known is None


def _is_not_synced(it: Situation) -> bool:
    return bool(it.view.unsynced)


def _namespace_is_unseen(it: Situation) -> bool:
    return it.request.namespace not in it.view.snapshot.namespaces


def _is_stale(it: Situation) -> bool:
    return it.view.oldest()[1] > it.settings.max_age_s


def _always(_: Situation) -> bool:
    return True


# -- what ------------------------------------------------------------------------------


def _admit_deletion(_: Situation) -> Decision:
    return _admit(Basis.DELETED, "deletion is never refused")


def _admit_subresource(_: Situation) -> Decision:
    return _admit(Basis.SUBRESOURCE, "no model can change through this subresource")


def _admit_unchanged(it: Situation) -> Decision:
    """Admitted whatever the verdict is; a verdict that now fails is a warning.

    The verdict is only advice here, so even a failure to reach one must not wedge
    restarts, scaling and roll-backs of what already runs.
    """
    decision = _admit(Basis.UNCHANGED, "the models are those already admitted")
    if any(row.applies(it) for row in _WITHOUT_VERDICT):
        return decision
    try:
        return advise(decision, _judge(it), it.called)
    except Exception as fault:
        return replace(decision, fault=fault)


def _refuse_unsupported(it: Situation) -> Decision:
    request = it.request
    what = f"{request.operation} of {request.kind}"
    if request.subresource:
        what = f"{request.operation} of the subresource {request.resource}/"
        what += request.subresource
    return refuse(
        Basis.UNSUPPORTED,
        UNSUPPORTED_KIND,
        f"pedigree cannot check {what} and so does not admit it; take it out of the "
        "rules of the ValidatingWebhookConfiguration, or use a version that knows it",
    )


def _refuse_blind(it: Situation) -> Decision:
    return refuse_bug(it.request)


def _refuse_not_synced(it: Situation) -> Decision:
    missing = ", ".join(it.view.unsynced)
    return refuse(
        Basis.NOT_SYNCED,
        Reason.NOT_SYNCED,
        f"pedigree has just started and has not read {missing} yet, so it cannot judge "
        f"{it.called}; try again in a few seconds",
    )


def _refuse_unseen_namespace(it: Situation) -> Decision:
    return refuse(
        Basis.NOT_SYNCED,
        Reason.NOT_SYNCED,
        "pedigree has not seen the namespace "
        f"{quote(it.request.namespace, 80)} yet, so it cannot tell which policies hold "
        f"for {it.called}; try again in a few seconds",
    )


def _judge_as_error(it: Situation) -> Decision:
    kind, age_s = it.view.oldest()
    why = (
        f"pedigree's view of {kind} is {age_s:.0f} s old, allowed are "
        f"{it.settings.max_age_s:.0f} s"
    )
    judged = _judge(it, blind_because=why)
    decision = decision_of(judged, it.called, Basis.STALE)
    if why in decision.message:
        return decision
    return replace(
        decision, message=plain(f"{decision.message}; {why}", MESSAGE_MAX_CHARS)
    )


def _judge_now(it: Situation) -> Decision:
    return decision_of(_judge(it), it.called)


# -- the table -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One way a request can end.

    Attributes:
        applies: Whether it is this one, given that no earlier row applied.
        answer: What is done.
        admits: Whether the row itself admits; the last two ask the policies.
        why: Why that is safe, or why it must be refused.
    """

    applies: Callable[[Situation], bool]
    answer: Callable[[Situation], Decision]
    admits: bool
    why: str


TABLE: tuple[Row, ...] = (
    Row(_is_delete, _admit_deletion, True, "brings no model in; must work always"),
    Row(
        _is_skipped_subresource,
        _admit_subresource,
        True,
        "the API server ignores changes of spec.models made through status and scale",
    ),
    Row(
        _is_unsupported,
        _refuse_unsupported,
        False,
        "whoever sends a kind here expects it to be checked",
    ),
    Row(
        _is_unchanged,
        _admit_unchanged,
        True,
        "the models were admitted before; equal means equal and not empty, so an "
        "unreadable object never counts as unchanged",
    ),
    Row(_is_blind, _refuse_blind, False, "a bug: store or clock failed"),
    Row(_is_not_synced, _refuse_not_synced, False, "the policies are not known"),
    Row(
        _namespace_is_unseen,
        _refuse_unseen_namespace,
        False,
        "without its labels a policy that selects it would be missed",
    ),
    Row(
        _is_stale,
        _judge_as_error,
        False,
        "evidence that may have been withdrawn is not evidence: onError of each policy",
    ),
    Row(_always, _judge_now, False, "the policies' verdict"),
)

_WITHOUT_VERDICT = tuple(
    row
    for row in TABLE
    if row.applies in (_is_blind, _is_not_synced, _namespace_is_unseen, _is_stale)
)


# -- how -------------------------------------------------------------------------------


def _judge(it: Situation, blind_because: str = "") -> Judged:
    snapshot, no_match = it.view.snapshot, it.settings.no_match
    if blind_because:
        return judge_blind(
            _subject(it), snapshot, blind_because, now=it.now, no_match=no_match
        )
    return judge_now(
        _subject(it),
        snapshot,
        now=it.now,
        no_match=no_match,
        trusted_signers=it.settings.trusted_signers,
    )


def _subject(it: Situation) -> Subject:
    adapter, obj = it.adapter, it.request.object
    if adapter is None or obj is None:
        raise AssertionError("rows above refuse what has no adapter or no object")
    labels = it.view.snapshot.namespaces.get(it.request.namespace, {})
    subject = adapter.subject(obj, labels)
    # The request's namespace is the API server's word; the object's is the user's.
    return replace(subject, namespace=it.request.namespace)


def _admit(basis: Basis, message: str) -> Decision:
    return Decision(
        action=Action.ALLOW, basis=basis, reason="", message=message, enforced=False
    )


def refuse(basis: Basis, reason: str, message: str) -> Decision:
    """A refusal that no policy asked for."""
    sentence = plain(message, MESSAGE_MAX_CHARS)
    return Decision(
        action=Action.DENY,
        basis=basis,
        reason=str(reason),
        message=sentence,
        causes=(StatusCause(str(reason), sentence, ""),),
    )


def refuse_bug(request: AdmissionRequest) -> Decision:
    """The refusal after something failed that must not fail."""
    return refuse(
        Basis.INTERNAL_ERROR,
        Reason.INTERNAL_ERROR,
        "pedigree failed while it checked this request and so does not admit it; see "
        f"the webhook's logs for request uid {quote(request.uid, 80)}",
    )
