# SPDX-License-Identifier: Apache-2.0
"""``python -m pedigree_operator``: assembles the parts and runs them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import kopf

from pedigree import __version__
from pedigree.errors import PedigreeError
from pedigree.ledger.delivery import Deliverer
from pedigree.ledger.outbox import Outbox
from pedigree.registry.store import FingerprintStore
from pedigree.serving.logs import start_logs
from pedigree.signatures.keyless import check_roots
from pedigree.signatures.trust import NOBODY, read_trust
from pedigree.sources import SourceSettings
from pedigree.sources.settings import HUB_ENDPOINT
from pedigree_operator.cluster import Cluster
from pedigree_operator.config import Config
from pedigree_operator.controller import WORKERS, Controller
from pedigree_operator.effects import Effects
from pedigree_operator.handlers import build_registry, build_settings
from pedigree_operator.health import HealthServer
from pedigree_operator.jobs import ExamineCommand
from pedigree_operator.lineages import Lineages
from pedigree_operator.lookups import Lookups
from pedigree_operator.metrics import Metrics, Readings
from pedigree_operator.recorder import Recorder
from pedigree_operator.rescan import Rescanner
from pedigree_operator.sourcing import Sourcing
from pedigree_operator.volumes import Volumes

EXIT_USAGE = 2
EXIT_BUG = 70
RECURSION_MAX = 40_000
"""API servers take objects nested 10,000 deep, in a Pod template for instance, and none
of them may end this process.  Reading JSON takes one call per level, what walks through
an object up to four; ten thousand of the former fit into 2 MB of stack."""

log = logging.getLogger("pedigree_operator")


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Operator:
    """All parts of one operator process."""

    def __init__(self, config: Config, environment: Mapping[str, str]) -> None:
        self._config = config
        store = FingerprintStore(config.store_dir)
        config.store_dir.mkdir(parents=True, exist_ok=True)
        self._cluster = Cluster(config.kubeconfig)
        self._metrics = Metrics()
        self._outbox = Outbox(config.outbox_path)
        self._deliverer = self._delivery()
        trust = read_trust(config.trust) if config.trust else NOBODY
        check_roots(trust.roots)
        controller = Controller(
            self._cluster, self._metrics, now, config.no_match, trust.digest
        )
        self._controller = controller
        recorder = Recorder(self._cluster, controller.cache)
        self._rescanner = Rescanner(store)
        lineages = Lineages(
            index=controller.index,
            store=store,
            rescanner=self._rescanner,
            recorder=recorder,
            metrics=self._metrics,
            now=now,
            wake=controller.queue.add,
        )
        self._sourcing = self._sources(environment, recorder, lineages)
        self._lookups = Lookups(
            resolve=self._sourcing.resolve,
            examine=self._sourcing.examine,
            now=now,
            wake=controller.queue.add,
            concurrency=config.examine_concurrency,
        )
        lineages.assemble(self._lookups)
        effects = Effects(
            self._cluster,
            controller.cache,
            self._outbox,
            self._metrics,
            now,
            controller.queue.add,
        )
        controller.assemble(effects, self._lookups, lineages)
        self._metrics.collect_from(self._readings)

    def _sources(
        self, environment: Mapping[str, str], recorder: Recorder, lineages: Lineages
    ) -> Sourcing:
        config, controller = self._config, self._controller
        asked = SourceSettings.from_env(environment)
        return Sourcing(
            command=ExamineCommand(
                store=config.store_dir,
                file_roots=config.file_roots,
                deadline_s=config.examine_deadline_s,
                memory_bytes=config.examine_memory_bytes,
                private_hosts=config.private_hosts,
                environment=environment,
            ),
            settings=SourceSettings(
                file_roots=config.file_roots,
                private_hosts=config.private_hosts,
                hub_token=environment.get("HF_TOKEN"),
                hub_endpoint=environment.get("HF_ENDPOINT") or HUB_ENDPOINT,
                offline=asked.offline,
                hub_folder=asked.hub_folder,
                cache=asked.cache,
            ),
            cluster=self._cluster,
            index=controller.index,
            recorder=recorder,
            lineages=lineages,
            metrics=self._metrics,
            now=now,
            volumes=Volumes(
                cluster=self._cluster,
                settings=config.volumes,
                store=FingerprintStore(config.store_dir),
                now=now,
            ),
        )

    def _delivery(self) -> Deliverer | None:
        config = self._config
        if not config.audit_url:
            log.warning("PEDIGREE_AUDIT_URL is empty: entries stay in the outbox")
            return None
        token = config.token_file if config.token_file.exists() else None
        return Deliverer(self._outbox, config.audit_url, token, config.audit_ca_file)

    def _readings(self) -> Readings:
        readings = Readings()
        self._controller.read_into(readings)
        readings.gauges |= {
            "pedigree_outbox_depth": (
                "Ledger entries that wait for the audit service.",
                self._outbox.depth(),
            ),
            "pedigree_outbox_oldest_seconds": (
                "How long the oldest of them has waited.",
                self._outbox.oldest_age_s(now()),
            ),
            "pedigree_outbox_parked": (
                "Ledger entries that the audit service refuses; a person must look.",
                self._outbox.parked_count(),
            ),
        }
        stats = self._deliverer.stats() if self._deliverer is not None else None
        readings.counters |= {
            "pedigree_outbox_delivered": (
                "Ledger entries that the audit service has taken.",
                stats.delivered_total if stats is not None else 0,
            ),
            "pedigree_outbox_failures": (
                "Requests to the audit service that failed.",
                stats.failures_total if stats is not None else 0,
            ),
        }
        return readings

    async def run(self) -> None:
        """Run until told to end by SIGTERM or SIGINT."""
        config, controller = self._config, self._controller
        health = HealthServer(
            metrics=self._metrics.text,
            unready=lambda: controller.unready(config.resync_s),
        )
        port = await health.start(config.host, config.metrics_port, config.port_file)
        log.info("pedigree operator %s serves metrics on port %d", __version__, port)
        if self._deliverer is not None:
            self._deliverer.start()
        tasks: list[asyncio.Task[None]] = []
        try:
            # kopf looks for its kinds once, when it starts; so they must be there.
            await controller.sync()
            tasks += [asyncio.create_task(controller.work()) for _ in range(WORKERS)]
            tasks.append(asyncio.create_task(controller.resync(config.resync_s)))
            log.info("synced, %d workers started", WORKERS)
            await self._watch()
        finally:
            await self._stop(tasks, health)

    async def _watch(self) -> None:
        await kopf.operator(
            registry=build_registry(self._controller),
            settings=build_settings(),
            clusterwide=True,
            standalone=True,
        )

    async def _stop(
        self, tasks: list[asyncio.Task[None]], health: HealthServer
    ) -> None:
        log.info("ending")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lookups.stop()
        await health.stop()
        self._controller.queue.close()
        self._rescanner.stop()
        self._cluster.close()
        if self._deliverer is not None:
            await asyncio.to_thread(self._deliverer.stop)
        self._outbox.close()


def main(environment: Mapping[str, str]) -> int:
    """Run the operator and return the exit code.

    Args:
        environment: Where settings are read from.
    """
    start_logs("operator", "info")
    sys.setrecursionlimit(RECURSION_MAX)
    try:
        config = Config.from_env(environment)
        start_logs("operator", config.log_level)
        operator = Operator(config, environment)
    except (PedigreeError, OSError) as error:
        log.error("cannot start: %s", error)
        return EXIT_USAGE
    try:
        with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(operator.run())
    except Exception:
        log.exception("ended unexpectedly")
        return EXIT_BUG
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
