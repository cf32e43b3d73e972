# SPDX-License-Identifier: Apache-2.0
"""An examination reads each byte of a model once, where memory allows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_adapters
import made_models as made
from artifact_world.web import WebServer, serve
from pedigree import refs
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.fingerprint.spec import Profile
from pedigree.limits import DEFAULT, Limits
from pedigree.sources import SourceSettings
from storages import FEW_BITS, PLAIN, QUANTISED

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
STORAGES = {**PLAIN, **QUANTISED, **FEW_BITS}
PROFILES = [None, Profile.FAST]


def _examine(
    folder: Path, profile: Profile | None = None, limits: Limits = DEFAULT
) -> Examination:
    settings = ExamineSettings(sources=SourceSettings(limits=limits), profile=profile)
    return examine(refs.parse(f"file://{folder}"), settings=settings, now=NOW)


def _adapter(folder: Path) -> None:
    made_adapters.write(folder, made_adapters.factors(made_adapters.base(3), 4))


def _shards(folder: Path) -> None:
    made.write(folder, made.llama(3), shards=3)


def _stored(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        STORAGES[name](folder, made.llama(11, width=256, neurons=512, tokens=320))

    return write


SMALL = {"adapter": _adapter, "shards": _shards} | {x: _stored(x) for x in STORAGES}


@pytest.mark.parametrize("profile", PROFILES, ids=["deep", "fast"])
@pytest.mark.parametrize("name", SMALL)
def test_a_small_model_is_read_once_in_every_storage(
    name: str, profile: Profile | None, tmp_path: Path
) -> None:
    SMALL[name](tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    found = _examine(tmp_path, profile)
    assert found.fingerprint is not None
    assert found.bytes_read == found.evidence.size_bytes


def test_what_memory_cannot_hold_has_the_same_fingerprint(tmp_path: Path) -> None:
    made.write(tmp_path, made.llama(5, tokens=4000), shards=2)
    held = _examine(tmp_path)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    some = _examine(tmp_path, limits=Limits(read_max_bytes=2 * largest - 2))
    assert held.fingerprint == some.fingerprint
    assert held.evidence == some.evidence
    size = held.evidence.size_bytes
    assert held.bytes_read == size < some.bytes_read


def test_files_make_room_for_a_tensor_that_is_read_whole(tmp_path: Path) -> None:
    """What is held and the work on a tensor share the memory for one model."""
    weights = made.llama(5, tokens=4000)
    del weights["lm_head.weight"]
    made.write(tmp_path, weights)
    size = (tmp_path / "model.safetensors").stat().st_size
    tensor = 4 * weights["model.embed_tokens.weight"].size
    needed = -(-(size + 3 * tensor) * 16 // 15)  # a part is for other work
    both = _examine(tmp_path, limits=Limits(read_max_bytes=needed))
    less = _examine(tmp_path, limits=Limits(read_max_bytes=needed - 2))
    assert 2 * size < needed - 2  # so that half of the memory would do
    assert both.bytes_read == both.evidence.size_bytes < less.bytes_read
    assert both.evidence == less.evidence


def test_what_is_no_part_of_the_model_takes_no_room(tmp_path: Path) -> None:
    made.write(tmp_path, made.llama(5, layers=12))
    size = (tmp_path / "model.safetensors").stat().st_size
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "pack").write_bytes(bytes(size // 2))
    found = _examine(tmp_path, limits=Limits(read_max_bytes=2 * size + size // 2))
    assert found.bytes_read == found.evidence.size_bytes == size


def test_a_server_that_pins_nothing_sends_a_small_model_once() -> None:
    content = (made.EXAMPLES / "llama-a" / "model.safetensors").read_bytes()
    world = WebServer({"/m.safetensors": content}, etags=False, dates=True)
    with serve(world) as web:
        settings = ExamineSettings(sources=SourceSettings())
        uri = f"https://{web.host}/m.safetensors"
        found = examine(refs.parse(uri), settings=settings, now=NOW)
    assert found.fingerprint is not None
    assert found.bytes_read == len(content) + 1  # the first byte tells its size


def test_of_a_model_beyond_memory_only_samples_are_read_again(tmp_path: Path) -> None:
    """300 MB: what is read again is 5 in 100, most of it the blocks around samples."""
    shapes = {
        name: values.shape
        for name, values in made.llama(
            1, layers=1, width=16, neurons=32, tokens=32
        ).items()
    }
    wide = {16: 1024, 32: 2816, 8: 512}
    layer = {
        name: tuple(wide[side] for side in shape)
        for name, shape in shapes.items()
        if ".layers.0." in name
    }
    shapes = {
        name.replace(".0.", f".{number}."): shape
        for number in range(8)
        for name, shape in layer.items()
    }
    shapes |= {
        "model.embed_tokens.weight": (32_000, 1024),
        "lm_head.weight": (32_000, 1024),
        "model.norm.weight": (1024,),
    }
    made.write_zeros(tmp_path, shapes)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "num_attention_heads": 16})
    )
    found = _examine(tmp_path, Profile.FAST)
    size = found.evidence.size_bytes
    assert size > 300_000_000
    assert size < found.bytes_read <= 1.06 * size
