# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from pedigree.fingerprint.grams import FEATURES, KINDS, Grams, affordable
from pedigree.fingerprint.slots import Role, Slot
from pedigree.fingerprint.spec import V2

Matrix = np.ndarray
WIDTH, NEURONS = 24, 60


def matrices(seed: int, *, gated: bool = True) -> dict[str, Matrix]:
    random = np.random.default_rng(seed)
    names = ("gate", "up", "down", "q", "o") if gated else ("up", "down", "q", "o")
    # A mean that is not zero, as after training, gives sums a direction.
    return {
        name: random.normal(size=(NEURONS, WIDTH)) + random.normal(size=WIDTH)
        for name in names
    }


def features(made: dict[str, Matrix], *, centred: bool = False) -> dict[str, Matrix]:
    grams = Grams(WIDTH, (3,), centred=centred)
    grams.seed(3, made.get("gate"), made["up"], made["down"])
    grams.seed(7, made.get("gate"), made["up"][::-1], made["down"])
    for name in made:
        grams.add(Role[name.upper()], made[name])
    return {
        name: grams.features(made[name], 3).astype(int)
        for name in ("gate", "up", "down")
        if name in made
    }


@pytest.mark.parametrize("gated", [True, False])
def test_a_rotation_of_the_residual_axis_changes_nothing(gated: bool) -> None:
    made = matrices(1, gated=gated)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(WIDTH, WIDTH)))
    before, after = features(made), features({k: v @ turn for k, v in made.items()})
    for name, rows in before.items():
        assert rows.shape == (NEURONS, FEATURES)
        assert np.abs(rows - after[name]).max() <= 1


def test_order_sign_and_scale_of_neurons_change_nothing_but_rows() -> None:
    made = matrices(3)
    random = np.random.default_rng(4)
    order = random.permutation(NEURONS)
    scale = np.exp(random.normal(size=NEURONS)) * random.choice([-1, 1], NEURONS)

    def grams_of(x: dict[str, Matrix]) -> Grams:
        grams = Grams(WIDTH, (0,), centred=False)
        grams.seed(0, x["gate"], x["up"], x["down"])
        for name in ("q", "o", "gate"):
            grams.add(Role[name.upper()], x[name])
        return grams

    hidden = made | {
        "gate": made["gate"][order],
        "up": (made["up"] * scale[:, None])[order],
        "down": (made["down"] / scale[:, None])[order],
    }
    first, second = grams_of(made), grams_of(hidden)
    gates = [first.features(made["gate"], 0), second.features(hidden["gate"], 0)]
    assert np.abs(gates[0][order].astype(int) - gates[1]).max() <= 1
    ups = [first.features(made["up"], 0), second.features(hidden["up"], 0)]
    signs = np.sign(scale)[order, None].astype(int)
    assert np.abs(ups[0][order].astype(int) * signs - ups[1]).max() <= 1


def test_the_mean_over_channels_does_not_matter_where_norms_take_it_off() -> None:
    made = matrices(5, gated=False)
    shift = np.random.default_rng(6).normal(size=(NEURONS, 1))
    shifted = made | {"up": made["up"] + shift}
    before, after = (features(x, centred=True) for x in (made, shifted))
    assert np.abs(before["up"] - after["up"]).max() <= 1
    assert np.abs(features(made)["up"] - features(shifted)["up"]).max() > 1


def test_other_weights_have_other_features() -> None:
    one, other = features(matrices(7)), features(matrices(8))
    assert np.abs(one["gate"] - other["gate"]).max() > 50


def test_roles_that_a_model_has_not_and_zeros_give_zeros() -> None:
    made = {name: np.zeros((NEURONS, WIDTH)) for name in ("gate", "up", "down")}
    assert not any(rows.any() for rows in features(made).values())
    absent = features({k: v for k, v in matrices(9).items() if k != "q"})
    assert not absent["gate"][:, 2 * KINDS : 4 * KINDS].any()


def test_large_models_are_left_out() -> None:
    shapes = {Slot(Role.UP, layer): (1000, 100) for layer in range(10)}
    limit = 2 * 10 * 100_000 * KINDS * 2
    assert affordable(shapes, 1, replace(V2, gram_products=limit))
    assert not affordable(shapes, 2, replace(V2, gram_products=limit))
