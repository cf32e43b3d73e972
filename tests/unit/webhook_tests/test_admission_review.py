# SPDX-License-Identifier: Apache-2.0
"""Calls that are no question, and the form of answers."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedigree_webhook.review import ReviewError, parse_review
from webhook_world import model_deployment, review, review_body, world

JSON = "application/json"
GOOD = review_body("CREATE", model_deployment("good"))

NO_REQUEST = b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}'


def changed(**request: Any) -> bytes:
    return review_body("CREATE", model_deployment("good"), **request)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "said"),
    [
        (b"", JSON, 400, "body is not JSON"),
        (b"hello", JSON, 400, "body is not JSON"),
        (b"\xff\xfe", JSON, 400, "body is not JSON"),
        (b"[" * 5000 + b"]" * 5000, JSON, 400, "body is not JSON"),
        (b"[]", JSON, 400, "body is a list, wanted an AdmissionReview"),
        (b"null", JSON, 400, "body is null or missing"),
        (GOOD, "text/plain", 415, "content type is 'text/plain'"),
        (GOOD, "", 415, "wanted 'application/json'"),
        (GOOD.replace(b"k8s.io/v1", b"k8s.io/v1beta1"), JSON, 400, "apiVersion is"),
        (GOOD.replace(b"AdmissionReview", b"TokenReview"), JSON, 400, "kind is"),
        (NO_REQUEST, JSON, 400, "request is null or missing"),
        (changed(uid=""), JSON, 400, "request.uid is ''"),
        (changed(uid=None), JSON, 400, "request.uid is ''"),
        (changed(uid=7), JSON, 400, "request.uid is a number"),
        (changed(uid="a b"), JSON, 400, "request.uid is 'a b'"),
        (changed(uid="x" * 5000), JSON, 400, "printable ASCII"),
        (changed(kind=None), JSON, 400, "request.kind is missing"),
        (changed(kind={"kind": "../Pod", "version": "v1"}), JSON, 400, "request.kind"),
        (changed(operation="PATCH"), JSON, 400, "request.operation is 'PATCH'"),
        (changed(operation=None), JSON, 400, "request.operation is ''"),
        (changed(dryRun="yes"), JSON, 400, "request.dryRun is a string"),
        (changed(object=[1]), JSON, 400, "request.object is a list"),
        (changed(oldObject="x"), JSON, 400, "request.oldObject is a string"),
        (changed(namespace=3), JSON, 400, "request.namespace is a number"),
        (changed(name="n" * 254), JSON, 400, "request.name has 254 characters"),
        (changed(userInfo="root"), JSON, 400, "request.userInfo is a string"),
        (changed(userInfo={"groups": "all"}), JSON, 400, "userInfo.groups is not a"),
        (changed(userInfo={"username": 1}), JSON, 400, "username is a number"),
    ],
)
def test_a_call_that_is_no_question_is_an_http_error(
    body: bytes, content_type: str, status: int, said: str
) -> None:
    it = world()
    answer = it.call(body, content_type)
    assert answer.http_status == status
    told = json.loads(answer.body)
    assert told["kind"] == "Status"
    assert told["code"] == status
    assert told["status"] == "Failure"
    assert said in told["message"]
    assert len(told["message"]) < 1000
    assert it.sample("pedigree_admission_bad_calls_total", code=str(status)) == 1
    assert it.sink.entries == []


def test_a_charset_after_the_content_type_is_fine() -> None:
    assert world().call(GOOD, "application/json; charset=utf-8").http_status == 200


def test_fields_that_v1_may_gain_are_ignored() -> None:
    assert world().call(changed(requestKind={}, options={"a": 1})).http_status == 200


def test_the_answer_repeats_uid_version_and_kind() -> None:
    asked = review("CREATE", model_deployment("good"))
    answer = json.loads(world().call(json.dumps(asked).encode()).body)
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    assert answer["kind"] == "AdmissionReview"
    assert answer["response"]["uid"] == asked["request"]["uid"]


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_parser(body: bytes) -> None:
    with pytest.raises(ReviewError):
        parse_review(body, JSON)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = tuple(review()["request"])


@settings(deadline=None)  # an unknown namespace is waited for
@given(field=st.sampled_from(FIELDS), value=JUNK)
def test_junk_in_any_field_is_refused_one_way_or_the_other(
    field: str, value: object
) -> None:
    answer = world().call(
        review_body("CREATE", model_deployment("bad"), **{field: value})
    )
    if answer.http_status == 200:
        response = json.loads(answer.body)["response"]
        harmless = field in ("operation", "subResource")  # may say DELETE or status
        assert response["allowed"] is False or harmless
    else:
        assert answer.http_status == 400


@given(source=JUNK, claims=JUNK, digest=JUNK, role=JUNK)
def test_junk_in_the_object_never_admits_a_denied_model(
    source: object, claims: object, digest: object, role: object
) -> None:
    obj = model_deployment("bad", "bad")
    obj["spec"]["models"][0] |= {"claims": claims, "role": role}
    obj["spec"]["models"][1] |= {"source": source, "expectedDigest": digest}
    assert world().ask("CREATE", obj)["allowed"] is False


def test_hostile_names_cannot_break_out_of_warnings() -> None:
    it = world()
    obj = model_deployment("new", "bad")
    obj["spec"]["models"][0]["name"] = 'a\r\nWarning: 299 - "all is well"' + "x" * 4000
    response = it.ask("CREATE", obj)
    for text in response["warnings"]:
        assert text.isprintable()
        assert len(text) <= 256
    assert len(response["warnings"]) <= 16
    assert len(response["status"]["message"]) <= 2048


def test_many_models_keep_the_answer_small() -> None:
    obj = model_deployment("bad")
    model = obj["spec"]["models"][0]
    obj["spec"]["models"] = [model | {"name": "m" * 250 + str(i)} for i in range(16)]
    answer = world().call(review_body("CREATE", obj))
    assert len(answer.body) < 64 * 1024
