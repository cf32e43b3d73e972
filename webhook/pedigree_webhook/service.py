# SPDX-License-Identifier: Apache-2.0
"""The running process: its parts put together, and its end.

One process with one event loop serves two ports.  Scale by replicas: they share
nothing but the API server they watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from pedigree.errors import ConfigError, quote
from pedigree.evidence import NO_TRUST
from pedigree.ledger.delivery import Deliverer, DeliveryStats
from pedigree.ledger.outbox import Outbox
from pedigree.serving.sockets import listen, port_of, write_ports
from pedigree.serving.tls import ServingCertificate
from pedigree.signatures.trust import read_trust
from pedigree_webhook.app import probes_app, webhook_app
from pedigree_webhook.config import Config
from pedigree_webhook.decide import Settings
from pedigree_webhook.gate import Gate
from pedigree_webhook.metrics import Metrics
from pedigree_webhook.readiness import Readiness
from pedigree_webhook.store import Store
from pedigree_webhook.watch import Watcher, connect

log = logging.getLogger(__name__)

OUTBOX_FILE = "webhook-outbox.db"
KEEP_ALIVE_S = 120
"""Longer than API servers keep idle connections (90 s): if we closed first, a request
sent at that moment would be lost, and lost means refused."""
FINISH_S = 10
"""How long requests may take to finish after listening has ended."""
FLUSH_S = 2.0
"""How long the last delivery may take; what is left stays in the outbox."""


class Service:
    """All parts of one webhook process.

    Args:
        config: Its settings.

    Raises:
        ConfigError: A setting cannot be used (certificate, kubeconfig, port, URL).
        LedgerError: The outbox cannot be opened.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = threading.Event()
        self._outbox = _open_outbox(config.data_dir)
        self._deliverer = _deliverer(config, self._outbox)
        signers = read_trust(config.trust).digest if config.trust else NO_TRUST
        store = Store()
        self.metrics = Metrics(store, self._stats)
        self._certificate = ServingCertificate(
            config.tls_cert_file,
            config.tls_key_file,
            config.tls_ca_file,
            on_expiry=self.metrics.expires,
            on_failure=self.metrics.reload_failed,
        )
        self._watcher = Watcher(
            connect(config.kubeconfig),
            store,
            max_age_s=config.store_max_age_s,
            stopping=self._stopping,
            on_error=self.metrics.watch_failed,
        )
        self._readiness = Readiness(
            store,
            max_age_s=config.store_max_age_s,
            watch_errors=self._watcher.errors,
            alive=self._watcher.alive,
        )
        self._gate = Gate(
            knowledge=store,
            sink=self._outbox,
            metrics=self.metrics,
            settings=Settings(
                max_age_s=config.store_max_age_s,
                no_match=config.no_match,
                trusted_signers=signers,
            ),
            clock=lambda: datetime.now(UTC),
            timer=time.perf_counter,
        )

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ConfigError: A port is taken.
        """
        config = self._config
        with (
            listen(config.host, config.port) as https,
            listen(config.host, config.metrics_port) as http,
        ):
            self._watcher.start()
            self._certificate.watch(self._stopping)
            if self._deliverer is not None:
                self._deliverer.start()
            else:
                log.warning(
                    "PEDIGREE_AUDIT_URL is not set: ledger entries stay in the outbox"
                )
            write_ports(config.port_file, https=port_of(https), http=port_of(http))
            try:
                asyncio.run(self._serve(https, http))
            finally:
                self._close()

    async def _serve(self, https: socket.socket, http: socket.socket) -> None:
        gate, metrics, readiness = self._gate, self.metrics, self._readiness
        main = http_server(
            webhook_app(
                gate,
                metrics,
                readiness,
                max_review_bytes=self._config.max_review_bytes,
            ),
            certificate=self._certificate,
        )
        probes = http_server(probes_app(metrics, readiness))
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        serving = [
            asyncio.create_task(main.serve(sockets=[https])),
            asyncio.create_task(probes.serve(sockets=[http])),
        ]
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait([waiting, *serving], return_when=asyncio.FIRST_COMPLETED)
        log.info("shutting down: not ready from now on")
        readiness.drain()
        await asyncio.sleep(self._config.drain_s)
        main.should_exit = True
        await serving[0]
        probes.should_exit = True
        await serving[1]

    def _close(self) -> None:
        """Deliver what can be delivered quickly; the rest waits on disk."""
        self._stopping.set()
        if self._deliverer is not None:
            if not self._deliverer.flush(FLUSH_S):
                log.warning("some ledger entries stay in the outbox for the next start")
            self._deliverer.stop(FLUSH_S)
        self._outbox.close()
        log.info("ended")

    def _stats(self) -> DeliveryStats:
        if self._deliverer is not None:
            return self._deliverer.stats()
        return DeliveryStats(
            depth=self._outbox.depth(),
            oldest_age_s=self._outbox.oldest_age_s(datetime.now(UTC)),
            delivered_total=0,
            failures_total=0,
            parked=self._outbox.parked_count(),
            last_success=0.0,
            last_error="",
        )


class HttpServer(uvicorn.Server):
    """A server that leaves signals to the process: there are two of it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def http_server(
    app: Callable[..., Any], certificate: ServingCertificate | None = None
) -> HttpServer:
    """A server of one of the two ports, over TLS when given a certificate."""
    return HttpServer(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=FINISH_S,
            ssl_context_factory=None
            if certificate is None
            else lambda _config, _default: certificate.context,
        )
    )


def _open_outbox(folder: Path) -> Outbox:
    if not folder.is_dir():
        raise ConfigError(
            f"PEDIGREE_DATA_DIR is {quote(str(folder))}, which is no folder",
            hint="mount a volume that survives a restart of the container there",
        )
    return Outbox(folder / OUTBOX_FILE)


def _deliverer(config: Config, outbox: Outbox) -> Deliverer | None:
    if not config.audit_url:
        return None
    return Deliverer(outbox, config.audit_url, config.token_file, config.audit_ca_file)
