# SPDX-License-Identifier: Apache-2.0
"""Where the fingerprints themselves are: files of their own, or many in a pack.

A reference that is added alone gets a file; many that come together (an import, a
merge) get packs, so that a hundred thousand references are not as many files.  Neither
is ever written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pedigree.digests import Digest, sha256
from pedigree.errors import ArtifactError, SourceRefused, quote
from pedigree.fingerprint.codec import STORED_MAX_BYTES
from pedigree.registry.arrayfile import ArrayFile, Chunks, array_path, write_arrays
from pedigree.registry.files import read_bounded, write_whole
from pedigree.registry.index import NOWHERE, Place

REASON = "MalformedPack"
PACK_FROM = 64
"""Fingerprints that come together and are packed."""
PACK_BYTES = 256_000_000
"""A pack is closed when it is this large (arbitrary: a unit that is easily copied)."""
_ALIGN = 8
"""So that the arrays of a fingerprint inside a pack are aligned."""


class Bodies:
    """The fingerprints of a registry."""

    def __init__(self, root: Path) -> None:
        self.loose, self.packs = root / "fingerprints", root / "packs"
        self._open: dict[bytes, ArrayFile] = {}

    def read(self, name: str, place: Place) -> bytes:
        """The stored fingerprint of one reference, its digest checked.

        Args:
            name: Of the reference, for messages.
            place: Where it is.

        Raises:
            SourceRefused: It is not there (reason ``NotFound``).
            ArtifactError: It is not the one that was added (``DigestMismatch``), or
                its pack is damaged (``MalformedPack``).
        """
        data = (
            self._packed(place) if place.pack != NOWHERE else self._alone(name, place)
        )
        wanted = Digest(place.digest.hex())
        if sha256(data) != wanted:
            raise ArtifactError(
                f"fingerprint of reference {quote(name)} has the digest "
                f"{sha256(data)}, wanted {wanted}",
                reason="DigestMismatch",
                hint="restore the file, or add the reference again with --replace",
                path=str(self.path(place)),
            )
        return data

    def path(self, place: Place) -> Path:
        """The file that a fingerprint is in."""
        if place.pack == NOWHERE:
            return array_path(self.loose, Digest(place.digest.hex()))
        return array_path(self.packs, Digest(place.pack.hex()))

    def _alone(self, name: str, place: Place) -> bytes:
        path = self.path(place)
        data = read_bounded(path, STORED_MAX_BYTES)
        if data is None:
            raise SourceRefused(
                f"fingerprint of reference {quote(name)} is not at {quote(str(path))}",
                reason="NotFound",
                hint="restore the file, or add the reference again",
            )
        return data

    def _packed(self, place: Place) -> bytes:
        if place.pack not in self._open:
            self._open[place.pack] = ArrayFile(self.path(place), reason=REASON)
        file = self._open[place.pack]
        array = file.array("fingerprints", "U8", None)
        if not 0 <= place.begin <= place.end <= len(array):
            raise file.damaged(f"it has no bytes {place.begin} to {place.end}")
        if place.end - place.begin > STORED_MAX_BYTES:
            raise file.damaged(f"a fingerprint has {place.end - place.begin} bytes")
        return array[place.begin : place.end].tobytes()

    def write(self, bodies: Sequence[bytes]) -> list[Place]:
        """Store fingerprints, on the disk when this returns.

        Returns:
            Where each of them is.
        """
        if len(bodies) >= PACK_FROM:
            return [place for pack in _packs(bodies) for place in self._pack(pack)]
        places = [Place(sha256(body).raw) for body in bodies]
        for place, body in zip(places, bodies, strict=True):
            write_whole(self.path(place), body)
        return places

    def _pack(self, bodies: Sequence[bytes]) -> list[Place]:
        digests = [sha256(body).raw for body in bodies]
        once = dict(zip(digests, bodies, strict=True))  # equal ones are stored once
        padded = [body + bytes(-len(body) % _ALIGN) for body in once.values()]
        size = sum(len(body) for body in padded)
        pack = write_arrays(
            self.packs, {"fingerprints": Chunks(size, padded)}, {"count": len(once)}
        )
        spans, begin = {}, 0
        for (digest, body), whole in zip(once.items(), padded, strict=True):
            spans[digest] = (begin, begin + len(body))
            begin += len(whole)
        return [Place(digest, pack.raw, *spans[digest]) for digest in digests]


def _packs(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    begin = size = 0
    for number, body in enumerate(bodies):
        size += len(body)
        if size >= PACK_BYTES or number == len(bodies) - 1:
            yield bodies[begin : number + 1]
            begin, size = number + 1, 0
