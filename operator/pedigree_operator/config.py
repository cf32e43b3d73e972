# SPDX-License-Identifier: Apache-2.0
"""Settings of the operator, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pedigree.errors import ConfigError, quote
from pedigree.policy.verdict import Action
from pedigree.serving.environment import (
    ANY_ADDRESS,
    SERVICE_ACCOUNT_TOKEN,
    Environment,
)
from pedigree_operator.volume_settings import VolumeSettings

DATA_DIR = Path("/var/lib/pedigree")
WEEK_S = 604800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of one operator process.

    Attributes:
        kubeconfig: ``PEDIGREE_KUBECONFIG``, else ``KUBECONFIG``; None means that the
            process runs in the cluster and uses its ServiceAccount.
        data_dir: ``PEDIGREE_DATA_DIR``: fingerprints and the outbox; must outlive the
            process (a volume), or models are read again after a restart.
        log_level: ``PEDIGREE_LOG_LEVEL``.
        audit_url: ``PEDIGREE_AUDIT_URL``; empty keeps entries in the outbox.
        audit_ca_file: ``PEDIGREE_AUDIT_CA_FILE``: who signed the audit service's
            certificate; None means the system's trust.
        token_file: ``PEDIGREE_TOKEN_FILE``: bearer token for the audit service.
        no_match: ``PEDIGREE_NO_MATCH``: what becomes of objects that no policy matches.
        host: ``PEDIGREE_HOST``: address that metrics and health are served on.
        metrics_port: ``PEDIGREE_METRICS_PORT``; 0 lets the system choose.
        port_file: ``PEDIGREE_PORT_FILE``: where the chosen port is written, if set.
        file_roots: ``PEDIGREE_FILE_ROOTS``, colon separated: ``file://`` models are
            read from below these folders only.
        private_hosts: ``PEDIGREE_PRIVATE_HOSTS``, comma separated: hosts that may be
            asked for models although they are at a private address or without TLS.
            None by default: who writes references must not reach into the cluster.
        examine_concurrency: ``PEDIGREE_EXAMINE_CONCURRENCY``: examinations at once.
        examine_deadline_s: ``PEDIGREE_EXAMINE_DEADLINE_S``: then one is ended.
        examine_memory_bytes: ``PEDIGREE_EXAMINE_MEMORY_BYTES``: address space of one
            examination (RLIMIT_AS); 0 sets no limit.
        resync_s: ``PEDIGREE_RESYNC_S``: how often everything is listed again.
        trust: ``PEDIGREE_TRUST``: folder of the keys and certificates of those whose
            signatures are believed; None believes nobody.
        volumes: ``PEDIGREE_VOLUME_...``: how volume claims are read, if at all.
    """

    kubeconfig: Path | None = None
    data_dir: Path = DATA_DIR
    log_level: str = "info"
    audit_url: str = ""
    audit_ca_file: Path | None = None
    token_file: Path = SERVICE_ACCOUNT_TOKEN
    no_match: Action = Action.DENY
    host: str = ANY_ADDRESS
    metrics_port: int = 8080
    port_file: Path | None = None
    file_roots: tuple[Path, ...] = (Path("/models"),)
    private_hosts: tuple[str, ...] = ()
    examine_concurrency: int = 2
    examine_deadline_s: float = 900.0
    examine_memory_bytes: int = 0
    resync_s: float = 300.0
    trust: Path | None = None
    volumes: VolumeSettings = field(default_factory=VolumeSettings)

    @classmethod
    def from_env(cls, values: Mapping[str, str]) -> Config:
        """Read the settings; what is unset or empty keeps its default.

        Raises:
            ConfigError: A value cannot be used; the message names the variable.
        """
        env = Environment(values)
        no_match = env.choice(
            "PEDIGREE_NO_MATCH", Action.DENY, (Action.DENY, Action.ALLOW)
        )
        return cls(
            kubeconfig=env.kubeconfig(),
            data_dir=env.path("PEDIGREE_DATA_DIR") or DATA_DIR,
            log_level=env.log_level(),
            audit_url=env.text("PEDIGREE_AUDIT_URL").rstrip("/"),
            audit_ca_file=env.path("PEDIGREE_AUDIT_CA_FILE"),
            token_file=env.path("PEDIGREE_TOKEN_FILE") or SERVICE_ACCOUNT_TOKEN,
            no_match=Action(no_match),
            host=env.text("PEDIGREE_HOST", ANY_ADDRESS),
            metrics_port=env.port("PEDIGREE_METRICS_PORT", 8080),
            port_file=env.path("PEDIGREE_PORT_FILE"),
            file_roots=_roots(env.text("PEDIGREE_FILE_ROOTS", "/models")),
            private_hosts=tuple(
                host.strip()
                for host in env.text("PEDIGREE_PRIVATE_HOSTS").split(",")
                if host.strip()
            ),
            examine_concurrency=env.whole(
                "PEDIGREE_EXAMINE_CONCURRENCY", 2, least=1, most=64
            ),
            examine_deadline_s=env.seconds(
                "PEDIGREE_EXAMINE_DEADLINE_S", 900.0, least=0.1, most=WEEK_S
            ),
            examine_memory_bytes=env.whole(
                "PEDIGREE_EXAMINE_MEMORY_BYTES", 0, least=0, most=2**50
            ),
            resync_s=env.seconds("PEDIGREE_RESYNC_S", 300.0, least=0.1, most=WEEK_S),
            trust=env.path("PEDIGREE_TRUST"),
            volumes=VolumeSettings.from_env(env),
        )

    @property
    def store_dir(self) -> Path:
        """Folder of the stored fingerprints."""
        return self.data_dir / "store"

    @property
    def outbox_path(self) -> Path:
        """File of the durable outbox."""
        return self.data_dir / "outbox.db"


def _roots(text: str) -> tuple[Path, ...]:
    roots = tuple(Path(part) for part in text.split(":") if part)
    for root in roots:
        if not root.is_absolute():
            raise ConfigError(
                f"PEDIGREE_FILE_ROOTS names {quote(str(root))}, wanted absolute "
                "folders separated by colons"
            )
    return roots
