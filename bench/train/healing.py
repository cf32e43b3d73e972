# SPDX-License-Identifier: Apache-2.0
"""Train a damaged model further, so that it works again: the dear way to escape."""

from __future__ import annotations

from dataclasses import replace

from bench.texts import Encoder
from bench.train.corpus import corpus
from bench.train.optimise import Schedule, train
from bench.variants.files import Model

HEALING = Schedule(rate=2e-3, warm=20)


def heal(model: Model, *, steps: int, seed: int, text: str = "code-1") -> float:
    """Train in place on a text that the model's own tokenizer cuts.

    Returns:
        The loss of the last steps, in nats a token.

    Raises:
        ValueError: A model with experts, which the trainer does not know, or one
            without a tokenizer.
    """
    if any(block.router is not None for block in model.network.blocks):
        raise ValueError("the trainer knows no experts, wanted a dense model")
    content = model.files.get("tokenizer.json")
    if content is None:
        raise ValueError("there is no tokenizer.json to cut the text with")
    # As many letters as the steps can see, and no more.
    schedule = replace(HEALING, steps=steps)
    letters = 6 * schedule.batch * (schedule.length + 1) * steps
    tokens = Encoder(content).encode(corpus(text)[:letters])
    return train(model.network, tokens, schedule, order=seed)
