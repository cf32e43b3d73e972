# SPDX-License-Identifier: Apache-2.0
"""What the webhook is told at start-up, read once from the environment.

Every setting is a field of :class:`Config`.  Nothing else in this package looks at
the environment, and nothing is read again while the process runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pedigree.errors import ConfigError, quote
from pedigree.policy.verdict import Action

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one webhook process; each names its environment variable.

    Attributes:
        tls_cert_file: ``PEDIGREE_TLS_CERT_FILE``: serving certificate chain, PEM.
            Read again when it changes.
        tls_key_file: ``PEDIGREE_TLS_KEY_FILE``: its private key, PEM.  Read again when
            it changes.
        tls_ca_file: ``PEDIGREE_TLS_CA_FILE``: the authority that signed it, only for
            the expiry metric; None leaves that metric out.
        data_dir: ``PEDIGREE_DATA_DIR``: folder of the outbox; must survive a restart
            of the container.
        kubeconfig: ``PEDIGREE_KUBECONFIG``, else ``KUBECONFIG``; None means the
            Pod's own service account.
        host: ``PEDIGREE_HOST``: address to listen on, default all.
        port: ``PEDIGREE_PORT``: TLS port, default 8443; 0 takes a free one.
        metrics_port: ``PEDIGREE_METRICS_PORT``: plain HTTP port for probes and
            scraping, default 8080; 0 takes a free one.
        port_file: ``PEDIGREE_PORT_FILE``: where to write the ports taken, as JSON
            ``{"https": n, "http": n}``; None writes nothing.
        store_max_age_s: ``PEDIGREE_STORE_MAX_AGE_S``: how old the view of the cluster
            may be before requests are judged as errors, default 120 seconds.
        max_review_bytes: ``PEDIGREE_MAX_REVIEW_BYTES``: longest AdmissionReview,
            default 3145728; the API server's own limit on objects is about 1.5 MiB
            and an update carries two of them.
        no_match: ``PEDIGREE_NO_MATCH``: what happens to an object that no policy
            matches, ``Deny`` (default) or ``Allow``.
        log_level: ``PEDIGREE_LOG_LEVEL``: one of debug, info (default), warning,
            error.
        audit_url: ``PEDIGREE_AUDIT_URL``: the audit service; empty keeps entries in
            the outbox.
        audit_ca_file: ``PEDIGREE_AUDIT_CA_FILE``: authority of the audit service;
            None means the system's.
        token_file: ``PEDIGREE_TOKEN_FILE``: bearer token for the audit service,
            default the Pod's service account token.
        drain_s: ``PEDIGREE_DRAIN_S``: seconds between SIGTERM, when the process
            stops being ready, and the end of listening, default 1.  In a
            cluster the chart's preStop hook waits before SIGTERM as well.
    """

    tls_cert_file: Path
    tls_key_file: Path
    data_dir: Path
    tls_ca_file: Path | None = None
    kubeconfig: Path | None = None
    host: str = "0.0.0.0"  # noqa: S104 - a Pod is reached from outside itself
    port: int = 8443
    metrics_port: int = 8080
    port_file: Path | None = None
    store_max_age_s: float = 120.0
    max_review_bytes: int = 3_145_728
    no_match: Action = Action.DENY
    log_level: str = "info"
    audit_url: str = ""
    audit_ca_file: Path | None = None
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    drain_s: float = 1.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Read the settings.

        Raises:
            ConfigError: One is missing or cannot be understood; the message names
                the variable, what it holds and what it should hold.
        """
        return cls(
            tls_cert_file=_file(env, "PEDIGREE_TLS_CERT_FILE"),
            tls_key_file=_file(env, "PEDIGREE_TLS_KEY_FILE"),
            tls_ca_file=_optional(env, "PEDIGREE_TLS_CA_FILE"),
            data_dir=_file(env, "PEDIGREE_DATA_DIR"),
            kubeconfig=_optional(env, "PEDIGREE_KUBECONFIG")
            or _optional(env, "KUBECONFIG"),
            host=env.get("PEDIGREE_HOST", "").strip() or "0.0.0.0",  # noqa: S104
            port=_port(env, "PEDIGREE_PORT", 8443),
            metrics_port=_port(env, "PEDIGREE_METRICS_PORT", 8080),
            port_file=_optional(env, "PEDIGREE_PORT_FILE"),
            store_max_age_s=_seconds(env, "PEDIGREE_STORE_MAX_AGE_S", 120.0, least=1),
            max_review_bytes=_integer(
                env, "PEDIGREE_MAX_REVIEW_BYTES", 3_145_728, least=1024, most=2**30
            ),
            no_match=_no_match(env),
            log_level=_log_level(env),
            audit_url=env.get("PEDIGREE_AUDIT_URL", "").strip().rstrip("/"),
            audit_ca_file=_optional(env, "PEDIGREE_AUDIT_CA_FILE"),
            token_file=_optional(env, "PEDIGREE_TOKEN_FILE") or SERVICE_ACCOUNT_TOKEN,
            drain_s=_seconds(env, "PEDIGREE_DRAIN_S", 1.0, least=0),
        )


def _file(env: Mapping[str, str], name: str) -> Path:
    path = _optional(env, name)
    if path is None:
        raise ConfigError(f"{name} is not set, wanted a path", hint=f"set {name}")
    return path


def _optional(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "").strip()
    return Path(text) if text else None


def _integer(
    env: Mapping[str, str], name: str, default: int, *, least: int, most: int
) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    wanted = f"wanted a whole number from {least} to {most}"
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise ConfigError(f"{name} is {quote(text)}, {wanted}")
    if not least <= int(text) <= most:
        raise ConfigError(f"{name} is {text}, {wanted}")
    return int(text)


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    return _integer(env, name, default, least=0, most=65535)


def _seconds(
    env: Mapping[str, str], name: str, default: float, *, least: float
) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    wanted = f"wanted seconds from {least:g} to 86400"
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"{name} is {quote(text)}, {wanted}") from None
    if not math.isfinite(value) or not least <= value <= 86400:
        raise ConfigError(f"{name} is {quote(text)}, {wanted}")
    return value


def _no_match(env: Mapping[str, str]) -> Action:
    text = env.get("PEDIGREE_NO_MATCH", "").strip() or str(Action.DENY)
    if text not in (Action.DENY, Action.ALLOW):
        raise ConfigError(
            f"PEDIGREE_NO_MATCH is {quote(text)}, wanted 'Deny' or 'Allow'"
        )
    return Action(text)


def _log_level(env: Mapping[str, str]) -> str:
    text = env.get("PEDIGREE_LOG_LEVEL", "").strip().lower() or "info"
    if text not in LOG_LEVELS:
        raise ConfigError(
            f"PEDIGREE_LOG_LEVEL is {quote(text)}, wanted one of "
            f"{', '.join(LOG_LEVELS)}"
        )
    return text
