# SPDX-License-Identifier: Apache-2.0
"""Whole files or none: how fingerprints and catalogues get onto a disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pedigree.errors import SourceRefused, SourceUnavailable


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Survives a crash of the machine at any point: the content is on the disk before
    the name points at it.

    Raises:
        SourceUnavailable: The disk is full or failing (reason ``WriteFailed``).
        SourceRefused: This process may not write there (reason ``Forbidden``).
    """

    def fill(part: IO[bytes]) -> Path:
        part.write(data)
        return path

    place_whole(path.parent, fill, prefix=f".{path.name}.", what=path)


def place_whole(
    folder: Path, fill: Callable[[IO[bytes]], Path], *, prefix: str, what: Path
) -> None:
    """Fill a new file and put it in its place; see :func:`write_whole`.

    Args:
        folder: Where the file will be; made if it is not there.
        fill: Writes the content and returns the path that the file gets.
        prefix: Of the file's name until then.
        what: Named in errors.

    Raises:
        SourceUnavailable: As :func:`write_whole`.
        SourceRefused: As :func:`write_whole`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=folder, prefix=prefix, delete=False
        ) as part:
            try:
                path = fill(part.file)
                part.flush()
                os.fsync(part.fileno())
                Path(part.name).chmod(0o644)
                Path(part.name).replace(path)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
        sync_folder(folder)
    except PermissionError as error:
        raise SourceRefused(
            f"{what} cannot be written: {error.strerror}", reason="Forbidden"
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{what} cannot be written: {error.strerror or error}",
            reason="WriteFailed",
        ) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_bounded(path: Path, max_bytes: int) -> bytes | None:
    """A whole file of at most ``max_bytes``, one byte more if longer; None if absent.

    Raises:
        SourceRefused: This process may not read it (reason ``Forbidden``).
        SourceUnavailable: The disk is failing (reason ``ReadFailed``).
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise SourceRefused(
            f"{path} cannot be read: {error.strerror}", reason="Forbidden"
        ) from error
    except OSError as error:
        raise SourceUnavailable(
            f"{path} cannot be read: {error.strerror or error}", reason="ReadFailed"
        ) from error
