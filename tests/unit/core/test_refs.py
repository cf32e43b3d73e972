# SPDX-License-Identifier: Apache-2.0
"""Model references: what is understood, what is refused, and the round-trip law."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree import refs
from pedigree.errors import ModelRefError
from pedigree.refs import ModelRef, Scheme

_WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(
    lambda word: ".." not in word
)
_FOLDER = st.text(
    st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
).filter(lambda part: part not in (".", ".."))


@given(st.lists(_FOLDER, min_size=1, max_size=5))
def test_a_file_reference_prints_as_it_is_read(parts: list[str]) -> None:
    ref = ModelRef(Scheme.FILE, "/" + "/".join(parts))
    assert refs.parse(str(ref)) == ref


@given(_WORD, _WORD, st.none() | _WORD)
def test_a_hub_reference_prints_as_it_is_read(
    org: str, repo: str, revision: str | None
) -> None:
    ref = ModelRef(Scheme.HUB, f"{org}/{repo}", revision)
    assert refs.parse(str(ref)) == ref


_PREFIXES = (
    "",
    "file://",
    "file:///",
    "hf://",
    "hf://org/repo@",
    "hf://org/repo#",
    "s3://",
    "gs://bucket/",
    "az://bucket/key@",
    "oci://",
    "oci://host/name:",
    "https://",
    "https://host/",
    "pvc://",
    "pvc://claim/",
)


@pytest.mark.parametrize(
    "text",
    [
        "hf://org/repo@main#model-Q4_K_M.gguf",
        "s3://bucket",
        "s3://bucket/models/a",
        "gs://bucket/model.gguf@1700000000000000",
        "az://container/model",
        "oci://ghcr.io/org/model:v1",
        "oci://localhost:5000/model@sha256:" + "0a" * 32,
        "oci://ghcr.io/org/model",
        "https://host:8443/a/model.gguf@sha256:" + "0a" * 32,
        "pvc://claim",
        "pvc://claim/a/b",
    ],
)
def test_every_kind_of_reference_prints_as_it_is_written(text: str) -> None:
    assert str(refs.parse(text)) == text


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_a_named_error(text: str) -> None:
    for prefix in _PREFIXES:
        try:
            ref = refs.parse(prefix + text)
        except ModelRefError:  # any other error fails the test
            continue
        assert refs.parse(str(ref)) == ref


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llama", "names no scheme"),
        ("ftp://host/model", "understood are file, hf"),
        ("s3://B", "wanted 3 to 63 lower-case"),
        ("s3://bucket/a/../b", "wanted a plain path"),
        ("s3://bucket/a@", "wanted the version of one object"),
        ("hf://org/repo#a/../b", "wanted a plain path"),
        ("hf://org/repo#", "wanted a plain path"),
        ("oci://ghcr.io", "wanted lower-case path parts"),
        ("oci://a..b/model", "wanted host or host:port"),
        ("oci://host:65536/model", "wanted host or host:port"),
        ("https://host:0/a.gguf", "wanted host or host:port"),
        ("https://host:99999/a.gguf", "wanted host or host:port"),
        ("https://a..b/a.gguf", "wanted host or host:port"),
        ("https://host./a.gguf", "wanted host or host:port"),
        (f"https://{'a' * 64}.b/a.gguf", "wanted host or host:port"),
        (f"https://{'a.' * 127}b/a.gguf", "wanted host or host:port"),
        ("oci://ghcr.io/Model", "wanted lower-case path parts"),
        ("oci://ghcr.io/model@sha256:12", "wanted sha256: and 64 hex digits"),
        ("https://user:word@host/model.gguf", "without user and password"),
        ("https://host", "wanted the path of a file"),
        ("https://host/a/model.gguf?token=1", "wanted the path of a file"),
        ("pvc://Claim/a", "wanted the name of a PersistentVolumeClaim"),
        ("pvc://claim/../a", "wanted a plain path"),
        ("file://models/a", "wanted an absolute one"),
        ("file:////models/a", "wanted an absolute one"),
        ("file:///models/../etc", "'..'"),
        ("file:///models/\x00", "'..'"),
        ("hf://llama", "wanted org/repo"),
        ("hf://org/repo/file", "wanted org/repo"),
        ("hf://org/../repo", "wanted org/repo"),
        ("hf://org/repo@", "wanted a commit, tag or branch"),
        ("hf://org/repo@a..b", "wanted a commit, tag or branch"),
        ("hf://org/repo@a b", "wanted a commit, tag or branch"),
        ("file:///" + "a" * 1100, "allowed are 1024"),
    ],
)
def test_a_wrong_reference_says_what_was_wanted(text: str, said: str) -> None:
    with pytest.raises(ModelRefError, match=said.replace(".", r"\.")):
        refs.parse(text)


def test_only_what_cannot_move_is_pinned() -> None:
    assert refs.parse("hf://org/repo@" + "a1" * 20).pinned
    assert not refs.parse("hf://org/repo@" + "a1" * 19).pinned
    assert not refs.parse("hf://org/repo@main").pinned
    assert not refs.parse("hf://org/repo").pinned
    assert not refs.parse("file:///models/a").pinned
    assert refs.parse("oci://host/a@sha256:" + "0a" * 32).pinned
    assert not refs.parse("oci://host/a:v1").pinned
    assert refs.parse("s3://bucket/a@version").pinned
    assert not refs.parse("s3://bucket/a").pinned


def test_a_hostile_reference_is_not_shown_whole() -> None:
    with pytest.raises(ModelRefError) as caught:
        refs.parse("hf://" + "x" * 900)
    assert len(str(caught.value)) < 700


def test_a_revision_as_kserve_writes_it_is_refused_with_how_it_is_written_here() -> (
    None
):
    with pytest.raises(ModelRefError) as caught:
        refs.parse("hf://org/repo:0123abc")
    assert "hf://org/repo@revision" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "models:/support/1",
        "models:/support@champion",
        "models://support/1",
        "runs:/0a1b/model",
        "mlflow-artifacts:/0/0a1b/artifacts/model",
        "model-registry://support/v1",
    ],
)
def test_an_entry_of_a_registry_is_refused_with_what_to_write_instead(
    text: str,
) -> None:
    assert refs.is_reference(text)
    with pytest.raises(ModelRefError, match="entry of a registry") as caught:
        refs.parse(text)
    assert "such as s3://bucket/prefix" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["models", "models/a", "./models:/a", "a:/b", "a:b"])
def test_a_path_is_not_taken_for_a_reference(text: str) -> None:
    assert not refs.is_reference(text)
