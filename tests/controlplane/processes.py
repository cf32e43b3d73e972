# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive their parent, with their output in a file.

A test run that is killed with SIGKILL cannot tidy up, so the kernel has to: every child
asks, by ``prctl(PR_SET_PDEATHSIG)``, for a SIGKILL of its own at its parent's death.
Two properties of that call shape this module:

* It is asked for in the child, between fork and exec. Running Python code there, in a
  parent that has threads, can deadlock; so the child execs the small program in
  ``LAUNCHER``, which asks and then execs the real one (the request survives exec).
* "Parent" means the *thread* that forked, not the process: a child that was started in
  a short-lived thread would be killed at that thread's end. So one thread, which lives
  as long as the interpreter, does all the forking.

Only direct children are covered: a program that starts others must see to them itself.
Where there is no ``prctl`` (not Linux) children end with ``stop`` only.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane.errors import ProcessError

LAUNCHER = """
import os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2]
if sys.platform == "linux":
    import ctypes
    PR_SET_PDEATHSIG = 1
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl failed: {os.strerror(ctypes.get_errno())}")
if os.getppid() != parent:
    sys.exit("the parent ended before its child was started")
try:
    os.execv(program, sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot run {program}: {error}")
"""
POLL_INTERVAL_S = 0.03  # arbitrary: short against a start, long against a check

_Job = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]


class _Forker:
    """The one long-lived thread that forks; made at first use, again after a fork."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(
        self, job: Callable[[], "subprocess.Popen[bytes]"]
    ) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="process-forker", daemon=True
                )
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((job, future))
        return future.result()

    def _work(self) -> None:
        while True:
            job, future = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # raised again by run()
                future.set_exception(error)


_forker = _Forker()


def _renew_forker() -> None:
    global _forker  # threads do not survive a fork
    _forker = _Forker()


os.register_at_fork(after_in_child=_renew_forker)


class Process:
    """One program, its log file, and the means to end it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Describe a process; nothing runs before ``start``.

        Args:
            name: What messages call it.
            command: Program (a path, no search on PATH) and arguments.
            log: Gets standard output and standard error, appended.
            env: The whole environment; None means this process's.
            cwd: Working folder; None means this process's.
        """
        self.name = name
        self.command = tuple(str(part) for part in command)
        self.log = log
        self._env = env
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._terminated = False  # and not yet seen to the end by stop()

    def start(self) -> Self:
        """Start it, or start it again after it has ended; the log is appended to.

        Raises:
            ProcessError: It runs already, or there is no such program.
        """
        if self.running:
            raise ProcessError(
                f"{self.name} is not started again: it runs as process {self.pid}; "
                "stop it first"
            )
        program = self.command[0]
        if not os.access(program, os.X_OK) or Path(program).is_dir():
            raise ProcessError(
                f"{self.name} cannot be started: {program!r} is not a program file; "
                "give the path of one that this user may execute"
            )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._popen = _forker.run(self._fork)
        self._terminated = False
        return self

    def _fork(self) -> "subprocess.Popen[bytes]":
        launch = [sys.executable, "-ISc", LAUNCHER, str(os.getpid())]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launch, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self._env is None else dict(self._env),
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C goes to the parent, which then stops
            )

    @property
    def pid(self) -> int:
        """The process id, also after its end."""
        return self._started.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._started.poll()

    @property
    def _started(self) -> "subprocess.Popen[bytes]":
        if self._popen is None:
            raise ProcessError(f"{self.name} was not started; call start() first")
        return self._popen

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return the exit code.

        Raises:
            ProcessError: It still runs after ``timeout_s``.
        """
        try:
            return self._started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} still runs after {timeout_s:g} s, it should have ended;\n"
                f"{self.tail()}"
            ) from None

    def wait_until(
        self, ready: Callable[[], bool], *, timeout_s: float, wanted: str
    ) -> None:
        """Wait until ``ready()`` is true while the process runs.

        Args:
            ready: Asked about every 30 ms; must return quickly.
            timeout_s: When to give up.
            wanted: What is waited for, for the message ("answers on port 8443").

        Raises:
            ProcessError: It ended, or was not ready in time; with the log's tail.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ProcessError(
                    f"{self.name} ended with exit code {self.exit_code} before it "
                    f"{wanted}; {self.tail()}"
                )
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name} runs but after {timeout_s:g} s it is not true that "
                    f"it {wanted}; {self.tail()}"
                )
            time.sleep(POLL_INTERVAL_S)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM); does not wait."""
        if self.running:
            self._terminated = True
            self._started.terminate()

    def kill(self) -> None:
        """End it at once, and what it started in its process group (SIGKILL)."""
        if self.running:
            self._kill_group()

    def stop(self, grace_s: float = 5.0) -> None:
        """Terminate; kill what is left of it after ``grace_s``; wait for the end.

        What it started in its process group ends with it. Does nothing if it has ended.
        """
        if not (self.running or self._terminated):
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started.wait(grace_s)
        self._kill_group()
        self._started.wait()
        self._terminated = False

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # nobody is left in it
            os.killpg(self.pid, signal.SIGKILL)

    def tail(self, lines: int = 30) -> str:
        """The log's last lines, under a heading that names the file."""
        if not self.log.exists():
            return f"it wrote no log ({self.log})"
        text = self.log.read_text("utf-8", errors="replace")
        last = text.splitlines()[-lines:]
        return "\n".join([f"the last lines of {self.log}:", *last])

    def __enter__(self) -> Self:
        """Start it if it does not run."""
        return self if self.running else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()


def is_alive(pid: int) -> bool:
    """Whether any process has this id and has not ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    state = stat.rpartition(")")[2].split()[0]  # the name before it may hold anything
    return state not in {"Z", "X"}


def kill_all(processes: Sequence[Process]) -> None:
    """Kill all at once and wait for their ends."""
    for process in processes:
        process.kill()
    for process in processes:
        process.stop()  # waits


def stop_all(processes: Sequence[Process], grace_s: float = 5.0) -> None:
    """Terminate all at once, wait for each; kill what is left after ``grace_s``."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace_s
    for process in processes:
        process.stop(max(0.0, deadline - time.monotonic()))
