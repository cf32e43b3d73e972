# SPDX-License-Identifier: Apache-2.0
"""The eight context signals, against what the Model Provenance Kit computes."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from made_models import EXAMPLES, Weights, llama, read, write
from pedigree.lineage.context.features import (
    COSTS,
    ContextFeatures,
    context_signals,
    read_features,
)
from pedigree.lineage.context.matrices import Matrices, _length
from pedigree.lineage.context.model import ContextSignal, Cost, NotShown
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source
from pedigree.tensors.checkpoint import Checkpoint

EXPECTED = json.loads(
    (Path(__file__).parents[2] / "data/context/kit-pairs.json").read_text()
)


def features(folder: Path, cost: Cost = Cost.EVERYTHING) -> ContextFeatures:
    source = open_source(parse(f"file://{folder.resolve()}"), SourceSettings())
    return read_features(source, Checkpoint.open(source), cost)


@cache
def example(name: str) -> ContextFeatures:
    return features(EXAMPLES / name)


def by_name(a: ContextFeatures, b: ContextFeatures) -> dict[str, ContextSignal]:
    return {signal.name: signal for signal in context_signals(a, b)}


def made(folder: Path, weights: Weights) -> Path:
    """A model of these weights with the tokenizer of an example."""
    write(folder, weights)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(EXAMPLES / "llama-a" / name, folder / name)
    return folder


@pytest.mark.parametrize("pair", EXPECTED, ids=lambda pair: f"{pair['a']}-{pair['b']}")
def test_every_signal_equals_the_kits(pair: dict[str, object]) -> None:
    a, b = str(pair.pop("a")), str(pair.pop("b"))
    found = by_name(example(a), example(b))
    values = {name.lower(): signal.value for name, signal in found.items()}
    assert values == pytest.approx(pair, abs=1e-5)


def test_the_order_of_two_models_does_not_matter() -> None:
    a, b = example("llama-a"), example("gpt2-a")
    for signal, mirrored in zip(
        context_signals(a, b), context_signals(b, a), strict=True
    ):
        assert signal.value == pytest.approx(mirrored.value)


def test_every_signal_is_there_with_its_cost() -> None:
    signals = context_signals(example("llama-a"), example("llama-b"))
    assert [signal.name for signal in signals] == list(COSTS)


def test_what_was_not_asked_for_is_not_read() -> None:
    folder = EXAMPLES / "llama-a"
    source = open_source(parse(f"file://{folder.resolve()}"), SourceSettings())
    checkpoint = Checkpoint.open(source)
    before = source.bytes_read
    nothing = read_features(source, checkpoint, Cost.NOTHING)
    assert source.bytes_read == before
    signals = context_signals(nothing, example("llama-a"))
    assert {signal.reason for signal in signals} == {NotShown.NOT_ASKED}


@pytest.mark.parametrize("cost", list(Cost))
def test_a_cost_gives_exactly_the_signals_of_that_cost(cost: Cost) -> None:
    found = by_name(features(EXAMPLES / "llama-a", cost), example("llama-b"))
    given = {name for name, signal in found.items() if signal.value is not None}
    assert given == {name for name, least in COSTS.items() if least <= cost}


def test_a_model_without_tokenizer_says_so(tmp_path: Path) -> None:
    write(tmp_path, llama(1))
    found = by_name(features(tmp_path), features(tmp_path))
    assert {name for name, signal in found.items() if signal.value is None} == {
        "MFI",
        "TFV",
        "VOA",
        "EAS",
    }
    assert found["EAS"].reason is NotShown.NO_TOKENIZER
    assert found["WVC"].value == 1.0


def test_an_adapter_has_no_signal_that_it_cannot_have(tmp_path: Path) -> None:
    names = ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",)
    write(tmp_path, {name: np.ones((8, 64), np.float32) for name in names})
    found = by_name(features(tmp_path), example("llama-a"))
    assert found["END"].reason is NotShown.NO_EMBEDDING
    assert found["NLF"].reason is NotShown.NO_NORMS
    assert found["WVC"].reason is NotShown.TOO_LITTLE


def test_another_tensor_order_changes_the_kits_value_and_ours_alike(
    tmp_path: Path,
) -> None:
    weights = read(EXAMPLES / "llama-a")
    same = made(tmp_path / "same", weights)
    turned = made(tmp_path / "turned", dict(reversed(weights.items())))
    found = by_name(features(same), features(turned))
    assert found["NLF"].value is not None
    assert found["NLF"].value < 0.99999
    assert found["WVC"].value is not None
    assert found["WVC"].value < 0.5


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-38, 3e38])
def test_constant_weights_have_reasons_and_never_crash(
    tmp_path: Path, value: float
) -> None:
    weights = {k: np.full_like(v, value) for k, v in llama(1).items()}
    made(tmp_path, weights)
    found = by_name(features(tmp_path), features(tmp_path))
    assert found["EAS"].reason is NotShown.CONSTANT
    assert found["LEP"].reason is NotShown.CONSTANT


def test_values_that_are_not_finite_make_a_signal_unreadable(tmp_path: Path) -> None:
    weights = llama(1)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    made(tmp_path, weights)
    found = by_name(features(tmp_path), example("llama-a"))
    assert found["LEP"].reason is NotShown.UNREADABLE
    assert "model.layers.1.mlp.up_proj.weight" in found["LEP"].detail
    assert found["END"].value is not None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("tokenizer.json", "{", "MFI"),
        ("tokenizer.json", "[]", "TFV"),
        ("tokenizer.json", '{"model": {"vocab": 3}}', "VOA"),
        ("tokenizer.json", '{"model": {"vocab": {"a": "b"}}}', "VOA"),
        ("tokenizer.json", '{"model": {"vocab": {}, "merges": [3]}}', "VOA"),
        ("tokenizer.json", '{"model": {"vocab": {}}, "added_tokens": [1]}', "VOA"),
        ("tokenizer_config.json", '{"a": 1, "a": 2}', "TFV"),
        ("config.json", "3", "MFI"),
        ("config.json", '{"hidden_size": {}}', "MFI"),
    ],
)
def test_a_malformed_file_is_a_reason(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    made(tmp_path, llama(1))
    (tmp_path / name).write_text(text)
    found = by_name(features(tmp_path), example("llama-a"))
    assert found[reason].reason is NotShown.UNREADABLE


def test_a_tokenizer_of_an_unknown_kind_gives_no_wrong_anchors(tmp_path: Path) -> None:
    made(tmp_path, llama(1))
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    document["pre_tokenizer"] = {"type": "Unheard"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    found = by_name(features(tmp_path), example("llama-a"))
    assert found["EAS"].reason is NotShown.UNKNOWN_TOKENIZER
    assert "Unheard" in found["EAS"].detail
    assert found["VOA"].value == 1.0


def test_reading_every_matrix_tells_how_far_it_is() -> None:
    folder = EXAMPLES / "llama-a"
    source = open_source(parse(f"file://{folder.resolve()}"), SourceSettings())
    checkpoint = Checkpoint.open(source)
    told: list[tuple[int, int]] = []
    read_features(source, checkpoint, progress=lambda *x: told.append(x))
    assert len(told) == len(checkpoint.tensors)
    assert told[-1][0] == told[-1][1] == 2 * checkpoint.parameters


def test_a_matrix_read_in_blocks_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = example("gpt2-a").matrices
    monkeypatch.setattr("pedigree.lineage.context.matrices._WHOLE_BYTES", 0)
    monkeypatch.setattr("pedigree.lineage.context.matrices._BLOCK_BYTES", 5000)
    blocks = features(EXAMPLES / "gpt2-a").matrices
    assert isinstance(whole, Matrices)
    assert isinstance(blocks, Matrices)
    assert (whole.energy == blocks.energy).all()
    whole = example("llama-a").matrices
    blocks = features(EXAMPLES / "llama-a").matrices
    assert isinstance(whole, Matrices)
    assert isinstance(blocks, Matrices)
    assert all((whole.values[i] == blocks.values[i]).all() for i in whole.values)


def test_lengths_are_summed_as_torch_sums_them() -> None:
    random = np.random.default_rng(1)
    flat = random.standard_normal(1003).astype(np.float32)
    lanes = [np.float32(0)] * 8
    for index, value in enumerate(flat[:1000]):
        lanes[index % 8] = np.float32(lanes[index % 8] + value * value)
    total = np.float32(0)
    for part in [*lanes, *(value * value for value in flat[1000:])]:
        total = np.float32(total + part)
    assert _length(flat) == float(np.sqrt(total))
