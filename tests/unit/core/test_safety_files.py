# SPDX-License-Identifier: Apache-2.0
"""Names, first and last bytes, and small texts of a model."""

from __future__ import annotations

import base64
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made_torch
from artifact_world.hub import SimulatedHub, serve
from artifact_world.weights import lay_out, matrix, source_of, weights
from pedigree import refs
from pedigree.digests import sha256
from pedigree.evidence import Finding, from_object, to_object
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.listing import FAR_HEADS_MAX, HELD_MAX_BYTES, list_model
from pedigree.examine.safety.credentials import (
    TEXT_MAX_BYTES,
    TEXTS_MAX_BYTES,
    look_through,
)
from pedigree.examine.safety.heads import MAGICS, magic_of
from pedigree.examine.safety.look import facts
from pedigree.examine.safety.names import name_sightings
from pedigree.examine.safety.sightings import Sighting, told
from pedigree.examine.seen import Facts, Seen
from pedigree.limits import DEFAULT
from pedigree.ranges import FileEntry, RangeSource, WrappedRange, WrappedSource
from pedigree.sources import SourceSettings

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
MODEL = weights({"a": matrix()})
QUIET = {"UnknownArchitecture"}
"""What these models of one lone tensor have anyway."""


def _examined(folder: Path, files: Mapping[str, bytes]) -> list[Finding]:
    lay_out(folder, {"model.safetensors": MODEL, **files})
    found = examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=NOW,
    )
    assert from_object(to_object(found.evidence)).digest == found.evidence.digest
    return [x for x in found.evidence.findings if x.reason not in QUIET]


def _told(folder: Path, files: Mapping[str, bytes]) -> list[tuple[str, str, str]]:
    return [(x.reason, str(x.severity), x.path) for x in _examined(folder, files)]


def _looked_at(folder: Path, files: Mapping[str, bytes]) -> Facts:
    source = source_of(folder, files)
    listing = list_model(source)
    return facts(Seen(source=source, listing=listing, metadata={}, limits=DEFAULT))


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.txt", "x")
    return data.getvalue()


def _tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return data.getvalue()


SEVEN_Z = b"7z\xbc\xaf\x27\x1c\0\4" + bytes(40)
ELF = b"\x7fELF\2\1\1" + bytes(60)
PE = b"MZ\x90\0\3\0\0\0\4" + bytes(80)
PICKLE = pickle.dumps([1, 2], protocol=2)

NAMES = {
    "modeling.py": "CodeInModel",
    "sub/KERNEL.PY": "CodeInModel",
    "x.pyc": "CodeInModel",
    "run.sh": "CodeInModel",
    "demo.ipynb": "CodeInModel",
    "x.js": "CodeInModel",
    "trailing.py. ": "CodeInModel",
    "lib.so": "ExecutableInModel",
    "lib.so.1.2": "ExecutableInModel",
    "a.EXE": "ExecutableInModel",
    "a.dll": "ExecutableInModel",
    "a.zip": "ArchiveInModel",
    "a.tar.gz": "ArchiveInModel",
    "a.7z": "ArchiveInModel",
    "a.whl": "ArchiveInModel",
    "a.dill": "PickleInModel",
    ".env": "SecretInModel",
    "a/.env.local": "SecretInModel",
    "id_rsa": "SecretInModel",
    "server.key": "SecretInModel",
    ".netrc": "SecretInModel",
    ".git-credentials": "SecretInModel",
    ".aws/config": "SecretInModel",
    "kubeconfig": "SecretInModel",
    "credentials.json": "SecretInModel",
}


@pytest.mark.parametrize(("path", "reason"), NAMES.items())
def test_a_name_that_no_server_of_weights_needs_is_told(
    tmp_path: Path, path: str, reason: str
) -> None:
    assert _told(tmp_path, {path: b"{}"}) == [(reason, "Warning", path)]


@pytest.mark.parametrize(
    "path",
    ["README.md", "tokenizer.json", "vocab.txt", "LICENSE", "merges.txt", "a.pem",
     "tokenizer.model", ".env.example", "some.software.txt", "a/b/c.png"],
)  # fmt: skip
def test_the_usual_files_of_a_model_are_not_told(tmp_path: Path, path: str) -> None:
    assert _looked_at(tmp_path, {path: b"{}"}).remarks == ()


def test_the_pickles_beside_weights_that_were_read_are_told_once_each(
    tmp_path: Path,
) -> None:
    files = {"optimizer.pt": PICKLE, "rng.pth": PICKLE, "training_args.bin": PICKLE}
    assert _told(tmp_path, files) == [
        ("PickleInModel", "Warning", "rng.pth"),
        ("UnreadFormat", "Warning", "optimizer.pt"),
    ]


def test_pickles_that_are_the_weights_are_told_by_their_reader_only(
    tmp_path: Path,
) -> None:
    source = source_of(tmp_path, {"pytorch_model.bin": made_torch.archive({})})
    listing = list_model(source)
    seen = Seen(source=source, listing=listing, metadata={}, limits=DEFAULT)
    assert facts(seen).remarks == ()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("photo\u202egpj.txt", "U+202E"),
        ("a\u200bb.json", "U+200B"),
        ("new\nline.txt", "U+000A"),
        ("\x1b[2J.txt", "U+001B"),
        ("fill\u3164.txt", "U+3164"),
        ("tag\U000e0041.txt", "U+E0041"),
    ],
)
def test_a_character_in_a_name_that_nobody_sees_is_an_error(
    path: str, shown: str
) -> None:
    # Sources refuse most of these; whatever they let through is told here.
    [found] = told(name_sightings([path], ()))
    assert (found.reason, found.severity) == ("DeceptiveName", "Error")
    assert shown in found.message
    assert found.message.isascii()
    assert found.message.isprintable()


def test_a_filler_that_counts_as_a_letter_passes_no_source_unseen(
    tmp_path: Path,
) -> None:
    path = "fill\u3164.txt"
    assert _told(tmp_path, {path: b""}) == [("DeceptiveName", "Error", path)]


def test_letters_that_look_alike_are_told_and_whole_words_of_a_language_are_not(
    tmp_path: Path,
) -> None:
    mixed = "m\u043edel.txt"  # a Cyrillic o
    honest = [
        "\u043c\u043e\u0434\u0435\u043b\u044c.txt",
        "mod\u00e8le.txt",
        "\u6a21.md",
    ]
    files = {mixed: b"", **{f"d/{name.split('.')[0]}": b"" for name in honest}}
    assert _told(tmp_path, files) == [("DeceptiveName", "Warning", mixed)]


def test_names_that_differ_in_case_or_form_only_are_told(tmp_path: Path) -> None:
    files = {"Config.txt": b"", "config.txt": b"", "\u00e9.md": b"", "e\u0301.md": b""}
    [finding] = _examined(tmp_path, files)
    assert finding.reason == "CollidingNames"
    assert "'Config.txt' and 'config.txt'" in finding.message
    assert ";" in finding.message  # both pairs


MISMATCHES = {
    "7z as PyTorch, as nullifAI did": ("pytorch_model.bin", SEVEN_Z),
    "7z as pickle": ("x.pkl", SEVEN_Z),
    "ELF as safetensors": ("x/other.safetensors", ELF),
    "ELF as text": ("notes.txt", ELF),
    "ELF as weights": ("weights.bin", ELF),
    "PE as picture": ("logo.png", PE),
    "Mach-O as JSON": ("special.json", b"\xcf\xfa\xed\xfe" + bytes(40)),
    "zip as text": ("notes.md", _zip()),
    "gzip as vocabulary": ("vocab.txt", b"\x1f\x8b\x08" + bytes(20)),
    "zstd as text": ("a.csv", b"\x28\xb5\x2f\xfd" + bytes(20)),
    "xz as text": ("a.yaml", b"\xfd7zXZ\0" + bytes(20)),
    "tar as text": ("a.txt", _tar()),
    "pickle as text": ("a.txt", PICKLE),
    "pickle as tokenizer": ("tokenizer.model", pickle.dumps({}, protocol=4)),
    "HDF5 as JSON": ("a.json", b"\x89HDF\r\n\x1a\n" + bytes(20)),
    "safetensors as GGUF": ("x/a.gguf", MODEL),
    "GGUF as safetensors": ("x/a.safetensors", b"GGUF\3\0\0\0" + bytes(16)),
}


@pytest.mark.parametrize("case", MISMATCHES.values(), ids=MISMATCHES.keys())
def test_first_bytes_that_contradict_the_name_are_an_error(
    tmp_path: Path, case: tuple[str, bytes]
) -> None:
    path, content = case
    remarks = _looked_at(tmp_path, {"model.safetensors": MODEL, path: content}).remarks
    assert [(x.reason, x.severity, x.path) for x in remarks] == [
        ("MagicMismatch", "Error", path)
    ]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a.npz", _zip()),
        ("pytorch_model.bin", _zip()),
        ("x.pt", PICKLE),
        ("a.txt", b"MZ is a text about magic, and so is this"),
        ("a.md", b"PK"),
        ("a.h5", b"\x89HDF\r\n\x1a\n"),
        ("page.html", b"#"),
    ],
)
def test_first_bytes_that_fit_the_name_are_no_mismatch(
    tmp_path: Path, path: str, content: bytes
) -> None:
    remarks = _looked_at(tmp_path, {"model.safetensors": MODEL, path: content}).remarks
    assert "MagicMismatch" not in {remark.reason for remark in remarks}


def test_programs_and_scripts_without_a_telling_name_are_told(tmp_path: Path) -> None:
    files = {"tool": ELF, "run": b"#!/bin/sh\n"}
    assert _told(tmp_path, files) == [
        ("CodeInModel", "Warning", "run"),
        ("ExecutableInModel", "Warning", "tool"),
    ]


def test_an_archive_without_a_telling_name_is_told(tmp_path: Path) -> None:
    assert _told(tmp_path, {"blob.dat": SEVEN_Z}) == [
        ("ArchiveInModel", "Warning", "blob.dat")
    ]


def test_hidden_weights_are_told_by_the_listing_alone(tmp_path: Path) -> None:
    archive = made_torch.archive({"data.pkl": PICKLE})
    for content in (PICKLE, archive, b"\x89HDF\r\n\x1a\n"):
        assert _looked_at(tmp_path, {"weights.dat": content}).remarks == ()


def test_every_magic_is_known_again() -> None:
    for magic in MAGICS:
        found = magic_of(bytes(magic.offset) + magic.magic + bytes(8))
        assert found is not None
        assert found.kind == magic.kind


def test_weights_that_end_as_an_archive_are_an_error(tmp_path: Path) -> None:
    archive = _zip()
    commented = archive[:-2] + (3).to_bytes(2, "little") + b"PK\5"
    header = {"a": {"dtype": "U8", "shape": [len(archive)],
                    "data_offsets": [0, len(archive)]}}  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file = len(text).to_bytes(8, "little") + text + archive
    found = _looked_at(tmp_path, {"model.safetensors": file}).remarks
    assert [(x.reason, x.severity) for x in found] == [("PolyglotFile", "Error")]
    for name, bad in (("x.bin", PICKLE + archive), ("y.bin", PICKLE + commented)):
        found = _looked_at(tmp_path / name, {"m.safetensors": MODEL, name: bad}).remarks
        assert [x.reason for x in found] == ["PolyglotFile"]


@pytest.mark.parametrize(
    "content",
    [
        PICKLE + b"PK\5\6" + bytes(60) + _zip(),
        PICKLE + bytes((8 << 20) + 10 - len(PICKLE) - len(_zip())) + _zip(),
    ],
    ids=["after another mark", "across two reads"],
)
def test_the_end_of_an_archive_is_found(tmp_path: Path, content: bytes) -> None:
    files = {"m.safetensors": MODEL, "x.bin": content}
    found = _looked_at(tmp_path, files).remarks
    assert [x.reason for x in found] == ["PolyglotFile"]


def test_a_chance_archive_mark_within_weights_is_nothing(tmp_path: Path) -> None:
    files = {"a.bin": PICKLE + b"PK\5\6" + bytes(100), "b.bin": PICKLE + b"PK\5\6"}
    reasons = {x.reason for x in _looked_at(tmp_path, files).remarks}
    assert "PolyglotFile" not in reasons


TOKENS = {
    "a Hugging Face token": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "an AWS access key": "AKIA" + "Q3EGZ7B2MN5P8RTK",
    "a GitHub token": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "a GitLab token": "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "a private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "a Slack token": "xoxb-" + "123456789012-abcdefghij",
    "a Google API key": "AIza" + "SyA1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q",
    "an npm token": "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
}


@pytest.mark.parametrize(("kind", "token"), TOKENS.items())
def test_a_credential_in_a_text_is_told_without_its_value(
    tmp_path: Path, kind: str, token: str
) -> None:
    files = {"train.yaml": f"lr: 1\ntoken: {token}\n".encode()}
    [finding] = _examined(tmp_path, files)
    assert (finding.reason, finding.path) == ("SecretInModel", "train.yaml")
    assert f"{kind} in line 2" in finding.message
    assert token[6:20] not in finding.message


@pytest.mark.parametrize(
    "text",
    [b"hf_" + b"x" * 34, b"hf_abc", b"AKIA", b"-----BEGIN CERTIFICATE-----",
     b"AKIAAAAAAAAAAAAAAAAA", b"risk-free and task-ant-like words"],
)  # fmt: skip
def test_placeholders_and_certificates_are_no_credentials(text: bytes) -> None:
    assert look_through(text) is None


def test_large_texts_are_not_searched_and_neither_are_too_many(tmp_path: Path) -> None:
    token = TOKENS["a Hugging Face token"].encode()
    large = {"a.txt": token + b" " * TEXT_MAX_BYTES}
    assert _looked_at(tmp_path / "large", large).remarks == ()
    padded = token + b" " * (TEXT_MAX_BYTES - len(token))
    many = {f"{n:02}.txt": padded for n in range(TEXTS_MAX_BYTES // TEXT_MAX_BYTES + 9)}
    [found] = _looked_at(tmp_path / "many", many).remarks
    assert f"{TEXTS_MAX_BYTES // TEXT_MAX_BYTES - 3} more" in found.message


def test_ten_thousand_bad_names_are_one_finding(tmp_path: Path) -> None:
    found = told(
        Sighting(f"{n:05}.py", f"'{n:05}.py'", "CodeInModel", "it could run")
        for n in range(10_000)
    )
    assert len(found) == 1
    assert found[0].path == "00000.py"
    assert "9997 more like these" in found[0].message


def test_the_longest_names_leave_the_message_within_its_bound(tmp_path: Path) -> None:
    files = {f"{'x' * 200}{n}.py": b"" for n in range(5)}
    [finding] = _examined(tmp_path, files)
    assert len(finding.message) <= 512
    assert finding.message.endswith("would run it")


def test_many_kinds_leave_room_for_each_other(tmp_path: Path) -> None:
    def seen(kinds: int) -> Iterator[Sighting]:
        for kind in range(kinds):
            for n in range(5):
                detail = f"'{n}{'x' * 200}'"
                yield Sighting(f"{n}", detail, f"Kind{kind}", "it could run")

    few, many = told(seen(1)), told(seen(12))
    assert "2 more like these" in few[0].message
    assert "4 more like these" in many[0].message
    assert sum(len(remark.message) for remark in many) < 2_000


def test_evidence_of_a_thoroughly_bad_model_keeps_every_kind(tmp_path: Path) -> None:
    config = {"auto_map": {"A": "e/r--m.M"}, "_attn_implementation_internal": "e/k"}
    files = {
        "model.safetensors": MODEL,
        "chat_template.jinja": b"{{ x.__class__ }}\n{% include 'a' %}" * 50,
        "generation_config.json": json.dumps(config).encode(),
        "notes.txt": TOKENS["an npm token"].encode(),
        "b.txt": SEVEN_Z,
        **{f"{n}.py": b"" for n in range(50)},
    }
    lay_out(tmp_path, files)
    sources = ExamineSettings(sources=SourceSettings())
    found = examine(refs.parse(f"file://{tmp_path}"), settings=sources, now=NOW)
    kept = {x.reason for x in from_object(to_object(found.evidence)).findings}
    assert kept == {x.reason for x in found.evidence.findings}
    assert len(kept) == 9
    message = next(
        x.message for x in found.evidence.findings if x.reason == "TemplateEscape"
    )
    assert "line 1: the attribute '__class__' in '{{ x.__class__ }}'" in message


class Stating(WrappedSource):
    """A source that states the digests of its files, and keeps what was asked."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        super().__init__(source_of(folder, files))
        self.asked: list[tuple[str, int]] = []

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(
            FileEntry(entry.path, entry.size, sha256(b"x"))
            for entry in self._source.files()
        )

    def open(self, path: str) -> RangeSource:
        return Counted(self._source.open(path), self.asked)


class Counted(WrappedRange):
    def __init__(self, file: RangeSource, asked: list[tuple[str, int]]) -> None:
        super().__init__(file)
        self.asked = asked

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((self.path, length))
        return self._file.read(offset, length)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [self.read(offset, length) for offset, length in ranges]


def test_of_files_with_stated_digests_little_is_read_and_nothing_twice(
    tmp_path: Path,
) -> None:
    files = {
        "config.json": b'{"auto_map": {"AutoModel": "m.M"}}',
        "chat_template.jinja": b"{{ x.__class__ }}",
        "model.safetensors": MODEL,
        "picture.png": ELF + bytes(10_000),
        "server.pem": b"-----BEGIN CERTIFICATE-----",
        "tokenizer.json": b"{" + b" " * 100_000,
    }
    source = Stating(tmp_path, files)
    listing = list_model(source)
    found = facts(Seen(source=source, listing=listing, metadata={}, limits=DEFAULT))
    assert {x.reason for x in found.remarks} == {
        "RemoteCode",
        "TemplateEscape",
        "MagicMismatch",
        "SecretInModel",  # what it holds was not read, so its name counts
    }
    assert sorted(source.asked) == [
        ("chat_template.jinja", 17),
        ("config.json", 34),
        ("picture.png", 512),
        ("server.pem", 27),
        ("tokenizer.json", 512),
    ]


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as running:
        yield running


def test_far_files_cost_one_small_read_each_up_to_a_bound(hub: SimulatedHub) -> None:
    shards = {f"{n:03}.bin": PICKLE + bytes(100_000) for n in range(FAR_HEADS_MAX + 9)}
    hub.commit({"model.safetensors": MODEL, **shards})
    ref = refs.parse("hf://org/model")
    sources = SourceSettings(hub_endpoint=hub.endpoint)
    found = examine(ref, settings=ExamineSettings(sources=sources), now=NOW)
    asked = {x.path.partition("?")[0][-7:] for x in hub.paths_asked(".bin")}
    assert len(asked) == FAR_HEADS_MAX
    assert found.bytes_read < 512 * len(shards) + 50_000
    assert "PickleInModel" in {x.reason for x in found.evidence.findings}


def test_small_files_of_a_far_model_are_fetched_once(hub: SimulatedHub) -> None:
    hub.commit(
        {
            "model.safetensors": MODEL,
            "generation_config.json": b'{"trust_remote_code": true}',
            "chat_template.jinja": b"{{ x.__class__ }}",
        }
    )
    ref = refs.parse("hf://org/model")
    sources = SourceSettings(hub_endpoint=hub.endpoint)
    found = examine(ref, settings=ExamineSettings(sources=sources), now=NOW)
    reasons = {x.reason for x in found.evidence.findings}
    assert {"RemoteCode", "TemplateEscape"} <= reasons
    for path in ("generation_config.json", "chat_template.jinja"):
        assert len(hub.paths_asked(path)) == 1


def test_only_so_much_of_a_model_is_held(tmp_path: Path) -> None:
    files = {f"{n:02}.txt": bytes(3 << 20) for n in range(13)}
    listing = list_model(source_of(tmp_path, files))
    assert sum(map(len, listing.held.values())) <= HELD_MAX_BYTES
    assert len(listing.held) == 10


PLACES = st.sampled_from(
    ["config.json", "tokenizer_config.json", "generation_config.json", "a.txt", "x.bin",
     "chat_template.jinja", "additional_chat_templates/x.jinja", "a.gguf", "run",
     ".env", "adapter_config.json", "model_index.json", "b.safetensors", "params.json",
     "k.pem"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=20) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["auto_map", "trust_remote_code", "chat_template", "vocab_file", "name"]
            )
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)
CONTENTS = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([MODEL, _zip(), SEVEN_Z, ELF, PICKLE, base64.b64encode(MODEL)]),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(PLACES, CONTENTS, min_size=1, max_size=5), st.integers())
def test_any_bytes_as_any_file_give_findings_and_no_exception(
    tmp_path: Path, files: dict[str, bytes], number: int
) -> None:
    folder = tmp_path / f"{abs(hash((number, tuple(files.items())))):x}"
    found = _looked_at(folder, files)
    kinds = [(remark.reason, remark.severity) for remark in found.remarks]
    assert len(kinds) == len(set(kinds))
    for remark in found.remarks:
        assert remark.path in files
        assert len(remark.message) <= 700
