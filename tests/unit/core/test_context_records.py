# SPDX-License-Identifier: Apache-2.0
"""Context signals of a model against a record of the kit's database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from made_models import EXAMPLES
from pedigree.digests import sha256
from pedigree.lineage.context.features import (
    ContextFeatures,
    context_signals,
    read_features,
)
from pedigree.lineage.context.matrices import Matrices
from pedigree.lineage.context.model import NotShown
from pedigree.lineage.context.norms import Norms
from pedigree.lineage.context.records import record_features
from pedigree.refs import parse
from pedigree.registry import Registry
from pedigree.registry.catalogue import KIT_SPEC, Entry
from pedigree.registry.exchange import OnConflict, merge
from pedigree.registry.kit_scan import scan_kit
from pedigree.registry.kit_signals import KitSignals, encode_signals
from pedigree.registry.writing import Addition
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

RECORD: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 352,
    "vocab_size": 2048,
    "max_position_embeddings": 512,
    "hidden_act": "silu",
    "rope_theta": None,
    "rope_scaling": {"rope_theta": 10000.0, "rope_type": "default"},
    "bos_token_id": 0,
    "eos_token_id": 0,
    "attention_style": "GQA",
    "norm_type": "RMSNorm",
    "attention_bias": False,
    "qk_norm": False,
    "pos_encoding": "absolute",
    "tokenizer_hash": (
        "da5cdfb0595b25b1457404e27646325e400e1ea13cad7131b8a619e6ba4698a4"
    ),
}
"""What the kit writes of examples/models/llama-a."""


@pytest.fixture(scope="module")
def model() -> ContextFeatures:
    folder = (EXAMPLES / "llama-a").resolve()
    source = open_source(parse(f"file://{folder}"), SourceSettings())
    return read_features(source, Checkpoint.open(source))


def vectors(of: ContextFeatures) -> dict[str, NDArray[np.float32]]:
    assert isinstance(of.norms, Norms)
    assert isinstance(of.matrices, Matrices)
    assert isinstance(of.anchors, np.ndarray)
    assert isinstance(of.lengths, np.ndarray)
    found = {
        "eas": of.anchors.reshape(-1),
        "nlf": of.norms.joined,
        "lep": of.matrices.energy,
        "end": of.lengths,
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def values(a: ContextFeatures, b: ContextFeatures) -> dict[str, float | None]:
    return {signal.name: signal.value for signal in context_signals(a, b)}


def test_a_models_own_record_has_full_scores(model: ContextFeatures) -> None:
    assert isinstance(model.matrices, Matrices)
    record = record_features(
        RECORD, vectors(model), model.matrices.values, whole_norms=True
    )
    found = values(model, record)
    assert found.pop("TFV") is None
    assert found.pop("VOA") is None
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"max_position_embeddings": 4096}, 0.9), ({"hidden_size": 1024}, 0.8548)],
)
def test_metadata_of_a_record_has_the_kits_tiers(
    model: ContextFeatures, changed: dict[str, Any], expected: float
) -> None:
    record = record_features({**RECORD, **changed}, {}, {}, whole_norms=True)
    assert values(model, record)["MFI"] == pytest.approx(expected, abs=1e-4)


def test_statistics_of_norms_are_compared_with_statistics(
    model: ContextFeatures,
) -> None:
    assert isinstance(model.norms, Norms)
    statistics = model.norms.statistics.astype(np.float32)
    record = record_features(RECORD, {"nlf": statistics}, {}, whole_norms=False)
    assert values(model, record)["NLF"] == 1.0
    assert values(replace(model, norms=record.norms), record)["NLF"] == 1.0


def test_what_a_record_does_not_keep_has_a_reason(model: ContextFeatures) -> None:
    record = record_features(RECORD, {}, {}, whole_norms=True)
    reasons = {s.name: s.reason for s in context_signals(model, record)}
    assert reasons["MFI"] is None
    assert reasons["VOA"] is NotShown.NO_TOKENIZER
    assert reasons["WVC"] is NotShown.NOT_ASKED


@pytest.mark.parametrize(
    ("name", "size"), [("eas", 17), ("nlf", 100)], ids=["cosines", "norms"]
)
def test_vectors_of_an_impossible_size_are_unreadable(
    model: ContextFeatures, name: str, size: int
) -> None:
    odd = {name: np.ones(size, np.float32)}
    record = record_features(RECORD, odd, {}, whole_norms=True)
    reasons = {s.name: s.reason for s in context_signals(model, record)}
    assert reasons[name.upper()] is NotShown.UNREADABLE


def test_metadata_that_is_no_number_is_unreadable(model: ContextFeatures) -> None:
    record = record_features({**RECORD, "vocab_size": "many"}, {}, {}, whole_norms=True)
    reasons = {s.name: s.reason for s in context_signals(model, record)}
    assert reasons["MFI"] is NotShown.UNREADABLE


def test_a_scan_shows_the_signals_of_records_and_decides_by_tests(
    model: ContextFeatures, tmp_path: Path
) -> None:
    assert isinstance(model.matrices, Matrices)
    layers = model.matrices.values
    body = encode_signals(KitSignals(RECORD, "direct", vectors(model), layers))
    entry = Entry(name="kit/a", fingerprint=sha256(body), spec=KIT_SPEC)
    merge(tmp_path / "r", [Addition.of_kit(entry, body)], OnConflict.FAIL)
    registry = Registry.open(tmp_path / "r")
    twin = EXAMPLES / "llama-b"
    source = open_source(parse(f"file://{twin.resolve()}"), SourceSettings())
    checkpoint = Checkpoint.open(source)
    (found,) = scan_kit(
        checkpoint, registry, context=lambda: read_features(source, checkpoint)
    )
    assert {s.name: s.value for s in found.context}["MFI"] == 1.0
    assert not found.is_related
