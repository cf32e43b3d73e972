# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a Job's ConfigMaps gives a result or an error, never more."""

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operator_world.volume_world import START, TEAM, URI, Examination, examination
from pedigree.errors import PedigreeError, SourceRefused
from pedigree.evidence import Resolution, to_object
from pedigree.examine.handed_back import (
    ANSWER_KEY,
    HandedBack,
    answer_of,
    part_names,
    parts_of,
    read_answer,
)
from pedigree_operator.moments import format_time
from pedigree_operator.volume_answers import INTEGER_MAX, answer_in, understood

SEEN = Resolution(URI, URI, "uid", format_time(START), scope=TEAM)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
LLAMA = examination("llama-a")


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a document."""
    found = [here] if here else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += paths(inner, (*here, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += paths(inner, (*here, index))
    return found


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    made = copy.deepcopy(document)
    holder = made
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return made


def parts(found: Examination) -> list[dict[str, Any]]:
    """ConfigMaps with the parts of a fingerprint."""
    return [
        {"immutable": True, "binaryData": {"part": base64.b64encode(part).decode()}}
        for part in parts_of(found.fingerprint)
    ]


def check_recordable(obj: dict[str, Any]) -> None:
    """What the kind's schema asks for; the API server refuses everything else."""
    spec = obj["spec"]
    for name in ("files", "sizeBytes", "parameters"):
        assert type(spec[name]) is int
        assert 0 <= spec[name] <= INTEGER_MAX
    texts = [spec["engine"], spec["examinedAt"], spec["architecture"], *spec["formats"]]
    for item in (*spec["findings"], *spec["claims"]):
        texts += item.values()
    assert all(isinstance(text, str) for text in texts)
    json.dumps(obj, allow_nan=False).encode("utf-8")


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200) | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    held = {ANSWER_KEY: base64.b64encode(data).decode()}
    try:
        found = answer_in({"immutable": True, "binaryData": held})
    except PedigreeError:
        return
    assert isinstance(found, HandedBack)


@settings(max_examples=150, deadline=None)
@given(obj=st.none() | st.dictionaries(st.sampled_from(["immutable"]), JSON))
def test_any_object_that_is_not_sealed_holds_no_answer_yet(obj: Any) -> None:
    if obj is None or obj.get("immutable") is not True:
        assert answer_in(obj) is None


@settings(max_examples=200, deadline=None)
@given(held=JSON)
def test_any_content_of_a_sealed_object_is_an_answer_or_refused(held: Any) -> None:
    with pytest.raises(PedigreeError):
        answer_in({"immutable": True, "binaryData": held})


@settings(max_examples=200, deadline=None)
@given(data=st.data(), value=JSON)
def test_a_document_with_any_one_value_changed_is_recordable_or_refused(
    data: st.DataObject, value: Any
) -> None:
    path = data.draw(st.sampled_from(paths(LLAMA.document)))
    document = changed(LLAMA.document, path, value)
    try:
        answer = read_answer(answer_of(0, document, LLAMA.fingerprint))
        result, _ = understood(URI, answer, parts(LLAMA), SEEN)
    except PedigreeError:
        return
    assert result.evidence.confined_to == TEAM
    assert result.evidence.lineage is None
    assert result.evidence.resolutions[0].uri == URI
    check_recordable(to_object(result.evidence))


@settings(max_examples=150, deadline=None)
@given(document=st.dictionaries(st.sampled_from(["error", "schema"]), JSON))
def test_any_document_of_a_failure_is_an_error(document: Any) -> None:
    def told() -> None:
        understood(URI, read_answer(answer_of(3, document, b"")), [], SEEN)

    with pytest.raises(PedigreeError) as caught:
        told()
    assert len(str(caught.value)) < 8000


@settings(max_examples=100, deadline=None)
@given(
    part=st.none() | st.dictionaries(st.sampled_from(["immutable", "binaryData"]), JSON)
)
def test_any_object_for_a_part_is_refused(part: Any) -> None:
    answer = read_answer(answer_of(0, LLAMA.document, LLAMA.fingerprint))
    with pytest.raises(SourceRefused):
        understood(URI, answer, [part], SEEN)


def test_a_fingerprint_that_is_no_fingerprint_is_refused() -> None:
    forged = Examination(LLAMA.document, b"no fingerprint")
    answer = read_answer(answer_of(0, forged.document, forged.fingerprint))
    with pytest.raises(SourceRefused) as caught:
        understood(URI, answer, parts(forged), SEEN)
    assert caught.value.reason == "AnswerRefused"


@pytest.mark.parametrize("size", [0, -1, True, 8_000_001, 10**30, "1", None, 1.5])
def test_a_size_that_cannot_be_is_refused_before_anything_is_read(size: Any) -> None:
    made = json.loads(answer_of(0, LLAMA.document, LLAMA.fingerprint))
    made["fingerprint"]["bytes"] = size
    with pytest.raises(PedigreeError) as caught:
        read_answer(json.dumps(made).encode())
    assert caught.value.reason == "AnswerMalformed"


@pytest.mark.parametrize("code", [1, 2, -9, 70, True, "0", None, 0.0])
def test_a_code_that_no_answer_has_is_refused(code: Any) -> None:
    made = json.loads(answer_of(0, LLAMA.document, LLAMA.fingerprint))
    made["code"] = code
    with pytest.raises(PedigreeError) as caught:
        read_answer(json.dumps(made).encode())
    assert caught.value.reason == "AnswerMalformed"


def test_an_answer_of_too_many_bytes_is_not_parsed() -> None:
    with pytest.raises(PedigreeError) as caught:
        read_answer(answer_of(0, LLAMA.document, b"").ljust(256_001))
    assert caught.value.reason == "AnswerTooLarge"


def test_an_answer_that_nobody_would_read_is_not_written() -> None:
    with pytest.raises(PedigreeError) as caught:
        answer_of(0, {"text": "x" * 256_000}, b"")
    assert caught.value.reason == "AnswerTooLarge"


def test_names_of_parts_follow_from_the_name_of_the_answer() -> None:
    assert part_names("a")[:2] == ["a-1", "a-2"]
    assert len(part_names("a")) * 1_000_000 == 8_000_000
