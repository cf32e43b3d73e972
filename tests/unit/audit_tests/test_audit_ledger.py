# SPDX-License-Identifier: Apache-2.0
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from audit_world.entries import NOW, admission, judgement
from pedigree.errors import LedgerError
from pedigree.ledger.chain import FaultReason, Head
from pedigree_audit import query
from pedigree_audit.ledger import Ledger, Outcome

TESTS = Path(__file__).parents[2]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def fill(ledger: Ledger, count: int = 5) -> Head:
    ledger.append([admission(n) for n in range(count)], producer="webhook", now=NOW)
    return ledger.head


def test_a_batch_is_numbered_from_one_without_gaps(ledger: Ledger) -> None:
    results = ledger.append([admission(1), judgement(2)], producer="me", now=NOW)
    assert [(item.outcome, item.seq) for item in results] == [
        (Outcome.STORED, 1),
        (Outcome.STORED, 2),
    ]
    record = query.get(ledger.path, 2)
    assert record is not None
    assert record.to_dict()["producer"] == "me"
    assert record.to_dict()["entry"] == judgement(2)
    assert ledger.head == Head(2, record.chain_hash)
    assert ledger.count_by_kind() == {"Admission": 1, "Judgement": 1}
    assert ledger.size_bytes() > 0


def test_an_entry_sent_again_is_there_once(ledger: Ledger) -> None:
    fill(ledger, 2)
    again = ledger.append([admission(1), admission(1)], producer="other", now=NOW)
    assert [(item.outcome, item.seq) for item in again] == [
        (Outcome.DUPLICATE, 2),
        (Outcome.DUPLICATE, 2),
    ]
    assert ledger.head.entries == 2


def test_the_same_step_judged_again_at_another_time_is_the_same_entry(
    ledger: Ledger,
) -> None:
    first = judgement(1)
    later = first | {"time": "2026-11-24T00:00:00.000Z"}
    ledger.append([first], producer="operator", now=NOW)
    [result] = ledger.append([later], producer="operator", now=NOW)
    assert result.outcome is Outcome.DUPLICATE


def test_a_key_used_for_something_else_is_a_conflict_and_kept_out(
    ledger: Ledger,
) -> None:
    ledger.append([admission(1)], producer="webhook", now=NOW)
    forged = admission(1, decision="Allow")
    [result] = ledger.append([forged], producer="webhook", now=NOW)
    assert (result.outcome, result.seq, result.reason) == (
        Outcome.CONFLICT,
        1,
        "KeyReused",
    )
    record = query.get(ledger.path, 1)
    assert record is not None
    assert record.to_dict()["entry"]["decision"] == "Deny"
    assert ledger.head.entries == 1


def test_one_bad_entry_does_not_hold_up_the_others(ledger: Ledger) -> None:
    batch = [admission(1), {"key": "x" * 9999}, "no entry", admission(2)]
    results = ledger.append(batch, producer="webhook", now=NOW)
    assert [item.outcome for item in results] == [
        Outcome.STORED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.STORED,
    ]
    assert len(results[1].key) == 512
    assert results[1].reason == "EntryInvalid"
    assert ledger.head.entries == 2


def test_the_head_is_the_same_after_opening_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    head = fill(ledger)
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    assert again.head == head
    again.append([admission(99)], producer="webhook", now=NOW)
    assert query.verify(again.path).ok
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET decision = 'Allow' WHERE seq = 2",
        "UPDATE ledger SET leaf = '{}' WHERE seq = 2",
        "DELETE FROM ledger WHERE seq = 5",
        "UPDATE facets SET value = 'llama-a'",
        "DELETE FROM facets",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 2",
        "INSERT OR REPLACE INTO ledger SELECT 6, key, leaf, leaf_hash, chain_hash, "
        "body_hash, kind, time, namespace, name, uid, decision, result, reason, user "
        "FROM ledger WHERE seq = 2",
        "INSERT INTO ledger SELECT 9, 'k', leaf, leaf_hash, chain_hash, body_hash, "
        "kind, time, namespace, name, uid, decision, result, reason, user FROM ledger "
        "WHERE seq = 2",
    ],
)
def test_the_file_refuses_to_change_what_is_there(
    ledger: Ledger, statement: str
) -> None:
    fill(ledger)
    with (
        closing(sqlite3.connect(ledger.path)) as database,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        database.execute(statement)


def tamper(path: Path, *statements: str) -> None:
    """Change rows as someone with the file can, triggers or not."""
    with closing(sqlite3.connect(path)) as database, database:
        triggers = database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        )
        for (name,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)


SWAP = (
    "UPDATE ledger SET seq = 100 WHERE seq = 2",
    "UPDATE ledger SET seq = 2 WHERE seq = 3",
    "UPDATE ledger SET seq = 3 WHERE seq = 100",
)
EDIT = "UPDATE ledger SET leaf = replace(leaf, 'Deny', 'Warn') WHERE seq = 3"
TAMPERINGS: list[tuple[tuple[str, ...], int, FaultReason]] = [
    ((EDIT,), 3, FaultReason.LEAF_CHANGED),
    (("UPDATE ledger SET leaf = 7 WHERE seq = 3",), 3, FaultReason.LEAF_UNREADABLE),
    (
        ("UPDATE ledger SET chain_hash = 'x' WHERE seq = 3",),
        3,
        FaultReason.LEAF_UNREADABLE,
    ),
    (
        ("UPDATE ledger SET chain_hash = zeroblob(32) WHERE seq = 3",),
        3,
        FaultReason.CHAIN_CHANGED,
    ),
    (("DELETE FROM ledger WHERE seq = 3",), 3, FaultReason.SEQUENCE_BROKEN),
    (("DELETE FROM ledger WHERE seq = 1",), 1, FaultReason.SEQUENCE_BROKEN),
    (SWAP, 2, FaultReason.SEQUENCE_BROKEN),
    (("DELETE FROM ledger WHERE seq > 3",), 4, FaultReason.TAIL_MISSING),
    (
        ("UPDATE ledger SET namespace = 'elsewhere' WHERE seq = 3",),
        3,
        FaultReason.INDEX_CHANGED,
    ),
    (("UPDATE ledger SET key = 'free' WHERE seq = 3",), 3, FaultReason.INDEX_CHANGED),
    (("DELETE FROM facets WHERE seq = 3",), 3, FaultReason.INDEX_CHANGED),
    (
        ("INSERT INTO facets VALUES (3, 'ancestor', 'gpt2-a')",),
        3,
        FaultReason.INDEX_CHANGED,
    ),
]


@pytest.mark.parametrize(("statements", "seq", "reason"), TAMPERINGS)
def test_tampering_with_the_file_is_found_at_its_place(
    ledger: Ledger, statements: tuple[str, ...], seq: int, reason: FaultReason
) -> None:
    fill(ledger)
    assert query.verify(ledger.path).ok
    tamper(ledger.path, *statements)
    report = query.verify(ledger.path)
    assert report.first_bad is not None
    assert (report.first_bad.seq, report.first_bad.reason) == (seq, reason)
    assert report.entries == seq - 1


def test_a_tail_cut_off_with_all_traces_is_found_only_with_a_known_head(
    ledger: Ledger,
) -> None:
    head = fill(ledger)
    tamper(
        ledger.path,
        "DELETE FROM ledger WHERE seq > 3",
        "DELETE FROM facets WHERE seq > 3",
        "UPDATE sqlite_sequence SET seq = 3",
    )
    assert query.verify(ledger.path).ok  # the stated limit of a hash chain
    report = query.verify(ledger.path, [head])
    assert report.first_bad is not None
    assert report.first_bad.reason is FaultReason.TAIL_MISSING


@pytest.mark.parametrize(
    "change",
    [
        lambda path: tamper(path, "DELETE FROM ledger WHERE seq = 5"),
        lambda path: tamper(path, EDIT),
        lambda path: tamper(path, "UPDATE ledger SET chain_hash = 'x' WHERE seq = 5"),
    ],
)
def test_nothing_is_appended_to_a_broken_chain(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    fill(ledger)
    ledger.close()
    change(path)
    with pytest.raises(LedgerError) as caught:
        Ledger(path)
    assert caught.value.reason in ("ChainBroken", "RecordInvalid")


def test_a_tail_cut_off_behind_a_running_service_stops_appends(ledger: Ledger) -> None:
    fill(ledger)
    tamper(ledger.path, "DELETE FROM ledger WHERE seq = 5")
    with pytest.raises(LedgerError, match="changed by someone else") as caught:
        ledger.append([admission(77)], producer="webhook", now=NOW)
    assert caught.value.reason == "ChainBroken"


OPEN = """
    import sys
    from pathlib import Path
    from pedigree.errors import LedgerError
    from pedigree_audit.ledger import Ledger
    try:
        Ledger(Path(sys.argv[1]))
    except LedgerError as error:
        print(error.reason, error)
"""


def test_a_second_process_is_told_that_the_ledger_is_in_use(ledger: Ledger) -> None:
    command = [sys.executable, "-c", textwrap.dedent(OPEN), str(ledger.path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.startswith("LedgerInUse")
    assert "stop the other audit service first" in said
    ledger.close()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == ""


def test_a_file_that_is_no_ledger_is_refused_in_words(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE t (x)")
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"garbage " * 1000)
    for path in (other, garbage, tmp_path / "missing" / "ledger.db"):
        with pytest.raises(LedgerError) as caught:
            Ledger(path)
        assert caught.value.reason == "LedgerUnreadable"


FULL = """
    import resource, signal, sys
    from pathlib import Path
    from audit_world.entries import NOW, admission
    from pedigree.errors import LedgerError
    from pedigree_audit import query
    from pedigree_audit.ledger import Ledger

    ledger = Ledger(Path(sys.argv[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            ledger.append([admission(number)], producer="webhook", now=NOW)
            number += 1
    except LedgerError as error:
        print(error.reason, number, ledger.head.entries)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))
    ledger.append([admission(number)], producer="webhook", now=NOW)
    assert ledger.head.entries == number + 1
    assert query.verify(ledger.path).ok
"""


def test_a_disk_without_room_stores_nothing_by_halves(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "ledger.db")],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    reason, stored, entries = result.stdout.split()
    assert reason in ("DiskFull", "StorageFailed")
    assert stored == entries
    assert int(stored) > 3
