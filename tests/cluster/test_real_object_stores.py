# SPDX-License-Identifier: Apache-2.0
"""``s3://`` and ``gs://`` against servers that others wrote."""

from __future__ import annotations

import json
import os
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import made_models
from artifact_world.gateway import KEY, SECRET, Google, serve, serve_google
from artifact_world.gcs import account_key
from controlplane import ProgramError
from controlplane.binaries import ensure
from pedigree.errors import SourceRefused, SourceUnavailable
from pedigree.fingerprint.source import fingerprint_source
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source, resolve_identity

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

MANY = 1050
PART = 5 << 20
"""The least that a part may have, but for the last."""


@dataclass
class _Store:
    """A server, and the vendor's own client that writes what the sources read."""

    endpoint: str
    client: Any

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        for key, body in files.items():
            self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def settings(self, **given: str) -> SourceSettings:
        own = {"AWS_ENDPOINT_URL": self.endpoint}
        return SourceSettings(credentials={**own, **given}, timeout_s=10, attempts=1)

    @property
    def signed(self) -> SourceSettings:
        return self.settings(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)

    def open(self, ref: str, settings: SourceSettings | None = None) -> Any:
        return open_source(parse(ref), settings or self.signed)


def _program(name: str) -> Path:
    try:
        return ensure([name])[name]
    except ProgramError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no object store: {error}")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Store]:
    program = _program("objectstore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import boto3  # type: ignore[import-untyped]

        with serve(program, tmp_path_factory.mktemp("store")) as endpoint:
            client = boto3.client(
                "s3",
                endpoint_url=endpoint,
                aws_access_key_id=KEY,
                aws_secret_access_key=SECRET,
                region_name="us-east-1",
            )
            for bucket in ("plain", "versioned", "public"):
                client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(
                Bucket="versioned", VersioningConfiguration={"Status": "Enabled"}
            )
            yield _Store(endpoint, client)


def test_objects_below_a_prefix_are_listed_and_read_by_signed_ranges(
    store: _Store,
) -> None:
    odd = "\u00e9 %41+=&~'(a).txt"
    files = {"config.json": b"{}", "deep/w.bin": b"0123456789", odd: b"odd"}
    store.put("plain", {f"models/a/{name}": body for name, body in files.items()})
    store.put("plain", {"models/ab/other.bin": b"other"})
    source = store.open("s3://plain/models/a")
    assert {each.path: each.size for each in source.files()} == {
        name: len(body) for name, body in files.items()
    }
    assert source.open(odd).read(0, 3) == b"odd"
    before = source.bytes_read
    assert source.open("deep/w.bin").read_many([(8, 2), (0, 1)]) == [b"89", b"0"]
    assert source.bytes_read - before <= 10
    alone = store.open("s3://plain/models/a/deep/w.bin")
    assert alone.open("w.bin").read(2, 3) == b"234"
    assert alone.ref.revision is None


def test_what_marks_a_folder_is_no_file_of_the_model(store: _Store) -> None:
    store.put("plain", {"marked/": b"", "marked/deep/": b"", "marked/deep/w": b"w"})
    listed = store.client.list_objects_v2(Bucket="plain", Prefix="marked/")
    assert "marked/deep/" in [each["Key"] for each in listed["Contents"]]
    assert [each.path for each in store.open("s3://plain/marked").files()] == ["deep/w"]


def test_a_listing_of_several_pages_is_read_to_its_end(store: _Store) -> None:
    def put(number: int) -> None:
        store.put("plain", {f"many/{number:04d}.bin": f"{number:04d}".encode()})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(MANY)))
    page = store.client.list_objects_v2(Bucket="plain", Prefix="many/")
    assert page["IsTruncated"]
    source = store.open("s3://plain/many")
    assert [each.path for each in source.files()] == [
        f"{number:04d}.bin" for number in range(MANY)
    ]
    assert source.open(f"{MANY - 1:04d}.bin").read(0, 4) == str(MANY - 1).encode()


def test_an_object_that_is_replaced_or_deleted_after_listing_is_noticed(
    store: _Store,
) -> None:
    store.put("plain", {"change/x": b"old", "change/y": b"old"})
    ref = parse("s3://plain/change")
    before = resolve_identity(ref, store.signed)
    assert before == resolve_identity(ref, store.signed)
    source = store.open(str(ref))
    store.put("plain", {"change/x": b"new"})
    store.client.delete_object(Bucket="plain", Key="change/y")
    for path in ("x", "y"):
        with pytest.raises(SourceUnavailable) as caught:
            source.open(path).read(0, 3)
        assert caught.value.reason == "ChangedWhileReading"
    assert resolve_identity(ref, store.signed)[1] != before[1]


def test_one_object_is_pinned_to_its_version_and_read_when_it_is_deleted(
    store: _Store,
) -> None:
    store.put("versioned", {"m.bin": b"old"})
    source = store.open("s3://versioned/m.bin")
    told = store.client.head_object(Bucket="versioned", Key="m.bin")["VersionId"]
    assert source.ref.revision == told
    store.put("versioned", {"m.bin": b"newer"})
    assert source.open("m.bin").read(0, 3) == b"old"
    assert store.open("s3://versioned/m.bin").files()[0].size == 5
    store.client.delete_object(Bucket="versioned", Key="m.bin")
    again = store.open(str(source.ref))
    assert again.identity == source.identity
    assert again.open("m.bin").read(0, 3) == b"old"
    with pytest.raises(SourceRefused) as caught:
        store.open("s3://versioned/m.bin")
    assert caught.value.reason == "EmptyFolder"


def test_a_version_that_was_deleted_while_reading_is_noticed(store: _Store) -> None:
    store.put("versioned", {"gone.bin": b"old"})
    source = store.open("s3://versioned/gone.bin")
    store.client.delete_object(
        Bucket="versioned", Key="gone.bin", VersionId=source.ref.revision
    )
    with pytest.raises(SourceUnavailable) as caught:
        source.open("gone.bin").read(0, 3)
    assert caught.value.reason == "ChangedWhileReading"
    with pytest.raises(SourceRefused) as refused:
        store.open(str(source.ref))
    assert refused.value.reason == "NotFound"


def test_a_prefix_of_a_versioned_bucket_is_pinned_to_what_was_listed(
    store: _Store,
) -> None:
    store.put("versioned", {"model/w.bin": b"old"})
    source = store.open("s3://versioned/model")
    store.put("versioned", {"model/w.bin": b"new"})
    with pytest.raises(SourceUnavailable) as caught:
        source.open("w.bin").read(0, 3)
    assert caught.value.reason == "ChangedWhileReading"


def test_an_object_that_was_uploaded_in_parts_is_read_across_them(
    store: _Store,
) -> None:
    at = {"Bucket": "plain", "Key": "parts/w.bin"}
    upload = store.client.create_multipart_upload(**at)["UploadId"]
    parts = []
    for number, size in ((1, PART), (2, 7)):
        body = bytes([number]) * size
        told = store.client.upload_part(
            **at, UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"ETag": told["ETag"], "PartNumber": number})
    store.client.complete_multipart_upload(
        **at, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    source = store.open("s3://plain/parts")
    assert [each.size for each in source.files()] == [PART + 7]
    assert source.open("w.bin").read(PART - 2, 4) == b"\1\1\2\2"


def test_a_fingerprint_over_the_store_equals_the_one_over_files(
    store: _Store, tmp_path: Path
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(3), shards=2)
    store.put(
        "plain", {f"fp/{file.name}": file.read_bytes() for file in folder.iterdir()}
    )
    mine = fingerprint_source(store.open("s3://plain/fp"))
    assert mine.digest == fingerprint_source(made_models.source(folder)).digest


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another/secret"}, "Forbidden"),
        ({"AWS_ACCESS_KEY_ID": "AKIDUNKNOWN"}, "Forbidden"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Forbidden"),
        ({"AWS_SESSION_TOKEN": "token-made-up"}, "Refused"),
        ({"AWS_REGION": "eu-west-1"}, "Refused"),
    ],
)
def test_credentials_that_the_store_does_not_take_are_told_and_not_shown(
    store: _Store, changed: dict[str, str], reason: str
) -> None:
    store.put("plain", {"secret/w.bin": b"w"})
    given = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, **changed}
    for ref in ("s3://plain/secret", "s3://plain/secret/w.bin"):
        with pytest.raises(SourceRefused) as caught:
            store.open(ref, store.settings(**given))
        assert caught.value.reason == reason
        assert "credentials" in (caught.value.hint or "")
        text = "".join(traceback.format_exception(caught.value))
        for word in (*filter(None, given.values()), "Signature"):
            assert word == "eu-west-1" or word not in text


def test_a_public_bucket_is_read_without_credentials(store: _Store) -> None:
    store.put("public", {"model/w.bin": b"0123456789"})
    with pytest.raises(SourceRefused):
        store.open("s3://public/model", store.settings())
    everybody = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["s3:GetObject", "s3:ListBucket"],
                "Resource": ["arn:aws:s3:::public", "arn:aws:s3:::public/*"],
            }
        ],
    }
    store.client.put_bucket_policy(Bucket="public", Policy=json.dumps(everybody))
    source = store.open("s3://public/model", store.settings())
    assert source.open("w.bin").read(3, 4) == b"3456"


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        ("s3://plain/nothing/here", "EmptyFolder"),
        ("s3://no-such-bucket/m", "NotFound"),
        ("s3://no-such-bucket", "NotFound"),
    ],
)
def test_what_is_not_there_is_refused(store: _Store, ref: str, reason: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        store.open(ref)
    assert caught.value.reason == reason


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    with serve_google(_program("gcs"), tmp_path_factory.mktemp("google")) as served:
        served.bucket("models")
        served.bucket("versioned", versioned=True)
        yield served


def _at_google(google: Google, ref: str, **given: str) -> Any:
    own = {"GOOGLE_BASE_URL": google.endpoint}
    settings = SourceSettings(credentials={**own, **given}, timeout_s=10, attempts=1)
    return open_source(parse(ref), settings)


@pytest.mark.parametrize(
    "given",
    [{}, {"GOOGLE_SERVICE_ACCOUNT_KEY": account_key()}],
    ids=["public", "signed"],
)
def test_google_objects_are_listed_and_read_by_ranges(
    google: Google, given: dict[str, str]
) -> None:
    odd = "\u00e9 %41+=&~'(a).txt"
    files = {"config.json": b"{}", "deep/w.bin": b"0123456789", odd: b"odd"}
    for name, body in files.items():
        google.put("models", f"a/{name}", body)
    for name in ("a/", "a/deep/"):
        google.put("models", name, b"")
    source = _at_google(google, "gs://models/a", **given)
    assert {each.path: each.size for each in source.files()} == {
        name: len(body) for name, body in files.items()
    }
    assert source.open(odd).read(0, 3) == b"odd"
    assert source.open("deep/w.bin").read(2, 5) == b"23456"


def test_google_objects_that_change_are_noticed_though_if_match_is_not_heeded(
    google: Google,
) -> None:
    for name in ("x", "y"):
        google.put("models", f"change/{name}", b"old")
    source = _at_google(google, "gs://models/change")
    google.put("models", "change/x", b"new")
    google.delete("models", "change/y")
    for path in ("x", "y"):
        with pytest.raises(SourceUnavailable) as caught:
            source.open(path).read(0, 3)
        assert caught.value.reason == "ChangedWhileReading"


def test_a_google_object_is_pinned_to_its_generation(google: Google) -> None:
    google.put("versioned", "m.bin", b"old")
    source = _at_google(google, "gs://versioned/m.bin")
    assert (source.ref.revision or "").isdecimal()
    google.put("versioned", "m.bin", b"newer")
    assert source.open("m.bin").read(0, 3) == b"old"
    assert _at_google(google, str(source.ref)).identity == source.identity
    assert _at_google(google, "gs://versioned/m.bin").files()[0].size == 5
    with pytest.raises(SourceRefused) as caught:
        _at_google(google, "gs://versioned/m.bin@1")
    assert caught.value.reason == "NotFound"


def test_a_fingerprint_over_google_equals_the_one_over_files(
    google: Google, tmp_path: Path
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(3), shards=2)
    for file in folder.iterdir():
        google.put("models", f"fp/{file.name}", file.read_bytes())
    mine = fingerprint_source(_at_google(google, "gs://models/fp"))
    assert mine.digest == fingerprint_source(made_models.source(folder)).digest
