# SPDX-License-Identifier: Apache-2.0
"""The root digest is that of OpenSSF Model Signing v1.0.

The known answers were made with the ``model-signing`` 1.1.1 package (with pyOpenSSL):
write the files of ``VECTOR`` to a folder and sign it with
``model_signing sign key --private_key KEY --signature FOLDER/model.sig FOLDER``; the
subject digest of the bundle's statement is the answer.  The digests of the example
models come from ``model_signing.hashing.Config().hash(folder)`` in the same way.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact_world.weights import source_of
from pedigree.digests import Digest, sha256
from pedigree.examine.listing import list_model
from pedigree.manifest import IGNORED, Manifest, ManifestFile, is_ignored

VECTOR = {
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)),
    "sub/é.txt": b"accent",
    "sub/.gitignore": b"kept, not at the top",
    "Z": b"",
    ".gitattributes": b"ignored",
    ".git/HEAD": b"ignored",
    ".github/ci.yml": b"ignored",
    ".gitignore": b"ignored",
    "model.sig": b"ignored",
}
VECTOR_DIGEST = "9029e6e394ff45e179e43f65b40f0bc97ed2749e15e34583416fe8eceaefbcfe"
EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
EXAMPLE_DIGESTS = {
    "gpt2-a": "d5312555a008a6c997bde041ffaeddcdce0a3bb469559bcd9395200c921d2de6",
    "gpt2-a.sft": "63db3f1a75623905a97852473cc9e6f6c66e2d5639fec39304f2aec0dd333ad1",
    "llama-a": "9ca22f87ee54bde9d1ebd2b8760342da703b9fcf82150306fef525a5245e56d2",
    "llama-a.sft": "eb7f80376ad5ca2708fe25a3e6d11a4ddeb492fb9d6e81ca232bd39b9ee890c4",
    "llama-b": "06d7a03ea2b79badc0a77d48fd58b394cb9ea283fdeec948a161fb5d5b73f669",
}


def _file(path: str, content: bytes) -> ManifestFile:
    return ManifestFile(path, len(content), sha256(content))


def _manifest(files: dict[str, bytes]) -> Manifest:
    return Manifest.of(_file(path, content) for path, content in files.items())


def test_the_root_digest_is_the_one_a_real_signature_has() -> None:
    assert _manifest(VECTOR).root_digest == Digest(VECTOR_DIGEST)


def test_a_folder_has_the_root_digest_a_real_signature_has(tmp_path: Path) -> None:
    listing = list_model(source_of(tmp_path, VECTOR))
    assert listing.manifest.root_digest == Digest(VECTOR_DIGEST)


@pytest.mark.parametrize("name", EXAMPLE_DIGESTS)
def test_an_example_model_has_the_digest_the_signing_tool_computes(name: str) -> None:
    listing = list_model(source_of(EXAMPLES / name))
    assert listing.manifest.root_digest == Digest(EXAMPLE_DIGESTS[name])


def test_names_sort_by_code_point_and_not_by_folder() -> None:
    # The specification's order; model-signing 1.1.1 itself sorts "a/b" before "a.txt".
    manifest = _manifest({"a/b": b"1", "a.txt": b"2", "Z": b"3", "é": b"4"})
    assert [file.path for file in manifest.files] == ["Z", "a.txt", "a/b", "é"]
    contents = b"".join(hashlib.sha256(c).digest() for c in (b"3", b"2", b"1", b"4"))
    assert manifest.root_digest == sha256(contents)


@given(st.permutations(sorted(VECTOR)))
def test_the_order_of_listing_does_not_matter(order: list[str]) -> None:
    manifest = Manifest.of(_file(path, VECTOR[path]) for path in order)
    assert manifest.root_digest == Digest(VECTOR_DIGEST)


@pytest.mark.parametrize("name", IGNORED)
def test_an_ignored_name_is_ignored_at_the_top_only(name: str) -> None:
    assert is_ignored(name)
    assert is_ignored(f"{name}/inner")
    assert not is_ignored(f"sub/{name}")
    assert not is_ignored(name + "x")


def test_any_changed_byte_changes_the_root_digest() -> None:
    changed = _manifest({**VECTOR, "config.json": b"{ }"})
    assert changed.root_digest != Digest(VECTOR_DIGEST)


def test_sizes_add_up_without_ignored_files() -> None:
    kept = (256, 2, 6, 20, 0)
    assert _manifest(VECTOR).size_bytes == sum(kept)


def test_a_model_of_ignored_files_alone_has_no_manifest() -> None:
    with pytest.raises(ValueError, match="no files"):
        _manifest({".gitattributes": b""})


def test_a_path_cannot_be_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Manifest.of([_file("a", b"1"), _file("a", b"2")])
