# SPDX-License-Identifier: Apache-2.0
"""Pickles that scanners let pass, by the numbers under which that became known.

Scanners hold a list of what is forbidden, and each of these was not on it, or was not
found.  Here is a list of what is allowed, and nothing is ever called.
"""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import made_models
import made_torch as made
from artifact_world.tar import tar_of
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.errors import ArtifactError, PedigreeError
from pedigree.evidence import Severity
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.sources import SourceSettings
from pedigree.tensors.pickle_walk import walk

NAME = "pytorch_model.bin"
GOOD = made.checkpoint(made.mapping({"a": made.matrix()}))


def _call(module: str, name: str, *arguments: str) -> bytes:
    """The body of a pickle that calls a function."""
    given = b"".join(map(made.text, arguments))
    return f"c{module}\n{name}\n(".encode() + given + b"tR"


def _reason(folder: Path, content: bytes, name: str = NAME) -> str:
    with pytest.raises(PedigreeError) as caught:
        made_models.checkpoint(made.write(folder, content, name))
    return caught.value.reason


def _examined(folder: Path) -> Examination:
    return examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _errors(found: Examination) -> set[str]:
    return {
        finding.reason
        for finding in found.evidence.findings
        if finding.severity is Severity.ERROR
    }


CALLS = [
    ("CVE-2025-1716", _call("pip", "main", "install", "x")),
    ("CVE-2025-1716", _call("pip._internal.cli.main", "main", "install")),
    ("CVE-2026-56304", _call("logging", "FileHandler", "/tmp/x")),
    ("CVE-2026-56315", _call("uuid", "_get_command_stdout", "id")),
    ("CVE-2026-56315", _call("imaplib", "IMAP4_stream", "id")),
    ("CVE-2026-56315", _call("_pyrepl.pager", "pipe_pager", "x", "id")),
    ("CVE-2026-56315", _call("_osx_support", "_read_output", "id")),
    ("CVE-2026-56315", _call("_aix_support", "_read_cmd_output", "id")),
    ("picklescan resolve_name", _call("pkgutil", "resolve_name", "os:system")),
    ("CVE-2026-22608", _call("pydoc", "locate", "os.system")),
    ("CVE-2026-22608", _call("ctypes", "CDLL", "libc.so.6")),
    ("CVE-2026-22608", _call("ctypes.util", "find_library", "c")),
    # A value that BUILD uses again did not count as left over.
    ("GHSA-mhc9-48gj-9gp3", _call("xmlrpc.server", "SimpleXMLRPCServer") + b"}b"),
    ("GHSA-mhc9-48gj-9gp3", made.ORDERED + made.mapping({"update": b"N"}) + b"b"),
    # Another class or module of the same package as a forbidden one.
    ("CVE-2025-10157", _call("asyncio.unix_events", "_UnixSubprocessTransport", "x")),
    ("CVE-2025-10157", _call("os.path", "os.system", "id")),
    ("CVE-2025-32434", _call("torch.jit", "load", "x")),
    ("CVE-2025-32434", _call("torch", "jit.load", "x")),
    ("torch gadgets", _call("torch.utils.collect_env", "run", "id")),
    ("torch gadgets", _call("torch._utils", "_rebuild_wrapper_subclass", "x")),
    ("torch gadgets", _call("torch._tensor", "_rebuild_from_type_v2", "x")),
    ("numpy gadgets", _call("numpy.testing._private.utils", "runstring", "x")),
    ("builtins", _call("builtins", "getattr", "x", "y")),
    ("names with dots", _call("collections", "OrderedDict.fromkeys", "x")),
]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body, id=f"{number}-{at}")
        for at, (number, body) in enumerate(CALLS)
    ],
)
def test_a_function_that_a_scanner_did_not_know_is_refused(
    tmp_path: Path, body: bytes
) -> None:
    content = made.checkpoint(made.mapping({"a": made.matrix(), "b": body}))
    assert _reason(tmp_path, content) == "ForbiddenPickle"


@given(st.from_regex(r"[a-z_]{1,12}(\.[a-z_]{1,12}){0,2}", fullmatch=True),
       st.from_regex(r"[A-Za-z_]{1,16}", fullmatch=True))  # fmt: skip
def test_any_function_but_those_that_make_tensors_is_refused(
    module: str, name: str
) -> None:
    with pytest.raises(ArtifactError) as caught:
        walk(made.program(_call(module, name)), path=NAME)
    assert caught.value.reason == "ForbiddenPickle"


SETS = [
    # The restricted reader of PyTorch set items of what is no dictionary.
    made.matrix() + made.text("k") + b"Ns",
    made.matrix() + b"(" + made.text("k") + b"Nu",
    b"]" + made.text("k") + b"Ns",
    b"]" + b"(" + made.text("k") + b"Nu",
    made.storage("0", 6) + made.text("k") + b"Ns",
    made.integer(1) + b"Na",
    made.matrix() + b"(Ne",
    made.matrix() + b"}b",
    made.storage("0", 6) + b"}b",
]


@pytest.mark.parametrize("body", SETS)
def test_cve_2026_24747_items_are_set_of_dictionaries_only(
    tmp_path: Path, body: bytes
) -> None:
    content = made.checkpoint(made.mapping({"a": made.matrix(), "b": body}))
    assert _reason(tmp_path, content) == "ForbiddenPickle"


@pytest.mark.parametrize("count", [0, 5, 7, 2**31 - 1, -1])
def test_cve_2026_24747_a_storage_of_another_size_than_its_bytes_is_refused(
    tmp_path: Path, count: int
) -> None:
    body = made.tensor(made.storage("0", count), (2, 2), (2, 1))
    content = made.checkpoint(made.mapping({"a": body}))
    assert _reason(tmp_path, content) in ("StorageMismatch", "ForbiddenPickle")


@pytest.mark.parametrize("other", ["HalfStorage", "DoubleStorage"])
def test_cve_2026_24747_one_storage_has_one_type(tmp_path: Path, other: str) -> None:
    held = made.tensor(made.storage("0", 6, other), (2, 2), (2, 1))
    content = made.checkpoint(made.mapping({"a": made.matrix(), "b": held}))
    assert _reason(tmp_path, content) in ("StorageMismatch", "ForbiddenPickle")


def test_cve_2025_32434_a_script_archive_is_refused(tmp_path: Path) -> None:
    program = made.program(made.mapping({"a": made.matrix()}))
    content = made.archive(
        {
            "data.pkl": program,
            "data/0": made.SIX,
            "constants.pkl": made.program(b")"),
            "code/__torch__.py": b"def forward(self): pass",
            "version": b"3\n",
        }
    )
    assert _reason(tmp_path, content) == "MalformedZip"


def test_cve_2025_32434_an_old_tar_checkpoint_is_refused(tmp_path: Path) -> None:
    names = ("sys_info", "pickle", "storages", "tensors")
    content = tar_of(*((name, pickle.dumps({}, 2)) for name in names))
    assert _reason(tmp_path, content) == "LegacyPickle"


def test_cve_2025_1944_two_names_of_one_member_are_refused(tmp_path: Path) -> None:
    for content in (
        GOOD.replace(b"archive/data.pkl", b"archive/evil.pkl", 1),
        GOOD[::-1].replace(b"archive/data.pkl"[::-1], b"archive/evil.pkl"[::-1], 1)[
            ::-1
        ],
    ):
        assert _reason(tmp_path, content) == "MalformedZip"


CENTRAL, LOCAL = (b"PK\x01\x02", 8), (b"PK\x03\x04", 6)


@pytest.mark.parametrize("bit", [0, 5, 6, 13])
@pytest.mark.parametrize("places", [[CENTRAL], [LOCAL], [CENTRAL, LOCAL]])
def test_cve_2025_1945_flags_that_only_one_reader_minds_are_refused(
    tmp_path: Path, places: list[tuple[bytes, int]], bit: int
) -> None:
    content = bytearray(GOOD)
    for where, at in places:
        content[content.index(where) + at + bit // 8] ^= 1 << bit % 8
    assert _reason(tmp_path, bytes(content)) == "MalformedZip"


def test_cve_2025_10156_a_wrong_checksum_does_not_hide_a_member(tmp_path: Path) -> None:
    body = made.mapping({"a": _call("os", "system", "id")})
    content = bytearray(made.checkpoint(body))
    for where, at in ((b"PK\x01\x02", 16), (b"PK\x03\x04", 14)):
        begin = content.index(where) + at
        content[begin : begin + 4] = b"\x01\x02\x03\x04"
    # Checksums agree with each other and with nothing: PyTorch would read it.
    assert _reason(tmp_path, bytes(content)) == "ForbiddenPickle"


@pytest.mark.parametrize("name", ["config.p", "payload.dat", "x", "data.pkl.bak"])
def test_cve_2025_1889_a_pickle_of_another_name_in_an_archive_is_refused(
    tmp_path: Path, name: str
) -> None:
    program = made.program(made.mapping({"a": made.matrix()}))
    inner = {"data.pkl": program, "data/0": made.SIX, name: program}
    assert _reason(tmp_path, made.archive(inner)) == "MalformedZip"


PAYLOAD = made.program(_call("os", "mkdir", "run"))


@pytest.mark.parametrize("name", [NAME, "model.pt", "model.ckpt", "weights.pkl"])
def test_cve_2025_10155_a_bare_pickle_under_a_name_of_pytorch_is_refused(
    tmp_path: Path, name: str
) -> None:
    assert _reason(tmp_path, PAYLOAD, name) in ("LegacyPickle", "NoReadableWeights")
    assert _examined(tmp_path).fingerprint is None


def _seven_zip(inner: bytes) -> bytes:
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24) + inner


def _deflated(inner: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("archive/data.pkl", inner)
    return target.getvalue()


@pytest.mark.parametrize("wrap", [_seven_zip, gzip.compress, _deflated])
@pytest.mark.parametrize("name", [NAME, "model.pt"])
def test_nullifai_archives_that_pytorch_does_not_write_are_refused(
    tmp_path: Path, name: str, wrap: object
) -> None:
    content = wrap(PAYLOAD)  # type: ignore[operator]
    assert _reason(tmp_path, content, name) == "MalformedZip"


def test_nullifai_a_pickle_that_breaks_after_its_payload_is_refused(
    tmp_path: Path,
) -> None:
    content = made.program(_call("os", "mkdir", "run"))[:-1] + b"\xff\xff"
    assert _reason(tmp_path, content) == "LegacyPickle"
    with pytest.raises(ArtifactError, match=r"os\.mkdir"):
        walk(content, path=NAME)


@pytest.mark.parametrize(
    "name", ["notes.txt", "weights.dat", "data", "model.npy", "vocab.txt", "a.p"]
)
def test_a_renamed_pickle_beside_the_weights_is_told_of(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights({"a": matrix()}))
    (tmp_path / name).write_bytes(PAYLOAD)
    told = {finding.path for finding in _examined(tmp_path).evidence.findings}
    assert name in told


@pytest.mark.parametrize("content", [PAYLOAD, GOOD, b"\x7fELF" + bytes(60)])
@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf"])
def test_another_format_under_a_safe_name_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    found = _examined(tmp_path)
    assert found.fingerprint is None
    assert _errors(found)


def test_no_examination_runs_what_a_pickle_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    canary = tmp_path / "canary"
    body = _call("os", "mkdir", str(canary))
    made.write(model, made.checkpoint(made.mapping({"a": body})))
    made.write(model, made.program(body), "training_args.bin")
    made.write(model, made.program(body), "notes.txt")
    assert _errors(_examined(model))
    assert not canary.exists()
    pickle.loads(made.program(body))  # the payload is a right one
    assert canary.exists()
