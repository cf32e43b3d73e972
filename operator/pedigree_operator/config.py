# SPDX-License-Identifier: Apache-2.0
"""Settings of the operator, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pedigree.errors import ConfigError, quote
from pedigree.policy.verdict import Action

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105
DATA_DIR = "/var/lib/pedigree"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from outside
LOG_LEVELS = ("debug", "info", "warning", "error")


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
        examine_concurrency: ``PEDIGREE_EXAMINE_CONCURRENCY``: examinations at once.
        examine_deadline_s: ``PEDIGREE_EXAMINE_DEADLINE_S``: then one is ended.
        examine_memory_bytes: ``PEDIGREE_EXAMINE_MEMORY_BYTES``: address space of one
            examination (RLIMIT_AS); 0 sets no limit.
        resync_s: ``PEDIGREE_RESYNC_S``: how often everything is listed again.
    """

    kubeconfig: Path | None = None
    data_dir: Path = Path(DATA_DIR)
    log_level: str = "info"
    audit_url: str = ""
    audit_ca_file: Path | None = None
    token_file: Path = Path(SERVICE_ACCOUNT_TOKEN)
    no_match: Action = Action.DENY
    host: str = ANY_ADDRESS
    metrics_port: int = 8080
    port_file: Path | None = None
    file_roots: tuple[Path, ...] = (Path("/models"),)
    examine_concurrency: int = 2
    examine_deadline_s: float = 900.0
    examine_memory_bytes: int = 0
    resync_s: float = 300.0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Config:
        """Read the settings; what is unset or empty keeps its default.

        Raises:
            ConfigError: A value cannot be used; the message names the variable.
        """
        kubeconfig = env.get("PEDIGREE_KUBECONFIG") or env.get("KUBECONFIG")
        return cls(
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
            data_dir=Path(env.get("PEDIGREE_DATA_DIR") or DATA_DIR),
            log_level=_choice(env, "PEDIGREE_LOG_LEVEL", "info", LOG_LEVELS),
            audit_url=env.get("PEDIGREE_AUDIT_URL", "").rstrip("/"),
            audit_ca_file=_path(env, "PEDIGREE_AUDIT_CA_FILE"),
            token_file=Path(env.get("PEDIGREE_TOKEN_FILE") or SERVICE_ACCOUNT_TOKEN),
            no_match=Action(
                _choice(env, "PEDIGREE_NO_MATCH", "Deny", (Action.DENY, Action.ALLOW))
            ),
            host=env.get("PEDIGREE_HOST") or ANY_ADDRESS,
            metrics_port=_whole(env, "PEDIGREE_METRICS_PORT", 8080, 0, 65535),
            port_file=_path(env, "PEDIGREE_PORT_FILE"),
            file_roots=_roots(env),
            examine_concurrency=_whole(env, "PEDIGREE_EXAMINE_CONCURRENCY", 2, 1, 64),
            examine_deadline_s=_seconds(env, "PEDIGREE_EXAMINE_DEADLINE_S", 900.0),
            examine_memory_bytes=_whole(
                env, "PEDIGREE_EXAMINE_MEMORY_BYTES", 0, 0, 2**50
            ),
            resync_s=_seconds(env, "PEDIGREE_RESYNC_S", 300.0),
        )

    @property
    def store_dir(self) -> Path:
        """Folder of the stored fingerprints."""
        return self.data_dir / "store"

    @property
    def outbox_path(self) -> Path:
        """File of the durable outbox."""
        return self.data_dir / "outbox.db"


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name)
    return Path(text) if text else None


def _choice(
    env: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]
) -> str:
    text = env.get(name) or default
    if text not in allowed:
        raise ConfigError(
            f"{name} is {quote(text)}, wanted one of {', '.join(map(str, allowed))}"
        )
    return text


def _whole(
    env: Mapping[str, str], name: str, default: int, least: int, most: int
) -> int:
    text = env.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise ConfigError(
            f"{name} is {quote(text)}, wanted a whole number from {least} to {most}"
        )
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86400 * 7:
        raise ConfigError(f"{name} is {quote(text)}, wanted seconds from 0.1 to 604800")
    return value


def _roots(env: Mapping[str, str]) -> tuple[Path, ...]:
    text = env.get("PEDIGREE_FILE_ROOTS") or "/models"
    roots = tuple(Path(part) for part in text.split(":") if part)
    for root in roots:
        if not root.is_absolute():
            raise ConfigError(
                f"PEDIGREE_FILE_ROOTS names {quote(str(root))}, wanted absolute "
                "folders separated by colons"
            )
    return roots
