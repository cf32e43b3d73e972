# SPDX-License-Identifier: Apache-2.0
"""Settings of the audit service, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pedigree.errors import ConfigError, quote
from pedigree.serving.environment import ANY_ADDRESS, Environment
from pedigree.serving.sockets import is_loopback


class Auth(StrEnum):
    """Who decides about access."""

    KUBERNETES = "kubernetes"
    """The API server, by TokenReview and SubjectAccessReview."""
    NONE = "none"
    """Nobody: whoever reaches the port is let in.  Only on loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one audit process; each names its environment variable.

    Attributes:
        tls_cert_file: ``PEDIGREE_TLS_CERT_FILE``: serving certificate chain, PEM;
            read again when it changes.
        tls_key_file: ``PEDIGREE_TLS_KEY_FILE``: its private key, PEM; likewise.
        tls_ca_file: ``PEDIGREE_TLS_CA_FILE``: the authority that signed it, only for
            the expiry metric; None leaves that metric out.
        data_dir: ``PEDIGREE_DATA_DIR``: folder of ``ledger.db``; must outlive the
            process (a volume).
        auth: ``PEDIGREE_AUDIT_AUTH``: ``kubernetes`` (default) or ``none``.
        audiences: ``PEDIGREE_AUDIT_AUDIENCES``, comma separated: a token must be for
            one of these; empty means for the API server itself.
        kubeconfig: ``PEDIGREE_KUBECONFIG``, else ``KUBECONFIG``; None means the Pod's
            own ServiceAccount.
        host: ``PEDIGREE_HOST``: address to listen on, default all.
        port: ``PEDIGREE_PORT``: TLS port, default 8444; 0 takes a free one.
        metrics_port: ``PEDIGREE_METRICS_PORT``: plain HTTP port for probes and
            scraping, default 8080; 0 takes a free one.
        port_file: ``PEDIGREE_PORT_FILE``: where to write the ports taken, as JSON
            ``{"https": n, "http": n}``; None writes nothing.
        log_level: ``PEDIGREE_LOG_LEVEL``: debug, info (default), warning or error.
    """

    tls_cert_file: Path
    tls_key_file: Path
    tls_ca_file: Path | None = None
    data_dir: Path
    auth: Auth = Auth.KUBERNETES
    audiences: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    host: str = ANY_ADDRESS
    port: int = 8444
    metrics_port: int = 8080
    port_file: Path | None = None
    log_level: str = "info"

    @property
    def ledger_path(self) -> Path:
        """File of the ledger."""
        return self.data_dir / "ledger.db"

    @classmethod
    def from_env(cls, values: Mapping[str, str]) -> Config:
        """Read the settings; what is unset or empty keeps its default.

        Raises:
            ConfigError: One is missing or cannot be used; the message names it.
        """
        env = Environment(values)
        auth = Auth(
            env.choice(
                "PEDIGREE_AUDIT_AUTH", Auth.KUBERNETES, tuple(Auth), any_case=True
            )
        )
        host = env.text("PEDIGREE_HOST", ANY_ADDRESS)
        if auth is Auth.NONE and not is_loopback(host):
            raise ConfigError(
                f"PEDIGREE_AUDIT_AUTH is 'none' and PEDIGREE_HOST is {quote(host)}: "
                "anyone could read and write the ledger",
                hint="set PEDIGREE_HOST=127.0.0.1 or PEDIGREE_AUDIT_AUTH=kubernetes",
            )
        audiences = env.text("PEDIGREE_AUDIT_AUDIENCES").split(",")
        return cls(
            tls_cert_file=env.needed_path("PEDIGREE_TLS_CERT_FILE"),
            tls_key_file=env.needed_path("PEDIGREE_TLS_KEY_FILE"),
            tls_ca_file=env.path("PEDIGREE_TLS_CA_FILE"),
            data_dir=env.needed_path("PEDIGREE_DATA_DIR"),
            auth=auth,
            audiences=tuple(item.strip() for item in audiences if item.strip()),
            kubeconfig=env.kubeconfig(),
            host=host,
            port=env.port("PEDIGREE_PORT", 8444),
            metrics_port=env.port("PEDIGREE_METRICS_PORT", 8080),
            port_file=env.path("PEDIGREE_PORT_FILE"),
            log_level=env.log_level(),
        )
