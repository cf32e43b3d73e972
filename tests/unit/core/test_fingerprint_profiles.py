# SPDX-License-Identifier: Apache-2.0
"""Three profiles of one model: what each keeps, reads and weighs."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import made_models as made
from pedigree.fingerprint.build import build_fingerprint
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.reduced import reduced
from pedigree.fingerprint.roles import Role, Slot
from pedigree.fingerprint.spec import V2, Profile
from pedigree.fingerprint.vocabulary import Vocabulary
from pedigree.tensors.checkpoint import Checkpoint

EXAMPLE_NAMES = ("llama-a", "llama-a.sft", "llama-b", "gpt2-a", "gpt2-a.sft")
_BY_LAYER = ("channel.", "norm.ranks")
_BY_BLOCK = ("neuron.",)


def _is_beginning(small: NDArray[np.generic], large: NDArray[np.generic]) -> bool:
    return np.array_equal(small, large[tuple(slice(n) for n in small.shape)])


def _same_places(large: Fingerprint, small: Fingerprint, name: str) -> NDArray[np.int8]:
    """An array of the larger fingerprint, at the layers of the smaller."""
    found = large.parts[name]
    if name.startswith(_BY_LAYER):
        return found[[large.layers.index(layer) for layer in small.layers]]
    if name.startswith(_BY_BLOCK):
        return found[[large.blocks.index(block) for block in small.blocks]]
    return found


@pytest.fixture(scope="module", params=EXAMPLE_NAMES)
def profiles(request: pytest.FixtureRequest) -> dict[Profile, Fingerprint]:
    folder = made.EXAMPLES / request.param
    return {profile: made.fingerprint(folder, profile) for profile in Profile}


def test_each_profile_holds_the_beginnings_of_the_next(
    profiles: dict[Profile, Fingerprint],
) -> None:
    minimal, fast, deep = profiles.values()
    for small, large in ((minimal, fast), (fast, deep), (minimal, deep)):
        assert set(small.parts) <= set(large.parts)
        for name, array in small.parts.items():
            if name == "neuron.scalars":
                continue  # deep knows more of them; see the next test
            assert _is_beginning(array, _same_places(large, small, name)), name


def test_invariants_that_fast_knows_are_those_of_deep(
    profiles: dict[Profile, Fingerprint],
) -> None:
    _, fast, deep = profiles.values()
    small = fast.parts["neuron.scalars"]
    large = deep.parts["neuron.scalars"][:, : small.shape[1]]
    known = small != -32768
    assert known.any()
    assert np.array_equal(small[known], large[known])


def test_records_of_fast_and_deep_agree_but_for_the_digest_of_all_bytes(
    profiles: dict[Profile, Fingerprint],
) -> None:
    _, fast, deep = profiles.values()
    for a, b in zip(fast.tensors, deep.tensors, strict=True):
        assert (a.slot, a.shape, a.sample_digest) == (b.slot, b.shape, b.sample_digest)
        assert (a.seen, a.zeros, a.distinct, a.grid) == (
            b.seen,
            b.zeros,
            b.distinct,
            b.grid,
        )
        assert a.full_digest == bytes(16)
        assert b.full_digest != bytes(16)


def test_a_minimal_fingerprint_can_be_cut_out_of_any_other(
    profiles: dict[Profile, Fingerprint],
) -> None:
    minimal, fast, deep = profiles.values()
    assert reduced(fast) == reduced(deep) == reduced(minimal) == minimal
    assert len(minimal.encoded) < 10_000


def test_coarse_codes_do_not_depend_on_the_profile(
    profiles: dict[Profile, Fingerprint],
) -> None:
    for name in ("code.e", "code.r", "code.v"):
        bits = [found.parts[name] for found in profiles.values()]
        assert np.array_equal(bits[0], bits[1])
        assert np.array_equal(bits[0], bits[2])
        assert bits[0].any()


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize("make", [made.llama, made.gpt2], ids=["llama", "gpt2"])
def test_storage_does_not_matter_in_any_profile(
    tmp_path: Path, make: object, profile: Profile
) -> None:
    weights = {  # values that bfloat16 holds, so that no cast loses one
        name: np.round(values * 256) / 256
        for name, values in make(1).items()  # type: ignore[operator]
    }
    reordered = dict(reversed(list(weights.items())))
    found = {
        made.fingerprint(made.write(tmp_path / "a", weights), profile).digest,
        made.fingerprint(made.write(tmp_path / "b", weights, shards=3), profile).digest,
        made.fingerprint(made.write(tmp_path / "c", reordered), profile).digest,
        made.fingerprint(
            made.write(tmp_path / "d", weights, dtype="F32"), profile
        ).digest,
        made.fingerprint(
            made.write(tmp_path / "e", weights, dtype="F16"), profile
        ).digest,
    }
    assert len(found) == 1


def test_a_longer_vocabulary_keeps_the_samples_of_the_rows_both_have(
    tmp_path: Path,
) -> None:
    weights = made.llama(1, tokens=1600)
    longer = dict(weights)
    more = np.random.default_rng(5).normal(0, 0.02, (1616, 64)).astype(np.float32)
    more[:1600] = weights["model.embed_tokens.weight"]
    longer["model.embed_tokens.weight"] = more
    a = made.fingerprint(made.write(tmp_path / "a", weights))
    b = made.fingerprint(made.write(tmp_path / "b", longer))
    shared = set(a.parts["anchor.index"].tolist()) & set(
        b.parts["anchor.index"].tolist()
    )
    assert len(shared) > 200


# -- a model of seven billion weights, of which nothing is on the disk -----------------


def _seven_billion() -> dict[str, tuple[int, ...]]:
    width, neurons, tokens = 4096, 11008, 32000
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (tokens, width),
        "lm_head.weight": (tokens, width),
        "model.norm.weight": (width,),
    }
    for layer in range(32):
        stem = f"model.layers.{layer}."
        for name in "qkvo":
            shapes[f"{stem}self_attn.{name}_proj.weight"] = (width, width)
        for name in ("gate", "up"):
            shapes[f"{stem}mlp.{name}_proj.weight"] = (neurons, width)
        shapes[stem + "mlp.down_proj.weight"] = (width, neurons)
        shapes[stem + "input_layernorm.weight"] = (width,)
        shapes[stem + "post_attention_layernorm.weight"] = (width,)
    return shapes


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of 13.5 GB that takes some kilobytes."""
    header: dict[str, dict[str, Any]] = {}
    offset = 0
    for name, shape in _seven_billion().items():
        size = 2 * int(np.prod(shape))
        header[name] = {
            "dtype": "BF16",
            "shape": shape,
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder = tmp_path_factory.mktemp("seven")
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + offset)
    with path.open("r+b") as file:  # the first rows of the head, so that it is not tied
        at = header["lm_head.weight"]["data_offsets"][0]
        ones = np.full(4096, 0x3F80, "<u2").tobytes()
        for row in range(0, 32000, 16):
            file.seek(8 + len(text) + at + row * 8192)
            file.write(ones)
    return folder


@pytest.mark.parametrize(
    ("profile", "most"), [(Profile.FAST, 300_000), (Profile.MINIMAL, 10_000)]
)
def test_a_7b_model_is_read_below_one_percent_and_kept_small(
    sparse: Path, profile: Profile, most: int
) -> None:
    random = np.random.default_rng(1)
    vocabulary = Vocabulary(
        random.integers(1, 2**63, 32000).astype(np.uint64),
        np.full(32000, 3, np.int32),
        np.ones(32000, np.bool_),
    )
    source = made.source(sparse)
    found = build_fingerprint(
        Checkpoint.open(source), vocabulary=vocabulary, profile=profile
    )
    size = (sparse / "model.safetensors").stat().st_size
    assert source.bytes_read < 0.01 * size
    assert len(found.encoded) < most
    assert found.parameters == 6_738_415_616
    assert any(r.slot == Slot(Role.HEAD) for r in found.tensors)
    assert found.profile is profile


def test_auto_is_deep_for_small_models_only(sparse: Path) -> None:
    from pedigree.fingerprint.build import automatic_profile

    assert automatic_profile(made.checkpoint(sparse)) is Profile.FAST
    small = made.checkpoint(made.EXAMPLES / "llama-a")
    assert automatic_profile(small) is Profile.DEEP
    assert V2.auto_deep_bytes == 2**28
