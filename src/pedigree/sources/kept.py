# SPDX-License-Identifier: Apache-2.0
"""A far source whose bytes are kept on disk while and after they are read.

Whose bytes may be given to whom is decided here, by what a log is named after:

* the content: the digest the place states, else what pins it there (commit and path,
  entity tag, version), never a name that may change;
* the place: scheme, endpoint and repository, bucket or host.  A digest alone would let
  a registry of an attacker claim the digest of a known model and have its own bytes
  read as that model's, or read what was kept of a model it cannot read;
* the access: a salted hash of the credentials, so that nothing read with a credential
  is given to whoever does not have the same one.  To see a listing is not to have
  leave: the Hub lists gated models to everybody.

And before a kept byte is given the source was opened, which asks the place for what the
reference means now, with the access's own credentials.  Only without a network
(:mod:`pedigree.sources.offline`) this is left out.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pedigree.digests import canonical_json
from pedigree.errors import ConfigError
from pedigree.ranges import ModelSource, RangeSource, Usage, WrappedSource, usage_of
from pedigree.refs import ModelRef, Scheme
from pedigree.sources.extents import SALT, ExtentFolder, ExtentLog
from pedigree.sources.settings import SourceSettings
from pedigree.sources.spans import FarFile

_SALT_BYTES = 32
_PREFIXES = {
    Scheme.S3: "AWS_",
    Scheme.GCS: "GOOGLE_",
    Scheme.AZURE: "AZURE_",
    Scheme.OCI: "OCI_",
    Scheme.HTTPS: "HTTPS_",
}


class Keeper:
    """Has files of one place keep their bytes, for one access.

    Args:
        ref: A reference to the place.
        settings: With a cache.

    Raises:
        ConfigError: The cache folder cannot be used (``CacheUnusable``).
    """

    def __init__(self, ref: ModelRef, settings: SourceSettings) -> None:
        if settings.cache is None:
            raise ValueError("settings have no cache, wanted one")
        self._folder = ExtentFolder(settings.cache)
        self._place = place_of(ref, settings, self._folder)
        self._logs: dict[bytes, ExtentLog] = {}

    @property
    def bytes_kept(self) -> int:
        """Bytes that the cache gave so far."""
        return sum(log.served for log in self._logs.values())

    def keep(self, file: FarFile) -> None:
        """Have a file take bytes from the cache; not if nothing pins them."""
        if not file.pin:
            return
        key = key_of(self._place, "extents", file.pin, str(file.size))
        if key not in self._logs:
            self._logs[key] = self._folder.log(key, file.size)
        file.keep(self._logs[key])


class CachedSource(WrappedSource):
    """A source that fetches no byte that is kept, and keeps what it fetches.

    Files that nothing pins are read as if there were no cache.

    Args:
        source: The source, whose far files are :class:`FarFile`.
        settings: With a cache.

    Raises:
        ConfigError: The cache folder cannot be used (``CacheUnusable``).
    """

    def __init__(self, source: ModelSource, settings: SourceSettings) -> None:
        super().__init__(source)
        self._keeper = Keeper(source.ref, settings)

    @property
    def usage(self) -> Usage:
        """What it took so far, and what the cache saved."""
        return replace(usage_of(self._source), bytes_kept=self._keeper.bytes_kept)

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one listed file."""
        file = self._source.open(path)
        if isinstance(file, FarFile):
            self._keeper.keep(file)
        return file


def key_of(place: list[str], *parts: str) -> bytes:
    """32 bytes that name something at a place."""
    return hashlib.sha256(canonical_json([*place, *parts])).digest()


def place_of(
    ref: ModelRef, settings: SourceSettings, folder: ExtentFolder
) -> list[str]:
    """Which place and access a reference is read with."""
    endpoint = settings.hub_endpoint if ref.scheme is Scheme.HUB else ""
    access = _access(ref.scheme, settings, folder.path / SALT)
    return [str(ref.scheme), endpoint, ref.location, access]


def _access(scheme: Scheme, settings: SourceSettings, salt: Path) -> str:
    """What tells credentials apart and does not tell them, not even a weak one."""
    if scheme is Scheme.HUB:
        used = {"HF_TOKEN": settings.hub_token} if settings.hub_token else {}
    else:
        prefix = _PREFIXES[scheme]
        given = settings.credentials.items()
        used = {name: value for name, value in given if name.startswith(prefix)}
    if not used:
        return ""
    text = canonical_json([list(each) for each in sorted(used.items())])
    return hashlib.scrypt(text, salt=_salt(salt), n=1 << 14, r=8, p=1, dklen=32).hex()


def _salt(path: Path) -> bytes:
    """Random bytes of the folder, made by whoever comes first."""
    try:
        fresh = path.with_name(f".salt-{secrets.token_hex(8)}")
        if not path.exists():
            fresh.write_bytes(secrets.token_bytes(_SALT_BYTES))
            try:
                with suppress(FileExistsError):
                    os.link(fresh, path)
            finally:
                fresh.unlink()
        salt = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cache folder cannot be used: {os.strerror(error.errno or 0)}",
            reason="CacheUnusable",
            hint="name a folder that this user may write to",
        ) from error
    return salt[:_SALT_BYTES]
