# SPDX-License-Identifier: Apache-2.0
import io

from controlplane.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(stream: io.StringIO, seconds: int) -> str:
    clock = Clock()
    progress = Progress(stream, clock)
    progress.say("building etcd (1 of 7)")
    for _ in range(seconds * 10):
        clock.now_s += 0.1
        progress.tick()
    progress.done("built etcd (1 of 7)")
    return stream.getvalue()


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    lines = work(io.StringIO(), seconds=25).splitlines()
    assert lines == [
        "building etcd (1 of 7)",
        "building etcd (1 of 7), 10 s",
        "building etcd (1 of 7), 20 s",
        "built etcd (1 of 7) in 25 s",
    ]


def test_a_terminal_gets_one_live_line_that_stays_at_the_end() -> None:
    text = work(Terminal(), seconds=3)
    assert text.count("\n") == 1
    assert text.endswith("\r\x1b[Kbuilt etcd (1 of 7) in 3 s\n")
    assert text.count("\r\x1b[K") > 10


def test_a_new_reason_to_wait_is_said_at_once() -> None:
    stream = io.StringIO()
    progress = Progress(stream, Clock())
    for step in ("waiting for process 7", "waiting for process 7", "waiting for 8"):
        progress.tick(step)
    assert stream.getvalue().splitlines() == ["waiting for process 7", "waiting for 8"]
