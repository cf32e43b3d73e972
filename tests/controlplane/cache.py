# SPDX-License-Identifier: Apache-2.0
"""The folder that built programs are kept in, safe under concurrency and SIGKILL.

A file in it is either whole or absent: it is made under another name and renamed. Only
the holder of the lock makes files; the kernel drops the lock at its holder's death.
"""

import contextlib
import fcntl
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

PARTIAL = ".partial-"  # start of the names of files that are being made
RETRY_S = 0.2  # arbitrary: how often a waiting process asks for the lock

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64"}


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where everything that is cached goes; not made here.

    ``PEDIGREE_CACHE_DIR``, else ``pedigree`` in ``XDG_CACHE_HOME``, else
    ``~/.cache/pedigree``. An empty variable counts as not set.
    """
    if own := environ.get("PEDIGREE_CACHE_DIR"):
        return Path(own).absolute()
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "pedigree"
    return Path("~/.cache/pedigree").expanduser()


def machine() -> str:
    """This machine as Go names it, such as ``linux-amd64``."""
    architecture = platform.machine().lower()
    return f"{sys.platform}-{_ARCHITECTURES.get(architecture, architecture)}"


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the folder's lock; at most one process does at any time.

    Args:
        folder: Made if it is missing.
        waiting: Called again and again, with who holds the lock, until it is ours.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                waiting(f"waiting for {lock.read().strip() or 'another process'}")
                time.sleep(RETRY_S)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
        yield


def place(target: Path, make: Callable[[Path], object]) -> Path:
    """Make a file under a temporary name beside ``target``, then rename it.

    Call it with the lock held. What earlier makers left behind when they were killed is
    removed first.

    Args:
        target: The file's final path.
        make: Writes the file at the path that it is given.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f"{PARTIAL}{target.name}-"
    for left_over in target.parent.glob(f"{prefix}*"):
        left_over.unlink()
    partial = target.parent / f"{prefix}{os.getpid()}"
    try:
        make(partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
