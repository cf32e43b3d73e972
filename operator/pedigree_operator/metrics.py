# SPDX-License-Identifier: Apache-2.0
"""Metrics of the operator: base units, closed label sets, no names of objects."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

from pedigree import __version__
from pedigree.policy.verdict import Reason, Result
from pedigree.ranges import Usage
from pedigree.refs import Scheme
from pedigree_operator.kinds import Kind

OUTCOMES = ("recorded", "malformed", "refused", "unavailable", "deadline", "failed")
ERRORS = ("cluster", "ledger", "source", "bug")
FINGERPRINT_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
RECONCILE_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    def __init__(self) -> None:
        # A second series for each counter that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._verdicts = Counter(
            "pedigree_verdicts",
            "Judgements written to the ledger, by result and reason.",
            ("result", "reason"),
            registry=self.registry,
        )
        self._fingerprint_seconds = Histogram(
            "pedigree_fingerprint_duration_seconds",
            "Time to read and fingerprint one model, by kind of source.",
            ("source",),
            buckets=FINGERPRINT_BUCKETS_S,
            registry=self.registry,
        )
        self._fingerprint_bytes = Counter(
            "pedigree_fingerprint_bytes",
            "Bytes had from sources by examinations that gave a fingerprint, without "
            "what a cache gave, by kind of source.",
            ("source",),
            registry=self.registry,
        )
        self._examinations = Counter(
            "pedigree_examinations",
            "Examinations that have ended, by outcome.",
            ("outcome",),
            registry=self.registry,
        )
        self.rescans = Counter(
            "pedigree_rescans",
            "Comparisons of a stored fingerprint with all references.",
            registry=self.registry,
        )
        self._reconcile_seconds = Histogram(
            "pedigree_reconcile_duration_seconds",
            "Time to reconcile one object, by its kind.",
            ("kind",),
            buckets=RECONCILE_BUCKETS_S,
            registry=self.registry,
        )
        self._reconcile_errors = Counter(
            "pedigree_reconcile_errors",
            "Reconciles that failed and are tried again, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self._count_sources()
        self._start_at_zero()
        build = Gauge(
            "pedigree_build_info",
            "Always 1; the labels say what runs.",
            ("version", "component", "python"),
            registry=self.registry,
        )
        build.labels(__version__, "operator", platform.python_version()).set(1)

    def _count_sources(self) -> None:
        self._source_requests = Counter(
            "pedigree_source_requests",
            "Requests to sources of examined models, by kind of source and outcome.",
            ("source", "outcome"),
            registry=self.registry,
        )
        self._source_bytes = Counter(
            "pedigree_source_bytes",
            "Bytes of examined models, by kind of source and where they came from.",
            ("source", "origin"),
            registry=self.registry,
        )

    def _start_at_zero(self) -> None:
        """So that rates see the first event of each kind."""
        for source in Scheme:
            self._fingerprint_seconds.labels(str(source))
            self._fingerprint_bytes.labels(str(source))
            self.read_from(source, Usage())
        for outcome in OUTCOMES:
            self._examinations.labels(outcome)
        for reason in ERRORS:
            self._reconcile_errors.labels(reason)

    def verdict(self, result: str, reason: str) -> None:
        """Count one judgement."""
        self._verdicts.labels(str(Result(result)), str(Reason(reason))).inc()

    def examined(self, outcome: str) -> None:
        """Count one ended examination."""
        known = outcome if outcome in OUTCOMES else "failed"
        self._examinations.labels(known).inc()

    def fingerprinted(self, source: Scheme, seconds: float, bytes_read: int) -> None:
        """Count the cost of one fingerprint."""
        self._fingerprint_seconds.labels(str(source)).observe(seconds)
        self._fingerprint_bytes.labels(str(source)).inc(bytes_read)

    def read_from(self, source: Scheme, usage: Usage) -> None:
        """Count what reading one model took."""
        limited, failed = usage.requests_limited, usage.requests_failed
        counts = {
            "answered": max(0, usage.requests - limited - failed),
            "limited": limited,
            "failed": failed,
        }
        for outcome, count in counts.items():
            self._source_requests.labels(str(source), outcome).inc(count)
        for origin, size in (("source", usage.bytes_read), ("cache", usage.bytes_kept)):
            self._source_bytes.labels(str(source), origin).inc(size)

    def reconciled(self, kind: Kind, seconds: float) -> None:
        """Count one reconcile."""
        self._reconcile_seconds.labels(str(kind)).observe(seconds)

    def failed(self, reason: str) -> None:
        """Count one failed reconcile."""
        known = reason if reason in ERRORS else "bug"
        self._reconcile_errors.labels(known).inc()

    def collect_from(self, read: Callable[[], Readings]) -> None:
        """Have values that are only known when asked for taken at each scrape."""
        self.registry.register(_Collector(read))

    def text(self) -> bytes:
        """Everything, in the Prometheus text format."""
        return generate_latest(self.registry)


class Readings:
    """Values taken at a scrape.

    Attributes:
        gauges: Name to (help, value).
        counters: Name without ``_total`` to (help, value).
        deployments: Number of ModelDeployments by result of their verdict.
    """

    def __init__(self) -> None:
        self.gauges: dict[str, tuple[str, float]] = {}
        self.counters: dict[str, tuple[str, float]] = {}
        self.deployments: Mapping[str, int] = {}


class _Collector:
    """Asks for readings at each scrape."""

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is collected is not known before the first scrape."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One family per reading."""
        readings = self._read()
        for name, (text, value) in readings.gauges.items():
            yield GaugeMetricFamily(name, text, value=value)
        for name, (text, value) in readings.counters.items():
            yield CounterMetricFamily(name, text, value=value)
        family = GaugeMetricFamily(
            "pedigree_model_deployments",
            "ModelDeployments by the result of their last verdict.",
            labels=("result",),
        )
        for result in Result:
            family.add_metric([str(result)], readings.deployments.get(str(result), 0))
        yield family
