# SPDX-License-Identifier: Apache-2.0
"""What the webhook tells Prometheus.

Every label is a closed set (no names of objects, models or users), and every series
exists from the start, so that a rate over the first refusal is not lost.  The whole
process has fewer than 500 series; a test counts them under hostile traffic.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pedigree import __version__
from pedigree.ledger.delivery import DeliveryStats
from pedigree.policy.verdict import Action
from pedigree_webhook.decision import REASONS, Basis, Decision
from pedigree_webhook.review import AdmissionRequest, Operation
from pedigree_webhook.store import Store, StoreKind
from pedigree_webhook.workload import ADAPTERS, adapter_for

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER_KIND = "Other"
KINDS = (*sorted({gvk.kind for gvk in ADAPTERS}), OTHER_KIND)
BAD_CALL_CODES = ("400", "413", "415", "500")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""From far below a network round trip to beyond the API server's patience."""

_JUDGED = (Basis.VERDICT, Basis.PENDING, Basis.NO_POLICY, Basis.STALE)
_CHANGES = (Operation.CREATE, Operation.UPDATE)
_NOT_DELETE = (*_CHANGES, Operation.CONNECT)
POSSIBLE: frozenset[tuple[str, str, str, str]] = frozenset(
    (str(kind), str(operation), str(action), str(basis))
    for kinds, operations, actions, bases in (
        (KINDS[:-1], _CHANGES, tuple(Action), _JUDGED),
        (KINDS[:-1], _CHANGES, (Action.DENY,), (Basis.NOT_SYNCED,)),
        (KINDS[:-1], _CHANGES, (Action.DENY,), (Basis.AUDIT_UNAVAILABLE,)),
        (KINDS[:-1], (Operation.UPDATE,), (Action.ALLOW,), (Basis.UNCHANGED,)),
        (KINDS[:-1], _NOT_DELETE, (Action.ALLOW,), (Basis.SUBRESOURCE,)),
        (KINDS, _NOT_DELETE, (Action.DENY,), (Basis.UNSUPPORTED,)),
        (KINDS, (Operation.DELETE,), (Action.ALLOW,), (Basis.DELETED,)),
        (KINDS, tuple(Operation), (Action.DENY,), (Basis.INTERNAL_ERROR,)),
    )
    for kind, operation, action, basis in itertools.product(
        kinds, operations, actions, bases
    )
)
"""What the decision table can produce: kind, operation, decision, basis."""


class Metrics:
    """The webhook's own registry; nothing else is exposed.

    Args:
        store: For the age and size of what is known.
        delivery: For the state of the outbox; asked at every scrape.
    """

    def __init__(self, store: Store, delivery: Callable[[], DeliveryStats]) -> None:
        # They would double the number of series.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._add_answers()
        self._add_surroundings()
        Info("pedigree_build", "What is running.", registry=self.registry).info(
            {
                "version": __version__,
                "component": "webhook",
                "python": platform.python_version(),
            }
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(_StoreCollector(store))
        self.registry.register(_OutboxCollector(delivery))
        self._create_all()

    def _add_answers(self) -> None:
        self._requests = Counter(
            "pedigree_admission_requests",
            "Admission requests answered, by what was decided and why.",
            ("kind", "operation", "decision", "basis"),
            registry=self.registry,
        )
        self._duration = Histogram(
            "pedigree_admission_duration_seconds",
            "Time from a request's body to its answer.",
            ("kind", "decision"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._reasons = Counter(
            "pedigree_admission_reasons",
            "Admission requests answered by verdict or refused, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._bad_calls = Counter(
            "pedigree_admission_bad_calls",
            "Calls answered with an HTTP error because they were no question.",
            ("code",),
            registry=self.registry,
        )
        self._dry_runs = Counter(
            "pedigree_admission_dry_runs",
            "Admission requests that were dry runs, and so were not recorded.",
            registry=self.registry,
        )
        self._faults = Counter(
            "pedigree_admission_internal_errors",
            "Bugs met while answering, whether or not they changed the answer.",
            registry=self.registry,
        )

    def _add_surroundings(self) -> None:
        self._append_failures = Counter(
            "pedigree_outbox_append_failures",
            "Decisions that could not be written to the outbox.",
            registry=self.registry,
        )
        self._watch_errors = Counter(
            "pedigree_watch_errors",
            "Lists and watches of the API server that failed.",
            ("kind",),
            registry=self.registry,
        )
        self._reload_failures = Counter(
            "pedigree_certificate_reload_failures",
            "Changed certificate files that could not be taken into use.",
            registry=self.registry,
        )
        self._expiry = Gauge(
            "pedigree_certificate_expiry_timestamp_seconds",
            "When a certificate in use stops being valid, in seconds since 1970.",
            ("cert",),
            registry=self.registry,
        )

    def _create_all(self) -> None:
        for labels in sorted(POSSIBLE):
            self._requests.labels(*labels)
        for kind, action in sorted({(labels[0], labels[2]) for labels in POSSIBLE}):
            self._duration.labels(kind, action)
        for reason in REASONS:
            self._reasons.labels(reason)
        for code in BAD_CALL_CODES:
            self._bad_calls.labels(code)
        for store_kind in StoreKind:
            self._watch_errors.labels(store_kind)

    def answered(
        self, request: AdmissionRequest, decision: Decision, seconds: float
    ) -> None:
        """Count one answer."""
        adapter = adapter_for(request.kind, request.resource, request.subresource)
        kind = OTHER_KIND if adapter is None else adapter.kind
        action = str(decision.action)
        self._requests.labels(kind, request.operation, action, decision.basis).inc()
        self._duration.labels(kind, action).observe(seconds)
        if decision.reason:
            self._reasons.labels(decision.reason).inc()
        if request.dry_run:
            self._dry_runs.inc()

    def bad_call(self, http_status: int) -> None:
        """Count one call that was no question."""
        self._bad_calls.labels(str(http_status)).inc()

    def fault(self) -> None:
        """Count one bug."""
        self._faults.inc()

    def append_failed(self) -> None:
        """Count one decision that could not be written down."""
        self._append_failures.inc()

    def watch_failed(self, kind: StoreKind) -> None:
        """Count one failed list or watch."""
        self._watch_errors.labels(kind).inc()

    def reload_failed(self) -> None:
        """Count one pair of certificate files that could not be used."""
        self._reload_failures.inc()

    def expires(self, certificate: str, timestamp_s: float) -> None:
        """Say when a certificate in use expires; serving or ca."""
        self._expiry.labels(certificate).set(timestamp_s)

    def exposition(self) -> bytes:
        """Everything, in the text format 0.0.4."""
        return generate_latest(self.registry)


class _StoreCollector(Collector):
    """Reads the store at every scrape."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "pedigree_store_age_seconds",
            "Time since the view of a kind was last known to be complete.",
            labels=["kind"],
        )
        synced = GaugeMetricFamily(
            "pedigree_store_synced",
            "Whether a kind has been listed (1) or not yet (0).",
            labels=["kind"],
        )
        objects = GaugeMetricFamily(
            "pedigree_store_objects", "Objects held in memory.", labels=["kind"]
        )
        unreadable = GaugeMetricFamily(
            "pedigree_store_unreadable_objects",
            "Objects in the cluster that cannot be read.",
            labels=["kind"],
        )
        view = self._store.view()
        for kind in StoreKind:
            age.add_metric([kind], view.age_s[kind])
            synced.add_metric([kind], float(kind not in view.unsynced))
            objects.add_metric([kind], self._store.objects(kind))
            unreadable.add_metric([kind], self._store.unreadable(kind))
        yield from (age, synced, objects, unreadable)


class _OutboxCollector(Collector):
    """Reads the outbox at every scrape."""

    def __init__(self, delivery: Callable[[], DeliveryStats]) -> None:
        self._delivery = delivery

    def collect(self) -> Iterator[Metric]:
        stats = self._delivery()
        yield GaugeMetricFamily(
            "pedigree_outbox_depth",
            "Ledger entries that wait for delivery.",
            value=stats.depth,
        )
        yield GaugeMetricFamily(
            "pedigree_outbox_oldest_seconds",
            "How long the oldest waiting ledger entry has waited.",
            value=stats.oldest_age_s,
        )
        yield GaugeMetricFamily(
            "pedigree_outbox_parked",
            "Ledger entries that the audit service refuses.",
            value=stats.parked,
        )
        yield CounterMetricFamily(
            "pedigree_outbox_delivered",
            "Ledger entries delivered since the process started.",
            value=stats.delivered_total,
        )
        yield CounterMetricFamily(
            "pedigree_outbox_failures",
            "Deliveries that failed since the process started.",
            value=stats.failures_total,
        )
        yield GaugeMetricFamily(
            "pedigree_outbox_last_success_timestamp_seconds",
            "When an entry was last delivered, in seconds since 1970; 0 if never.",
            value=stats.last_success,
        )
