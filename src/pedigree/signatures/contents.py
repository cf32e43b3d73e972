# SPDX-License-Identifier: Apache-2.0
"""Compares the files that were signed with those that a model has.

Whole files under SHA-256 are compared by the digests of the manifest.  For byte ranges
and for BLAKE2b the files are read once more, where reading them costs no download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pedigree.errors import quote
from pedigree.manifest import Manifest, is_ignored
from pedigree.ranges import ModelSource, RangeSource
from pedigree.signatures.statement import Resource, Statement
from pedigree.signatures.verdict import SignatureReason, Worthless

_CHUNK_BYTES = 8 << 20
_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Signed files against those of a model; see ``SignatureVerdict``."""

    covered: tuple[str, ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    unsigned: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def reason(self) -> SignatureReason:
        """What the signature is worth, its maker being trusted."""
        if self.changed:
            return SignatureReason.FILES_CHANGED
        return SignatureReason.FILES_MISSING if self.missing else SignatureReason.VALID

    @property
    def message(self) -> str:
        """The same for people, to follow ``signature ... of ...``."""
        if self.changed:
            return f"does not fit: {_some(self.changed)} changed since"
        if self.missing:
            return f"does not fit: {_some(self.missing)} is missing"
        told = f"covers {len(self.covered)} files"
        if self.unsigned:
            told += f", but not {_some(self.unsigned)}"
        if self.ignored:
            told += f", and leaves out {_some(self.ignored)}"
        return told


def compare(
    statement: Statement,
    manifest: Manifest,
    signature: str,
    source: ModelSource | None,
) -> Comparison:
    """Compare what was signed with what is there.

    A signed file in a place that is no part of a model (``.git``) is not looked for.

    Args:
        statement: What was signed.
        manifest: What is there.
        signature: Path of the signature, which cannot be signed itself.
        source: For files that must be read again, or None.

    Raises:
        Worthless: The hashes are of a kind that cannot be compared.
        SourceError: The source failed.
    """
    signed: dict[str, list[Resource]] = {}
    for item in statement.resources:
        if not is_ignored(item.path):
            signed.setdefault(item.path, []).append(item)
    present = {file.path: file.size for file in manifest.files}
    found = [path for path in signed if path in present]
    same = _same(statement, signed, found, manifest, source)
    rest = [path for path in present if path not in signed and path != signature]
    return Comparison(
        covered=tuple(path for path in found if path in same),
        changed=tuple(path for path in found if path not in same),
        missing=tuple(path for path in signed if path not in present),
        unsigned=tuple(path for path in rest if not statement.leaves_out(path)),
        ignored=tuple(path for path in rest if statement.leaves_out(path)),
    )


def _same(
    statement: Statement,
    signed: Mapping[str, Sequence[Resource]],
    found: Sequence[str],
    manifest: Manifest,
    source: ModelSource | None,
) -> set[str]:
    """Paths of the signed files that are unchanged."""
    if statement.hash_type not in hashlib.algorithms_guaranteed:
        raise Worthless(
            SignatureReason.UNSUPPORTED,
            f"uses the hash {statement.hash_type}, which is not implemented; sign with "
            "sha256",
        )
    if statement.shard_size is None and statement.hash_type == "sha256":
        digests = {file.path: file.digest.hex for file in manifest.files}
        return {path for path in found if digests[path] == signed[path][0].digest}
    if source is None:
        raise Worthless(
            SignatureReason.NOT_COMPARED,
            "needs the files to be read again, and there is no source for that",
        )
    stated = {entry.path for entry in source.files() if entry.digest is not None}
    if costly := sorted(stated & set(found)):
        raise Worthless(
            SignatureReason.NOT_COMPARED,
            f"needs {quote(costly[0], 120)} to be read whole, whose source states only "
            "its SHA-256; sign whole files with sha256",
        )
    return {
        path for path in found if _unchanged(source.open(path), signed[path], statement)
    }


def _unchanged(
    file: RangeSource, signed: Sequence[Resource], statement: Statement
) -> bool:
    """Whether the signed ranges are all of a file, and every one is the same."""
    ranges = list(_ranges(file.size, statement.shard_size, len(signed)))
    ordered = sorted(signed, key=lambda item: item.begin)
    if statement.shard_size is not None:
        told = [(item.begin, item.end) for item in ordered]
        if told != ranges:
            return False
    return all(
        _hash(file, begin, end, statement.hash_type) == item.digest
        for (begin, end), item in zip(ranges, ordered, strict=True)
    )


def _ranges(size: int, shard_size: int | None, most: int) -> Iterator[tuple[int, int]]:
    """Ranges that a file must be signed by; one more than ``most`` at the most."""
    if shard_size is None:
        yield 0, size
        return
    for index, begin in enumerate(range(0, size, shard_size)):
        if index > most:
            return
        yield begin, min(begin + shard_size, size)


def _hash(file: RangeSource, begin: int, end: int, algorithm: str) -> str:
    state = hashlib.new(algorithm)
    for offset in range(begin, end, _CHUNK_BYTES):
        state.update(file.read(offset, min(_CHUNK_BYTES, end - offset)))
    return state.hexdigest()


def _some(paths: Sequence[str]) -> str:
    told = ", ".join(quote(path, 120) for path in paths[:_TOLD])
    more = len(paths) - _TOLD
    return f"{told} and {more} more" if more > 0 else told
