# SPDX-License-Identifier: Apache-2.0
"""``python -m pedigree_audit`` runs the audit service; ``config`` has its settings."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import closing

from pedigree.errors import ConfigError, LedgerError, PedigreeError
from pedigree.serving.logs import start_logs
from pedigree.serving.sockets import listen, port_of, write_ports
from pedigree.serving.tls import ServingCertificate
from pedigree_audit.access import Access, OpenAccess, kubernetes_access
from pedigree_audit.app import create_app, create_probe_app
from pedigree_audit.config import Auth, Config
from pedigree_audit.ledger import Ledger
from pedigree_audit.metrics import Metrics
from pedigree_audit.server import serve

EXIT_CONFIG = 2
EXIT_LEDGER = 3

log = logging.getLogger("pedigree_audit")


def main(env: Mapping[str, str]) -> int:
    """Run until told to stop; 0 then, 2 if started wrongly, 3 if the ledger is bad."""
    start_logs("audit", "info")
    try:
        config = Config.from_env(env)
        start_logs("audit", config.log_level)
        run(config)
    except ConfigError as error:
        return _say(error, EXIT_CONFIG)
    except LedgerError as error:
        return _say(error, EXIT_LEDGER)
    return 0


def run(config: Config) -> None:
    """Wire everything and serve.

    Raises:
        ConfigError: A setting cannot be used.
        LedgerError: The ledger cannot be opened for writing.
    """
    expiries: dict[str, float] = {}
    certificate = ServingCertificate(
        config.tls_cert_file,
        config.tls_key_file,
        config.tls_ca_file,
        on_expiry=expiries.__setitem__,
    )
    access = _access(config)
    stopping = threading.Event()
    with (
        listen(config.host, config.port) as https,
        listen(config.host, config.metrics_port) as http,
        closing(Ledger(config.ledger_path)) as ledger,
    ):
        metrics = Metrics(
            size_bytes=ledger.size_bytes,
            entries=ledger.count_by_kind(),
            expiries=expiries,
        )
        certificate.watch(stopping)
        write_ports(config.port_file, https=port_of(https), http=port_of(http))
        log.info("ledger %s is open, head %s", ledger.path, ledger.head)
        api = create_app(ledger, access, metrics)
        probes = create_probe_app(ledger, metrics)
        try:
            asyncio.run(serve(api, probes, certificate.context, https=https, http=http))
        finally:
            stopping.set()


def _access(config: Config) -> Access:
    if config.auth is Auth.NONE:
        log.warning("access is not checked: whoever reaches the port is let in")
        return OpenAccess()
    return kubernetes_access(config.kubeconfig, config.audiences)


def _say(error: PedigreeError, code: int) -> int:
    log.error("%s", error)
    return code


if __name__ == "__main__":
    sys.exit(main(os.environ))
