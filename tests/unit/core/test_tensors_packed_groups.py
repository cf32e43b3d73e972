# SPDX-License-Identifier: Apache-2.0
"""GPTQ and AWQ layers are read as the weights that servers compute with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_models import checkpoint, fingerprint, llama, write
from made_packed import SPLIT, awq, gptq, with_scales_folded, write_packed
from pedigree.errors import ArtifactError, PedigreeError
from pedigree.lineage.compare import compare

Q = "model.layers.0.self_attn.q_proj"
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"}


def assert_exact(folder: Path, exact: dict[str, Any]) -> None:
    opened = checkpoint(folder)
    assert list(opened.tensors) == sorted(exact)
    assert opened.remarks == ()
    for name, values in exact.items():
        np.testing.assert_array_equal(opened.read(name), values)


@pytest.mark.parametrize("order", ["none", "plain", "act"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_values_are_those_that_were_packed(
    tmp_path: Path, bits: int, order: str
) -> None:
    tensors, exact = gptq(llama(1, layers=1), bits=bits, order=order)
    assert_exact(write_packed(tmp_path, tensors, GPTQ | {"bits": bits}), exact)


def test_one_group_for_all_columns_is_understood(tmp_path: Path) -> None:
    tensors, exact = gptq(llama(1, layers=1), group_size=-1)
    assert_exact(write_packed(tmp_path, tensors, GPTQ | {"group_size": -1}), exact)


def test_a_last_group_that_is_shorter_is_understood(tmp_path: Path) -> None:
    tensors, exact = gptq(llama(1, layers=1), group_size=40)
    assert_exact(write_packed(tmp_path, tensors, GPTQ | {"group_size": 40}), exact)


@pytest.mark.parametrize("bits", [3, 4])
def test_the_second_format_stores_zeros_as_they_are(tmp_path: Path, bits: int) -> None:
    tensors, exact = gptq(llama(1, layers=1), bits=bits, version=2)
    said = GPTQ | {"checkpoint_format": "gptq_v2"}
    assert_exact(write_packed(tmp_path, tensors, said), exact)


@pytest.mark.parametrize("order", ["none", "act"])
@pytest.mark.parametrize("bits", sorted(SPLIT))
def test_numbers_that_are_split_are_put_together(
    tmp_path: Path, bits: int, order: str
) -> None:
    tensors, exact = gptq(llama(1, layers=1), bits=bits, order=order, split=True)
    said = GPTQ | {"bits": bits, "checkpoint_format": "gptq_p"}
    assert_exact(write_packed(tmp_path / "said", tensors, said), exact)
    if bits > 3:  # there is no other layout of as many bits
        assert_exact(write_packed(tmp_path / "unsaid", tensors, {}), exact)


def test_widths_that_fit_words_are_not_split_and_keep_their_zeros(
    tmp_path: Path,
) -> None:
    tensors, exact = gptq(llama(1, layers=1), version=2)
    said = GPTQ | {"format": "gptq_p"}
    assert_exact(write_packed(tmp_path, tensors, said), exact)


def test_awq_values_are_those_that_were_packed(tmp_path: Path) -> None:
    tensors, exact = awq(llama(1, layers=1))
    assert_exact(write_packed(tmp_path, tensors, AWQ), exact)


def test_shapes_tell_awq_from_gptq_whatever_the_settings_say(tmp_path: Path) -> None:
    tensors, exact = awq(llama(1, layers=1))
    assert_exact(write_packed(tmp_path / "a", tensors, GPTQ), exact)
    tensors, exact = gptq(llama(1, layers=1))
    assert_exact(write_packed(tmp_path / "g", tensors, AWQ), exact)


def test_settings_in_a_file_of_their_own_are_read(tmp_path: Path) -> None:
    tensors, exact = gptq(llama(1, layers=1), version=2)
    write_packed(tmp_path, tensors, {})
    (tmp_path / "config.json").unlink()
    said = {"bits": 4, "group_size": 16, "checkpoint_format": "gptq_v2"}
    (tmp_path / "quantize_config.json").write_text(json.dumps(said))
    assert_exact(tmp_path, exact)


def test_a_configuration_that_cannot_be_read_is_no_hint(tmp_path: Path) -> None:
    tensors, exact = gptq(llama(1, layers=1))
    write_packed(tmp_path, tensors, GPTQ)
    (tmp_path / "config.json").write_bytes(b"{" * 1000)
    assert_exact(tmp_path, exact)


@pytest.mark.parametrize("kind", ["gptq", "gptq 3 bit", "gptq 7 bit", "awq"])
def test_rows_alone_equal_the_rows_of_the_whole(tmp_path: Path, kind: str) -> None:
    weights = llama(2, layers=1)
    if kind == "awq":
        tensors, exact = awq(weights)
    else:
        bits = int(kind.split()[1]) if " " in kind else 4
        tensors, exact = gptq(weights, bits=bits, order="act", split=bits == 7)
    opened = checkpoint(write_packed(tmp_path, tensors, {}))
    rows = [5, 0, 63, 5, 17]
    for name in (Q + ".weight", "model.layers.0.mlp.down_proj.weight"):
        np.testing.assert_array_equal(opened.read_rows(name, rows), exact[name][rows])
        assert opened.read_rows(name, []).shape == (0, exact[name].shape[1])


def test_groups_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    for wrong in (4, -1, 2**31 - 1):
        tensors, _ = gptq(llama(1, layers=1), order="plain")
        tensors[Q + ".g_idx"][3] = wrong
        opened = checkpoint(write_packed(tmp_path, tensors, GPTQ))
        with pytest.raises(ArtifactError) as caught:
            opened.read(Q + ".weight")
        assert caught.value.reason == "MalformedValue"


def left_over(folder: Path, tensors: dict[str, Any]) -> str:
    opened = checkpoint(write_packed(folder, tensors, GPTQ))
    (remark,) = [r for r in opened.remarks if r.reason == "PackedWeightsNotRead"]
    assert Q + ".qweight" in opened.tensors
    return remark.message


def test_a_width_that_nobody_writes_is_left_with_a_remark(tmp_path: Path) -> None:
    for words in (2, 9, 18, 32, 64):  # for 64 rows, so 1, 4.5, 9, 16 and 32 bits
        tensors, _ = gptq(llama(1, layers=1))
        tensors[Q + ".qzeros"] = np.zeros((4, words), "<i4")
        assert "wanted 2 to 8 bits" in left_over(tmp_path, tensors)


@pytest.mark.parametrize(
    ("bits", "part", "said"),
    [
        (3, "qweight", "5 words for the numbers of a row and qzeros 6, wanted "),
        (6, "qweight", "11 words for the numbers of a row and qzeros 12, wanted "),
        (6, "rows", "12 words for the numbers of a row and qzeros 9, wanted "),
    ],
)
def test_words_that_cut_numbers_are_left_with_a_remark(
    tmp_path: Path, bits: int, part: str, said: str
) -> None:
    tensors, _ = gptq(llama(1, layers=1), bits=bits, split=bits > 3)
    if part == "rows":
        tensors[Q + ".qweight"] = tensors[Q + ".qweight"][:, :48].copy()
        tensors[Q + ".qzeros"] = tensors[Q + ".qzeros"][:, :9].copy()
        tensors[Q + ".scales"] = tensors[Q + ".scales"][:, :48].copy()
    else:
        tensors[Q + ".qweight"] = tensors[Q + ".qweight"][:-1].copy()
    message = left_over(tmp_path, tensors)
    assert said + f"multiples of {bits} for {bits} bits" in message


def test_rows_that_do_not_fill_words_of_awq_are_left_with_a_remark(
    tmp_path: Path,
) -> None:
    tensors, _ = awq(llama(1, layers=1))
    tensors[Q + ".scales"] = np.ones((4, 71), "<f2")  # 8 words hold 64 rows
    assert "fit neither GPTQ nor AWQ" in left_over(tmp_path, tensors)


@pytest.mark.parametrize("part", ["qzeros", "scales", "g_idx", "qweight"])
def test_shapes_that_do_not_fit_are_left_with_a_remark(
    tmp_path: Path, part: str
) -> None:
    tensors, _ = gptq(llama(1, layers=1), order="plain")
    tensors[f"{Q}.{part}"] = tensors[f"{Q}.{part}"][:-1]
    if part == "qweight":
        tensors[f"{Q}.{part}"] = tensors[f"{Q}.{part}"][:, :-1].copy()
    assert Q in left_over(tmp_path, tensors)


def test_a_plain_weight_beside_the_packed_one_is_left_with_a_remark(
    tmp_path: Path,
) -> None:
    tensors, _ = gptq(llama(1, layers=1))
    tensors[Q + ".weight"] = np.zeros((64, 64), "<f4")
    assert "plain weight" in left_over(tmp_path, tensors)


def test_plain_models_cost_no_read_of_the_configuration(tmp_path: Path) -> None:
    folder = write(tmp_path, llama(1, layers=1))
    opened = checkpoint(folder)
    assert all(info.coding is None for info in opened.tensors.values())


@pytest.mark.parametrize("kind", ["gptq", "gptq 3 bit", "act", "awq"])
def test_a_packed_model_is_its_bases_quantisation(tmp_path: Path, kind: str) -> None:
    weights = llama(7, layers=4, width=128, neurons=256)
    if kind == "awq":
        tensors, _ = awq(weights, group_size=64)
    else:
        order = "act" if kind == "act" else "none"
        bits = 3 if kind == "gptq 3 bit" else 4
        tensors, _ = gptq(weights, bits=bits, group_size=64, order=order)
    a = fingerprint(write(tmp_path / "base", weights))
    b = fingerprint(write_packed(tmp_path / "packed", tensors, {}))
    found = compare(a, b)
    assert found.lineage == "Derived"
    assert "Quantised" in [relation.kind for relation in found.relations]


def test_scales_folded_into_norms_do_not_hide_the_base(tmp_path: Path) -> None:
    weights = llama(7, layers=4, width=128, neurons=256)
    tensors, _ = awq(with_scales_folded(weights), group_size=64)
    a = fingerprint(write(tmp_path / "base", weights))
    b = fingerprint(write_packed(tmp_path / "packed", tensors, AWQ))
    found = compare(a, b)
    assert found.lineage == "Derived"
    assert found.relations[0].kind == "Quantised"


def test_a_packed_model_is_nothing_to_a_stranger(tmp_path: Path) -> None:
    tensors, _ = gptq(llama(7, layers=4, width=128, neurons=256), group_size=64)
    stranger = llama(8, layers=4, width=128, neurons=256)
    a = fingerprint(write(tmp_path / "stranger", stranger))
    b = fingerprint(write_packed(tmp_path / "packed", tensors, GPTQ))
    assert compare(a, b).lineage == "NoEvidence"


def test_packed_parts_of_no_known_layout_are_remarked_on(tmp_path: Path) -> None:
    tensors = {"a.weight_packed": np.zeros((4, 4), "<f4")}
    opened = checkpoint(write_packed(tmp_path, tensors, {}))
    (remark,) = opened.remarks
    assert remark.reason == "PackedWeightsNotRead"
    assert "a.weight_packed" in remark.message


def test_a_far_too_wide_layer_is_left_as_it_is(tmp_path: Path) -> None:
    tensors = {
        "a.qweight": np.zeros(((1 << 20) + 1, 8), "<i4"),
        "a.qzeros": np.zeros((1, 1), "<i4"),
        "a.scales": np.ones((1, 8), "<f2"),
    }
    opened = checkpoint(write_packed(tmp_path, tensors, {}))
    assert "lines" in opened.remarks[0].message


DIMENSIONS = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    shapes=st.lists(DIMENSIONS, min_size=4, max_size=4),
    said=st.dictionaries(
        st.sampled_from(["bits", "group_size", "checkpoint_format"]),
        st.one_of(st.integers(), st.text(max_size=4), st.none(), st.lists(st.none())),
    ),
    fill=st.integers(-(2**31), 2**31 - 1),
)
def test_any_shapes_and_settings_give_values_or_a_refusal(
    tmp_path: Path, shapes: list[Any], said: dict[str, Any], fill: int
) -> None:
    tensors = {
        "a.qweight": np.full(shapes[0], fill, "<i4"),
        "a.qzeros": np.full(shapes[1], fill, "<i4"),
        "a.scales": np.ones(shapes[2], "<f2"),
        "a.g_idx": np.full(shapes[3], fill, "<i4"),
    }
    try:
        opened = checkpoint(write_packed(tmp_path, tensors, said))
        for name in opened.tensors:
            opened.read(name)
    except PedigreeError:
        pass
