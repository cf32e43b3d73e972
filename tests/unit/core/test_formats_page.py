# SPDX-License-Identifier: Apache-2.0
"""What ``docs/formats.md`` says that no test of one format holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import made_fp4
import made_gguf
import made_models as made
import made_tokenizers
import made_torch
from pedigree.evidence import Severity
from pedigree.examine import ExamineSettings, examine
from pedigree.fingerprint.token_files import tokenizer_files
from pedigree.fingerprint.vocabulary import read_vocabulary
from pedigree.limits import DEFAULT
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.refs import parse
from pedigree.sources import SourceSettings
from pedigree.tensors.dtypes import DTYPES
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, UNREAD_TYPES
from storages import QUANTISED

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()


def _row(start: str) -> str:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    return row


def _findings(folder: Path) -> set[tuple[str, str, str]]:
    settings = ExamineSettings(sources=SourceSettings())
    model = parse(f"file://{folder.resolve()}")
    found = examine(model, settings=settings, now=datetime.now(UTC))
    return {(x.reason, str(x.severity), x.path) for x in found.evidence.findings}


def test_the_page_counts_the_storage_types_of_safetensors() -> None:
    assert f"all {len(DTYPES)} storage types" in _row("safetensors")


def test_the_page_names_every_block_type_of_gguf() -> None:
    row = re.sub(r"Q2_K to Q6_K", "Q2_K Q3_K Q4_K Q5_K Q6_K", _row("GGUF"))
    said = set(re.findall(r"\b(?:I?T?Q\d+_\w+|MXFP4|NVFP4)\b", row.split("|")[2]))
    assert said == {kind.name for kind in BLOCK_TYPES.values()}


def test_the_page_names_what_is_refused_of_gguf() -> None:
    refused = _row("GGUF").split("|")[3]
    released = {name for name in UNREAD_TYPES.values() if not name.endswith("8_1")}
    for name in released - {"Q8_K"}:  # those two are never in files
        family = name.partition("_")[0]
        assert name in refused or (family in ("IQ1", "IQ2", "IQ3") and "IQ1" in refused)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.onnx", "UnsupportedFormat"),
        ("model.onnx_data", "UnsupportedFormat"),
        ("model.keras", "UnsupportedFormat"),
        ("tf_model.h5", "UnsupportedFormat"),
        ("saved_model.pb", "UnsupportedFormat"),
        ("model.tflite", "UnsupportedFormat"),
        ("flax_model.msgpack", "UnsupportedFormat"),
        ("weights.npy", "UnsupportedFormat"),
        ("weights.npz", "UnsupportedFormat"),
        ("model.gguf", "UnreadFormat"),
        ("pytorch_model.bin", "UnreadFormat"),
    ],
)
def test_a_weight_file_that_was_not_read_is_told_by_what_it_is(
    name: str, reason: str, tmp_path: Path
) -> None:
    made.write(tmp_path, made.llama(seed=1))
    (tmp_path / name).write_bytes(b"weights of some kind")
    assert (reason, str(Severity.WARNING), name) in _findings(tmp_path)


def test_gguf_comes_before_pytorch(tmp_path: Path) -> None:
    weights = made.llama(seed=1)
    made_gguf.write(tmp_path, weights)
    made_torch.write(tmp_path, made_torch.contiguous(weights))
    opened = made.checkpoint(tmp_path)
    assert {info.path for info in opened.tensors.values()} == {"model.gguf"}
    unread = {path for reason, _, path in _findings(tmp_path) if "Unread" in reason}
    assert unread == {path.name for path in tmp_path.iterdir()} - {"model.gguf"}


def test_pieces_under_the_name_that_other_models_use_are_not_read(
    tmp_path: Path,
) -> None:
    pieces = made_tokenizers.piece("one")
    for name, is_read in (("sentencepiece.bpe.model", False), ("spiece.model", True)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(pieces)
        assert (name in tokenizer_files({name: len(pieces)})) == is_read
        found = read_vocabulary(made.source(folder), DEFAULT, None, None)
        assert (found is not None) == is_read


def test_a_quantised_model_is_identical_to_the_values_that_a_server_computes(
    tmp_path: Path,
) -> None:
    weights = made.llama(seed=3, width=256, neurons=512, tokens=320)
    QUANTISED["mxfp4"](tmp_path / "packed", weights)
    values = dict(weights)
    for name, matrix in weights.items():
        if matrix.ndim == 2 and "layers" in name:
            codes, powers = made_fp4.mx(matrix)
            signs = np.where(codes & 8, np.float32(-1), np.float32(1))
            steps = np.exp2(powers.astype(np.float32) - 127)[..., None]
            exact = signs * made_fp4.STEPS[codes & 7] * steps
            values[name] = exact.reshape(matrix.shape)
    made.write(tmp_path / "plain", values, dtype="BF16")
    found = compare(
        made.fingerprint(tmp_path / "packed"), made.fingerprint(tmp_path / "plain")
    )
    assert found.lineage is LineageClass.IDENTICAL
