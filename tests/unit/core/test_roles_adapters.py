# SPDX-License-Identifier: Apache-2.0
"""An adapter is told from a model, and says what of it is left out."""

from __future__ import annotations

from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.roles import map_roles

MODULE = "base_model.model.model.layers.0.self_attn.q_proj."
FACTORS = {MODULE + "lora_A.weight": (4, 8), MODULE + "lora_B.weight": (8, 4)}


def test_an_adapter_is_no_model() -> None:
    found = map_roles(FACTORS, FAMILIES)
    assert (found.reason, found.notes) == ("AdapterWeights", ())


def test_magnitudes_are_left_out_with_a_note() -> None:
    shapes = FACTORS | {MODULE + "lora_magnitude_vector": (8,)}
    found = map_roles(shapes, FAMILIES)
    assert (found.reason, found.notes) == ("AdapterWeights", ("DoraMagnitude",))
