# SPDX-License-Identifier: Apache-2.0
"""Finds the programs of a real Kubernetes control plane, or builds them.

In this order: the folder in ``KUBEBUILDER_ASSETS`` (etcd, kube-apiserver and kubectl,
as others who test with a real API server have it), our cache, a build from the pinned
Go modules in ``go/``. No container engine and no archive of ready-made binaries.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from controlplane.cache import cache_folder, locked, machine, place
from controlplane.errors import ProgramError
from controlplane.golang import Go, find_go, install_go
from controlplane.pins import KWOK_STAGES, PROGRAMS, Program
from controlplane.progress import Progress

ASSETS = ("etcd", "kube-apiserver", "kubectl")  # what KUBEBUILDER_ASSETS holds
STAGES = "stages"  # folder beside kwok


def ensure(
    names: Iterable[str] = tuple(PROGRAMS), *, environ: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """Where the named programs are; the missing ones are built first (minutes).

    Args:
        names: Of ``PROGRAMS``; all of them unless told.
        environ: Variables that say where to look: ``KUBEBUILDER_ASSETS``,
            ``PEDIGREE_CACHE_DIR``, ``XDG_CACHE_HOME``, ``PATH``; Go sees all of them.

    Returns:
        Name -> absolute path of an executable file, in the order of ``names``.

    Raises:
        ProgramError: A name is unknown, or its program could not be built.
    """
    wanted = list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in PROGRAMS]:
        raise ProgramError(
            f"there is no program named {unknown[0]!r}; "
            f"there are {', '.join(PROGRAMS)} (and promtool, by ensure_promtool)"
        )
    found = {name: locate(PROGRAMS[name], environ) for name in wanted}
    missing = [p for p in PROGRAMS.values() if p.name in found and not found[p.name]]
    if missing:
        _build_all(missing, environ)
    paths = {name: locate(PROGRAMS[name], environ) for name in wanted}
    return {name: path for name, path in paths.items() if path is not None}


def locate(program: Program, environ: Mapping[str, str]) -> Path | None:
    """The program's path if it need not be built; None otherwise."""
    assets = environ.get("KUBEBUILDER_ASSETS")
    if assets and program.name in ASSETS:
        path = Path(assets).absolute() / program.name
        if os.access(path, os.X_OK):
            return path
    path = cached_path(program, environ)
    return path if os.access(path, os.X_OK) else None


def cached_path(program: Program, environ: Mapping[str, str]) -> Path:
    """Where the cache has the program, or will have it."""
    programs = cache_folder(environ) / "programs" / machine()
    return programs / program.module.cache_name / program.name


def stage_files(kwok: Path) -> tuple[Path, ...]:
    """What kwok must be given as ``--config``: the files beside it.

    Raises:
        ProgramError: They are not there.
    """
    files = tuple(kwok.parent / STAGES / Path(stage).name for stage in KWOK_STAGES)
    for file in files:
        if not file.is_file():
            raise ProgramError(
                f"kwok at {kwok} lacks {file}; remove that kwok, "
                "it is built again together with its stage files"
            )
    return files


def _build_all(programs: list[Program], environ: Mapping[str, str]) -> None:
    """Build the programs, each unless another process has built it meanwhile."""
    cache = cache_folder(environ)
    progress = Progress()
    with locked(cache, progress.tick):
        build_cache = cache / "go-build"
        wanted = max(program.module.go_version for program in programs)
        path = find_go(wanted, environ)
        if path is None:
            path = install_go(wanted, cache, environ, progress)
        go = Go(path, build_cache, environ)
        for number, program in enumerate(programs, start=1):
            if locate(program, environ) is None:
                count = f"({number} of {len(programs)})"
                progress.say(f"building {program.name} {program.version} {count}")
                _build(program, go, cached_path(program, environ), progress)
                progress.done(f"built {program.name} {program.version} {count}")
        if all(cached_path(p, environ).exists() for p in PROGRAMS.values()):
            # Gigabytes; needed again only after a pinned version has changed.
            shutil.rmtree(build_cache, ignore_errors=True)


def _build(program: Program, go: Go, target: Path, progress: Progress) -> None:
    if program.name == "kwok":  # before kwok: who finds it finds its stages, too
        module = go.module_folder(program.module, program.source)
        for stage in KWOK_STAGES:
            text = (module / stage).read_bytes()
            place(target.parent / STAGES / Path(stage).name, _writer(text))
    place(target, lambda partial: go.build(program, partial, progress))


def _writer(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)
