# SPDX-License-Identifier: Apache-2.0
"""Tensors of three dimensions that no rule knows are sampled and hashed as others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import made_fp4
import made_models as made
from artifact_world.weights import file_of
from made_packed_float import Stored, stored
from pedigree.fingerprint.model import TensorRecord
from pedigree.fingerprint.slots import Role
from pedigree.fingerprint.spec import Profile
from pedigree.tensors.checkpoint import Checkpoint

SHAPE = (6, 32, 64)
LARGE = (40, 64, 64)
"""More values than a sample holds."""


def _write(folder: Path, parts: Stored) -> Path:
    header, data = {}, b""
    for name, (dtype, shape, raw) in parts.items():
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": place}
        data += raw
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(file_of(header, data))
    (folder / "config.json").write_text(
        json.dumps({"quantization_config": {"quant_method": "mxfp4"}})
    )
    return folder


def _llama() -> Stored:
    return {name: stored(values) for name, values in made.llama(seed=1).items()}


def _values(shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.random.default_rng(2).normal(0, 0.02, shape).astype(np.float32)
    values[0, 0, :2] = -0.0, 1 + 2**-8 + 2**-9  # which rounds up
    return values


def _record(folder: Path, profile: Profile) -> TensorRecord:
    found = made.fingerprint(folder, profile=profile)
    (record,) = [x for x in found.tensors if x.slot.role is Role.OTHER]
    return record


def _packed(folder: Path, shape: tuple[int, ...]) -> tuple[Path, Path]:
    """A stack in MXFP4, and its exact values as they are."""
    codes, powers = made_fp4.mx(_values(shape))
    parts = {
        "strange_blocks": stored(made_fp4.neighbours(codes)),
        "strange_scales": stored(powers),
    }
    signs = np.where(codes & 8, np.float32(-1), np.float32(1))
    steps = np.exp2(powers.astype(np.float32) - 127)[..., None]
    exact = (signs * made_fp4.STEPS[codes & 7] * steps).reshape(shape)
    return (
        _write(folder / "packed", _llama() | parts),
        _write(folder / "plain", _llama() | {"strange": stored(exact)}),
    )


@pytest.mark.parametrize("shape", [SHAPE, LARGE])
@pytest.mark.parametrize("profile", [Profile.DEEP, Profile.FAST])
def test_a_packed_stack_has_the_record_of_its_values(
    shape: tuple[int, ...], profile: Profile, tmp_path: Path
) -> None:
    packed, plain = _packed(tmp_path, shape)
    assert _record(packed, profile) == _record(plain, profile)


@pytest.mark.parametrize("shape", [SHAPE, LARGE])
def test_samples_of_both_profiles_are_the_same(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    parts = _llama() | {"strange": stored(_values(shape))}
    folder = _write(tmp_path / "plain", parts)
    deep, fast = (_record(folder, x) for x in (Profile.DEEP, Profile.FAST))
    assert deep.sample_digest == fast.sample_digest
    assert (deep.seen, deep.zeros) == (fast.seen, fast.zeros)


def test_values_of_half_a_byte_in_three_dimensions_are_read(tmp_path: Path) -> None:
    raw = bytes(range(256)) * (SHAPE[0] * SHAPE[1] * SHAPE[2] // 512)
    folder = _write(tmp_path, _llama() | {"strange": ("F4", SHAPE, raw)})
    deep, fast = (_record(folder, x) for x in (Profile.DEEP, Profile.FAST))
    assert deep.sample_digest == fast.sample_digest


def test_the_fast_profile_decodes_no_more_than_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, _ = _packed(tmp_path, LARGE)
    read = Checkpoint.read
    asked: list[str] = []

    def watched(self: Checkpoint, name: str) -> NDArray[np.float32]:
        asked.append(name)
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "read", watched)
    _record(packed, Profile.FAST)
    assert "strange" not in asked
