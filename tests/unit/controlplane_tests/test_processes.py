# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.errors import ProcessError
from controlplane.processes import Process, is_alive, kill_all, stop_all

SH = str(shutil.which("sh"))
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
PARENT = """
import sys, time
from pathlib import Path
from controlplane.processes import Process
log = Path(sys.argv[2])
script = "echo ready; exec sleep 600"
child = Process("child", [sys.argv[1], "-c", script], log=log).start()
child.wait_until(lambda: log.read_text() == "ready\\n", timeout_s=10, wanted="runs")
print(child.pid, flush=True)
time.sleep(600)
"""


def wait_for(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(0.01)


def shell(tmp_path: Path, script: str, name: str = "script") -> Process:
    return Process(name, [SH, "-c", script], log=tmp_path / f"{name}.log")


def test_output_goes_to_the_log_and_the_exit_code_is_kept(tmp_path: Path) -> None:
    process = shell(tmp_path, "echo out; echo err >&2; exit 3").start()
    assert process.wait(10) == 3
    assert process.exit_code == 3
    assert not process.running
    assert process.log.read_text() == "out\nerr\n"


def test_the_tail_is_the_end_of_the_log(tmp_path: Path) -> None:
    process = shell(tmp_path, "for i in 1 2 3 4 5; do echo line $i; done").start()
    process.wait(10)
    assert process.tail(2).splitlines() == [
        f"the last lines of {process.log}:",
        "line 4",
        "line 5",
    ]


def test_environment_and_folder_are_what_was_asked_for(tmp_path: Path) -> None:
    command = [SH, "-c", 'echo "$WORD in $PWD"']
    Process(
        "p", command, log=tmp_path / "log", env={"WORD": "seen"}, cwd=tmp_path
    ).start().wait(10)
    assert (tmp_path / "log").read_text() == f"seen in {tmp_path}\n"


def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, SH, str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(child))


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    process = shell(tmp_path, "echo ready; exec sleep 600")

    def start() -> None:  # and end only when the child has asked for its signal
        process.start().wait_until(
            lambda: process.log.read_text() == "ready\n", timeout_s=10, wanted="runs"
        )

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.1)  # the kernel's signal would have come long ago
        assert process.running
    finally:
        process.stop()


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "etcd"
    with pytest.raises(ProcessError, match=rf"store cannot be started: '{missing}'"):
        Process("store", [missing], log=tmp_path / "log").start()


def test_a_running_process_is_not_started_twice(tmp_path: Path) -> None:
    with (
        shell(tmp_path, "exec sleep 600") as process,
        pytest.raises(ProcessError, match="runs as process"),
    ):
        process.start()


def test_a_process_can_be_started_again_and_its_log_goes_on(tmp_path: Path) -> None:
    process = shell(tmp_path, "echo once")
    for _ in range(2):
        process.start().wait(10)
    assert process.log.read_text() == "once\nonce\n"


def test_waiting_for_one_that_ended_shows_its_log(tmp_path: Path) -> None:
    process = shell(tmp_path, "echo the disk is full; exit 7").start()
    with pytest.raises(
        ProcessError, match=r"(?s)exit code 7 before it answers.*the disk is full"
    ):
        process.wait_until(lambda: False, timeout_s=10, wanted="answers")


def test_waiting_for_what_never_happens_gives_up(tmp_path: Path) -> None:
    with (
        shell(tmp_path, "exec sleep 600") as process,
        pytest.raises(ProcessError, match=r"after 0\.1 s it is not true that it answe"),
    ):
        process.wait_until(lambda: False, timeout_s=0.1, wanted="answers")


def test_one_that_ignores_sigterm_is_killed_after_the_grace_period(
    tmp_path: Path,
) -> None:
    process = shell(tmp_path, STUBBORN).start()
    process.wait_until(
        lambda: "ready" in process.log.read_text(), timeout_s=10, wanted="is ready"
    )
    process.stop(grace_s=0.1)
    assert process.exit_code == -signal.SIGKILL


def terminate_wait_stop(process: Process) -> None:
    process.terminate()
    process.wait(10)
    process.stop()


@pytest.mark.parametrize(
    "end",
    [
        Process.kill,
        Process.stop,
        terminate_wait_stop,
        lambda process: stop_all([process]),
        lambda process: kill_all([process]),
    ],
    ids=["kill", "stop", "terminate-wait-stop", "stop_all", "kill_all"],
)
def test_what_the_process_has_started_ends_with_it(
    end: Callable[[Process], None], tmp_path: Path
) -> None:
    process = shell(tmp_path, "sleep 60 & echo $!; wait").start()
    process.wait_until(
        lambda: process.log.read_text().endswith("\n"), timeout_s=10, wanted="forks"
    )
    grandchild = int(process.log.read_text())
    assert is_alive(grandchild)
    end(process)
    wait_for(lambda: not is_alive(grandchild))
    assert process.wait(10) < 0


@pytest.mark.parametrize("end", [stop_all, kill_all])
def test_several_are_ended_together(
    end: Callable[[list[Process]], None], tmp_path: Path
) -> None:
    started = [shell(tmp_path, "exec sleep 600", name).start() for name in "abc"]
    end([*started, shell(tmp_path, "exit", "never-started")])
    assert not any(is_alive(process.pid) for process in started)


def test_asking_for_the_id_of_one_that_was_not_started_is_an_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(ProcessError, match="script was not started"):
        shell(tmp_path, "exit").pid  # noqa: B018 - a property that raises
