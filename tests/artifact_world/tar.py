# SPDX-License-Identifier: Apache-2.0
"""Tar archives of files in memory."""

import io
import tarfile


def tar_of(*files: tuple[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of files, by name and content, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
