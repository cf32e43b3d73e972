# SPDX-License-Identifier: Apache-2.0
"""``python -m pedigree_audit`` runs the audit service; ``config`` has its settings."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping

from pedigree.errors import ConfigError, LedgerError, PedigreeError
from pedigree_audit import logs
from pedigree_audit.access import Access, OpenAccess, kubernetes_access
from pedigree_audit.app import create_app, create_probe_app
from pedigree_audit.config import Auth, Config
from pedigree_audit.ledger import Ledger
from pedigree_audit.metrics import Metrics
from pedigree_audit.server import listen, serve, write_ports
from pedigree_audit.tls import ServingCertificate

EXIT_CONFIG = 2
EXIT_LEDGER = 3

log = logging.getLogger("pedigree_audit")


def main(env: Mapping[str, str]) -> int:
    """Run until told to stop; 0 then, 2 if started wrongly, 3 if the ledger is bad."""
    logs.start("info")
    try:
        config = Config.from_env(env)
        logs.start(config.log_level)
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
    certificate = ServingCertificate(
        config.tls_cert_file, config.tls_key_file, config.tls_ca_file
    )
    access = _access(config)
    https = listen(config.host, config.port)
    http = listen(config.host, config.metrics_port)
    ledger = Ledger(config.ledger_path)
    try:
        metrics = Metrics(
            size_bytes=ledger.size_bytes,
            entries=ledger.count_by_kind(),
            expiries=certificate.expiries,
        )
        certificate.watch()
        if config.port_file is not None:
            write_ports(config.port_file, https, http)
        log.info("ledger %s is open, head %s", ledger.path, ledger.head)
        api = create_app(ledger, access, metrics)
        probes = create_probe_app(ledger, metrics)
        asyncio.run(serve(api, probes, certificate.context, https=https, http=http))
    finally:
        certificate.close()
        ledger.close()


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
