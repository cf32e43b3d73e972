# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit_world.entries import admission
from pedigree.errors import LedgerError
from pedigree.ledger.outbox import Outbox

TESTS = Path(__file__).parents[2]


def test_entries_wait_in_the_order_they_were_appended(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    appended = [admission(number) for number in (3, 1, 2)]
    assert [outbox.append(entry) for entry in appended] == [True, True, True]
    assert [item.entry for item in outbox.pending(10)] == appended
    assert outbox.depth() == 3
    outbox.close()


def test_an_entry_with_a_known_key_is_not_new_and_the_first_stands(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    first = admission(1)
    outbox.append(first)
    assert outbox.append(admission(1, decision="Allow")) is False
    assert [item.entry for item in outbox.pending(10)] == [first]
    outbox.close()


def test_a_delivered_entry_appended_again_is_not_sent_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.append(admission(1))
    outbox.mark_delivered(["admission/request-1"])
    outbox.close()
    again = Outbox(tmp_path / "outbox.db")
    assert again.append(admission(1)) is False
    assert again.depth() == 0
    again.close()


def test_only_so_many_delivered_keys_are_remembered(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", remembered=2)
    for number in range(4):
        outbox.append(admission(number))
    outbox.mark_delivered([f"admission/request-{number}" for number in range(4)])
    assert [outbox.append(admission(n)) for n in (3, 2, 1)] == [False, False, True]
    outbox.close()


def test_a_full_outbox_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", max_entries=2)
    outbox.append(admission(1))
    outbox.append(admission(2))
    outbox.park("admission/request-2", "refused")  # parked ones take room as well
    with pytest.raises(LedgerError, match="holds 2 undelivered entries") as caught:
        outbox.append(admission(3))
    assert caught.value.reason == "OutboxFull"
    outbox.mark_delivered(["admission/request-1"])
    assert outbox.append(admission(3)) is True
    outbox.close()


def test_a_parked_entry_is_kept_counted_and_can_wait_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.append(admission(1))
    outbox.park("admission/request-1", "conflict: KeyReused")
    assert (outbox.depth(), outbox.parked_count()) == (0, 1)
    assert outbox.parked(5)[0].reason == "conflict: KeyReused"
    assert outbox.release_parked() == 1
    assert (outbox.depth(), outbox.parked_count()) == (1, 0)
    outbox.close()


def test_the_oldest_age_is_that_of_the_entry_waiting_longest(tmp_path: Path) -> None:
    now = 1_000.0
    outbox = Outbox(tmp_path / "outbox.db", clock=lambda: now)
    assert outbox.oldest_age_s(datetime.fromtimestamp(5_000, UTC)) == 0
    outbox.append(admission(1))
    now = 1_500.0
    outbox.append(admission(2))
    assert outbox.oldest_age_s(datetime.fromtimestamp(1_600, UTC)) == 600
    assert outbox.oldest_age_s(datetime.fromtimestamp(10, UTC)) == 0  # clock set back
    outbox.close()


def test_what_is_no_entry_is_not_written_down(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    with pytest.raises(LedgerError) as caught:
        outbox.append(admission(1) | {"decision": "Perhaps"})
    assert caught.value.reason == "EntryInvalid"
    assert outbox.depth() == 0
    outbox.close()


def test_a_file_that_is_no_outbox_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database, but long enough" * 100)
    for path in (tmp_path / "outbox.db", tmp_path / "missing" / "outbox.db"):
        with pytest.raises(LedgerError, match="cannot be opened") as caught:
            Outbox(path)
        assert caught.value.reason == "OutboxUnavailable"


def test_threads_append_to_one_outbox_without_losing_any(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")

    def work(first: int) -> None:
        for number in range(first, first + 50):
            outbox.append(admission(number))

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item.key for item in outbox.pending(1000)}) == outbox.depth() == 200
    outbox.close()


SOME = """
    import sys
    from pathlib import Path
    from audit_world.entries import admission
    from pedigree.ledger.outbox import Outbox

    outbox = Outbox(Path(sys.argv[1]))
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
        outbox.append(admission(number))
"""


def script(text: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}


def test_processes_append_to_one_outbox_without_losing_any(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    # Two append the same entries: each key is there once all the same.
    workers = [
        subprocess.Popen([*script(SOME), str(path), first], env=ENVIRONMENT)
        for first in ("0", "40", "40")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    outbox = Outbox(path)
    assert outbox.depth() == 80
    outbox.close()


KILLED = """
    import os, sys
    from pathlib import Path
    from audit_world.entries import admission
    from pedigree.ledger.outbox import Outbox

    outbox = Outbox(Path(sys.argv[1]))
    number = int(sys.argv[2])
    while True:
        outbox.append(admission(number))
        os.write(1, f"{number}\\n".encode())  # said only after append returned
        number += 1
"""


def test_an_appended_entry_survives_the_kill_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    said: list[str] = []
    for round_number in range(3):
        process = subprocess.Popen(
            [*script(KILLED), str(path), str(len(said))],
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        assert process.stdout is not None
        said += [process.stdout.readline().decode().strip()]
        time.sleep(0.05 * (round_number + 1))
        process.kill()
        rest, _ = process.communicate()
        lines = rest.decode().split("\n")
        said += [line for line in lines[:-1] if line]
        outbox = Outbox(path)
        kept = {item.key for item in outbox.pending(1_000_000)}
        outbox.close()
        assert {f"admission/request-{number}" for number in said} <= kept
    assert len(said) > 3


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from audit_world.entries import admission
    from pedigree.errors import LedgerError
    from pedigree.ledger.outbox import Outbox

    outbox = Outbox(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    kept = 0
    try:
        for number in range(10_000):
            outbox.append(admission(number))
            kept += 1
    except LedgerError as error:
        print(error.reason, kept)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))
    assert outbox.append(admission(kept))  # usable again once there is room
    assert outbox.depth() == kept + 1
"""


def test_a_disk_without_room_is_an_error_in_words_and_loses_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.db"
    result = subprocess.run(
        [*script(FULL), str(path)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    reason, kept = result.stdout.split()
    assert reason == "OutboxUnavailable"
    outbox = Outbox(path)
    assert outbox.depth() == int(kept) + 1 > 10
    outbox.checkpoint()
    outbox.close()
