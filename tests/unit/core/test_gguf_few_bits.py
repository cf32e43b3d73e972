# SPDX-License-Identifier: Apache-2.0
"""GGUF types of less than four bits, with and without the package of their tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import quants

import made_models as made
from made_few_bits import NUMBERS, packed, points_of
from made_models import Weights
from pedigree.errors import ArtifactError
from pedigree.evidence import Severity
from pedigree.examine import ExamineSettings, examine
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.findings import Relation
from pedigree.refs import parse
from pedigree.sources import SourceSettings
from pedigree.tensors import gguf_grids
from pedigree.tensors.gguf_blocks import BLOCK_TYPES, decode_blocks
from storages import FEW_BITS, PLAIN, QUANTISED

IN_GGUF = [name for name in FEW_BITS if name.startswith("gguf-")]


def _weights(seed: int) -> Weights:
    made_up = made.llama(seed=seed, width=256, neurons=512, tokens=320)
    return {
        name: values.astype(ml_dtypes.bfloat16).astype(np.float32)
        for name, values in made_up.items()
    }


@pytest.fixture
def without_the_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    gguf_grids.grid.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    yield
    gguf_grids.grid.cache_clear()


@pytest.mark.parametrize("name", NUMBERS)
def test_values_are_to_the_bit_those_that_a_writer_meant(name: str) -> None:
    random = np.random.default_rng(NUMBERS[name])
    values = random.standard_normal((64, 768)).astype(np.float32)
    values *= np.exp(random.normal(0, 2, (64, 1))).astype(np.float32)
    values[0] = 0
    stored, meant = packed(values, name)
    found = decode_blocks(stored.tobytes(), BLOCK_TYPES[NUMBERS[name]])
    np.testing.assert_array_equal(found.reshape(values.shape), meant)


@pytest.mark.parametrize(
    ("name", "most"), [("IQ1_S", 0.46), ("IQ2_XS", 0.32), ("IQ3_S", 0.15)]
)
def test_the_writer_of_the_tests_rounds_to_near_points(name: str, most: float) -> None:
    values = np.random.default_rng(1).standard_normal((64, 768)).astype(np.float32)
    _, meant = packed(values, name)
    off = np.linalg.norm(meant - values) / np.linalg.norm(values)
    assert 0.1 < off < most


@pytest.mark.usefixtures("without_the_package")
@pytest.mark.parametrize("storage", IN_GGUF)
def test_without_the_package_the_model_is_refused_with_what_to_install(
    storage: str, tmp_path: Path
) -> None:
    FEW_BITS[storage](tmp_path, _weights(1))
    with pytest.raises(ArtifactError) as caught:
        made.checkpoint(tmp_path)
    assert caught.value.reason == "UnsupportedDtype"
    assert caught.value.path.endswith(".gguf")
    assert "what the model descends from is not decided" in caught.value.message
    assert "(tensors in such types: 14)" in caught.value.message
    assert "pip install 'pedigree-gate[gguf]'" in (caught.value.hint or "")


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_an_examination_has_evidence_and_no_fingerprint(
    tmp_path: Path,
) -> None:
    FEW_BITS["gguf-iq3_s"](tmp_path, _weights(1))
    found = examine(
        parse(f"file://{tmp_path.resolve()}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime.now(UTC),
    )
    assert found.fingerprint is None
    assert found.evidence.fingerprint is None
    (error,) = [x for x in found.evidence.findings if x.severity is Severity.ERROR]
    assert error.reason == "UnsupportedDtype"
    assert "IQ3_S" in error.message
    assert "pedigree-gate[gguf]" in error.message


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package_blocks_are_refused_and_nothing_else_escapes() -> None:
    for block in BLOCK_TYPES.values():
        if not block.table:
            assert decode_blocks(bytes(block.bytes), block).size == block.values
            continue
        with pytest.raises(
            ArtifactError, match="gguf, which is not installed"
        ) as caught:
            decode_blocks(bytes(block.bytes), block)
        assert caught.value.reason == "UnsupportedDtype"


@pytest.fixture
def another_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    gguf_grids.grid.cache_clear()
    yield monkeypatch
    gguf_grids.grid.cache_clear()


def test_other_tables_than_files_are_made_with_are_refused(
    another_version: pytest.MonkeyPatch,
) -> None:
    table = points_of("IQ3_S").copy()
    table[[3, 4]] = table[[4, 3]]  # the same points, in another order
    another_version.setattr(quants.IQ3_S, "grid", table)
    with pytest.raises(ArtifactError, match="has another in this version") as caught:
        gguf_grids.grid("IQ3_S")
    assert caught.value.reason == "UnsupportedDtype"


@pytest.mark.parametrize("grid", [None, "words", np.zeros(5), np.full((3, 4), 1e9)])
def test_a_package_without_the_table_is_refused(
    grid: object, another_version: pytest.MonkeyPatch
) -> None:
    another_version.setattr(quants.IQ3_S, "init_grid", lambda: None)
    another_version.setattr(quants.IQ3_S, "grid", grid)
    with pytest.raises(ArtifactError, match="in this version"):
        gguf_grids.grid("IQ3_S")
    another_version.delattr(quants, "IQ2_S")
    with pytest.raises(ArtifactError, match="does not have it in this version"):
        gguf_grids.grid("IQ2_S")


def test_tables_are_shared_and_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        gguf_grids.grid("IQ1_S")[0, 0] = 5


@pytest.mark.usefixtures("without_the_package")
def test_other_types_need_no_package(tmp_path: Path) -> None:
    QUANTISED["gguf-q4_k"](tmp_path, _weights(1))
    opened = made.checkpoint(tmp_path)
    assert np.isfinite(opened.read("blk.0.ffn_up.weight")).all()


@pytest.fixture(scope="module", params=[Profile.DEEP, Profile.FAST])
def fingerprints(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Fingerprint]:
    """Fingerprint of a storage, by its name, or of another model as ``name/other``."""
    folder = tmp_path_factory.mktemp("few-bits")
    held: dict[str, Fingerprint] = {}

    def find(name: str) -> Fingerprint:
        if name not in held:
            storage, _, other = name.partition("/")
            write = {**PLAIN, **QUANTISED, **FEW_BITS}[storage]
            write(folder / name, _weights(12 if other else 11))
            held[name] = made.fingerprint(folder / name, profile=request.param)
        return held[name]

    return find


@pytest.mark.parametrize("storage", FEW_BITS)
def test_a_model_of_few_bits_is_derived_from_its_base_and_called_quantised(
    storage: str, fingerprints: Callable[[str], Fingerprint]
) -> None:
    found = compare(fingerprints("bf16"), fingerprints(storage))
    assert found.lineage is LineageClass.DERIVED
    assert found.relations[0].kind is Relation.QUANTISED


@pytest.mark.parametrize("storage", FEW_BITS)
def test_a_model_of_few_bits_is_nothing_to_a_stranger(
    storage: str, fingerprints: Callable[[str], Fingerprint]
) -> None:
    for other in ("bf16/other", f"{storage}/other"):
        found = compare(fingerprints(other), fingerprints(storage))
        assert found.lineage is LineageClass.NO_EVIDENCE


@pytest.mark.parametrize(
    "pair",
    [*combinations(FEW_BITS, 2), *((x, "gguf-q4_0") for x in FEW_BITS)],
    ids="/".join,
)
def test_two_storages_of_few_bits_are_derived_and_never_identical(
    pair: tuple[str, str], fingerprints: Callable[[str], Fingerprint]
) -> None:
    found = compare(*(fingerprints(name) for name in pair))
    assert found.lineage is LineageClass.DERIVED
