# SPDX-License-Identifier: Apache-2.0
"""A gate over a store that holds the world, without network or files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pedigree.ledger.delivery import DeliveryStats
from pedigree.ledger.entry import encode
from pedigree_webhook.decide import Settings
from pedigree_webhook.gate import Answer, Gate
from pedigree_webhook.metrics import Metrics
from pedigree_webhook.store import Store, StoreKind
from webhook_world.objects import NOW, evidence, namespace, policy, reference
from webhook_world.reviews import review

Object = dict[str, Any]
ENFORCING = policy()


@dataclass
class Sink:
    """An outbox in memory; refuses when ``broken``."""

    entries: list[Object] = field(default_factory=list)
    broken: Exception | None = None

    def append(self, entry: Mapping[str, Any]) -> bool:
        """Keep a valid entry, once per key."""
        if self.broken is not None:
            raise self.broken
        body: Object = json.loads(encode(entry))
        if any(kept["key"] == body["key"] for kept in self.entries):
            return False
        self.entries.append(body)
        return True

    def stats(self) -> DeliveryStats:
        """As the deliverer would say it."""
        return DeliveryStats(len(self.entries), 0.0, 0, 0, 0, 0.0, "")


@dataclass
class World:
    """A gate, and everything it touches."""

    store: Store
    sink: Sink
    metrics: Metrics
    gate: Gate
    clock: "Clock"

    def ask(self, *args: Any, **kwargs: Any) -> Object:
        """Ask for admission; the ``response`` of the answer."""
        answer = self.call(json.dumps(review(*args, **kwargs)).encode())
        assert answer.http_status == 200, answer.body
        response: Object = json.loads(answer.body)["response"]
        return response

    def call(self, body: bytes, content_type: str = "application/json") -> Answer:
        """Call ``/validate`` with any body."""
        return self.gate.answer(body, content_type)

    def sample(self, name: str, **labels: str) -> float:
        """One metric's value."""
        value = self.metrics.registry.get_sample_value(name, labels)
        assert value is not None, f"{name}{labels} is not exposed"
        return value


@dataclass
class Clock:
    """Time that moves when told."""

    monotonic_s: float = 1000.0
    wall: datetime = NOW

    def monotonic(self) -> float:
        """Seconds."""
        return self.monotonic_s

    def now(self) -> datetime:
        """Wall clock."""
        return self.wall


def world(
    *policies: Object, synced: bool = True, settings: Settings | None = None
) -> World:
    """A gate that knows the world.

    Args:
        policies: Under which; one that enforces unless given.
        synced: Whether the store has read everything.
        settings: Of the gate.
    """
    clock = Clock()
    store = Store(lambda: clock.monotonic())
    sink = Sink()
    metrics = Metrics(store, sink.stats)
    if synced:
        fill(store, *policies or (ENFORCING,))
    gate = Gate(
        knowledge=store,
        sink=sink,
        metrics=metrics,
        settings=settings or Settings(),
        clock=lambda: clock.now(),  # looked up late: tests make it fail
        timer=lambda: clock.monotonic(),
    )
    return World(store, sink, metrics, gate, clock)


def fill(store: Store, *policies: Object) -> None:
    """List the world's objects into a store."""
    by_kind: dict[str, list[Object]] = {"ClusterLineagePolicy": [], "LineagePolicy": []}
    for item in policies:
        by_kind[item["kind"]].append(item)
    store.replace(StoreKind.CLUSTER_POLICY, by_kind["ClusterLineagePolicy"])
    store.replace(StoreKind.POLICY, by_kind["LineagePolicy"])
    store.replace(
        StoreKind.REFERENCE, [reference("llama-a"), reference("gpt2-a", "gpt2")]
    )
    store.replace(
        StoreKind.EVIDENCE,
        [
            evidence("good", "llama-a"),
            evidence("bad", "gpt2-a"),
            evidence("stranger"),
        ],
    )
    store.replace(StoreKind.NAMESPACE, [namespace("team-a"), namespace("team-b")])
