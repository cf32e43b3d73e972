# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.forward import logits
from bench.train.backward import forward, loss_and_gradient
from bench.train.healing import heal
from bench.train.optimise import Schedule, Sizes, arrays, initial, train, zeros_like
from bench.variants.files import Model, read_model
from bench.variants.network import Network

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"

KINDS = ("llama", "gpt2")


def tiny(kind: str, seed: int = 1) -> Network:
    sizes = Sizes(kind=kind, tokens=20, width=16, layers=2, neurons=12, places=16)
    return initial(sizes, seed)


def precise(kind: str) -> Network:
    """In float64, with weights large enough that every part has a slope."""
    network: Any = tiny(kind)
    random = np.random.default_rng(3)
    network.embedding = network.embedding.astype(float) * 20
    for extra in ("head", "positions"):
        values = getattr(network, extra)
        if values is not None:
            setattr(network, extra, values.astype(float) * 10)
    parts: list[Any] = [network.final]
    for block in network.blocks:
        parts += [block.before_attention, block.before_neurons]
        for linear in network.linears(block):
            linear.weight = linear.weight.astype(float) * 15
            if linear.bias is not None:
                linear.bias = random.normal(0, 0.1, linear.bias.shape)
    for norm in parts:
        norm.weight = 1 + random.normal(0, 0.1, norm.weight.shape)
        if norm.bias is not None:
            norm.bias = random.normal(0, 0.1, norm.bias.shape)
    made: Network = network
    return made


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind: str, taught: bool) -> None:
    network = precise(kind)
    random = np.random.default_rng(1)
    tokens, targets = random.integers(0, 20, (2, 2, 7))
    teacher = random.dirichlet(np.ones(20), (2, 7)) if taught else None

    def loss() -> float:
        into = zeros_like(network)
        return loss_and_gradient(network, into, tokens, targets, teacher)

    gradient = zeros_like(network)
    loss_and_gradient(network, gradient, tokens, targets, teacher)
    for values, slope in zip(arrays(network), arrays(gradient), strict=True):
        step = 1e-5 * random.normal(size=values.shape)
        values += step
        above = loss()
        values -= 2 * step
        below = loss()
        values += step
        assert (above - below) / 2 == pytest.approx(
            float((slope * step).sum()), rel=1e-4, abs=1e-12
        )


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_prediction_compute_the_same_logits(kind: str) -> None:
    network = tiny(kind)
    tokens = np.random.default_rng(2).integers(0, 20, (2, 9))
    scores, _ = forward(network, zeros_like(network), tokens)
    assert np.allclose(scores[1], logits(network, tokens[1]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_learns_a_text_that_repeats(kind: str) -> None:
    network = tiny(kind)
    text = np.tile(np.random.default_rng(4).permutation(20), 40)
    schedule = Schedule(steps=60, rate=1e-2, batch=4, length=12, warm=5)
    assert train(network, text, schedule, order=1) < math.log(20)
    after = train(network, text, schedule, order=2)
    assert after < 0.5 * math.log(20)


def test_the_same_seeds_make_the_same_model() -> None:
    text = np.random.default_rng(5).integers(0, 20, 300)
    schedule = Schedule(steps=3, batch=2, length=8)
    made = [tiny("llama", seed) for seed in (1, 1, 2)]
    for network in made:
        train(network, text, schedule, order=1)
    assert np.array_equal(made[0].embedding, made[1].embedding)
    assert not np.allclose(made[0].embedding, made[2].embedding)


def test_a_damaged_model_is_healed_by_training() -> None:
    parent = read_model(EXAMPLES / "llama-a")
    network = tiny("llama")
    network.embedding = parent.network.embedding[:2048, :16]
    network.head = parent.network.output[:2048, :16]
    model = Model(network, {}, parent.files)
    first = heal(model.copy(), steps=1, seed=1)
    assert heal(model, steps=6, seed=1) < first
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        heal(Model(network, {}, {}), steps=1, seed=1)
