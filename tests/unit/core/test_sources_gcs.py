# SPDX-License-Identifier: Apache-2.0
"""Models in a bucket that lists and answers as Google's does."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import made_models
from artifact_world.gcs import Gcs, account_key, serve
from artifact_world.weights import matrix, weights
from pedigree.errors import SourceError, SourceRefused, SourceUnavailable
from pedigree.fingerprint.source import fingerprint_source
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source, resolve_identity
from pedigree.sources.buckets import check_endpoint, store_config
from pedigree.sources.settings import CacheSettings
from pedigree.tensors.checkpoint import Checkpoint

WEIGHTS = weights({"a": matrix(40, 30)})
ODD = "\u00e9 %41+=&~'(a).txt"
KEY = "GOOGLE_SERVICE_ACCOUNT_KEY"


@pytest.fixture(autouse=True)
def no_google_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    with serve(Gcs()) as world:
        world.put("llama/model.safetensors", WEIGHTS)
        world.put("llama/config.json", b"{}")
        world.put(f"llama/deep/{ODD}", b"odd")
        world.put("llama-2/config.json", b"other")
        yield world


def _settings(world: Gcs, **given: str) -> SourceSettings:
    own = {"GOOGLE_BASE_URL": world.endpoint}
    return SourceSettings(credentials=own | given, timeout_s=5, attempts=1)


def _signed(world: Gcs) -> SourceSettings:
    return _settings(world, **{KEY: account_key()})


def _open(world: Gcs, ref: str = "gs://models/llama", **changed: Any) -> Any:
    return open_source(parse(ref), replace(_signed(world), **changed))


def _refusal(world: Gcs, ref: str = "gs://models/llama", **changed: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        _open(world, ref, **changed)
    _check_says_no_secret("".join(traceback.format_exception(caught.value)))
    return caught.value


def _check_says_no_secret(text: str) -> None:
    lines = json.loads(account_key())["private_key"].splitlines()
    assert not any(line in text for line in lines[1:-1])
    assert "Bearer" not in text
    assert "eyJ" not in text


def test_objects_below_a_prefix_are_listed_and_read_by_ranges(gcs: Gcs) -> None:
    source = _open(gcs)
    assert {each.path: each.size for each in source.files()} == {
        "config.json": 2,
        "model.safetensors": len(WEIGHTS),
        f"deep/{ODD}": 3,
    }
    assert source.open("model.safetensors").read(10, 30) == WEIGHTS[10:40]
    assert source.open(f"deep/{ODD}").read(0, 3) == b"odd"
    assert source.bytes_read == 33
    assert Checkpoint.open(source).parameters == 40 * 30
    conditions = [a.headers["if-match"] for a in gcs.asked if "range" in a.headers]
    assert conditions
    assert all(each.startswith('"') and each.endswith('"') for each in conditions)


def test_a_list_of_several_pages_is_read_to_its_end(gcs: Gcs) -> None:
    gcs.page = 7
    for number in range(30):
        gcs.put(f"many/{number:02d}&.bin", b"x")
    asked = len(gcs.asked)
    assert len(_open(gcs, "gs://models/many").files()) == 30
    assert len(gcs.asked) - asked == 5


def test_every_request_is_signed_by_the_account_of_the_secret(gcs: Gcs) -> None:
    _open(gcs).open("config.json").read(0, 2)
    # The server verifies them.
    assert all(each.headers.get("authorization") for each in gcs.asked)
    assert len(gcs.asked) == 2


def test_one_object_is_pinned_to_its_generation(gcs: Gcs) -> None:
    gcs.versioned = True
    gcs.put("one/m.bin", b"old")
    source = _open(gcs, "gs://models/one/m.bin")
    assert source.ref.revision == gcs.generation("one/m.bin")
    gcs.put("one/m.bin", b"newer")
    assert source.open("m.bin").read(0, 3) == b"old"
    again = _open(gcs, str(source.ref))
    assert again.open("m.bin").read(0, 3) == b"old"
    assert again.identity == source.identity
    now = resolve_identity(parse("gs://models/one/m.bin"), _signed(gcs))
    assert now[0].revision == gcs.generation("one/m.bin") != source.ref.revision
    assert now[1] != source.identity


def test_a_generation_that_is_gone_is_noticed(gcs: Gcs) -> None:
    gcs.put("one/m.bin", b"old")
    source = _open(gcs, "gs://models/one/m.bin")
    gcs.put("one/m.bin", b"old")  # the same bytes, and so the same entity tag
    with pytest.raises(SourceUnavailable) as caught:
        source.open("m.bin").read(0, 3)
    assert caught.value.reason == "ChangedWhileReading"
    assert _refusal(gcs, str(source.ref)).reason == "NotFound"
    assert _refusal(gcs, "gs://models/one/m.bin@none").reason == "Refused"


def test_an_object_that_is_replaced_or_deleted_after_listing_is_noticed(
    gcs: Gcs,
) -> None:
    ref = parse("gs://models/llama")
    before = resolve_identity(ref, _signed(gcs))
    assert before == resolve_identity(ref, _signed(gcs))
    source = _open(gcs)
    gcs.put("llama/model.safetensors", WEIGHTS[:-4] + bytes(4))
    del gcs.objects["llama/config.json"]
    for path in ("model.safetensors", "config.json"):
        with pytest.raises(SourceUnavailable) as caught:
            source.open(path).read(0, 2)
        assert caught.value.reason == "ChangedWhileReading"
    assert resolve_identity(ref, _signed(gcs))[1] != before[1]


def test_what_marks_a_folder_is_no_file_of_the_model(gcs: Gcs) -> None:
    gcs.put("llama/", b"")
    gcs.put("llama/deep/", b"")
    paths = [each.path for each in _open(gcs).files()]
    assert paths == ["config.json", f"deep/{ODD}", "model.safetensors"]


def test_an_empty_object_cannot_hide_another_of_nearly_its_name(gcs: Gcs) -> None:
    gcs.put("llama/config.json/", b"")
    error = _refusal(gcs)
    assert error.reason == "MalformedName"
    assert "config.json" in error.message


def test_a_public_bucket_is_read_without_credentials(
    gcs: Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _refusal(gcs, credentials=_settings(gcs).credentials).reason == "Forbidden"
    gcs.public = True
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for found in (broken, tmp_path / "missing.json"):
        # Whatever the person who runs this has for other programs.
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(found))
        source = _open(gcs, credentials=_settings(gcs).credentials)
        assert source.open("config.json").read(0, 2) == b"{}"
    assert not any("authorization" in each.headers for each in gcs.asked)


def test_the_environment_lends_no_credentials(
    gcs: Gcs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.json"
    own.write_text(account_key())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(own))
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:1")
    error = _refusal(gcs, credentials=_settings(gcs).credentials)
    assert error.reason == "Forbidden"
    assert [each.headers.get("authorization") for each in gcs.asked] == [None]


def test_a_key_that_the_bucket_does_not_know_is_told_and_not_shown(gcs: Gcs) -> None:
    given = _settings(gcs, **{KEY: account_key("stranger")}).credentials
    for ref in ("gs://models/llama", "gs://models/llama/config.json"):
        error = _refusal(gcs, ref, credentials=given)
        assert (type(error), error.reason) == (SourceRefused, "Forbidden")
        assert "Secret" in (error.hint or "")


@pytest.mark.parametrize(
    "key",
    [
        "{",
        "[]",
        account_key(private_key="no key"),
        json.dumps({"type": "authorized_user", "refresh_token": "made-up-token"}),
        account_key()[:-40],
    ],
)
def test_a_key_that_is_none_is_refused_before_anything_is_asked(
    gcs: Gcs, key: str
) -> None:
    error = _refusal(gcs, credentials=_settings(gcs, **{KEY: key}).credentials)
    assert (type(error), error.reason) == (SourceRefused, "BadCredentials")
    assert KEY in (error.hint or "")
    assert "made-up" not in str(error)
    assert error.__suppress_context__  # nothing that the client says of the key
    assert not gcs.asked


def test_a_key_names_no_address_and_its_token_goes_nowhere_else(gcs: Gcs) -> None:
    with serve(Gcs()) as elsewhere:
        key = account_key(
            gcs_base_url=elsewhere.endpoint, token_uri=f"{elsewhere.endpoint}/token"
        )
        given = _settings(gcs, **{KEY: key}).credentials
        assert len(_open(gcs, credentials=given).files()) == 3
        assert not elsewhere.asked


def test_a_store_that_leads_elsewhere_does_not_take_the_token_there(gcs: Gcs) -> None:
    with serve(Gcs(public=True)) as elsewhere:
        elsewhere.put("llama/config.json", b"{}")
        gcs.leads_to = elsewhere.endpoint
        assert [each.path for each in _open(gcs).files()] == ["config.json"]
        assert ["authorization" in each.headers for each in gcs.asked] == [True]
        assert ["authorization" in each.headers for each in elsewhere.asked] == [False]


def test_nothing_is_logged_and_nothing_secret_is_in_what_is_shown(
    gcs: Gcs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = _signed(gcs)
    source = _open(gcs)
    source.open("config.json").read(0, 2)
    _refusal(gcs, credentials=_settings(gcs, **{KEY: "{"}).credentials)
    config = store_config(parse("gs://models/llama"), settings)
    shown = [repr(each) for each in (settings, source, vars(source), config)]
    _check_says_no_secret(caplog.text + "".join(shown))


def test_an_answer_that_breaks_off_is_no_content(gcs: Gcs) -> None:
    source = _open(gcs)
    gcs.cut = 8
    with pytest.raises(SourceUnavailable) as caught:
        source.open("model.safetensors").read(0, 100)
    assert caught.value.reason in ("Unreachable", "TruncatedResponse", "BadAnswer")
    error = _refusal(gcs)
    assert isinstance(error, SourceUnavailable)


def test_a_list_that_breaks_off_is_no_list(gcs: Gcs) -> None:
    gcs.cut = 300
    assert isinstance(_refusal(gcs), SourceUnavailable)


def test_an_object_that_is_unpacked_on_the_way_is_not_read(gcs: Gcs) -> None:
    source = _open(gcs)
    gcs.ranges = False
    with pytest.raises(SourceUnavailable) as caught:
        source.open("model.safetensors").read(0, 100)
    assert caught.value.reason == "RangeIgnored"


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (401, "Forbidden", SourceRefused),
        (403, "Forbidden", SourceRefused),
        (404, "NotFound", SourceRefused),
        (429, "RateLimited", SourceUnavailable),
        (503, "ServerError", SourceUnavailable),
    ],
)
def test_a_status_becomes_an_error(
    gcs: Gcs, status: int, reason: str, kind: type[SourceError]
) -> None:
    gcs.fail = status
    error = _refusal(gcs)
    assert (type(error), error.reason) == (kind, reason)


def test_a_fingerprint_over_the_bucket_equals_the_one_over_files(
    gcs: Gcs, tmp_path: Path
) -> None:
    folder = made_models.write(tmp_path / "m", made_models.llama(3), shards=2)
    for file in folder.iterdir():
        gcs.put(f"fp/{file.name}", file.read_bytes())
    mine = fingerprint_source(_open(gcs, "gs://models/fp"))
    assert mine.digest == fingerprint_source(made_models.source(folder)).digest


def test_what_was_read_is_kept_for_the_same_account_and_address_alone(
    gcs: Gcs, tmp_path: Path
) -> None:
    cache = CacheSettings(folder=tmp_path)

    def requests(world: Gcs) -> int:
        """Requests for content that reading takes."""
        source = _open(world, cache=cache)
        assert source.open("config.json").read(0, 2) == b"{}"
        used: int = source.usage.requests
        return used

    assert [requests(gcs), requests(gcs)] == [1, 0]
    with serve(Gcs()) as elsewhere:
        elsewhere.put("llama/config.json", b"{}")
        assert requests(elsewhere) == 1


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_secret_that_requests_show_is_not_sent_without_tls(scheme: str) -> None:
    given = {
        "GOOGLE_BASE_URL": "http://store.example",
        KEY: account_key(),
        "AZURE_STORAGE_ACCOUNT_NAME": "myaccount",
        "AZURE_STORAGE_ENDPOINT": "http://store.example",
        "AZURE_STORAGE_SAS_KEY": "sig=made",
    }
    with pytest.raises(SourceRefused) as caught:
        open_source(parse(f"{scheme}://models/m"), SourceSettings(credentials=given))
    assert caught.value.reason == "InsecureAddress"


def test_without_tls_only_this_machine_or_an_allowed_host_is_shown_a_secret() -> None:
    assert check_endpoint("http://localhost:4443", None, shows_secret=True)
    listed = ("http://store.example:80",)
    assert check_endpoint("http://store.example:80", listed, shows_secret=True)
    assert not check_endpoint("https://store.example", None, shows_secret=True)
    assert check_endpoint("http://store.example", None)


def test_in_a_cluster_an_address_of_a_secret_is_judged_as_that_of_s3(gcs: Gcs) -> None:
    assert _refusal(gcs, private_hosts=()).reason in ("PrivateHost", "InsecureAddress")
    given = _settings(gcs).credentials
    assert _refusal(gcs, private_hosts=(), credentials=given).reason == "PrivateHost"
    assert not gcs.asked
    allowed = (f"http://127.0.0.1:{gcs.port}",)
    assert len(_open(gcs, private_hosts=allowed).files()) == 3
