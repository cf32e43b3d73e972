# SPDX-License-Identifier: Apache-2.0
"""Untouched embedding rows, shrunk by weight decay, tell who came first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.canonical import canonical
from pedigree.fingerprint.model import Fingerprint, Shape
from pedigree.fingerprint.spec import V2, Profile
from pedigree.lineage.fossil import read_fossil


def bits(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    rounded = canonical(values.astype(np.float32))
    wide = np.ascontiguousarray(rounded).view(np.uint32) >> np.uint32(16)
    return wide.astype(np.uint16)


def model(values: NDArray[np.float64]) -> Fingerprint:
    return Fingerprint(
        settings=V2,
        profile=Profile.DEEP,
        architecture="llama",
        reason="",
        shape=Shape(4, 64, 128, len(values)),
        tensors=(),
        layers=(),
        blocks=(),
        parts={
            "fossil.rows": np.arange(len(values), dtype=np.int32),
            "fossil.index": bits(values),
        },
    )


def table(seed: int = 1) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.random.default_rng(seed).normal(size=(300, 8))
    return drawn * 0.02


def trained(values: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """A fifth of the rows only decay, the others move too."""
    moved = values * decay + np.random.default_rng(2).normal(size=values.shape) * 0.003
    moved[:60] = values[:60] * decay
    return moved


def test_decayed_rows_make_the_model_the_later_one() -> None:
    found = read_fossil(model(table()), model(trained(table(), 0.97)))
    assert found is not None
    assert found.oriented
    assert found.rows >= 60
    assert abs(found.factor - 0.97) < 0.002
    assert found.grown == 0


def test_the_reverse_pair_says_the_reverse() -> None:
    found = read_fossil(model(trained(table(), 0.97)), model(table()))
    assert found is not None
    assert found.oriented
    assert found.grown > 0
    assert found.shrunk == 0


def test_without_decay_nothing_is_said() -> None:
    found = read_fossil(model(table()), model(trained(table(), 1.0)))
    assert found is not None
    assert not found.oriented


def test_a_rescaled_table_is_no_fossil() -> None:
    found = read_fossil(model(table()), model(table() * 0.9))
    assert found is not None
    assert not found.oriented


def test_independent_tables_have_no_fossil_rows() -> None:
    found = read_fossil(model(table(1)), model(table(7)))
    assert found is not None
    assert found.rows < 16


def test_tables_of_zeros_and_other_widths_are_refused() -> None:
    empty = model(np.zeros((300, 8)))
    assert read_fossil(empty, model(table())) is None
    wider = replace(model(table()), shape=Shape(4, 128, 128, 300))
    assert read_fossil(model(table()), wider) is None
