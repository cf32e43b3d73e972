# SPDX-License-Identifier: Apache-2.0
"""Coarse codes: relatives are near in the code that their kind of change leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pedigree.fingerprint.codes import BYTES, UNKNOWN, codes_of

Parts = dict[str, NDArray[Any]]


def _parts(seed: int, *, layers: int = 6) -> Parts:
    """Arrays as a fast fingerprint has them, random."""
    random = np.random.default_rng(seed)

    def bytes_(*shape: int) -> NDArray[np.int8]:
        return np.clip(random.normal(0, 40, shape), -127, 127).astype(np.int8)

    tokens = np.random.default_rng(1).integers(0, 2**32, 48, np.uint64)
    return {
        "anchor.bytes": tokens.astype(np.uint32),
        "embedding.bytes": bytes_(64, 48),
        "embedding.index": bytes_(64, 64),
        "channel.o": bytes_(layers, 64, 16),
        "channel.down": bytes_(layers, 64, 16),
        "neuron.gate": bytes_(layers, 32, 32),
        "neuron.up": bytes_(layers, 32, 32),
        "norm.ranks": bytes_(layers, 2, 256),
        "norm.final": bytes_(256),
        "neuron.scalars": random.integers(-9999, 9999, (layers, 32, 6), np.int16),
    }


def _z(a: Parts, b: Parts) -> dict[str, float]:
    first, second = codes_of(a), codes_of(b)
    return {
        name: (1024 - 2 * int(np.bitwise_count(first[name] ^ second[name]).sum())) / 32
        for name in first
    }


def _without(parts: Parts, *names: str) -> Parts:
    return {name: array for name, array in parts.items() if name not in names}


def test_codes_are_three_times_1024_bits_and_depend_on_nothing_but_the_arrays() -> None:
    first, second = codes_of(_parts(1)), codes_of(_parts(1))
    assert list(first) == ["e", "r", "v"]
    for name, code in first.items():
        assert code.shape == (BYTES,)
        assert code.dtype == np.uint8
        assert np.array_equal(code, second[name])


def test_unrelated_arrays_differ_in_half_of_the_bits() -> None:
    scores = [
        z for seed in range(40) for z in _z(_parts(seed), _parts(seed + 100)).values()
    ]
    assert max(np.abs(scores)) < 4.5
    assert abs(float(np.mean(scores))) < 0.35
    assert 0.8 < float(np.std(scores)) < 1.2


def test_a_noisy_copy_is_near_in_every_code() -> None:
    a, other = _parts(1), _parts(2)
    b = {
        name: array
        if name == "anchor.bytes"
        else (0.8 * array + 0.6 * other[name]).astype(array.dtype)
        for name, array in a.items()
    }
    assert min(_z(a, b).values()) > 12


def test_dropped_and_reordered_layers_stay_near_in_rows() -> None:
    a = _parts(1)
    by_layer = [name for name in a if len(a[name]) == 6 and a[name].ndim > 1]
    b = {n: x[[5, 3, 1, 0]] if n in by_layer else x for n, x in a.items()}
    assert _z(a, b)["r"] > 15
    assert _z(a, b)["e"] == 32


def test_another_vocabulary_stays_near_by_the_tokens_both_have() -> None:
    a, new = _parts(1), _parts(2)
    order = np.random.default_rng(3).permutation(48)
    b = dict(a)
    b["anchor.bytes"] = np.concatenate(
        [a["anchor.bytes"][order[:30]], np.arange(18, dtype=np.uint32)]
    )
    b["embedding.bytes"] = np.concatenate(
        [a["embedding.bytes"][:, order[:30]], new["embedding.bytes"][:, :18]], axis=1
    )
    b["embedding.index"] = new["embedding.index"]
    assert _z(a, b)["e"] > 5


def test_a_model_without_tokenizer_is_near_by_the_rows_of_its_embedding() -> None:
    a = _parts(1)
    assert _z(a, _without(a, "anchor.bytes", "embedding.bytes"))["e"] > 12


def test_larger_profiles_have_the_same_codes() -> None:
    a, more = _parts(1), _parts(2)
    b = dict(a)
    for name in ("embedding.bytes", "embedding.index"):
        b[name] = np.concatenate([a[name], more[name]], axis=1)
    b["anchor.bytes"] = np.concatenate([a["anchor.bytes"], more["anchor.bytes"] ^ 1])
    b["channel.up"] = more["channel.o"]
    assert set(_z(a, b).values()) == {32.0}


@pytest.mark.parametrize("code", ["e", "r", "v"])
def test_what_both_models_lack_is_no_likeness(code: str) -> None:
    lacking = {
        "e": ("anchor.bytes", "embedding.bytes"),
        "r": ("neuron.gate", "channel.down"),
        "v": ("norm.ranks", "norm.final"),
    }[code]
    scores = [
        _z(_without(_parts(s), *lacking), _without(_parts(s + 50), *lacking))[code]
        for s in range(10)
    ]
    assert max(np.abs(scores)) < 4.5


def test_nothing_to_make_a_code_of_gives_zeros() -> None:
    assert not any(code.any() for code in codes_of({}).values())
    zeros = {name: np.zeros_like(array) for name, array in _parts(1).items()}
    assert not any(code.any() for code in codes_of(zeros).values())


def test_an_invariant_that_is_unknown_changes_only_its_own_share() -> None:
    a = _parts(1)
    b = dict(a)
    b["neuron.scalars"] = a["neuron.scalars"].copy()
    b["neuron.scalars"][:, :, 5] = UNKNOWN
    assert 28 < _z(a, b)["v"] < 32


def test_first_version_arrays_give_codes_too() -> None:
    random = np.random.default_rng(4)
    parts = {
        name: random.integers(-127, 128, shape).astype(np.int8)
        for name, shape in {
            "v1.neurons": (4, 64, 3, 32),
            "v1.channels": (4, 64, 3, 32),
            "v1.embedding": (64, 128),
            "v1.norms": (4, 2, 256),
            "v1.norm_final": (256,),
        }.items()
    }
    assert all(code.any() for code in codes_of(parts).values())
    assert set(_z(parts, parts).values()) == {32.0}
