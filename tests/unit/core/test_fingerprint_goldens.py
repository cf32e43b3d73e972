# SPDX-License-Identifier: Apache-2.0
"""The bits of version 2 on models that are shipped; goldens are never edited."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile

GOLDENS = Path(__file__).parent.parent / "goldens" / "v2"
NAMES = ("llama-a", "gpt2-a")
ROUNDED_FROM_FLOATS = "neuron.scalars"
"""May differ by 1 between machines; see ``docs/format.md``, section 4."""


def _golden(name: str, profile: Profile) -> Fingerprint:
    path = GOLDENS / f"{name}.{profile.value}.fingerprint.safetensors"
    return decode(path.read_bytes(), path=path.name)


@pytest.mark.parametrize("profile", [Profile.MINIMAL, Profile.FAST])
@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_made_today_equal_those_made_when_version_2_began(
    name: str, profile: Profile
) -> None:
    golden, found = (
        _golden(name, profile),
        made.fingerprint(made.EXAMPLES / name, profile),
    )
    assert found.tensors == golden.tensors
    assert found.settings == golden.settings
    assert set(found.parts) == set(golden.parts)
    for part, array in golden.parts.items():
        most = int(part == ROUNDED_FROM_FLOATS)
        apart = np.abs(found.parts[part].astype(int) - array.astype(int)).max()
        assert apart <= most, part
    scalars = (f.parts.get(ROUNDED_FROM_FLOATS, np.zeros(0)) for f in (golden, found))
    if np.array_equal(next(scalars), next(scalars)):
        assert found.encoded == golden.encoded


@pytest.mark.parametrize("name", NAMES)
def test_what_deep_promises_on_every_machine_stays(name: str) -> None:
    golden = json.loads((GOLDENS / "deep.json").read_text())[name]
    found = made.fingerprint(made.EXAMPLES / name, Profile.DEEP)
    for part, digest in golden["parts"].items():
        assert hashlib.sha256(found.parts[part].tobytes()).hexdigest() == digest, part
    digests = {
        f"{r.slot.role.name} {r.slot.layer} {r.slot.expert} {r.slot.part.name}": (
            r.full_digest.hex()
        )
        for r in found.tensors
    }
    assert digests == golden["full"]


@pytest.mark.parametrize("name", NAMES)
def test_digests_of_whole_tensors_are_those_of_version_1(name: str) -> None:
    path = GOLDENS.parent / "v1" / f"{name}.fingerprint.safetensors"
    old = {record.slot: record for record in decode(path.read_bytes()).tensors}
    found = made.fingerprint(made.EXAMPLES / name, Profile.DEEP)
    assert {r.slot: r.full_digest for r in found.tensors} == {
        slot: record.full_digest for slot, record in old.items()
    }
