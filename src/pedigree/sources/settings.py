# SPDX-License-Identifier: Apache-2.0
"""What a source needs to know about this process; nothing is read from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pedigree.errors import ConfigError, quote
from pedigree.limits import DEFAULT, Limits

HUB_ENDPOINT = "https://huggingface.co"
PRIVATE_HOSTS = "PEDIGREE_PRIVATE_HOSTS"
"""Variable that tells an examination what its parent allows."""
CACHE = "PEDIGREE_CACHE"
"""Variable that names the folder where received bytes are kept."""
CACHE_MAX_BYTES = "PEDIGREE_CACHE_MAX_BYTES"
MEMORY_BYTES = "PEDIGREE_MEMORY_BYTES"
MEMORY_LEAST_BYTES = 256_000_000
"""Room for all rows that are sampled of the widest models; below, the limit would be
told as a fault of the model."""

_YES = frozenset({"1", "ON", "YES", "TRUE"})
"""What the Hub's client takes for yes."""
SPOOL_MAX_BYTES = "PEDIGREE_SPOOL_MAX_BYTES"

CREDENTIALS = (
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BASE_URL",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_ENDPOINT",
    "OCI_USERNAME",
    "OCI_PASSWORD",
    "HTTPS_BEARER_TOKEN",
)
"""Keys that a Secret with credentials may have, and variables of the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where received bytes are kept, and how many.

    Attributes:
        folder: Made if it is missing, for this user alone.
        max_bytes: Bytes of all logs; the least recently used go first.  Processes that
            fill it at the same time may exceed it by 32 MiB each for a moment.
    """

    folder: Path
    max_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """Settings of all sources.

    Attributes:
        file_roots: Folders that ``file://`` references may be in; None allows every
            folder (the command line on somebody's own machine).
        hub_token: Token sent to the Hub endpoint, and to no other host; None or empty
            sends none.  Not shown in ``repr``.
        hub_endpoint: Base address of the Hub or of a mirror (``HF_ENDPOINT``).
        credentials: Names and values of the variables that the stores' own tools read
            (``AWS_ACCESS_KEY_ID`` ...), each sent to its own store only; see
            :data:`CREDENTIALS`.  Not shown in ``repr``.
        private_hosts: Hosts (``host`` or ``host:port``) that may be asked although they
            are at a private address, or as ``http://host:port`` without TLS; None
            allows every host (the command line on somebody's own machine).
        connections: Requests to one source at once.
        timeout_s: Seconds without an answer after which a request has failed.
        attempts: Tries of one request that fails for now, before giving up.
        patience_s: Seconds to wait, in all, for a source that says it is busy and until
            when; else its answer is told as an error that holds the time.
        offline: Whether the Hub is not asked, and its models come from what is here.
        hub_folder: Where the Hub's own client keeps what it downloads.
        cache: Where received bytes are kept; None keeps none.
        make_cache: Asked for the cache, if there is none, whenever a far source is
            opened; None where there is no place for one.
        spool_max_bytes: What one compressed layer may unpack to in the folder for
            temporary files; None for half of what is free there.
        limits: Bounds.
    """

    file_roots: tuple[Path, ...] | None = None
    hub_token: str | None = field(default=None, repr=False)
    hub_endpoint: str = HUB_ENDPOINT
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    private_hosts: tuple[str, ...] | None = None
    connections: int = 16
    timeout_s: float = 30.0
    attempts: int = 3
    patience_s: float = 0.0
    offline: bool = False
    hub_folder: Path = Path("~/.cache/huggingface/hub")
    cache: CacheSettings | None = None
    make_cache: Callable[[], CacheSettings | None] | None = None
    spool_max_bytes: int | None = None
    limits: Limits = DEFAULT

    @classmethod
    def from_env(
        cls, env: Mapping[str, str], *, file_roots: tuple[Path, ...] | None = None
    ) -> SourceSettings:
        """Settings with the variables that the stores' own tools read.

        They are those of :data:`CREDENTIALS`, ``HF_ENDPOINT``,
        ``PEDIGREE_PRIVATE_HOSTS`` (comma separated; unset allows every host, empty
        none), ``PEDIGREE_CACHE``, ``PEDIGREE_CACHE_MAX_BYTES``,
        ``PEDIGREE_MEMORY_BYTES``, ``PEDIGREE_SPOOL_MAX_BYTES``, and those of the Hub's
        client: ``HF_HUB_OFFLINE``, ``HF_HUB_CACHE`` and ``HF_HOME``.

        Raises:
            ConfigError: The endpoint is no http or https address, or a size no number
                of bytes.
        """
        endpoint = (env.get("HF_ENDPOINT") or HUB_ENDPOINT).rstrip("/")
        if not endpoint.startswith(("https://", "http://")):
            raise ConfigError(
                f"HF_ENDPOINT is {quote(endpoint)}, wanted an http or https address"
            )
        return cls(
            file_roots=file_roots,
            hub_token=env.get("HF_TOKEN") or None,
            hub_endpoint=endpoint,
            private_hosts=_hosts(env.get(PRIVATE_HOSTS)),
            offline=env.get("HF_HUB_OFFLINE", "").upper() in _YES,
            hub_folder=_hub_folder(env),
            limits=_memory(env.get(MEMORY_BYTES)),
            spool_max_bytes=_most(SPOOL_MAX_BYTES, env),
            cache=_cache(env.get(CACHE), env.get(CACHE_MAX_BYTES)),
            credentials={name: env[name] for name in CREDENTIALS if env.get(name)},
        )


def _hosts(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(host.strip() for host in text.split(",") if host.strip())


def memory_limits(most_bytes: int, limits: Limits = DEFAULT) -> Limits:
    """Limits for a process that may hold so many bytes of weights at once.

    Raises:
        ConfigError: Fewer than any model needs.
    """
    if most_bytes < MEMORY_LEAST_BYTES:
        raise ConfigError(
            f"memory is {most_bytes} bytes, wanted at least {MEMORY_LEAST_BYTES}"
        )
    return replace(limits, read_max_bytes=most_bytes)


def _memory(text: str | None) -> Limits:
    return memory_limits(_bytes(MEMORY_BYTES, text)) if text else DEFAULT


def _most(name: str, env: Mapping[str, str]) -> int | None:
    return _bytes(name, env[name]) if env.get(name) else None


def _bytes(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ConfigError(f"{name} is {quote(text)}, wanted a number of bytes")
    return int(text)


def _cache(folder: str | None, most: str | None) -> CacheSettings | None:
    if not folder:
        return None
    settings = CacheSettings(folder=Path(folder))
    if not most:
        return settings
    return replace(settings, max_bytes=_bytes(CACHE_MAX_BYTES, most))


def _hub_folder(env: Mapping[str, str]) -> Path:
    if env.get("HF_HUB_CACHE"):
        return Path(env["HF_HUB_CACHE"])
    cache = env.get("XDG_CACHE_HOME") or f"{env.get('HOME') or '~'}/.cache"
    return Path(env.get("HF_HOME") or f"{cache}/huggingface") / "hub"
