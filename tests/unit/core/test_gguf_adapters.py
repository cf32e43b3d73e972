# SPDX-License-Identifier: Apache-2.0
"""Adapters as GGUF are those of PEFT, under other names and in another order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import made_adapters
import made_gguf
import made_gguf_adapters as gguf
import made_models as made
from made_models import Weights
from pedigree.errors import ArtifactError
from pedigree.examine import ExamineSettings, examine
from pedigree.fingerprint.adapters import adapter_modules, adapter_widths
from pedigree.fingerprint.build import automatic_profile
from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.roles import Role, map_roles
from pedigree.fingerprint.spec import V2, Profile
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.refs import parse
from pedigree.registry import Entry, Registry
from pedigree.registry.scan import scan_registry
from pedigree.registry.writing import Addition, add_all
from pedigree.sources import SourceSettings
from pedigree.tensors.checkpoint import Checkpoint

HEADS, KV_HEADS = 4, 2
STATED = gguf.keys() | gguf.stated(HEADS, KV_HEADS)
BASE = made_adapters.base(1)
PROFILES = [Profile.FAST, Profile.DEEP]


def _rounded(tensors: Weights) -> Weights:
    """Values that F16 and BF16 hold to the last bit."""
    return {name: canonical(x.astype(np.float32)) for name, x in tensors.items()}


FACTORS = _rounded(made_adapters.factors(BASE, 7))


def _gpt2_factors(seed: int) -> Weights:
    random = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    sizes = {
        "attn.c_attn": (64, 192),
        "attn.c_proj": (64, 64),
        "mlp.c_fc": (64, 256),
        "mlp.c_proj": (256, 64),
    }
    found: Weights = {}
    for layer in range(2):
        for name, (reads, writes) in sizes.items():
            path = f"{gguf.PREFIX}transformer.h.{layer}.{name}.lora_"
            found[f"{path}A.weight"] = matrix(8, reads)
            found[f"{path}B.weight"] = matrix(writes, 8)
    return _rounded(found)


def _both(
    folder: Path,
    peft: Weights,
    converted: Weights,
    keys: dict[str, object],
    *,
    dtype: str = "F32",
    profile: Profile | None = Profile.DEEP,
) -> tuple[Fingerprint, Fingerprint]:
    first = made_adapters.write(folder / "peft", peft)
    second = gguf.write(folder / "gguf", converted, keys, dtype)
    return made.fingerprint(first, profile), made.fingerprint(second, profile)


def _same_parts(a: Fingerprint, b: Fingerprint) -> bool:
    return a.parts.keys() == b.parts.keys() and all(
        np.array_equal(values, b.parts[name]) for name, values in a.parts.items()
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_an_adapter_and_its_conversion_hold_the_same_weights(
    dtype: str, profile: Profile, tmp_path: Path
) -> None:
    converted = gguf.converted(FACTORS, HEADS, KV_HEADS)
    a, b = _both(tmp_path, FACTORS, converted, STATED, dtype=dtype, profile=profile)
    assert b.reason == "AdapterWeights"
    assert (b.shape, b.layers) == (a.shape, a.layers)
    assert a.tensors == b.tensors
    assert _same_parts(a, b)
    assert compare(a, b).lineage is LineageClass.IDENTICAL


def test_a_conversion_to_8_bits_names_the_base_as_the_adapter_does(
    tmp_path: Path,
) -> None:
    converted = gguf.converted(FACTORS, HEADS, KV_HEADS)
    a, b = _both(tmp_path, FACTORS, converted, STATED, dtype="Q8_0")
    assert b.shape == a.shape
    base = made.fingerprint(made.write(tmp_path / "base", BASE))
    of_a, of_b = compare(base, a), compare(base, b)
    assert (of_b.lineage, of_b.relation) == (LineageClass.DERIVED, "Adapter")
    assert of_b.log10_p == pytest.approx(of_a.log10_p, abs=1)


@pytest.mark.parametrize("profile", PROFILES)
def test_factors_of_a_gpt2_are_turned_back(profile: Profile, tmp_path: Path) -> None:
    peft = _gpt2_factors(3)
    keys = gguf.keys("gpt2")
    a, b = _both(tmp_path, peft, gguf.converted_gpt2(peft), keys, profile=profile)
    assert a.shape == b.shape
    assert a.tensors == b.tensors
    assert _same_parts(a, b)
    assert compare(a, b).lineage is LineageClass.IDENTICAL


@pytest.mark.parametrize("matrix", ["attn.c_attn", "mlp.c_fc", "mlp.c_proj"])
def test_one_matrix_tells_that_all_are_turned(matrix: str, tmp_path: Path) -> None:
    peft = {name: x for name, x in _gpt2_factors(4).items() if matrix in name}
    a, b = _both(tmp_path, peft, gguf.converted_gpt2(peft), gguf.keys("gpt2"))
    assert a.tensors == b.tensors
    assert _same_parts(a, b)


def test_an_adapter_that_some_tokens_switch_on_is_an_adapter(tmp_path: Path) -> None:
    tokens = {"adapter.alora.invocation_tokens": [10, 20, 30]}
    converted = gguf.converted(FACTORS, HEADS, KV_HEADS)
    a, b = _both(tmp_path, FACTORS, converted, STATED | tokens)
    assert compare(a, b).lineage is LineageClass.IDENTICAL


def test_experts_of_few_neurons_are_not_taken_for_turned() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in ("gate", "up"):
        stem = f"blk.0.ffn_{name}.weight.lora_"
        shapes |= {stem + "a": (4, 64), stem + "b": (16, 4)}
    stem = "blk.0.ffn_down.weight.lora_"
    shapes |= {stem + "a": (4, 16), stem + "b": (64, 4)}
    modules = adapter_modules(shapes)
    assert not any(module.turned for module in modules)
    assert adapter_widths(modules, shapes) == (64, 16)


def test_gate_and_up_in_one_matrix_are_left_out_as_they_are_of_peft() -> None:
    up, down = "blk.0.ffn_up.weight.lora_", "blk.0.ffn_down.weight.lora_"
    shapes = {up + "a": (4, 64), up + "b": (320, 4)}
    shapes |= {down + "a": (4, 160), down + "b": (64, 4)}
    modules = adapter_modules(shapes)
    assert [module.role for module in modules] == [Role.DOWN]
    assert adapter_widths(modules, shapes) == (64, 160)


def test_stacks_of_experts_and_pairs_of_two_ranks_are_left_out() -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "blk.0.ffn_up_exps.weight.lora_a": (8, 4, 64),
        "blk.0.ffn_up_exps.weight.lora_b": (8, 96, 4),
        "blk.0.ffn_up.weight.lora_a": (8, 4, 64),
        "blk.0.ffn_up.weight.lora_b": (8, 96, 4),
        "blk.0.attn_q.weight.lora_a": (4, 64),
        "blk.0.attn_q.weight.lora_b": (64, 5),
        "blk.0.attn_k.weight.lora_a": (4, 64),
        "blk.0.attn_v.weight.lora_a": (0, 64),
        "blk.0.attn_v.weight.lora_b": (64, 0),
        "blk.0.attn_output.weight.lora_b": (64, 4),
        "blk.0.ssm_in.weight.lora_a": (4, 64),
        "blk.0.ssm_in.weight.lora_b": (64, 4),
        "token_embd.weight.lora_a": (64, 4),
        "token_embd.weight.lora_b": (64, 4),
    }
    assert adapter_modules(shapes) == ()
    assert map_roles(shapes, FAMILIES).reason == "AdapterWeights"


def test_rows_of_q_and_k_stay_as_they_are_where_heads_are_unknown(
    tmp_path: Path,
) -> None:
    """32 rows of q and 16 of k have no heads of 64."""
    small = _rounded(made_adapters.factors(made.llama(3, width=32, neurons=48), 1))
    first = made_adapters.write(tmp_path / "peft", small)
    converted = gguf.converted(small, HEADS, KV_HEADS)
    folder = gguf.write(tmp_path / "gguf", converted, gguf.keys())
    a, b = made.fingerprint(first), made.fingerprint(folder)
    assert compare(a, b).lineage is LineageClass.INCONCLUSIVE
    assert _same_parts(a, b)
    (remark,) = made.checkpoint(folder).remarks
    assert (remark.reason, remark.severity) == ("UnknownHeads", "Info")
    name = "blk.0.attn_q.weight.lora_b"
    assert np.array_equal(made.checkpoint(folder).read(name), converted[name])


@pytest.mark.parametrize(("rows", "heads"), [(2048, 32), (4096, 32)])
def test_how_long_heads_are_assumed_to_be_follows_the_rows_of_q(
    rows: int, heads: int, tmp_path: Path
) -> None:
    name = "blk.0.attn_q.weight.lora_b"
    published = np.arange(rows, dtype=np.float32).reshape(rows, 1)
    stored = made_gguf.pairs_of_halves(published, heads)
    folder = gguf.write(tmp_path, {name: stored}, gguf.keys())
    assert np.array_equal(made.checkpoint(folder).read(name), published)


def test_heads_are_assumed_of_adapters_only(tmp_path: Path) -> None:
    """Rows of whole models decide; they stay as they are."""
    stray = {"blk.9.attn_q.weight.lora_b": np.ones((128, 4), np.float32)}
    weights = made_gguf.converted(BASE, HEADS, KV_HEADS) | stray
    keys = {"general.architecture": "llama"}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(made_gguf.file_bytes(weights, keys))
    found = made.checkpoint(folder)
    name = "blk.0.attn_q.weight"
    assert np.array_equal(found.read(name), weights[name])
    (remark,) = found.remarks
    assert (remark.reason, remark.severity) == ("UnknownHeads", "Warning")


@pytest.mark.parametrize("modules", [("q_proj",), ("k_proj",)])
def test_rows_of_either_are_put_back(modules: tuple[str, ...], tmp_path: Path) -> None:
    factors = _rounded(made_adapters.factors(BASE, 8, modules=modules))
    a, b = _both(tmp_path, factors, gguf.converted(factors, 2, 1), gguf.keys())
    assert a.tensors == b.tensors


def test_usual_heads_are_assumed_where_none_are_stated(tmp_path: Path) -> None:
    factors = _rounded(made_adapters.factors(BASE, 8))
    a, b = _both(tmp_path, factors, gguf.converted(factors, 2, 1), gguf.keys())
    assert compare(a, b).lineage is LineageClass.IDENTICAL
    (remark,) = made.checkpoint(tmp_path / "gguf").remarks
    assert (remark.reason, remark.severity) == ("UnknownHeads", "Info")
    assert "heads of 64 rows were assumed" in remark.message


def test_rows_are_put_back_for_architectures_that_are_reordered_only(
    tmp_path: Path,
) -> None:
    as_they_are = gguf.converted(FACTORS, 64, 32)  # heads of two rows: no change
    keys = gguf.keys("qwen2") | {"qwen2.attention.head_count": HEADS}
    a, b = _both(tmp_path, FACTORS, as_they_are, keys)
    assert compare(a, b).lineage is LineageClass.IDENTICAL
    assert made.checkpoint(tmp_path / "gguf").remarks == ()


def test_an_adapter_as_gguf_names_its_base_and_no_other(tmp_path: Path) -> None:
    bases = {f"base-{seed}": made_adapters.base(seed) for seed in (1, 2, 3)}
    additions = []
    for name, weights in bases.items():
        found = made.fingerprint(made.write(tmp_path / name, weights))
        entry = Entry(name=name, fingerprint=found.digest, spec=found.spec)
        additions.append(Addition.of(entry, found))
    add_all(tmp_path / "registry", additions)
    registry = Registry.open(tmp_path / "registry")
    for name, weights in bases.items():
        converted = gguf.converted(made_adapters.factors(weights, 77), HEADS, KV_HEADS)
        folder = gguf.write(tmp_path / f"{name}-adapter", converted, gguf.keys())
        scan = scan_registry(made.fingerprint(folder), registry)
        named = [r.reference for r in scan.ranked if r.comparison.lineage.descends]
        assert named == [name]
        assert scan.ranked[0].comparison.relation == "Adapter"


def test_an_adapter_as_gguf_is_examined_with_what_it_declares(tmp_path: Path) -> None:
    converted = gguf.converted(FACTORS, HEADS, KV_HEADS)
    told = {"general.base_model.0.repo_url": "https://hf.co/org/base"}
    gguf.write(tmp_path, converted, STATED | told)
    evidence = examine(
        parse(f"file://{tmp_path}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=datetime(2026, 1, 2, tzinfo=UTC),
    ).evidence
    declared = [(c.field, c.value) for c in evidence.claims]
    assert declared[:2] == [
        ("baseModel", "https://hf.co/org/base"),
        ("relation", "adapter"),
    ]
    (finding,) = evidence.findings
    assert finding.reason == "AdapterWeights"
    assert "base; it is found among references" in finding.message


def test_an_adapter_as_gguf_is_read_deep_however_small_the_models_are_that_are(
    tmp_path: Path,
) -> None:
    spec = replace(V2, auto_deep_bytes=1000)
    adapter = _open(tmp_path, {"adapter.gguf": ADAPTER})
    assert automatic_profile(adapter, spec) is Profile.DEEP
    model = _open(tmp_path / "model", {"model.gguf": MODEL})
    assert automatic_profile(model, spec) is Profile.FAST


@given(
    st.dictionaries(
        st.builds(
            "blk.{}.{}.weight.lora_{}".format,
            st.integers(0, 2),
            st.sampled_from(["attn_qkv", "ffn_up", "ffn_down", "attn_q", "x"]),
            st.sampled_from("abc"),
        ),
        st.lists(st.sampled_from([0, 1, 2, 4, 8, 24]), max_size=3).map(tuple),
    )
)
def test_factors_of_any_shapes_fit_each_other(
    shapes: dict[str, tuple[int, ...]],
) -> None:
    for module in adapter_modules(shapes):
        a, b = shapes[module.a], shapes[module.b]
        rank = (a[1], b[0]) if module.turned else (a[0], b[1])
        assert rank[0] == rank[1] > 0
    adapter_widths(adapter_modules(shapes), shapes)


MODEL = made_gguf.file_bytes(
    made_gguf.converted(made.llama(5)), made_gguf.llama_keys(), "F16"
)
ADAPTER = gguf.file_bytes(gguf.converted(FACTORS, HEADS, KV_HEADS), STATED)
DIRECTIONS = {f"direction.{n}": np.ones(64, np.float32) for n in (1, 2)}
CONTROL = gguf.file_bytes(DIRECTIONS, {"general.architecture": "controlvector"})


def _open(folder: Path, files: dict[str, bytes]) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return made.checkpoint(folder)


def _refused(folder: Path, files: dict[str, bytes]) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        _open(folder, files)
    return caught.value


NORM = {"blk.0.attn_norm.weight": np.ones(64, np.float32)}
WITH_NORMS = gguf.file_bytes(gguf.converted(FACTORS, 4, 2) | NORM, STATED)


@pytest.mark.parametrize(
    "beside",
    [ADAPTER, WITH_NORMS, CONTROL],
    ids=["adapter", "adapter-with-norms", "control"],
)
@pytest.mark.parametrize("name", ["a.gguf", "z.gguf"])
def test_what_lies_beside_a_model_is_told_and_not_compared(
    name: str, beside: bytes, tmp_path: Path
) -> None:
    found = _open(tmp_path, {"model.gguf": MODEL, name: beside})
    assert not any("lora" in tensor for tensor in found.tensors)
    assert len(found.tensors) == len(made.llama(5))
    assert [(r.reason, r.path) for r in found.remarks] == [("UnreadWeights", name)]


def test_of_several_adapters_as_gguf_one_must_be_named(tmp_path: Path) -> None:
    error = _refused(tmp_path, {"a.gguf": ADAPTER, "b.gguf": ADAPTER})
    assert error.reason == "AmbiguousWeights"
    assert "2 adapters" in error.message


def test_two_models_beside_an_adapter_need_a_choice(tmp_path: Path) -> None:
    files = {"a.gguf": ADAPTER, "b.gguf": MODEL, "c.gguf": MODEL}
    error = _refused(tmp_path, files)
    assert error.reason == "AmbiguousWeights"
    assert "3 different GGUF models" in error.message


def test_a_whole_model_that_calls_itself_an_adapter_hides_behind_no_other(
    tmp_path: Path,
) -> None:
    liar = made_gguf.file_bytes(
        made_gguf.converted(made.llama(6)), made_gguf.llama_keys() | gguf.keys()
    )
    whole = made_gguf.converted(made.llama(6)) | gguf.converted(FACTORS, 4, 2)
    mixed = made_gguf.file_bytes(whole, made_gguf.llama_keys() | gguf.keys())
    for number, data in enumerate((liar, mixed)):
        error = _refused(
            tmp_path / str(number), {"model.gguf": MODEL, "side.gguf": data}
        )
        assert error.reason == "AmbiguousWeights"


def test_a_split_set_whose_first_part_looks_like_an_adapter_is_a_model(
    tmp_path: Path,
) -> None:
    files = {f"evil-0000{n}-of-00002.gguf": ADAPTER for n in (1, 2)}
    error = _refused(tmp_path, files | {"model.gguf": MODEL})
    assert error.reason == "AmbiguousWeights"


def test_a_file_that_cannot_be_read_is_taken_for_a_model(tmp_path: Path) -> None:
    error = _refused(tmp_path, {"a.gguf": MODEL, "b.gguf": b"GGUFnothing"})
    assert error.reason == "AmbiguousWeights"


def test_no_more_than_a_few_files_are_opened_to_look_for_adapters(
    tmp_path: Path,
) -> None:
    files = {f"{n:02}.gguf": ADAPTER for n in range(17)}
    assert "17 different GGUF models" in _refused(tmp_path, files).message


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (CONTROL, "a control vector"),
        (gguf.file_bytes(DIRECTIONS, {}), "a control vector"),
        (
            gguf.file_bytes(FACTORS, {"general.architecture": "controlvector"}),
            "a control vector",
        ),
        (
            gguf.file_bytes(FACTORS, gguf.keys() | {"adapter.type": "ia3"}),
            "an adapter of the kind 'ia3'",
        ),
        (
            gguf.file_bytes(FACTORS, {"general.type": "adapter"}),
            "an adapter of no stated kind",
        ),
    ],
)
def test_what_tells_no_base_is_refused_by_what_it_is(
    data: bytes, said: str, tmp_path: Path
) -> None:
    error = _refused(tmp_path, {"a.gguf": data})
    assert error.reason == "NoReadableWeights"
    assert said in error.message
