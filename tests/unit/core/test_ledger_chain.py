# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit_world.entries import admission, json_values, many_entries, patient
from pedigree.digests import Digest, canonical_json, sha256
from pedigree.errors import LedgerError
from pedigree.ledger.chain import (
    EMPTY,
    ChainReport,
    ChainVerifier,
    FaultReason,
    Head,
    Record,
    make_record,
    record_from_dict,
    record_from_row,
)

WHEN = "2026-11-23T04:05:06.789Z"


def chain(entries: list[dict[str, Any]]) -> list[Record]:
    records: list[Record] = []
    head = EMPTY
    for entry in entries:
        record = make_record(head, entry, producer="me", received_at=WHEN)
        head = Head(record.seq, record.chain_hash)
        records.append(record)
    return records


def report(records: list[Record], *known: Head) -> ChainReport:
    verifier = ChainVerifier(*known)
    for record in records:
        verifier.feed(record)
    return verifier.finish()


def test_hashes_are_those_of_the_written_format() -> None:
    first, second = chain([admission(1), admission(2)])
    leaf = canonical_json(
        {"entry": admission(1), "producer": "me", "receivedAt": WHEN, "seq": 1}
    )
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    start = hashlib.sha256(b"").digest()
    one = hashlib.sha256(b"\x03" + start + leaf_hash).digest()
    assert first.leaf == leaf
    assert first.leaf_hash.raw == leaf_hash
    assert first.chain_hash.raw == one
    two = hashlib.sha256(b"\x03" + one + second.leaf_hash.raw).digest()
    assert second.chain_hash.raw == two


def test_a_leaf_hash_is_that_of_rfc_6962() -> None:
    # The hash of an empty leaf, as Certificate Transparency's own tests have it.
    known = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert hashlib.sha256(b"\x00").hexdigest() == known
    record = chain([admission(1)])[0]
    assert record.leaf_hash == sha256(b"\x00" + record.leaf)


def test_the_last_172_bytes_of_a_line_are_the_hashes() -> None:
    record = chain([admission(1)])[0]
    line = record.to_line()
    assert line[:-172] + b"}" == record.leaf
    assert record_from_dict(json.loads(line)) == record


@patient
@given(many_entries())
def test_an_untouched_chain_verifies(entries: list[dict[str, Any]]) -> None:
    records = chain(entries)
    found = report(records)
    assert found.ok
    assert found.entries == len(entries)
    assert ChainReport.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert [record_from_dict(record.to_dict()) for record in records] == records


@patient
@given(many_entries().filter(lambda some: len(some) > 1), st.data())
def test_any_single_change_to_a_chain_is_found_at_its_place(
    entries: list[dict[str, Any]], data: st.DataObject
) -> None:
    records = chain(entries)
    known = Head(len(records), records[-1].chain_hash)
    place = data.draw(st.integers(0, len(records) - 1))
    how = data.draw(st.sampled_from(["leaf", "leaf+hash", "chain", "drop", "swap"]))
    old = records[place]
    changed = old.leaf.replace(b'"producer":"me"', b'"producer":"us"')
    match how:
        case "leaf":
            records[place] = Record(old.seq, changed, old.leaf_hash, old.chain_hash)
        case "leaf+hash":
            hashed = sha256(b"\x00" + changed)
            records[place] = Record(old.seq, changed, hashed, old.chain_hash)
        case "chain":
            records[place] = Record(old.seq, old.leaf, old.leaf_hash, sha256(b"x"))
        case "drop":
            del records[place]
        case "swap":
            other = (place + 1) % len(records)
            records[place], records[other] = records[other], records[place]
    found = report(records, known)
    assert found.first_bad is not None
    assert found.first_bad.seq <= len(entries)
    assert found.entries < len(entries)


def test_every_way_to_tamper_has_its_name() -> None:
    one, two, three = chain([admission(n) for n in (1, 2, 3)])
    changed = two.leaf.replace(b"Deny", b"Warn")
    rehashed = sha256(b"\x00" + changed)
    renumbered = Record(2, three.leaf, three.leaf_hash, three.chain_hash)
    ways = {
        FaultReason.SEQUENCE_BROKEN: [one, three],
        FaultReason.LEAF_CHANGED: [
            one,
            Record(2, changed, two.leaf_hash, two.chain_hash),
        ],
        FaultReason.CHAIN_CHANGED: [one, Record(2, changed, rehashed, two.chain_hash)],
    }
    for reason, records in ways.items():
        found = report(records).first_bad
        assert found is not None
        assert (found.seq, found.reason) == (2, reason)
    found = report([one, renumbered]).first_bad
    assert found is not None
    assert found.reason is FaultReason.SEQUENCE_BROKEN


def test_a_cut_off_end_is_found_only_with_a_head_kept_elsewhere() -> None:
    records = chain([admission(n) for n in (1, 2, 3)])
    head = Head(3, records[-1].chain_hash)
    assert report(records[:2]).ok
    found = report(records[:2], head).first_bad
    assert found is not None
    assert (found.seq, found.reason) == (3, FaultReason.TAIL_MISSING)


def test_a_rewritten_history_is_found_with_a_head_kept_elsewhere() -> None:
    head = Head(2, chain([admission(1), admission(2)])[-1].chain_hash)
    forged = chain([admission(1), admission(2, decision="Allow"), admission(3)])
    assert report(forged).ok
    found = report(forged, head).first_bad
    assert found is not None
    assert (found.seq, found.reason) == (2, FaultReason.HISTORY_CHANGED)


def test_a_head_is_written_and_read_back() -> None:
    head = Head(7, sha256(b"x"))
    assert Head.parse(str(head)) == head
    for text in ("", "7", "x:" + str(head.hash), "-1:" + str(head.hash), "7:sha256:0"):
        with pytest.raises(LedgerError, match="wanted ENTRIES"):
            Head.parse(text)


@patient
@given(json_values, st.sampled_from(["", "leafHash", "seq", "entry", "more"]))
def test_any_json_is_a_record_or_is_refused_in_words(value: object, field: str) -> None:
    whole = chain([admission(1)])[0].to_dict() | {field: value} if field else value
    reason = ""
    try:
        record_from_dict(whole)
    except LedgerError as error:
        reason = error.reason
    assert reason == "RecordInvalid" or field in ("seq", "entry")


@pytest.mark.parametrize(
    "row",
    [
        (1, 5, b"\x00" * 32, b"\x00" * 32),
        (1, b"{}", "text", b"\x00" * 32),
        (1, b"{}", b"short", b"\x00" * 32),
        (1, b"{}", None, None),
        (1, b"{}"),
    ],
)
def test_a_row_with_values_no_record_has_is_refused(row: tuple[Any, ...]) -> None:
    with pytest.raises(LedgerError) as caught:
        record_from_row(row)
    assert caught.value.reason == "RecordInvalid"


def test_the_empty_ledger_has_the_hash_of_nothing() -> None:
    assert Digest(hashlib.sha256(b"").hexdigest()) == EMPTY.hash
    assert report([]).ok
