# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.cache import cache_folder, locked, place

HOLDER = """
import sys, time
from pathlib import Path
from controlplane.cache import locked
with locked(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"PEDIGREE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"PEDIGREE_CACHE_DIR": "", "XDG_CACHE_HOME": "/b"}, "/b/pedigree"),
        ({}, "~/.cache/pedigree"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    environ: dict[str, str], wanted: str
) -> None:
    assert cache_folder(environ) == Path(wanted).expanduser()


def test_a_file_that_could_not_be_made_is_not_there(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        place(tmp_path / "etcd", fail)
    assert not list(tmp_path.iterdir())


def test_left_overs_of_killed_makers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".partial-etcd-123").write_text("half")
    (tmp_path / ".partial-kubectl-123").write_text("of another file")
    place(tmp_path / "etcd", lambda partial: partial.write_text("whole"))
    assert (tmp_path / "etcd").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".partial-kubectl-123",
        "etcd",
    ]


def test_the_lock_is_waited_for_and_free_after_its_holder_was_killed(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []

        def waiting(who: str) -> None:
            said.append(who)
            holder.send_signal(signal.SIGKILL)

        with locked(tmp_path, waiting):
            assert said[0] == f"waiting for process {holder.pid}"
