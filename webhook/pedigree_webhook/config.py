# SPDX-License-Identifier: Apache-2.0
"""What the webhook is told at start-up, read once from the environment.

Every setting is a field of :class:`Config`.  Nothing else in this package looks at
the environment, and nothing is read again while the process runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pedigree.policy.verdict import Action
from pedigree.serving.environment import (
    ANY_ADDRESS,
    SERVICE_ACCOUNT_TOKEN,
    Environment,
)

DAY_S = 86400.0


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
        trust: ``PEDIGREE_TRUST``: folder of the keys and certificates of those whose
            signatures are believed, the same as the operator's; None believes nobody.
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
    host: str = ANY_ADDRESS
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
    trust: Path | None = None

    @classmethod
    def from_env(cls, values: Mapping[str, str]) -> Config:
        """Read the settings.

        Raises:
            ConfigError: One is missing or cannot be understood; the message names
                the variable, what it holds and what it should hold.
        """
        env = Environment(values)
        no_match = env.choice(
            "PEDIGREE_NO_MATCH", Action.DENY, (Action.DENY, Action.ALLOW)
        )
        return cls(
            tls_cert_file=env.needed_path("PEDIGREE_TLS_CERT_FILE"),
            tls_key_file=env.needed_path("PEDIGREE_TLS_KEY_FILE"),
            tls_ca_file=env.path("PEDIGREE_TLS_CA_FILE"),
            data_dir=env.needed_path("PEDIGREE_DATA_DIR"),
            kubeconfig=env.kubeconfig(),
            host=env.text("PEDIGREE_HOST", ANY_ADDRESS),
            port=env.port("PEDIGREE_PORT", 8443),
            metrics_port=env.port("PEDIGREE_METRICS_PORT", 8080),
            port_file=env.path("PEDIGREE_PORT_FILE"),
            store_max_age_s=env.seconds(
                "PEDIGREE_STORE_MAX_AGE_S", 120.0, least=1, most=DAY_S
            ),
            max_review_bytes=env.whole(
                "PEDIGREE_MAX_REVIEW_BYTES", 3_145_728, least=1024, most=2**30
            ),
            no_match=Action(no_match),
            log_level=env.log_level(),
            audit_url=env.text("PEDIGREE_AUDIT_URL").rstrip("/"),
            audit_ca_file=env.path("PEDIGREE_AUDIT_CA_FILE"),
            token_file=env.path("PEDIGREE_TOKEN_FILE") or SERVICE_ACCOUNT_TOKEN,
            trust=env.path("PEDIGREE_TRUST"),
            drain_s=env.seconds("PEDIGREE_DRAIN_S", 1.0, least=0, most=DAY_S),
        )
