# SPDX-License-Identifier: Apache-2.0
"""Models in object stores, read from a server that speaks S3 over HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import made_models
from pedigree.errors import PedigreeError, SourceError, SourceRefused, SourceUnavailable
from pedigree.fingerprint.source import fingerprint_source
from pedigree.limits import Limits
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source, resolve_identity, spans
from pedigree.sources.buckets import check_endpoint, store_config
from pedigree.sources.settings import CacheSettings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

KEY, SECRET, TOKEN = "AKIDMADEUP", "secret/made+up", "token-made-up"


class _World:
    """A server, and a client that writes what the sources read."""

    def __init__(self, endpoint: str, client: Any) -> None:
        self.endpoint = endpoint
        self.client = client
        self.settings = SourceSettings(
            credentials={
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_SESSION_TOKEN": TOKEN,
                "AWS_ENDPOINT_URL": endpoint,
            },
            timeout_s=5,
            attempts=1,
        )

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        for key, body in files.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def open(self, ref: str, **changed: Any) -> Any:
        return open_source(parse(ref), replace(self.settings, **changed))

    def refusal(self, ref: str, **changed: Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.open(ref, **changed)
        assert not _leaks("".join(traceback.format_exception(caught.value)))
        return caught.value


def _leaks(text: str) -> bool:
    return any(secret in text for secret in (KEY, SECRET, TOKEN, "Signature"))


@pytest.fixture(scope="module")
def world() -> Iterator[_World]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import boto3  # type: ignore[import-untyped]
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        made = _World(endpoint, client)
        for bucket in ("plain", "versioned", "hostile"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(
            Bucket="versioned", VersioningConfiguration={"Status": "Enabled"}
        )
        made.put(
            "plain",
            {
                "models/a/config.json": b"{}",
                "models/a/deep/w.bin": b"0123456789",
                "models/a/": b"",
                "models/a/\u00e9 %41+.txt": b"odd",
                "models/ab/other.bin": b"other",
            },
        )
        yield made
        server.stop()


def test_a_prefix_lists_its_objects_and_not_those_of_a_longer_name(
    world: _World,
) -> None:
    source = world.open("s3://plain/models/a")
    assert [(entry.path, entry.size) for entry in source.files()] == [
        ("config.json", 2),
        ("deep/w.bin", 10),
        ("\u00e9 %41+.txt", 3),
    ]
    assert source.open("\u00e9 %41+.txt").read(0, 3) == b"odd"
    assert source.ref == parse("s3://plain/models/a")
    assert source.identity.startswith("objects:sha256:")
    assert source.bytes_read == 3
    assert not _leaks(repr(source) + repr(vars(source)))


def test_a_bucket_alone_is_a_model_of_all_its_objects(world: _World) -> None:
    paths = [entry.path for entry in world.open("s3://plain").files()]
    assert "models/ab/other.bin" in paths
    assert "models/a/deep/w.bin" in paths


def test_one_object_is_a_model_of_one_file(world: _World) -> None:
    source = world.open("s3://plain/models/a/deep/w.bin")
    assert [(entry.path, entry.size) for entry in source.files()] == [("w.bin", 10)]
    assert source.open("w.bin").read(2, 3) == b"234"
    assert source.ref.revision is None


def test_ranges_are_read_as_asked_joined_and_counted(world: _World) -> None:
    source = world.open("s3://plain/models/a")
    file = source.open("deep/w.bin")
    assert (file.path, file.size) == ("deep/w.bin", 10)
    assert file.read(9, 1) == b"9"
    assert file.read(4, 0) == b""
    assert file.read_many([(8, 2), (0, 1), (8, 1)]) == [b"89", b"0", b"8"]
    assert source.bytes_read == 1 + 10
    with pytest.raises(ValueError, match="it has 10"):
        file.read(5, 6)
    with pytest.raises(KeyError):
        source.open("other.bin")


def test_what_was_read_of_an_object_is_kept_until_it_is_another(
    world: _World, tmp_path: Path
) -> None:
    cache = CacheSettings(folder=tmp_path)
    world.put("plain", {"kept/w.bin": b"0123456789"})

    def read(**changed: Any) -> tuple[bytes, int]:
        """What is read, and the requests for content it takes."""
        source = world.open("s3://plain/kept", cache=cache, **changed)
        return source.open("w.bin").read(2, 5), source.usage.requests

    assert read() == (b"23456", 1)
    assert read() == (b"23456", 0)
    # Another access has to ask itself.
    others = {**world.settings.credentials, "AWS_SESSION_TOKEN": "another"}
    assert read(credentials=others) == (b"23456", 1)
    world.put("plain", {"kept/w.bin": b"abcdefghij"})
    assert read() == (b"cdefg", 1)
    for path in tmp_path.rglob("*"):
        assert not _leaks(path.name)
        assert path.is_dir() or not _leaks(path.read_bytes().decode("latin-1"))


def test_a_request_that_failed_is_counted_as_such(world: _World) -> None:
    world.put("plain", {"changing/w.bin": b"0123456789"})
    source = world.open("s3://plain/changing")
    file = source.open("w.bin")
    file.read(0, 1)
    world.put("plain", {"changing/w.bin": b"abcdefghij"})
    with pytest.raises(SourceUnavailable):
        file.read(0, 1)
    usage = source.usage
    assert (usage.requests, usage.requests_failed, usage.requests_limited) == (2, 1, 0)


def test_requests_to_a_store_are_made_at_once(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "GAP_BYTES", 0)
    world.put("plain", {"many/w.bin": bytes(range(200))})
    source = world.open("s3://plain/many", connections=3)
    together, real = threading.Barrier(3, timeout=20), source.get

    def get(*asked: Any) -> bytes:
        together.wait()  # breaks unless three ask at the same time
        found: bytes = real(*asked)
        return found

    monkeypatch.setattr(source, "get", get)
    file = source.open("w.bin")
    assert file.read_many([(0, 1), (50, 2), (99, 1)]) == [b"\0", b"23", b"c"]


def test_an_object_that_changes_after_listing_is_noticed(world: _World) -> None:
    world.put("plain", {"change/x": b"old", "change/y": b"old"})
    source = world.open("s3://plain/change")
    world.put("plain", {"change/x": b"new"})
    world.client.delete_object(Bucket="plain", Key="change/y")
    for path in ("x", "y"):
        with pytest.raises(SourceUnavailable, match="changed") as caught:
            source.open(path).read(0, 3)
        assert caught.value.reason == "ChangedWhileReading"
        assert not _leaks("".join(traceback.format_exception(caught.value)))


def test_the_identity_changes_with_the_content_and_else_not(world: _World) -> None:
    ref = parse("s3://plain/same")
    world.put("plain", {"same/x": b"old"})
    first = resolve_identity(ref, world.settings)
    assert first == resolve_identity(ref, world.settings)
    assert first == (ref, world.open(str(ref)).identity)
    world.put("plain", {"same/x": b"new"})
    assert resolve_identity(ref, world.settings)[1] != first[1]


def test_one_object_is_pinned_to_its_version_and_read_by_it(world: _World) -> None:
    world.put("versioned", {"m.bin": b"old"})
    source = world.open("s3://versioned/m.bin")
    assert source.ref.pinned
    world.put("versioned", {"m.bin": b"newer"})
    assert source.open("m.bin").read(0, 3) == b"old"
    again = world.open(str(source.ref))
    assert again.open("m.bin").read(0, 3) == b"old"
    assert again.identity == source.identity
    assert world.open("s3://versioned/m.bin").files()[0].size == 5
    assert world.refusal("s3://versioned/m.bin@none").reason in ("NotFound", "Refused")


def test_a_fingerprint_over_s3_equals_the_one_over_files(
    world: _World, tmp_path: Path
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(3), shards=2)
    world.put(
        "plain", {f"fp/{file.name}": file.read_bytes() for file in folder.iterdir()}
    )
    mine = fingerprint_source(world.open("s3://plain/fp"))
    theirs = fingerprint_source(made_models.source(folder))
    assert mine.digest == theirs.digest


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("s3://plain/nothing/here", "EmptyFolder"),
        ("s3://plain/models/a/deep/w.bi", "EmptyFolder"),
        ("s3://no-such-bucket/m", "NotFound"),
        ("s3://no-such-bucket", "NotFound"),
    ],
)
def test_what_is_not_there_is_refused(world: _World, ref: str, reason: str) -> None:
    error = world.refusal(ref)
    assert isinstance(error, SourceRefused)
    assert error.reason == reason
    assert not error.message.endswith(".")


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "b//x", "c/\x07", "d\\x", "e/./x"]
)
def test_a_hostile_key_is_refused(world: _World, key: str) -> None:
    world.put("hostile", {f"model/{key}": b"x"})
    try:
        error = world.refusal("s3://hostile/model")
    finally:
        world.client.delete_object(Bucket="hostile", Key=f"model/{key}")
    assert error.reason == "MalformedName"


def test_too_many_objects_are_refused(world: _World) -> None:
    error = world.refusal("s3://plain/models", limits=Limits(files_max=3))
    assert error.reason == "LimitExceeded"


def test_the_environment_of_the_process_lends_nothing(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ROLE_ARN",
    ):
        monkeypatch.setenv(name, "FROMENV")
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    monkeypatch.setenv("AWS_REQUEST_PAYER", "true")
    with _Listener() as listener:
        asked = dict(world.settings.credentials) | {
            "AWS_ENDPOINT_URL": listener.endpoint
        }
        del asked["AWS_SESSION_TOKEN"]
        world.refusal("s3://plain/a", credentials=asked)
        asked = {"AWS_ENDPOINT_URL": listener.endpoint}
        world.refusal("s3://plain/a", credentials=asked)
    signed, unsigned = listener.seen
    assert f"Credential={KEY}/" in signed["authorization"]
    assert "authorization" not in unsigned
    assert "FROMENV" not in json.dumps(listener.seen)
    assert "x-amz-security-token" not in signed
    assert "x-amz-request-payer" not in signed


class _Listener:
    """A store that answers every request with one status, and keeps its headers."""

    def __init__(self, status: int = 403, body: bytes = b"") -> None:
        seen: list[dict[str, str]] = []

        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append({k.lower(): v for k, v in self.headers.items()})
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.seen = seen
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> _Listener:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "Forbidden", SourceRefused),
        (403, "Forbidden", SourceRefused),
        (400, "Refused", SourceRefused),
        (429, "RateLimited", SourceUnavailable),
        (503, "ServerError", SourceUnavailable),
        (200, "NoIdentity", SourceRefused),
    ],
)
def test_a_status_becomes_an_error_without_the_words_of_the_store(
    world: _World, status: int, reason: str, kind: type[SourceError]
) -> None:
    echo = f"<Error>{KEY} {SECRET} X-Amz-Signature=1</Error>".encode()
    with _Listener(status, echo) as listener:
        error = world.refusal(
            "s3://plain/a",
            credentials={**world.settings.credentials}
            | {"AWS_ENDPOINT_URL": listener.endpoint},
        )
    assert (type(error), error.reason) == (kind, reason)
    if reason == "Forbidden":
        assert "Secret" in (error.hint or "")


def test_a_store_that_does_not_answer_is_unavailable(world: _World) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        error = world.refusal("s3://plain/a", credentials={"AWS_ENDPOINT_URL": address})
    assert isinstance(error, SourceUnavailable)
    assert (error.reason, "could not be reached" in str(error)) == ("Unreachable", True)
    assert "AWS_ENDPOINT_URL" in (error.hint or "")


def test_without_the_extra_the_hint_names_it(
    world: _World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    error = world.refusal("s3://plain/a")
    assert error.reason == "ExtraMissing"
    assert error.hint == 'pip install "pedigree-gate[cloud]"'
    # Also where credentials are missing too: they are asked for when it is there.
    assert world.refusal("az://plain/a", credentials={}).reason == "ExtraMissing"


@pytest.mark.parametrize(
    ("endpoint", "allowed", "reason"),
    [
        ("http://127.0.0.1:9000", (), "PrivateHost"),
        ("https://127.0.0.1:9000", (), "PrivateHost"),
        ("https://169.254.169.254", ("minio",), "PrivateHost"),
        ("https://[64:ff9b::a00:1]", (), "PrivateHost"),
        ("http://8.8.8.8", (), "PrivateHost"),
        ("ftp://host", None, "BadEndpoint"),
        ("https://user:word@host", None, "BadEndpoint"),
        ("https://host/?x=1", None, "BadEndpoint"),
        ("https://host:port", None, "BadEndpoint"),
        ("", None, "BadEndpoint"),
    ],
)
def test_an_endpoint_that_may_not_be_asked_is_refused(
    endpoint: str, allowed: tuple[str, ...] | None, reason: str
) -> None:
    with pytest.raises(SourceRefused) as caught:
        check_endpoint(endpoint, allowed)
    assert caught.value.reason == reason
    assert caught.value.hint
    assert "word" not in str(caught.value)


def test_an_allowed_private_host_may_be_without_tls() -> None:
    assert check_endpoint("http://127.0.0.1:9000", ("127.0.0.1:9000",))
    assert check_endpoint("http://127.0.0.1:9000", ("127.0.0.1",))
    assert check_endpoint("http://127.0.0.1:9000", None)
    assert not check_endpoint("https://8.8.8.8", ())


def _config(ref: str, **credentials: str) -> Any:
    return store_config(parse(ref), SourceSettings(credentials=credentials))


def test_s3_without_credentials_is_not_signed() -> None:
    config = _config("s3://bucket/m", AWS_REGION="eu-west-1")
    assert config.s3_keys is None
    assert config.options["skip_signature"] is True
    assert config.endpoint == "https://s3.eu-west-1.amazonaws.com"
    assert _config("s3://bucket/m", AWS_REGION="cn-north-1").endpoint.endswith(".cn")


def test_google_is_asked_at_its_own_address_whatever_the_key_says() -> None:
    config = _config("gs://bucket/m", GOOGLE_SERVICE_ACCOUNT_KEY='{"made": "up"}')
    assert config.options == {
        "base_url": "https://storage.googleapis.com",
        "service_account_key": '{"made": "up"}',
        "skip_signature": False,
    }
    assert "made" not in repr(config)
    assert _config("gs://bucket/m").options["skip_signature"] is True


def test_azure_uses_the_one_credential_that_was_given() -> None:
    account = {"AZURE_STORAGE_ACCOUNT_NAME": "myaccount"}
    key = _config("az://box/m", **account, AZURE_STORAGE_ACCOUNT_KEY="a2V5")
    assert key.endpoint == "https://myaccount.blob.core.windows.net"
    assert key.options["credential_type"] == "access_key"
    sas = _config("az://box/m", **account, AZURE_STORAGE_SAS_KEY="sig=made")
    assert sas.options["credential_type"] == "sas_token"
    assert "made" not in repr(sas)
    nothing = _config("az://box/m", **account)
    assert nothing.options["skip_signature"] is True
    own = _config("az://box/m", **account, AZURE_STORAGE_ENDPOINT="http://azurite/a/")
    assert own.options["endpoint"] == "http://azurite/a"


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_stores_open_with_these_settings_and_ask_nothing_else(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pedigree.sources import objects

    settings = SourceSettings(
        credentials={"AZURE_STORAGE_ACCOUNT_NAME": "myaccount"}, attempts=1
    )
    for name in ("GOOGLE_BEARER_TOKEN", "GOOGLE_SERVICE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    store = objects._store(parse(f"{scheme}://bucket/m"), settings)
    assert "bucket" in repr(store)


def test_a_google_token_of_the_process_is_not_lent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "lent")
    with pytest.raises(SourceRefused, match="GOOGLE_BEARER_TOKEN") as caught:
        open_source(parse("gs://bucket/m"), SourceSettings())
    assert caught.value.reason == "BadCredentials"
    assert "lent" not in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "credentials"),
    [
        ("s3://bucket", {"AWS_ACCESS_KEY_ID": "half"}),
        ("s3://bucket", {"AWS_SECRET_ACCESS_KEY": "half"}),
        ("s3://bucket", {"AWS_REGION": "evil.host/#"}),
        ("az://bucket", {}),
        ("az://bucket", {"AZURE_STORAGE_ACCOUNT_NAME": "evil.host/#"}),
        ("gs://bucket", {"GOOGLE_SERVICE_ACCOUNT_KEY": "half"}),
        (
            "az://bucket",
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "myaccount",
                "AZURE_STORAGE_ACCOUNT_KEY": "half!",
            },
        ),
    ],
)
def test_unusable_credentials_are_refused_and_not_shown(
    ref: str, credentials: dict[str, str]
) -> None:
    with pytest.raises(PedigreeError) as caught:
        open_source(parse(ref), SourceSettings(credentials=credentials))
    assert caught.value.reason == "BadCredentials"
    text = "".join(traceback.format_exception(caught.value))
    assert "half" not in text
    assert "evil" not in text


@given(st.text(max_size=60))
def test_any_endpoint_is_judged_or_refused(text: str) -> None:
    with contextlib.suppress(PedigreeError):
        check_endpoint(f"https://{text}", None)
