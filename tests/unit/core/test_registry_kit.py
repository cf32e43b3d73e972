# SPDX-License-Identifier: Apache-2.0
"""Databases of the Model Provenance Kit: read, believed in nothing, tested exactly.

The databases here are made: the kit's layout, our own numbers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import made_models as made
from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, SourceRefused
from pedigree.lineage.context.matrices import Matrices, read_matrices
from pedigree.lineage.context.norms import Norms, read_norms
from pedigree.lineage.results import NotRun
from pedigree.registry import Registry
from pedigree.registry.exchange import OnConflict, merge
from pedigree.registry.kit import read_kit
from pedigree.registry.kit_scan import scan_kit
from pedigree.registry.kit_signals import (
    KitSignals,
    decode_signals,
    encode_signals,
)
from pedigree.registry.kit_tests import (
    corrected_log10_p,
    neuron_places,
    run_gamma,
    run_rows,
)

FAMILY, MODEL = "own--made", "made-1"
FEATURES = f"features/base/by-family/{FAMILY}/{MODEL}_features.json"
PARQUET = f"features/deep-signals/by-family/{FAMILY}/{MODEL}.parquet"


def _write(root: Path, path: str, document: dict[str, Any]) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(document))


def _parquet(weights: Path) -> bytes:
    """Signals of a model in the kit's long form, rows in no order."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    checkpoint = made.checkpoint(weights)
    norms, matrices = read_norms(checkpoint), read_matrices(checkpoint)
    assert isinstance(norms, Norms)
    assert isinstance(matrices, Matrices)
    rows: list[tuple[str, int | None, int, int | None, float]] = [
        ("nlf_vector", None, n, None, float(v)) for n, v in enumerate(norms.joined)
    ]
    for layer, values in matrices.values.items():
        rows += [
            ("wvc_layer_sigs", layer, n, None, float(v)) for n, v in enumerate(values)
        ]
    rows += [("eas_self_sim", None, n // 4, n % 4, n / 16) for n in range(16)]
    np.random.default_rng(3).shuffle(rows)
    signals, layers, numbers, columns, values_ = zip(*rows, strict=True)
    table = arrow.table(
        {
            "signal": list(signals),
            "layer": arrow.array(layers, arrow.int32()),
            "row": arrow.array(numbers, arrow.int32()),
            "col": arrow.array(columns, arrow.int32()),
            "value": arrow.array(values_, arrow.float32()),
        }
    )
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def _database(root: Path, parquet: bytes = b"", **changes: Any) -> Path:
    """One model in the kit's layout; ``changes`` are to its features."""
    shard = f"catalog/by-family/{FAMILY}.json"
    _write(
        root,
        "catalog/manifest.json",
        {"shard_strategy": "by_family", "shards": [{"shard_path": shard}]},
    )
    asset = {"model_id": MODEL, "feature_path": FEATURES, "source_uri": "own/made-1"}
    family = {"family_id": FAMILY, "display_name": "Made", "publisher": "own"}
    _write(root, shard, {"family": family, "assets": [asset]})
    features: dict[str, Any] = {
        "model_id": MODEL,
        "mfi": {"model_type": "llama", "hidden_size": 64, "gqa_ratio": 2.0},
        "signals": {"nlf_mode": "direct"},
        "artifact_refs": [],
    }
    if parquet:
        (root / PARQUET).parent.mkdir(parents=True)
        (root / PARQUET).write_bytes(parquet)
        reference = {"type": "deep_signals", "path": PARQUET}
        reference["checksum"] = str(sha256(parquet))
        features["artifact_refs"] = [reference]
    _write(root, FEATURES, features | changes)
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("m") / "base", made.llama(1))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Registry:
    root = tmp_path_factory.mktemp("kit")
    database = _database(root / "db", _parquet(weights))
    skipped: list[str] = []
    merged = merge(root / "r", read_kit(database, skipped), OnConflict.FAIL)
    assert (merged.added, skipped) == (1, [])
    return Registry.open(root / "r")


def test_a_record_becomes_an_entry_that_stands_for_no_weights(
    registry: Registry,
) -> None:
    (entry,) = registry.entries
    assert entry.name == "kit/own/made-1"
    assert (entry.family, entry.publisher, entry.aliases) == ("Made", "own", (MODEL,))
    assert entry.is_kit
    assert registry.verify() == ()
    assert len(registry.references()) == 0


def test_signals_are_kept_as_they_came(registry: Registry, weights: Path) -> None:
    kept = decode_signals(registry.body("kit/own/made-1"), "x")
    norms = read_norms(made.checkpoint(weights))
    assert isinstance(norms, Norms)
    assert np.array_equal(kept.vectors["nlf"], norms.joined.astype(np.float32))
    assert kept.vectors["eas"].tolist() == [n / 16 for n in range(16)]
    assert sorted(kept.layers) == [0, 1]
    assert kept.metadata["gqa_ratio"] == 2.0
    assert encode_signals(kept) == registry.body("kit/own/made-1")


def test_a_descendant_is_related_to_the_record_and_a_stranger_is_not(
    registry: Registry, tmp_path: Path
) -> None:
    child = made.write(tmp_path / "c", made.noise(made.llama(1), 0.3, seed=5))
    (found,) = scan_kit(made.checkpoint(child), registry)
    assert found.is_related
    gamma, rows = found.tests
    assert min(gamma.log10_p, rows.log10_p) < -20
    assert rows.effect > 0.9
    other = made.write(tmp_path / "o", made.llama(9))
    (found,) = scan_kit(made.checkpoint(other), registry)
    assert not found.is_related
    assert all(test.ran for test in found.tests)


def test_strangers_give_no_small_p_values(registry: Registry, tmp_path: Path) -> None:
    kept = decode_signals(registry.body("kit/own/made-1"), "x")
    p_values = []
    for seed in range(20, 32):
        opened = made.checkpoint(made.write(tmp_path / str(seed), made.llama(seed)))
        tests = (
            run_gamma(kept, read_norms(opened)),
            run_rows(kept, read_matrices(opened), neuron_places(opened)),
        )
        p_values += [test.log10_p for test in tests]
    assert min(p_values) > -4
    assert max(p_values) > -1


def test_permuted_neurons_hide_rows_and_not_norms(
    registry: Registry, tmp_path: Path
) -> None:
    hidden = made.permute_neurons(made.llama(1), seed=4)
    opened = made.checkpoint(made.write(tmp_path, hidden))
    (found,) = scan_kit(opened, registry)
    gamma, rows = found.tests
    assert gamma.log10_p < -20
    assert rows.log10_p > -3


def test_a_record_without_vectors_is_context_only(weights: Path) -> None:
    opened = made.checkpoint(weights)
    gamma = run_gamma(KitSignals({"hidden_size": 64}), read_norms(opened))
    rows = run_rows(KitSignals({}), read_matrices(opened), neuron_places(opened))
    assert {gamma.reason, rows.reason} == {NotRun.NOT_KEPT}
    assert corrected_log10_p(gamma, 10) == 0


def test_statistics_in_place_of_norms_are_not_tested(
    registry: Registry, weights: Path
) -> None:
    kept = decode_signals(registry.body("kit/own/made-1"), "x")
    stats = KitSignals(kept.metadata, "stats", kept.vectors)
    assert run_gamma(stats, read_norms(made.checkpoint(weights))).reason


def test_constant_norms_are_no_match(weights: Path) -> None:
    norms = read_norms(made.checkpoint(weights))
    assert isinstance(norms, Norms)
    ones = np.ones(len(norms.joined), np.float32)
    signals = KitSignals({"hidden_size": 64}, "direct", {"nlf": ones})
    assert run_gamma(signals, norms).reason is NotRun.UNTRAINED_NORMS


def test_a_database_without_deep_signals_needs_no_extra(tmp_path: Path) -> None:
    (addition,) = read_kit(_database(tmp_path), [])
    assert decode_signals(addition.body, "x").layers == {}


def test_parquet_without_its_reader_is_an_error(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = _database(tmp_path, _parquet(weights))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError) as refused:
        list(read_kit(database, []))
    assert refused.value.reason == "ExtraMissing"


@pytest.mark.parametrize(
    ("parquet", "changes", "why"),
    [
        (b"PAR1 and nothing else", {}, "Arrow"),
        (
            b"x",
            {"artifact_refs": [{"type": "deep_signals", "path": "../db.json"}]},
            "out",
        ),
        (b"", {"mfi": 3}, "no metadata"),
    ],
    ids=["no-parquet", "path-out", "no-metadata"],
)
def test_a_model_that_cannot_be_used_is_named(
    tmp_path: Path, parquet: bytes, changes: dict[str, Any], why: str
) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "db.json").write_text("{}")
    skipped: list[str] = []
    assert list(read_kit(_database(tmp_path / "db", parquet, **changes), skipped)) == []
    assert len(skipped) == 1
    assert skipped[0].startswith("made-1: ")
    assert why in skipped[0]


def test_a_wrong_checksum_is_named(tmp_path: Path, weights: Path) -> None:
    database = _database(tmp_path, _parquet(weights))
    (tmp_path / PARQUET).write_bytes((tmp_path / PARQUET).read_bytes() + b" ")
    skipped: list[str] = []
    assert list(read_kit(database, skipped)) == []
    assert "digest" in skipped[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"shards": [1]}', "[" * 100_000])
def test_a_broken_catalogue_refuses_the_database(tmp_path: Path, text: str) -> None:
    _database(tmp_path)
    (tmp_path / "catalog/manifest.json").write_text(text)
    with pytest.raises(ArtifactError) as refused:
        list(read_kit(tmp_path, []))
    assert refused.value.reason == "MalformedKitDatabase"


def test_stored_signals_that_were_cut_are_refused(registry: Registry) -> None:
    body = registry.body("kit/own/made-1")
    with pytest.raises(ArtifactError):
        decode_signals(body[:-4], "x")
    with pytest.raises(SourceRefused):
        registry.body("kit/own/other")
