# SPDX-License-Identifier: Apache-2.0
"""Finds promtool, which checks and tests Prometheus rules.

It does not build from its Go module, so it comes from Debian's package ``prometheus``:
only unpacked into the cache, nothing is installed.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.cache import cache_folder, locked, machine, place
from controlplane.errors import ProcessError, ProgramError
from controlplane.golang import run_showing
from controlplane.progress import Progress

PACKAGE = "prometheus"
NAME = "promtool"


def ensure_promtool(*, environ: Mapping[str, str] = os.environ) -> Path:
    """Where promtool is: on PATH, in our cache, or unpacked from Debian's package now.

    Raises:
        ProgramError: It is in none of these; the message names the package.
    """
    if installed := shutil.which(NAME, path=environ.get("PATH", os.defpath)):
        return Path(installed).absolute()
    cache = cache_folder(environ)
    target = cache / "programs" / machine() / f"{PACKAGE}-debian" / NAME
    if os.access(target, os.X_OK):
        return target
    progress = Progress()
    with locked(cache, progress.tick):
        if os.access(target, os.X_OK):  # another process was faster
            return target
        progress.say(f"unpacking {NAME} from Debian's package {PACKAGE}")
        with tempfile.TemporaryDirectory(prefix="promtool-") as folder:
            unpacked = _unpack(Path(folder), environ, progress)
            place(target, lambda partial: _copy(unpacked, partial))
        progress.done(f"unpacked {NAME}")
    return target


def _copy(source: Path, target: Path) -> None:
    shutil.copy2(source, target)


def _unpack(folder: Path, environ: Mapping[str, str], progress: Progress) -> Path:
    path = environ.get("PATH", os.defpath)
    tools = {
        n: shutil.which(n, path=path) for n in ("apt-get", "apt-cache", "dpkg-deb")
    }
    if lacking := [name for name, found in tools.items() if found is None]:
        raise _unavailable(f"it would be unpacked with {lacking[0]}, which is not here")
    apt_get, apt_cache, dpkg_deb = (str(found) for found in tools.values())

    def run(name: str, command: Sequence[str]) -> None:
        log = folder / "output"
        log.unlink(missing_ok=True)
        run_showing(name, command, cwd=folder, log=log, progress=progress)

    try:
        if not _has_candidate(apt_cache) and os.geteuid() == 0:
            run("apt-get update", [apt_get, "update", "-qq"])
        run("apt-get download", [apt_get, "download", "-qq", PACKAGE])
        [package] = folder.glob("*.deb")
        run("dpkg-deb", [dpkg_deb, "-x", str(package), str(folder / "root")])
    except ProcessError as error:
        raise _unavailable(str(error)) from None
    return folder / "root" / "usr" / "bin" / NAME


def _has_candidate(apt_cache: str) -> bool:
    result = subprocess.run(
        [apt_cache, "show", PACKAGE], capture_output=True, text=True, check=False
    )
    return result.returncode == 0 and bool(result.stdout.strip())


def _unavailable(why: str) -> ProgramError:
    return ProgramError(
        f"{NAME} is neither on PATH nor in the cache, and could not be had: {why}\n"
        f"install Debian's package {PACKAGE}, or any {NAME} on PATH"
    )
