# SPDX-License-Identifier: Apache-2.0
"""Shares of merges, stacked layers, and models that only look like merges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.model import NO_DIGEST, Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.roles import Role, Slot
from pedigree.fingerprint.spec import V2, Profile
from pedigree.lineage.convex import convex_weights
from pedigree.lineage.merges import explain_merge

Stack = NDArray[np.float64]
ROLES = (Role.Q, Role.O, Role.GATE, Role.UP)
SLOTS = [Slot(role, layer) for role in ROLES for layer in range(4)]


def model(values: Stack) -> Fingerprint:
    """A fingerprint with nothing but raw samples, one (16, 16) per slot."""
    wide = canonical(values.astype(np.float32)).view(np.uint32) >> np.uint32(16)
    records = tuple(
        TensorRecord(slot, (256, 256), NO_DIGEST, NO_DIGEST, 256, 0, 256)
        for slot in SLOTS
    )
    return Fingerprint(
        settings=V2,
        profile=Profile.DEEP,
        architecture="llama",
        reason="",
        shape=Shape(4, 256, 256, 100),
        tensors=records,
        layers=(0, 1, 2, 3),
        blocks=((0, -1), (1, -1), (2, -1), (3, -1)),
        parts={
            "raw": wide.astype(np.uint16),
            "raw.record": np.arange(len(SLOTS), dtype=np.int32),
        },
    )


def drawn(seed: int, size: float = 1.0) -> Stack:
    values: Stack = np.random.default_rng(seed).normal(size=(len(SLOTS), 16, 16))
    return values * 0.02 * size


BASE = drawn(1)
ONE, TWO = BASE + drawn(2, 0.1), BASE + drawn(3, 0.2)
THREE = BASE + drawn(4, 0.15)
REFERENCES = {
    "base": model(BASE),
    "one": model(ONE),
    "two": model(TWO),
    "three": model(THREE),
}


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_shares_of_a_linear_merge_are_read_off(share: float) -> None:
    found = explain_merge(model(share * ONE + (1 - share) * TWO), REFERENCES)
    assert found is not None
    assert found.kind == "linear"
    shares = {x.name: x.share for x in found.shares}
    assert abs(shares["one"] - share) < 0.03
    assert abs(shares["two"] - (1 - share)) < 0.03
    assert len(found.layers) == 4


def test_three_parents_are_told_apart() -> None:
    found = explain_merge(model((ONE + TWO + THREE) / 3), REFERENCES)
    assert found is not None
    assert {x.name for x in found.shares} == {"one", "two", "three"}


def test_stacked_layers_are_given_to_the_right_parent() -> None:
    mixed = ONE.copy()
    for i, slot in enumerate(SLOTS):
        if slot.layer >= 2:
            mixed[i] = TWO[i]
    found = explain_merge(model(mixed), REFERENCES)
    assert found is not None
    assert found.kind == "passthrough"
    assert [x.shares[0][0] for x in found.layers] == ["one", "one", "two", "two"]


@pytest.mark.parametrize(
    "values",
    [BASE, ONE, ONE + drawn(8, 0.05), BASE + drawn(9, 0.1), drawn(10)],
    ids=["the base", "a copy", "a child", "a sibling", "a stranger"],
)
def test_what_is_no_merge_is_not_called_one(values: Stack) -> None:
    assert explain_merge(model(values), REFERENCES) is None


def test_a_root_among_many_children_is_no_merge_of_them() -> None:
    children = {str(i): model(BASE + drawn(20 + i, 0.1)) for i in range(12)}
    assert explain_merge(model(BASE), children) is None


def test_a_model_of_zeros_is_no_merge() -> None:
    assert explain_merge(model(np.zeros_like(BASE)), REFERENCES) is None


def test_references_of_another_shape_are_left_out() -> None:
    other = replace(REFERENCES["one"], shape=Shape(4, 512, 256, 100))
    assert explain_merge(REFERENCES["two"], {"a": other, "b": other}) is None


def test_convex_weights_are_shares() -> None:
    random = np.random.default_rng(5)
    columns = random.normal(size=(200, 4))
    target = columns @ np.array([0.0, 0.25, 0.75, 0.0])
    found = convex_weights(columns.T @ columns, columns.T @ target)
    assert np.allclose(found, [0, 0.25, 0.75, 0], atol=1e-6)
    assert found.min() >= 0


def _dropped(random: np.random.Generator, share: float, change: Stack) -> Stack:
    """A change of which half was dropped at random, and the rest doubled."""
    kept: Stack = np.where(random.random(change.shape) < 0.5, 2 * share * change, 0)
    return kept


def _trimmed(change: Stack) -> Stack:
    """The largest third of a change."""
    kept: Stack = np.where(
        np.abs(change) >= np.quantile(np.abs(change), 0.67), change, 0
    )
    return kept


def _as_stored(values: Stack) -> Stack:
    stored: Stack = canonical(values.astype(np.float32)).astype(np.float64)
    return stored


@pytest.mark.parametrize("how", ["dare", "ties"])
def test_a_merge_of_parts_of_changes_is_told(how: str) -> None:
    base, one, two = map(_as_stored, (BASE, ONE, TWO))
    random = np.random.default_rng(7)
    if how == "dare":
        merged = base + _dropped(random, 0.4, one - base)
        merged = merged + _dropped(random, 0.6, two - base)
    else:
        parts = np.stack([_trimmed(one - base), _trimmed(two - base)])
        share = (parts != 0) * np.array([0.4, 0.6]).reshape(2, 1, 1, 1)
        total = share.sum(axis=0)
        merged = base + (parts * share).sum(axis=0) / np.where(total == 0, 1, total)
    found = explain_merge(model(merged), REFERENCES)
    assert found is not None
    assert found.kind == "sparse"
    shares = {share.name: share.share for share in found.shares}
    assert shares["base"] == 0
    assert shares["one"] == pytest.approx(0.4, abs=0.05)
    assert shares["two"] == pytest.approx(0.6, abs=0.05)
    assert set(shares) == {"base", "one", "two"}


def test_siblings_that_went_the_same_way_are_no_parts_of_one_another() -> None:
    common, random = drawn(9, 0.1), np.random.default_rng(5)
    still = random.random(BASE.shape) < 0.5
    references = {
        "base": model(BASE),
        "a": model(BASE + common + drawn(10, 0.05)),
        "b": model(BASE + common + drawn(11, 0.05)),
    }
    child = model(np.where(still, BASE, BASE + common + drawn(12, 0.05)))
    assert explain_merge(child, references) is None
