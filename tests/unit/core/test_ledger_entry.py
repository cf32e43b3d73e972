# SPDX-License-Identifier: Apache-2.0
import copy
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_world.entries import (
    NOW,
    admission,
    entries,
    json_values,
    judgement,
    patient,
    verdict,
)
from pedigree.errors import LedgerError
from pedigree.evidence import Match
from pedigree.ledger import form
from pedigree.ledger.entry import (
    EntryModel,
    EntryObject,
    EntryRequest,
    admission_entry,
    encode,
    format_time,
    judgement_entry,
    validate,
)
from pedigree.lineage.classes import LineageClass
from pedigree.policy.verdict import Action, Result


def test_the_words_of_entries_are_those_of_verdicts() -> None:
    assert tuple(Action) == form.DECISIONS
    assert tuple(Result) == form.RESULTS


def test_a_denied_admission_becomes_an_entry_with_the_request_as_its_key() -> None:
    entry = admission(7, decision="Deny", user="mallory")
    assert entry["key"] == "admission/request-7"
    assert entry["decision"] == "Deny"
    assert entry["request"]["user"] == "mallory"
    assert entry["models"][0]["ancestors"][0]["reference"] == "llama-b"
    assert "truncated" not in entry


def test_a_judgement_carries_the_decision_of_its_verdict() -> None:
    entry = judgement(4)
    inputs = entry["verdict"]["inputsDigest"]
    assert entry["key"] == f"judgement/uid-4/{inputs}"
    assert entry["decision"] == "Allow"
    assert entry["object"]["generation"] == 3


def test_the_way_back_to_an_earlier_verdict_is_a_judgement_of_its_own() -> None:
    first, later = judgement(4), judgement(4, after="2026-11-23T04:05:06.789Z")
    assert first["key"] != later["key"]
    assert later["key"] == judgement(4, after="2026-11-23T04:05:06.789Z")["key"]


def test_times_are_utc_with_milliseconds() -> None:
    assert format_time(NOW) == "2026-11-23T04:05:06.789Z"
    with pytest.raises(ValueError, match="time zone"):
        format_time(datetime(2026, 1, 1))


@settings(deadline=None, max_examples=30)
@given(
    text=st.text(alphabet="\x00\ud800é😀a", min_size=1, max_size=3),
    times=st.sampled_from([1, 400, 1500]),
    models=st.sampled_from([0, 1, 16, 20]),
)
def test_whatever_is_put_in_an_entry_fits(text: str, times: int, models: int) -> None:
    long = text * times
    match = Match("ref", LineageClass.DERIVED, reason=long, test=long)
    cause = {"reason": "X", "message": long, "field": long}
    entry = admission_entry(
        engine="0.1.0",
        now=NOW,
        subject=EntryObject("ModelDeployment", "team-a", "chat", ""),
        request=EntryRequest("r", "CREATE", long, [long] * 50),
        decision="Deny",
        basis="verdict",
        verdict=verdict(message=long, causes=[cause] * 40),
        models=[EntryModel("m", long, "", [match] * 20)] * models,
    )
    assert len(encode(entry)) <= form.ENTRY_MAX_BYTES
    assert entry["truncated"] is True
    assert entry["decision"] == "Deny"


@patient
@given(entries())
def test_canonical_bytes_are_read_back_as_the_same_entry(entry: dict[str, Any]) -> None:
    body = encode(entry)
    assert json.loads(body) == entry
    shuffled = dict(reversed(entry.items()))
    assert encode(shuffled) == body


def test_an_unknown_field_is_kept_for_newer_producers() -> None:
    entry = admission() | {"override": {"ticket": "OPS-1"}}
    assert validate(entry)["override"] == {"ticket": "OPS-1"}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schema", "pedigree.dev/ledger-entry/v9", "schema"),
        ("kind", "Gossip", "kind"),
        ("kind", ["Admission"], "kind"),
        ("key", "admission/other", "wanted 'admission/request-1'"),
        ("key", "a b", "key"),
        ("time", "yesterday", "time"),
        ("time", "2026-13-45T00:00:00.000Z", "no date"),
        ("component", "browser", "component"),
        ("decision", "Perhaps", "decision"),
        ("object", [], "object"),
        ("object.name", 7, "object.name"),
        ("object.name", "x" * 254, "254 characters"),
        ("request.user", None, "request.user"),
        ("request.groups", "team", "groups"),
        ("basis", "", "basis"),
        ("verdict", "no", "verdict"),
        ("verdict.result", "Great", "verdict.result"),
        ("verdict.inputsDigest", "sha256:zz", "inputsDigest"),
        ("verdict.causes", {}, "causes"),
        ("models", "m", "models"),
        ("models", [{}] * 17, "17 items"),
        ("extra", 1.5, "float"),
        ("extra", 2**60, "2\\*\\*53"),
        ("extra", "\ud800", "canonical JSON"),
        ("extra", {"a b": 1}, "letters and digits"),
        ("extra", {"": 1}, "letters and digits"),
        ("extra", "x" * 300_000, "bytes, allowed"),
    ],
)
def test_what_is_no_entry_is_refused_with_the_field(
    path: str, value: object, said: str
) -> None:
    entry = copy.deepcopy(admission())
    *parents, last = path.split(".")
    owner = entry
    for parent in parents:
        owner = owner[parent]
    owner[last] = value
    with pytest.raises(LedgerError, match=said) as caught:
        validate(entry)
    assert caught.value.reason == "EntryInvalid"


def test_a_judgement_without_uid_or_generation_is_refused() -> None:
    for generation, uid, said in ((None, "u", "generation"), (3, "", "uid")):
        with pytest.raises(LedgerError, match=said):
            judgement_entry(
                engine="0.1.0",
                now=NOW,
                subject=EntryObject("ModelDeployment", "a", "b", uid, generation),
                verdict=verdict(),
            )


def test_an_entry_nested_deep_enough_to_hurt_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LedgerError, match="deeper than"):
        validate(admission() | {"extra": deep})


@patient
@given(json_values)
def test_any_json_is_an_entry_or_is_refused_in_words(value: object) -> None:
    with pytest.raises(LedgerError) as caught:
        validate(value)
    assert caught.value.reason == "EntryInvalid"


@patient
@given(st.data(), json_values)
def test_any_damage_to_an_entry_is_taken_or_refused_in_words(
    data: st.DataObject, value: object
) -> None:
    entry = admission()
    field = data.draw(st.sampled_from(sorted(entry)))
    refused = ""
    try:
        validate(entry | {field: value})
    except LedgerError as error:
        refused = error.reason
    assert refused in ("", "EntryInvalid")


def test_text_that_is_not_unicode_in_a_key_is_refused_in_words() -> None:
    with pytest.raises(LedgerError) as caught:
        admission_entry(
            engine="0.1.0",
            now=NOW,
            subject=EntryObject("ModelDeployment", "a", "b", ""),
            request=EntryRequest("\ud800", "CREATE", "me"),
            decision="Deny",
            basis="verdict",
            verdict=None,
        )
    assert caught.value.reason == "EntryInvalid"
