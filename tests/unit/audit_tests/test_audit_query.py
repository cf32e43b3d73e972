# SPDX-License-Identifier: Apache-2.0
import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_world.entries import NOW, admission, few, many_entries, patient
from pedigree.errors import LedgerError
from pedigree.ledger.facets import Filters
from pedigree.ledger.reader import ExportSource, FileSource, Source
from pedigree_audit import query
from pedigree_audit.ledger import Ledger
from pedigree_audit.query import Order

filters = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["Admission", "Judgement"]),
        "namespace": few,
        "name": few,
        "user": few,
        "uid": st.sampled_from(["uid-1", "uid-2"]),
        "decision": st.sampled_from(["Allow", "Deny"]),
        "result": st.sampled_from(["Pass", "Fail"]),
        "reason": st.sampled_from(["LineageDenied", "LineageVerified", ""]),
        "ancestor": st.sampled_from(["llama-a", "llama-b"]),
        "digest": st.sampled_from(["sha256:" + "0" * 64, "x"]),
        "since": st.sampled_from(["2026-11-23", "2026-11-23T04:05:10+00:00"]),
        "until": st.sampled_from(["2026-11-24", "2026-11-23T05:05:10+01:00"]),
    },
).map(lambda given: Filters(**given))


@contextmanager
def opened(entries: list[dict[str, Any]]) -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        ledger.append(entries, producer="webhook", now=NOW)
        yield ledger
        ledger.close()


def all_pages(ledger: Ledger, wanted: Filters, order: Order, limit: int) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = query.page(ledger.path, wanted, order=order, limit=limit, cursor=cursor)
        found += [record.seq for record in page.records]
        if page.next_cursor is None:
            return found
        assert len(page.records) == limit
        cursor = page.next_cursor


@patient
@given(
    entries=many_entries(),
    wanted=filters,
    order=st.sampled_from(Order),
    limit=st.integers(1, 4),
)
def test_the_service_and_a_file_read_offline_find_the_same_entries(
    entries: list[dict[str, Any]], wanted: Filters, order: Order, limit: int
) -> None:
    with opened(entries) as ledger:
        newest_first = order is Order.DESC
        source: Source = FileSource(ledger.path)
        offline = [r.seq for r in source.find(wanted, newest_first=newest_first)]
        export = Path(ledger.path.parent, "export.jsonl")
        export.write_bytes(
            b"".join(record.to_line() + b"\n" for record in source.records())
        )
        with export.open("rb") as stream:
            source = ExportSource(stream)
            exported = [r.seq for r in source.find(wanted, newest_first=newest_first)]
        assert all_pages(ledger, wanted, order, limit) == offline == exported


def test_pages_do_not_shift_when_entries_are_appended() -> None:
    with opened([admission(n) for n in range(6)]) as ledger:
        first = query.page(ledger.path, Filters(), order=Order.DESC, limit=2)
        ledger.append([admission(99)], producer="webhook", now=NOW)
        second = query.page(
            ledger.path,
            Filters(),
            order=Order.DESC,
            limit=2,
            cursor=first.next_cursor,
        )
    assert [r.seq for r in (*first.records, *second.records)] == [6, 5, 4, 3]


def test_a_page_ends_early_when_its_records_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(query, "PAGE_MAX_BYTES", 5_000)
    with opened([admission(n) | {"more": "x" * 2_000} for n in range(5)]) as ledger:
        page = query.page(ledger.path, Filters(), order=Order.ASC, limit=5)
        assert 1 <= len(page.records) < 5
        assert page.next_cursor is not None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "AAAA",
        "é",
        base64.urlsafe_b64encode(b"[]").decode(),
        base64.urlsafe_b64encode(b'[1,"x"]').decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(json.dumps([2**70, "x"]).encode()).decode(),
    ],
)
def test_a_cursor_of_no_query_is_refused(cursor: str) -> None:
    with opened([]) as ledger, pytest.raises(LedgerError) as caught:
        query.page(ledger.path, Filters(), cursor=cursor)
    assert caught.value.reason == "CursorInvalid"


def test_a_cursor_of_another_query_is_refused() -> None:
    with opened([admission(n) for n in range(3)]) as ledger:
        page = query.page(ledger.path, Filters(), order=Order.ASC, limit=1)
        with pytest.raises(LedgerError, match="not one of this query"):
            query.page(ledger.path, Filters(user="x"), cursor=page.next_cursor)
        with pytest.raises(LedgerError, match="not one of this query"):
            query.page(
                ledger.path, Filters(), order=Order.DESC, cursor=page.next_cursor
            )


def test_an_inconclusive_ancestor_is_not_found_as_one() -> None:
    entry = admission(1)
    entry["models"][0]["ancestors"][0]["lineage"] = "Inconclusive"
    with opened([entry, admission(2)]) as ledger:
        page = query.page(ledger.path, Filters(ancestor="llama-b"))
    assert [record.seq for record in page.records] == [2]


def test_a_filter_that_is_no_time_is_refused() -> None:
    for text in ("yesterday", "2026-99-99", "0001-01-01T00:00:00+23:59", ""):
        with pytest.raises(LedgerError, match="wanted a time such as"):
            Filters(since=text)
    assert Filters(until="2026-11-23").until == "2026-11-23T00:00:00.000Z"


def test_a_large_ledger_is_verified_without_holding_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    numbers = iter(range(1500))
    while batch := [admission(n) for n in islice(numbers, 250)]:
        ledger.append(batch, producer="webhook", now=NOW)
    report = query.verify(ledger.path, [ledger.head])
    assert report.ok
    assert report.entries == 1500  # several chunks of rows
    ledger.close()


def test_the_queries_people_ask_most_use_an_index(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    for name in ("namespace", "name", "uid", "reason", "user", "digest", "ancestor"):
        sql, values = query._query(Filters(**{name: "x"}), Order.DESC, None)
        with query.reading(ledger.path) as database:
            plan = database.execute(f"EXPLAIN QUERY PLAN {sql}", [*values, 1])
            steps = " ".join(row[3] for row in plan)
        assert "USING" in steps, (name, steps)
        assert "SCAN ledger" not in steps, (name, steps)
    ledger.close()
