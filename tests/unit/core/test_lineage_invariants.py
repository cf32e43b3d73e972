# SPDX-License-Identifier: Apache-2.0
"""Every exact test, on fingerprints made of random parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_fingerprints as made
from pedigree.fingerprint.spec import Profile
from pedigree.lineage import invariants
from pedigree.lineage.compare import run_test
from pedigree.lineage.results import NotRun, TestResult

EXACT = ("ALIGN-neuron", "ALIGN-residual", "GAMMA", "EMB", "ROWNORM", "PNI", "TSP")
NEURON_AXIS = ("ALIGN-neuron", "ROWNORM", "PNI", "TSP")
OWN_PARTS = {
    "ALIGN-neuron": ("neuron.gate", "neuron.up", "neuron.down"),
    "ALIGN-residual": ("channel.",),
    "GAMMA": ("norm.",),
    "EMB": ("embedding.", "head."),
    "ROWNORM": ("neuron.scalars",),
    "PNI": ("neuron.scalars",),
    "TSP": ("neuron.tsp.", "neuron.tspi."),
}


def result(name: str, a: made.Parts, b: made.Parts, **changes: Any) -> TestResult:
    first, second = made.fingerprint(a), made.fingerprint(b, **changes)
    return run_test(name, first, second, alpha_log10=None)


@pytest.mark.parametrize("tabled", [False, True])
@pytest.mark.parametrize("name", EXACT)
def test_a_relative_is_found_by_every_test(name: str, tabled: bool) -> None:
    parts = made.random_parts(1)
    if tabled:
        parts = made.with_tables(parts, 2)
    found = result(name, parts, made.noisy(parts, 3))
    assert found.log10_p < -15
    assert found.effect > 0.8


@pytest.mark.parametrize("tabled", [False, True])
@pytest.mark.parametrize("name", EXACT)
def test_other_random_parts_are_not_found(name: str, tabled: bool) -> None:
    a, b = made.random_parts(1), made.random_parts(2)
    if tabled:
        a, b = made.with_tables(a, 3), made.with_tables(b, 4)
    found = result(name, a, b)
    assert found.ran
    assert found.log10_p > -3
    assert abs(found.effect) < 0.5


@pytest.mark.parametrize("name", EXACT)
def test_swapped_models_give_the_same_p_value(name: str) -> None:
    a = made.random_parts(1)
    b = made.noisy(a, 2, share=1.0)
    there, back = result(name, a, b), result(name, b, a)
    assert there.log10_p == pytest.approx(back.log10_p, abs=1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_a_table_is_compared_with_samples_by_the_sampled_rows(name: str) -> None:
    parts = made.random_parts(1)
    deep = made.with_tables(parts, 2)
    found = result(name, deep, made.noisy(parts, 3), profile=Profile.FAST)
    assert found.log10_p < -15


@pytest.mark.parametrize("name", EXACT)
def test_fewer_kept_rows_are_compared_as_far_as_they_reach(name: str) -> None:
    a = made.random_parts(1)
    small = made.noisy(a, 2, share=0.1)
    for part, values in small.items():
        if part.startswith("neuron."):
            small[part] = values[:, :24]
        elif part.startswith("channel."):
            small[part] = values[:, :32]
        elif part.startswith(("embedding.", "head.")):
            small[part] = values[:32]
        elif part.startswith("norm."):
            small[part] = values[..., :96]
    assert result(name, a, small).log10_p < -7


@pytest.mark.parametrize("name", EXACT)
def test_another_width_or_number_of_neurons_is_refused_with_the_numbers(
    name: str,
) -> None:
    a, b = made.random_parts(1), made.random_parts(2)
    wide, many = result(name, a, b, width=192), result(name, a, b, neurons=176)
    if name in ("ROWNORM", "PNI", "TSP"):
        assert wide.ran
    else:
        assert wide.reason is NotRun.WIDTH_DIFFERS
        assert "192" in wide.detail
    if name in NEURON_AXIS:
        assert many.reason is NotRun.NEURONS_DIFFER
        assert "176" in many.detail
    else:
        assert many.ran


def test_relatives_of_another_width_are_found_by_what_has_no_basis() -> None:
    parts = made.random_parts(1)
    for name in ("ROWNORM", "PNI", "TSP"):
        assert result(name, parts, made.noisy(parts, 2), width=192).log10_p < -15


@pytest.mark.parametrize("name", EXACT)
def test_unknown_roles_are_the_reason_given(name: str) -> None:
    parts = made.random_parts(1)
    found = result(name, parts, parts, architecture="", reason="AdapterWeights")
    assert found.reason is NotRun.ADAPTER_WEIGHTS
    assert "B" in found.detail


@pytest.mark.parametrize("name", EXACT)
def test_a_profile_without_the_parts_is_refused(name: str) -> None:
    parts = made.random_parts(1)
    less = {k: v for k, v in parts.items() if not k.startswith(OWN_PARTS[name])}
    found = result(name, parts, less)
    assert not found.ran
    assert found.detail


FILLS: dict[str, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
    "zeros": np.zeros_like,
    "ones": np.ones_like,
    "the least number": lambda v: np.full_like(v, np.iinfo(v.dtype).min),
    "the largest number": lambda v: np.full_like(v, np.iinfo(v.dtype).max),
    "the same row again and again": lambda v: np.broadcast_to(
        v.reshape(-1)[: v.shape[-1]], v.shape
    ).copy(),
}


FLAT = [
    (name, fill)
    for name in EXACT
    for fill in FILLS
    # A row of norm ranks is a whole trained vector over the channels.
    if (name, fill) != ("GAMMA", "the same row again and again")
]


@pytest.mark.parametrize(("name", "fill"), FLAT)
def test_parts_that_say_nothing_never_match_even_themselves(
    name: str, fill: str
) -> None:
    parts = made.with_tables(made.random_parts(1), 2)
    flat = {
        k: v if k.startswith(("anchor", "table.block")) else FILLS[fill](v)
        for k, v in parts.items()
    }
    for other in (flat, parts):
        found = result(name, flat, other)
        assert found.log10_p > -3
        assert found.ran or found.reason


@settings(max_examples=25, deadline=None)
@given(
    copies=st.sampled_from([4, 8, 16, 32]),
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(NEURON_AXIS),
)
def test_repeated_rows_of_unrelated_models_are_never_significant(
    copies: int, seed: int, name: str
) -> None:
    """Both models repeat their rows in the same pattern, which is not descent."""

    def repeated(parts: made.Parts) -> made.Parts:
        return {
            k: np.repeat(v[:, ::copies], copies, axis=1)
            if k.startswith("neuron")
            else v
            for k, v in parts.items()
        }

    a, b = (repeated(made.random_parts((seed + k) % 2**32)) for k in (0, 1))
    found = result(name, a, b)
    assert found.log10_p > -6


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(EXACT),
    rows=st.integers(0, 15),
)
def test_a_few_equal_rows_alone_are_no_match(seed: int, name: str, rows: int) -> None:
    """Fewer than 16 rows that say anything cannot reach the threshold."""
    parts = made.random_parts(seed)
    few = {}
    for part, values in parts.items():
        few[part] = values
        if part.startswith(("neuron", "channel", "norm.ranks")):
            few[part] = values.copy()
            few[part][:, rows:] = 0
        elif part.startswith(("embedding", "head")):
            few[part] = values.copy()
            few[part][rows:] = 0
    if name == "GAMMA":
        return
    found = result(name, few, few)
    assert found.log10_p > -13
    if name not in ("ROWNORM", "PNI"):
        assert found.reason in (NotRun.NOTHING_INFORMATIVE, NotRun.NOTHING_SHARED)


def test_sorted_neurons_are_left_out_and_named() -> None:
    parts = made.random_parts(1)
    ordered = dict(parts)
    ordered["neuron.scalars"] = np.sort(parts["neuron.scalars"], axis=1)
    found = result("ROWNORM", ordered, made.noisy(ordered, 2, share=0.01))
    assert found.reason is NotRun.ORDERED_ROWS
    other = dict(made.random_parts(5))
    other["neuron.scalars"] = np.sort(other["neuron.scalars"], axis=1)
    assert result("PNI", ordered, other).log10_p == 0


@pytest.mark.parametrize("name", ["ROWNORM", "PNI", "TSP"])
def test_tables_that_lie_about_where_blocks_begin_are_not_used(name: str) -> None:
    parts = made.with_tables(made.random_parts(1), 2)
    lying = dict(parts)
    lying["table.block"] = np.array([[0, -1, 0, 192], [1, -1, 192, 192]], np.int32)
    found = result(name, parts, lying)
    assert found.ran
    assert found.log10_p < -5  # by the sampled neurons


def sorted_runs(seed: int) -> made.Parts:
    """Neurons sorted by their lengths, of which runs in another order were sampled."""
    parts = made.with_tables(made.random_parts(seed), seed, neurons=128)
    runs = np.array([7, 6, 0, 2, 3, 1, 5, 4])
    at = (runs[:, None] * 16 + np.arange(16)).reshape(-1)
    scalars = parts["table.scalars"].reshape(2, 128, 6)
    scalars = np.sort(scalars, axis=1)[:, at]
    return parts | {"table.scalars": scalars.reshape(-1, 6)}


@pytest.mark.parametrize("name", ["ROWNORM", "PNI"])
def test_neurons_sorted_in_models_that_never_met_are_no_evidence(name: str) -> None:
    a, b = sorted_runs(1), sorted_runs(2)
    found = run_test(
        name,
        made.fingerprint(a, neurons=128),
        made.fingerprint(b, neurons=128),
        alpha_log10=None,
    )
    assert found.reason is NotRun.ORDERED_ROWS or found.log10_p > -3


@pytest.mark.parametrize("name", ["ALIGN-residual", "EMB", "GAMMA"])
def test_channels_that_follow_their_index_are_no_evidence(name: str) -> None:
    wave = np.cos(np.pi * np.arange(128) / 64)

    def waved(seed: int) -> made.Parts:
        random, parts = np.random.default_rng(seed), made.random_parts(seed)
        for part, values in parts.items():
            if part.startswith("norm."):
                moved = 60 * wave + values / 4
            elif part.startswith(("channel.", "embedding.", "head.")):
                shape = (*values.shape[:-2], 1, values.shape[-1])
                moved = 60 * wave[:64, None] * abs(random.normal(size=shape))
                moved = moved + values / 4
            else:
                continue
            parts[part] = np.clip(np.rint(moved), -127, 127).astype(np.int8)
        return parts

    found = result(name, waved(1), waved(2))
    assert found.reason is NotRun.ORDERED_ROWS
    assert "pairings" in found.detail


def test_neurons_of_a_pattern_that_repeats_are_no_evidence() -> None:
    def striped(seed: int) -> made.Parts:
        random, parts = np.random.default_rng(seed), made.random_parts(seed)
        kinds = np.random.default_rng(9).normal(size=(7, 32))
        rows = 30 * kinds[np.arange(32) % 16 % 7] + 10 * random.normal(size=(2, 32, 32))
        return parts | {"neuron.gate": np.clip(rows, -127, 127).astype(np.int8)}

    assert result("ALIGN-neuron", striped(1), striped(2)).log10_p > -3


def test_a_model_whose_neurons_were_doubled_is_still_found() -> None:
    parts = made.random_parts(1)
    for part in ("neuron.gate", "neuron.up", "neuron.down"):
        parts[part] = np.repeat(parts[part][:, ::2], 2, axis=1)
    assert result("ALIGN-neuron", parts, made.noisy(parts, 2)).log10_p < -15


def test_an_unknown_scalar_leaves_its_feature_out() -> None:
    parts = made.random_parts(1)
    partial = dict(parts)
    partial["neuron.scalars"] = parts["neuron.scalars"].copy()
    partial["neuron.scalars"][..., 1] = invariants.UNKNOWN
    found = result("ROWNORM", parts, partial)
    assert found.effect == pytest.approx(1, abs=0.15)
    assert found.samples == 2 * 32
    partial["neuron.scalars"][..., 0] = invariants.UNKNOWN
    assert result("ROWNORM", parts, partial).reason is NotRun.NOTHING_SHARED


def test_normal_scores_have_mean_zero_and_unit_power_and_average_ties() -> None:
    random = np.random.default_rng(1)
    values = random.integers(0, 20, (3, 40, 2)).astype(np.int16)
    scores = invariants.normal_scores(values)
    assert scores.mean(axis=1) == pytest.approx(0, abs=1e-6)
    assert (scores**2).mean(axis=1) == pytest.approx(1, abs=1e-5)
    for block in range(3):
        for feature in range(2):
            column, score = values[block, :, feature], scores[block, :, feature]
            assert len(np.unique(score)) == len(np.unique(column))
            assert (np.diff(score[np.argsort(column, kind="stable")]) >= 0).all()


def test_tokens_are_paired_by_their_bytes_in_whatever_order() -> None:
    parts = made.random_parts(1)
    order = np.roll(np.arange(48), 7)  # no token stays where it was
    moved = made.noisy(parts, 3, share=0.05)
    moved["anchor.bytes"] = parts["anchor.bytes"][order]
    for part in list(moved):
        if part.startswith("neuron.tsp.") or part.endswith(".bytes"):
            moved[part] = (
                moved[part][..., order] if part != "anchor.bytes" else (moved[part])
            )
    for name in ("EMB", "TSP"):
        assert result(name, parts, moved).effect > 0.9
    unpaired = moved | {"anchor.bytes": parts["anchor.bytes"]}
    for name in ("EMB", "TSP"):
        assert result(name, parts, unpaired).log10_p > -3


def test_without_common_bytes_rows_of_equal_index_are_paired() -> None:
    parts = made.random_parts(1)
    child = made.noisy(parts, 2, share=0.05)
    child["anchor.bytes"] = parts["anchor.bytes"] + 1000
    for name in ("EMB", "TSP"):
        assert result(name, parts, child).effect > 0.9
    child["anchor.index"] = parts["anchor.index"] + 1000
    for name in ("EMB", "TSP"):
        refused = result(name, parts, child)
        assert refused.reason is NotRun.TOO_FEW_SHARED_TOKENS
        assert "16" in refused.detail


def test_a_dropped_layer_is_found_by_the_pair_of_blocks_that_remains() -> None:
    parts = made.random_parts(1, layers=3)
    child = made.noisy(parts, 2)
    for part, values in child.items():
        if part.startswith(("neuron.", "channel.", "norm.ranks")):
            child[part] = values[1:]
    for name in NEURON_AXIS:
        found = result(name, parts, child)
        assert found.log10_p < -9
        assert found.deciding in ("1:0", "2:1")


@pytest.mark.parametrize("fill", [0, 77])
@pytest.mark.parametrize("name", EXACT)
def test_padding_at_the_same_places_is_no_evidence(name: str, fill: int) -> None:
    """Both models are padded by their framework, and rows have a common direction."""

    def padded(seed: int) -> made.Parts:
        parts = made.random_parts(seed)
        for part, values in parts.items():
            if part.startswith("anchor") or values.dtype != np.int8:
                continue
            channels = part.startswith(("embedding", "head"))
            axis = 0 if channels else -1 if part.startswith("norm") else 1
            moved = np.clip(values // 3 + 60, -127, 127).astype(np.int8)
            rows = np.moveaxis(moved, axis, 0)  # a view
            rows[-len(rows) // 4 :] = fill
            parts[part] = moved
        scalars = parts["neuron.scalars"]
        scalars[:, -8:] = fill
        return parts

    found = result(name, padded(1), padded(2))
    assert found.log10_p > -4
    child = made.noisy(made.random_parts(1), 9)
    assert result(name, made.random_parts(1), child).log10_p < -15
