# SPDX-License-Identifier: Apache-2.0
"""A cache for one command: what is received is kept while it runs, and then deleted.

Hashing, headers, samples and whole tensors are reads of their own.  Without a cache a
small far model would be downloaded once for each.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pedigree.sources.settings import CacheSettings

MAX_BYTES = 400_000_000
"""More than a model that is read whole (256 MiB); larger ones are sampled."""
_NAME = re.compile(r"pedigree-([0-9]{1,10})-[0-9a-f]{16}")


def passing_cache() -> CacheSettings | None:
    """A folder for temporary files that ends with this process; made when it is used.

    What processes that were killed left behind is deleted.

    Returns:
        None where there is no place for temporary files.
    """
    from pedigree.sources.settings import CacheSettings

    try:
        above = Path(tempfile.gettempdir())
        _sweep(above)
    except OSError:
        return None
    folder = above / f"pedigree-{os.getpid()}-{token_hex(8)}"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return CacheSettings(folder=folder, max_bytes=MAX_BYTES)


def _sweep(above: Path) -> None:
    with os.scandir(above) as entries:
        left = [entry for entry in entries if _is_left(entry)]
    for entry in left:
        shutil.rmtree(entry.path, ignore_errors=True)


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of a process of this user that is no more."""
    found = _NAME.fullmatch(entry.name)
    if found is None or not entry.is_dir(follow_symlinks=False):
        return False
    try:
        if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            return False
        os.kill(int(found[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False
