# SPDX-License-Identifier: Apache-2.0
"""Models on a web server that is right, changes, lies or stands where it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from artifact_world.web import Handler, WebServer, serve, serve_at
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, PedigreeError, SourceError
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.sources.answers import check_place
from pedigree.sources.remote import connect
from pedigree.tensors.checkpoint import Checkpoint

ONE = weights({"a": matrix(40, 20)})
TWO = weights({"b": matrix(30, 10)})
INDEX = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
FILES = {
    "/m/one.safetensors": ONE,
    "/m/two.safetensors": TWO,
    "/m/model.safetensors.index.json": INDEX.encode(),
    "/m/config.json": b"{}",
}
PATH = "m/one.safetensors"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serve(WebServer(dict(FILES))) as served:
        yield served


def _open(web: WebServer, path: str = PATH, **changes: object) -> ModelSource:
    settings = SourceSettings(timeout_s=2, attempts=2)
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    return open_source(refs.parse(f"https://{web.host}/{path}"), settings)


def _reason(web: WebServer, path: str = PATH, **changes: object) -> str:
    with pytest.raises(PedigreeError) as caught:
        _open(web, path, **changes).open(path.rpartition("/")[2]).read(10, 100)
    return caught.value.reason


def test_one_file_is_a_model_of_one_file(web: WebServer) -> None:
    source = _open(web)
    assert [(entry.path, entry.size) for entry in source.files()] == [
        ("one.safetensors", len(ONE))
    ]
    file = source.open("one.safetensors")
    assert file.read(5, 300) == ONE[5:305]
    assert file.read(0, len(ONE)) == ONE
    assert file.read_many([(9, 3), (0, 2)]) == [ONE[9:12], ONE[:2]]
    assert source.bytes_read >= len(ONE) + 300


def test_spans_far_apart_come_in_the_order_asked() -> None:
    large = bytes(range(256)) * (20 << 10)
    with serve(WebServer({"/m/x.gguf": large})) as web:
        file = _open(web, "m/x.gguf").open("x.gguf")
        asked = [(4 << 20, 9), (7, 5), (2 << 20, 3)]
        assert file.read_many(asked) == [large[at : at + n] for at, n in asked]


def test_an_index_brings_its_shards_and_what_is_beside_them(web: WebServer) -> None:
    source = _open(web, "m/model.safetensors.index.json")
    assert [entry.path for entry in source.files()] == [
        "config.json",
        "model.safetensors.index.json",
        "one.safetensors",
        "two.safetensors",
    ]
    checkpoint = Checkpoint.open(source)
    assert np.array_equal(checkpoint.read_rows("b", [7, 3]), matrix(30, 10)[[7, 3]])


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "", "a\\b", 7])
def test_shards_outside_the_folder_are_refused(web: WebServer, shard: object) -> None:
    web.files["/m/model.safetensors.index.json"] = json.dumps(
        {"weight_map": {"a": shard}}
    ).encode()
    with pytest.raises(ArtifactError):
        _open(web, "m/model.safetensors.index.json")


def test_a_missing_shard_is_not_found(web: WebServer) -> None:
    del web.files["/m/two.safetensors"]
    assert _reason(web, "m/model.safetensors.index.json") == "NotFound"


def test_the_identity_changes_with_the_file(web: WebServer) -> None:
    before = _open(web)
    again = resolve_identity(before.ref, SourceSettings(timeout_s=2))
    assert again == (before.ref, before.identity)
    web.files[f"/{PATH}"] = TWO
    assert _open(web).identity != before.identity


@pytest.mark.parametrize("heed", [True, False])
def test_a_file_that_changes_between_reads_is_noticed(
    web: WebServer, heed: bool
) -> None:
    web.heed_if_match = heed
    file = _open(web).open("one.safetensors")
    web.files[f"/{PATH}"] = ONE[:-1] + b"\x01"
    with pytest.raises(SourceError) as caught:
        file.read(0, 100)
    assert caught.value.reason == "ChangedWhileReading"


def test_a_server_without_tags_and_dates_is_refused(web: WebServer) -> None:
    web.etags = False
    assert _reason(web) == "NoIdentity"
    _open(web, f"{PATH}@{sha256(ONE)}")
    web.dates = True
    _open(web).open("one.safetensors").read(0, 9)


def test_a_named_digest_is_checked(web: WebServer) -> None:
    source = _open(web, f"{PATH}@{sha256(ONE)}")
    assert source.files()[0].digest is None  # so that the examination hashes it
    assert source.open("one.safetensors").read(0, len(ONE)) == ONE
    other = _open(web, f"{PATH}@{sha256(TWO)}").open("one.safetensors")
    other.read(0, 99)
    with pytest.raises(ArtifactError, match="wanted sha256"):
        other.read(99, len(ONE) - 99)
    other = _open(web, f"{PATH}@{sha256(TWO)}").open("one.safetensors")
    with pytest.raises(ArtifactError) as caught:
        other.read(0, len(ONE))
    assert caught.value.reason == "DigestMismatch"


def test_a_server_without_ranges_serves_small_files_only(web: WebServer) -> None:
    web.ranges = False
    assert _open(web).open("one.safetensors").read(5, 30) == ONE[5:35]
    assert _reason(web, limits=Limits(read_max_bytes=800)) == "RangesUnsupported"


def test_a_cut_body_is_no_content(web: WebServer) -> None:
    file = _open(web).open("one.safetensors")
    web.cut = 50
    with pytest.raises(SourceError) as caught:
        file.read(0, 100)
    assert caught.value.reason in {"TruncatedResponse", "Unreachable"}


def test_answers_are_told_apart(web: WebServer) -> None:
    wanted = {
        401: "Unauthorized",
        403: "Forbidden",
        404: "NotFound",
        503: "ServerError",
    }
    for status, reason in wanted.items():
        web.fail = {f"/{PATH}": (status, {})}
        assert _reason(web) == reason
    web.fail = {f"/{PATH}": (429, {"Retry-After": "7"})}
    with pytest.raises(SourceError, match="host answered 429") as caught:
        _open(web)
    assert getattr(caught.value, "retry_after_s", None) == 7


def test_the_token_goes_to_the_named_host_only(web: WebServer) -> None:
    web.token = "secret"
    assert _reason(web) == "Unauthorized"
    credentials = {"HTTPS_BEARER_TOKEN": "secret"}
    _open(web, credentials=credentials)
    web.token = None
    web.redirects = {"/m/x.gguf": f"http://localhost:{web.port}/{PATH}"}
    web.asked.clear()
    _open(web, "m/x.gguf", credentials=credentials)
    first, second = web.asked
    assert first.headers["authorization"] == "Bearer secret"
    assert second.host == "localhost"
    assert "authorization" not in second.headers


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "64:ff9b::169.254.169.254",
        "2002:a00:1::",
        "2002:a9fe:a9fe::1",
        "::10.0.0.1",
        "::ffff:10.0.0.1",
        "fec0::1",
        "fd00::1",
        "ff0e::1",
    ],
)
def test_a_private_address_within_a_public_looking_one_is_private(
    address: str,
) -> None:
    with pytest.raises(SourceError) as caught:
        check_place(
            "https://host.example/x", (), who="host", resolve=lambda _: [address]
        )
    assert caught.value.reason == "PrivateAddress"


@pytest.mark.parametrize(
    "address", ["64:ff9b::808:808", "2002:808:808::1", "2606:4700::1", "8.8.8.8"]
)
def test_public_addresses_stay_public_also_behind_a_gateway(address: str) -> None:
    check_place("https://host.example/x", (), who="host", resolve=lambda _: [address])


class _Remembers(Handler):
    """Lets in who has the token, and who has the cookie that it gave for it."""

    def respond(self) -> None:
        headers = self.note()
        if headers.get("authorization") == "Bearer theirs" or "cookie" in headers:
            self.ranged(ONE, headers)
        else:
            self.answer(401, b"", {})

    def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        super().answer(status, body, {**headers, "Set-Cookie": "session=1; Path=/"})


def test_what_one_credential_opened_is_closed_to_who_has_none() -> None:
    world = WebServer()
    with serve_at(_Remembers, world) as port:
        world.port = port
        _open(world, credentials={"HTTPS_BEARER_TOKEN": "theirs"})
        assert _reason(world) == "Unauthorized"
    assert not [asked for asked in world.asked if "cookie" in asked.headers]


def test_private_addresses_are_refused_unless_listed(web: WebServer) -> None:
    assert _reason(web, private_hosts=()) == "PrivateAddress"
    assert not web.asked
    _open(web, private_hosts=(web.host,)).open("one.safetensors").read(0, 9)
    web.redirects = {"/m/x.gguf": f"http://localhost:{web.port}/{PATH}"}
    assert _reason(web, "m/x.gguf", private_hosts=(web.host,)) == "PrivateAddress"


def test_other_files_are_no_models(web: WebServer) -> None:
    assert _reason(web, "m/config.json") == "NotAModelFile"
    with pytest.raises(PedigreeError) as caught:
        _open(web, "org/repo")  # as people copy it from a browser
    assert "hf://org/repo" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("allowed", "scheme"),
    [
        (("10.1.2.3:9000",), "https"),
        (("http://10.1.2.3:9000",), "http"),
        (("http://10.1.2.3",), "https"),
        (None, "https"),
    ],
)
def test_a_host_is_asked_without_tls_only_if_it_is_allowed_as_such(
    allowed: tuple[str, ...] | None, scheme: str
) -> None:
    found = connect(SourceSettings(private_hosts=allowed), "10.1.2.3:9000", "host")
    assert found.endpoint == f"{scheme}://10.1.2.3:9000"
