# SPDX-License-Identifier: Apache-2.0
"""Every metric of the audit service: name, unit, label values.

Labels are closed sets, so the number of series is fixed: no object, user or model name
ever becomes one.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import pedigree
from pedigree.ledger.entry import EntryKind
from pedigree_audit.ledger import Appended, Outcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAILURES = ("DiskFull", "StorageFailed", "ChainBroken", "EntryInvalid", "KeyReused")
"""``reason`` of a failed append; the last two concern one entry, not the batch."""
APPEND_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

# A second series for each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(
        self,
        *,
        size_bytes: Callable[[], int],
        entries: Mapping[str, int],
        expiries: Mapping[str, float],
    ) -> None:
        """Make them, at zero or at what the ledger holds.

        Args:
            size_bytes: Size of the ledger's files.
            entries: Entries in the ledger at start, by kind.
            expiries: Certificate -> end of validity, seconds since 1970; read at
                every scrape.
        """
        self.registry = CollectorRegistry()
        self._add_ledger(entries)
        size = Gauge(
            "pedigree_ledger_size_bytes",
            "Size of the ledger's files.",
            registry=self.registry,
        )
        size.set_function(size_bytes)
        build = Gauge(
            "pedigree_build_info",
            "Always 1; its labels say what runs.",
            ["version", "component", "python"],
            registry=self.registry,
        )
        build.labels(pedigree.__version__, "audit", platform.python_version()).set(1)
        self.registry.register(_Certificates(expiries))

    def _add_ledger(self, entries: Mapping[str, int]) -> None:
        self._entries = Counter(
            "pedigree_ledger_entries_total",
            "Entries in the ledger, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for kind in EntryKind:
            self._entries.labels(str(kind)).inc(entries.get(str(kind), 0))
        self._duplicates = Counter(
            "pedigree_ledger_duplicates_total",
            "Entries that were sent again and are in the ledger once.",
            registry=self.registry,
        )
        self._failures = Counter(
            "pedigree_ledger_append_failures_total",
            "Batches or entries that were not stored, by reason.",
            ["reason"],
            registry=self.registry,
        )
        for reason in FAILURES:
            self._failures.labels(reason)
        self.append_duration = Histogram(
            "pedigree_ledger_append_duration_seconds",
            "Time to make one batch of entries durable.",
            buckets=APPEND_BUCKETS_S,
            registry=self.registry,
        )
        self._last_append = Gauge(
            "pedigree_ledger_last_append_timestamp_seconds",
            "When an entry was last stored; 0 before the first.",
            registry=self.registry,
        )
        self._verify_failures = Counter(
            "pedigree_ledger_verify_failures_total",
            "Verifications that found the ledger broken.",
            registry=self.registry,
        )

    def count(self, results: Iterable[Appended], now: float) -> None:
        """Count what became of a batch; ``now`` is in seconds since 1970."""
        for result in results:
            match result.outcome:
                case Outcome.STORED:
                    self._entries.labels(result.kind).inc()
                    self._last_append.set(now)
                case Outcome.DUPLICATE:
                    self._duplicates.inc()
                case Outcome.CONFLICT | Outcome.REFUSED:
                    self._failures.labels(result.reason).inc()

    def count_failure(self, reason: str) -> None:
        """Count a batch that was not stored."""
        self._failures.labels(reason if reason in FAILURES else "StorageFailed").inc()

    def count_broken(self) -> None:
        """Count a verification that found the ledger broken."""
        self._verify_failures.inc()

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Certificates(Collector):
    def __init__(self, expiries: Mapping[str, float]) -> None:
        self._expiries = expiries

    def collect(self) -> Iterator[Metric]:
        """One sample per certificate that is known."""
        family = GaugeMetricFamily(
            "pedigree_certificate_expiry_timestamp_seconds",
            "End of validity of the serving certificate chain and of its authority.",
            labels=["cert"],
        )
        for name, expiry in self._expiries.items():
            family.add_metric([name], expiry)
        yield family
