# SPDX-License-Identifier: Apache-2.0
"""A compressed archive, fetched once from its first byte to its last and unpacked.

What is compressed as one stream cannot be read by ranges.  It is decompressed into a
file without a name, which ends with the process; its digest is checked, since all of it
is read; and what it unpacks to is bounded before it is written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import weakref
import zlib
from collections.abc import Callable
from typing import NoReturn, Protocol

from pedigree.digests import Digest
from pedigree.errors import ArtifactError, SourceRefused, SourceUnavailable, quote
from pedigree.sources.spans import compare_digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK_BYTES = 8 << 20
"""Asked for at once."""
_PIECE_BYTES = 4 << 20
"""Unpacked at once: bounds the memory however well the bytes are packed."""
_SLICE_BYTES = 64 << 10
_STREAMS_MAX = 100_000
"""Streams behind one another; some writers begin one for each file.  With the bytes
that are handed over at once it bounds what copying the rest of them costs."""
_WINDOW_LOG_MAX = 27
"""A zstd frame may ask for 2**27 bytes of window, as its own tool allows at most
without being told."""

Read = Callable[[int, int], bytes]


class _Stream(Protocol):
    """Unpacks a stream piece by piece; what has no end is wrong."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most so many bytes; packed bytes that were not used are kept."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes without more packed bytes."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What stands behind the end of the stream."""
        ...


class _Gzip:
    """The shape of :class:`_Stream` for gzip."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _zstd() -> _Stream:
    options: dict[int, int] = {
        zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX
    }
    return zstd.ZstdDecompressor(options=options)


_STREAMS: dict[str, Callable[[], _Stream]] = {"gzip": _Gzip, "zstd": _zstd}
COMPRESSIONS = tuple(_STREAMS)
"""What can be unpacked."""


class Spool:
    """The unpacked bytes of one archive, on the disk of this machine.

    Args:
        read: ``read(offset, length)`` of the packed archive.
        size: Bytes of it.
        digest: SHA-256 that it must have.
        compression: Of :data:`COMPRESSIONS`.
        max_bytes: Unpacked bytes at most; None for half of what the disk has free.

    Raises:
        ArtifactError: It is not packed as it says (``MalformedArchive``), or is not
            what was named (``DigestMismatch``).
        SourceRefused: It unpacks to more than is allowed (``LimitExceeded``).
        SourceUnavailable: The disk is full (``NoSpace``).
    """

    def __init__(
        self,
        read: Read,
        size: int,
        *,
        digest: Digest,
        compression: str,
        max_bytes: int | None,
    ) -> None:
        with tempfile.TemporaryFile() as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._max = _half_free() if max_bytes is None else max_bytes
        self._digest = digest
        self._streams = 0
        self.size = 0
        """Unpacked bytes."""
        try:
            self._fill(read, size, compression)
        except OSError as error:
            raise SourceUnavailable(
                f"layer {digest} could not be unpacked: {error.strerror}",
                reason="NoSpace",
                hint="give the folder for temporary files (TMPDIR) more room",
            ) from error

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` unpacked bytes from ``offset``, which must exist."""
        return os.pread(self._file, length, offset)

    def _fill(self, read: Read, size: int, compression: str) -> None:
        state, stream = hashlib.sha256(), self._stream(compression)
        for begin in range(0, size, _CHUNK_BYTES):
            data = read(begin, min(_CHUNK_BYTES, size - begin))
            state.update(data)
            try:
                for at in range(0, len(data), _SLICE_BYTES):
                    piece = data[at : at + _SLICE_BYTES]
                    stream = self._unpack(piece, stream, compression)
            except (zlib.error, zstd.ZstdError, EOFError) as error:
                self._refuse(compression, str(error))
        compare_digest(Digest(state.hexdigest()), self._digest, str(self._digest))
        if not stream.eof:
            self._refuse(compression, "it ends within the stream")

    def _stream(self, compression: str) -> _Stream:
        self._streams += 1
        if self._streams > _STREAMS_MAX:
            self._refuse(compression, f"it is over {_STREAMS_MAX} streams")
        return _STREAMS[compression]()

    def _unpack(self, data: bytes, stream: _Stream, compression: str) -> _Stream:
        """Unpack what a chunk gives; a stream may follow another."""
        while True:
            if stream.eof:
                data = stream.unused_data + data
                if not data:
                    return stream
                stream = self._stream(compression)
            piece = stream.decompress(data, _PIECE_BYTES)
            data = b""
            self.size += len(piece)
            if self.size > self._max:
                raise SourceRefused(
                    f"layer {self._digest} unpacks to over {self._max} bytes, which is "
                    "all that is allowed",
                    reason="LimitExceeded",
                    hint="publish weights as raw layers, one file each, or set "
                    "PEDIGREE_SPOOL_MAX_BYTES",
                )
            _write(self._file, piece)
            if stream.needs_input and not stream.eof and len(piece) < _PIECE_BYTES:
                return stream

    def _refuse(self, compression: str, said: str) -> NoReturn:
        raise ArtifactError(
            f"layer {self._digest} is no {compression} stream: {quote(said, 120)}",
            reason="MalformedArchive",
            path=str(self._digest),
        )


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _half_free() -> int:
    return shutil.disk_usage(tempfile.gettempdir()).free // 2
