# SPDX-License-Identifier: Apache-2.0
"""Credentials of a Secret: what is read, what is refused, and what is never shown."""

import asyncio
import base64
import json
from typing import Any

import pytest

from pedigree.errors import PedigreeError, SourceRefused, SourceUnavailable
from pedigree.sources.settings import CREDENTIALS
from pedigree_operator.access import Access
from pedigree_operator.cluster import ClusterError
from pedigree_operator.credentials import (
    MESSAGE_MAX_CHARS,
    NONE,
    REDACTED,
    Credentials,
    read_credentials,
)
from pedigree_operator.kinds import SECRETS, Resource

CANARY = "hf_CanaryCanaryCanary0123456789"
ACCESS = Access("hf://org/model", "team-a", "hub")


class Server:
    """Answers for one Secret."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[Resource, str, str]] = []

    async def get(self, resource: Resource, namespace: str, name: str) -> Any:
        self.asked.append((resource, namespace, name))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def secret(**data: str | bytes) -> dict[str, Any]:
    raw = {k: v if isinstance(v, bytes) else v.encode() for k, v in data.items()}
    return {"data": {k: base64.b64encode(v).decode() for k, v in raw.items()}}


def read(answer: Any) -> Credentials:
    return asyncio.run(read_credentials(Server(answer), ACCESS))


def test_exactly_the_named_secret_of_the_objects_namespace_is_asked_for() -> None:
    server = Server(secret(HF_TOKEN=f"{CANARY}\n"))
    found = asyncio.run(read_credentials(server, ACCESS))
    assert server.asked == [(SECRETS, "team-a", "hub")]
    assert found.values == {"HF_TOKEN": CANARY}, "the line end is the editor's"


@pytest.mark.parametrize(
    ("answer", "error", "reason", "said"),
    [
        (
            ClusterError("no", status=403),
            SourceRefused,
            "CredentialsForbidden",
            "add team-a to operator.credentials.namespaces",
        ),
        (None, SourceRefused, "CredentialsMissing", "team-a/hub is not there"),
        (
            ClusterError("away", status=0),
            SourceUnavailable,
            "CredentialsUnavailable",
            "answered nothing",
        ),
        (ClusterError("x", status=500), SourceUnavailable, None, "answered 500"),
        (secret(token=CANARY), SourceRefused, "CredentialsInvalid", "known are HF_TOK"),
        ({"data": None}, SourceRefused, "CredentialsInvalid", "has no keys"),
        (secret(HF_TOKEN=""), SourceRefused, None, "is empty"),
        (secret(HF_TOKEN="a" * 20000), SourceRefused, None, "has 20000 bytes"),
        (secret(HF_TOKEN=b"\xff\xfe"), SourceRefused, None, "is no text"),
        (secret(HF_TOKEN=f"{CANARY}\r\nX: y"), SourceRefused, None, "control"),
        ({"data": {"HF_TOKEN": "?"}}, SourceRefused, None, "is no text"),
        ({"data": {"HF_TOKEN": 7}}, SourceRefused, None, "is no text"),
        (
            secret(AWS_ENDPOINT_URL=f"https://me:{CANARY}@s3.example"),
            SourceRefused,
            None,
            "no value that can be used",
        ),
        (
            secret(GOOGLE_BASE_URL=f"https://me:{CANARY}@storage.example"),
            SourceRefused,
            None,
            "no value that can be used",
        ),
    ],
)
def test_what_cannot_be_used_is_told_without_the_value(
    answer: Any, error: type[PedigreeError], reason: str | None, said: str
) -> None:
    with pytest.raises(error) as caught:
        read(answer)
    assert said in str(caught.value)
    assert CANARY not in str(caught.value)
    if reason is not None:
        assert caught.value.reason == reason


def test_a_refused_key_names_all_that_are_known() -> None:
    with pytest.raises(SourceRefused) as caught:
        read(secret(PASSWORD="x"))
    assert all(name in str(caught.value) for name in CREDENTIALS)


def test_a_key_file_may_have_several_lines() -> None:
    key = json.dumps({"private_key": "-----BEGIN\nabc\n"}, indent=1)
    found = read(secret(GOOGLE_SERVICE_ACCOUNT_KEY=key))
    assert found.values["GOOGLE_SERVICE_ACCOUNT_KEY"] == key


def test_no_value_is_in_the_representation() -> None:
    assert CANARY not in repr(Credentials({"HF_TOKEN": CANARY}))


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"refused: Bearer {CANARY}",
        f"cut short: {CANARY[:12]}",
        f"{CANARY[10:]} was cut in front",
        f"{CANARY[:9]}\n{CANARY[9:]}",
        f"{CANARY}{CANARY}",
    ],
)
def test_no_piece_of_a_secret_stays_in_a_message(text: str) -> None:
    told = Credentials({"HF_TOKEN": CANARY}).redact(text)
    pieces = {CANARY[i : i + 8] for i in range(len(CANARY) - 7)}
    assert not [piece for piece in pieces if piece in told]
    assert REDACTED in told


def test_the_rest_of_a_message_stays_and_so_does_where_something_is() -> None:
    held = Credentials({"HF_TOKEN": CANARY, "AWS_REGION": "eu-north-1"})
    told = held.redact(f"answered 401 in eu-north-1 to {CANARY}, wanted 200")
    assert told == f"answered 401 in eu-north-1 to {REDACTED}, wanted 200"
    assert Credentials({"OCI_PASSWORD": "pw"}).redact("pw is pw") == (
        f"{REDACTED} is {REDACTED}"
    )


def test_an_error_is_cleaned_in_all_its_parts() -> None:
    error = SourceRefused(f"no: {CANARY}", reason=CANARY, hint=f"use {CANARY}")
    cleaned = Credentials({"HF_TOKEN": CANARY}).clean(error)
    told = f"{cleaned} {cleaned!r} {cleaned.args} {cleaned.reason}"
    assert CANARY not in told
    assert NONE.clean(SourceRefused("kept")).message == "kept"


def test_a_flood_of_words_is_cut_before_it_is_searched() -> None:
    flood = SourceRefused("x" * 4_000_000, reason="y" * 9999, hint="z" * 9999)
    cleaned = Credentials({"HF_TOKEN": CANARY}).clean(flood)
    assert len(cleaned.message) == len(cleaned.reason) == MESSAGE_MAX_CHARS
    assert len(cleaned.hint or "") == MESSAGE_MAX_CHARS


def test_an_answer_that_repeats_a_secret_is_thrown_away() -> None:
    key = '{"private_key": "-----BEGIN\\nabc"}'
    held = Credentials({"HF_TOKEN": CANARY, "GOOGLE_SERVICE_ACCOUNT_KEY": key})
    held.check('{"uri": "hf://org/model"}', "hf://org/model")
    for answer in (f'{{"uri": "{CANARY}"}}', json.dumps({"a": key})):
        with pytest.raises(SourceRefused) as caught:
            held.check(answer, "hf://org/model")
        assert caught.value.reason == "CredentialsInAnswer"
        assert CANARY not in str(caught.value)
    who = Credentials({"OCI_USERNAME": "safetensors"})
    who.check('{"formats": ["safetensors"]}', "oci://r.example/m")
