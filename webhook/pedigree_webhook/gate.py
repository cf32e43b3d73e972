# SPDX-License-Identifier: Apache-2.0
"""Answers one call: read it, decide, write the decision down, then say it.

The edge around the pure :func:`pedigree_webhook.decide.decide`.  It touches memory and
the outbox, nothing else.  Nothing that fails in here admits a model: see
``docs/webhook.md`` for the table, and the fault-injection tests for the proof.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from pedigree.errors import quote
from pedigree.policy.verdict import Reason
from pedigree_webhook.decide import Known, Settings, decide, refuse, refuse_bug
from pedigree_webhook.decision import WARNINGS_MAX, Basis, Decision
from pedigree_webhook.metrics import Metrics
from pedigree_webhook.record import is_recorded, record_key, to_entry
from pedigree_webhook.review import (
    AdmissionRequest,
    AdmissionResponse,
    Operation,
    ReviewError,
    parse_review,
    render_error,
    render_review,
)
from pedigree_webhook.store import StoreView

log = logging.getLogger(__name__)

NAMESPACE_WAIT_S = 0.5
"""How long a request waits for its namespace, created just before it, to be seen.
Arbitrary: watches usually lag by milliseconds, and the API server waits for seconds."""


class Sink(Protocol):
    """Where decisions are written down: the outbox."""

    def append(self, entry: Mapping[str, Any]) -> bool:
        """Write one down, durably against the death of this process."""


class Knowledge(Protocol):
    """What is known of the cluster: the store."""

    def view(self) -> StoreView:
        """The current state and its age."""

    def wait_for_namespace(self, name: str, timeout_s: float) -> None:
        """Wait a moment for a namespace."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP, always as JSON."""

    http_status: int
    body: bytes


class Gate:
    """Answers calls.  Any number of threads may ask at once.

    Args:
        knowledge: What is known of the cluster.
        sink: Where decisions are written down.
        metrics: Where answers are counted.
        settings: The administrator's choices.
        clock: Wall clock, with time zone.
        timer: Seconds, for durations.
    """

    def __init__(
        self,
        *,
        knowledge: Knowledge,
        sink: Sink,
        metrics: Metrics,
        settings: Settings,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        self._knowledge = knowledge
        self._sink = sink
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._timer = timer

    def answer(self, body: bytes, content_type: str) -> Answer:
        """Answer one call to ``/validate``.  Never raises.

        An HTTP error says that the call was no question; the API server then does
        what the configuration's ``failurePolicy`` says, which is to refuse.
        """
        try:
            return self._answer(body, content_type)
        except ReviewError as error:
            return self.bad_call(error)
        except Exception:  # no uid is known, or no answer could be written
            log.exception("a call to /validate could not be answered")
            self._metrics.fault()
            self._metrics.bad_call(500)
            message = "pedigree failed before it could answer; see the webhook's logs"
            return Answer(500, render_error(500, message))

    def bad_call(self, error: ReviewError) -> Answer:
        """Answer a call that is no question."""
        log.warning("refused a call to /validate: %s", error)
        self._metrics.bad_call(error.http_status)
        return Answer(error.http_status, render_error(error.http_status, str(error)))

    def _answer(self, body: bytes, content_type: str) -> Answer:
        started = self._timer()
        request = parse_review(body, content_type)
        known = self._look(request)
        try:
            decision = decide(request, known, self._settings)
        except Exception as fault:
            decision = replace(refuse_bug(request), fault=fault)
        if decision.fault is not None:
            self._report(request, decision.fault)
        decision, record = self._record(request, decision, known)
        answer = Answer(200, render_review(_response(request, decision, record)))
        self._metrics.answered(request, decision, self._timer() - started)
        _log_decision(request, decision)
        return answer

    def _look(self, request: AdmissionRequest) -> Known | None:
        """What is known now; None when even looking fails, which is a bug."""
        try:
            view = self._knowledge.view()
            if _waits_for_namespace(request, view):
                self._knowledge.wait_for_namespace(request.namespace, NAMESPACE_WAIT_S)
                view = self._knowledge.view()
            return Known(view, self._clock())
        except Exception as fault:
            self._report(request, fault)
            return None

    def _record(
        self, request: AdmissionRequest, decision: Decision, known: Known | None
    ) -> tuple[Decision, str]:
        """Write the decision down; the decision that then holds, and its key."""
        if not is_recorded(request, decision):
            return decision, ""
        try:
            now = known.now if known is not None else self._clock()
            self._sink.append(to_entry(request, decision, now))
        except Exception as error:
            self._metrics.append_failed()
            log.exception(
                "the decision on request uid %s could not be written to the outbox",
                quote(request.uid),
            )
            return _unrecorded(decision, error), ""
        return decision, record_key(request)

    def _report(self, request: AdmissionRequest, fault: Exception) -> None:
        self._metrics.fault()
        log.error(
            "a bug was met while request uid %s was answered",
            quote(request.uid),
            exc_info=fault,
        )


def _waits_for_namespace(request: AdmissionRequest, view: StoreView) -> bool:
    return (
        request.operation is Operation.CREATE
        and request.namespace != ""
        and not view.unsynced
        and request.namespace not in view.snapshot.namespaces
    )


def _unrecorded(decision: Decision, error: Exception) -> Decision:
    """What holds when a decision could not be written down."""
    if decision.allowed and decision.enforced:
        return refuse(
            Basis.AUDIT_UNAVAILABLE,
            Reason.AUDIT_UNAVAILABLE,
            "the object would be admitted, but pedigree cannot record that, and what "
            "is enforced must be on record; ask whoever runs pedigree to make room in "
            f"the webhook's data folder ({type(error).__name__})",
        )
    if not decision.allowed:
        return decision
    warning = "pedigree could not record that this was admitted"
    return replace(decision, warnings=(warning, *decision.warnings)[:WARNINGS_MAX])


def _response(
    request: AdmissionRequest, decision: Decision, record: str
) -> AdmissionResponse:
    return AdmissionResponse(
        uid=request.uid,
        allowed=decision.allowed,
        code=decision.code,
        reason=decision.reason,
        message=decision.message,
        causes=decision.causes,
        details={
            "name": request.name,
            "group": request.kind.group,
            "kind": request.kind.kind,
        },
        warnings=decision.warnings,
        annotations=decision.annotations(record),
    )


def _log_decision(request: AdmissionRequest, decision: Decision) -> None:
    """One line per decision; those that simply admit only when asked for."""
    told = decision.action != "Allow" or bool(decision.warnings)
    log.log(
        logging.INFO if told else logging.DEBUG,
        "%s %s: %s",
        request.operation,
        decision.action,
        decision.message,
        extra={
            "fields": {
                "uid": request.uid,
                "kind": request.kind.kind,
                "namespace": request.namespace,
                "name": request.name,
                "user": request.user[:253],
                "basis": str(decision.basis),
                "reason": decision.reason,
                "dryRun": request.dry_run,
            }
        },
    )
