# SPDX-License-Identifier: Apache-2.0
"""A place that shows one model to the hash and another to the fingerprint."""

import mmap
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from artifact_world.web import WebServer, serve
from pedigree import refs
from pedigree.errors import SourceUnavailable
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.examine import steady as module
from pedigree.examine.listing import Progress
from pedigree.examine.steady import BLOCK_BYTES, UNSTEADY, SteadySource
from pedigree.fingerprint.spec import Profile
from pedigree.limits import Limits
from pedigree.refs import Scheme
from pedigree.sources import FileSource, SourceSettings
from pedigree.sources.held import HeldSource

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "examples" / "models"
WEIGHTS = "model.safetensors"


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A file mapped with all pages dirty: writing then moves none of its times."""
    descriptor = os.open(path, os.O_RDWR)
    with mmap.mmap(descriptor, 0) as pages:
        pages[:] = bytes(pages)
        yield pages
    os.close(descriptor)


IN_MEMORY = SourceSettings()
"""A model as small as these is held from its first read on."""
BY_RANGES = SourceSettings(limits=Limits(read_max_bytes=2_000_000))
"""Less than these models have: they are read again."""


def _examine(
    uri: str, sources: SourceSettings, told: Progress | None = None
) -> Examination:
    settings = ExamineSettings(sources=sources, profile=Profile.DEEP)
    return examine(refs.parse(uri), settings=settings, now=NOW, progress=told)


@contextmanager
def _swapping(folder: Path) -> Iterator[tuple[str, Progress]]:
    """A model and what swaps its weights, behind the file system's times."""
    model = folder / "model"
    shutil.copytree(EXAMPLES / "llama-b", model)
    denied = (model / WEIGHTS).read_bytes()
    allowed = (EXAMPLES / "llama-a" / WEIGHTS).read_bytes()
    assert len(denied) == len(allowed)
    with mapped(model / WEIGHTS) as pages:

        def swap(stage: str, done: int, total: int) -> None:
            if done == total:
                pages[:] = allowed if stage == "hash" else denied

        yield f"file://{model}", swap


@contextmanager
def _two_faces() -> Iterator[tuple[str, Progress]]:
    honest, other = (
        (EXAMPLES / name / WEIGHTS).read_bytes() for name in ("llama-b", "llama-a")
    )
    files = {"/m.safetensors": honest}
    with serve(WebServer(files, etags=False, dates=True)) as web:

        def swap(stage: str, done: int, total: int) -> None:
            if stage == "hash" and done == total:
                files["/m.safetensors"] = other

        yield f"https://{web.host}/m.safetensors", swap


def test_weights_swapped_between_hash_and_fingerprint_give_no_evidence(
    tmp_path: Path,
) -> None:
    with (
        _swapping(tmp_path) as (uri, swap),
        pytest.raises(SourceUnavailable, match="changed while it was being read"),
    ):
        _examine(uri, BY_RANGES, swap)


def test_weights_swapped_behind_those_in_memory_are_not_what_evidence_tells(
    tmp_path: Path,
) -> None:
    honest = _examine(f"file://{EXAMPLES / 'llama-b'}", IN_MEMORY)
    with _swapping(tmp_path) as (uri, swap):
        found = _examine(uri, IN_MEMORY, swap)
    assert found.fingerprint == honest.fingerprint
    assert found.evidence.digest == honest.evidence.digest
    other = _examine(f"file://{EXAMPLES / 'llama-a'}", IN_MEMORY)
    assert found.fingerprint != other.fingerprint


def test_weights_in_memory_that_were_given_back_must_read_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor that is large beside the limit takes the room of what was held."""
    given_back: list[int] = []
    keep = HeldSource.keep

    def spied(self: HeldSource, most_bytes: int) -> None:
        before = self.held_bytes
        keep(self, 0)
        given_back.append(before - self.held_bytes)

    monkeypatch.setattr(HeldSource, "keep", spied)
    with (
        _swapping(tmp_path) as (uri, swap),
        pytest.raises(SourceUnavailable, match="changed while it was being read"),
    ):
        _examine(uri, IN_MEMORY, swap)
    assert given_back[0] > 2_000_000


def test_a_file_written_while_its_bytes_are_in_memory_gives_no_evidence(
    tmp_path: Path,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(EXAMPLES / "llama-b", model)

    def write(stage: str, done: int, total: int) -> None:
        if stage == "hash" and done == total:
            (model / WEIGHTS).write_bytes((EXAMPLES / "llama-a" / WEIGHTS).read_bytes())

    with pytest.raises(SourceUnavailable, match="changed while it was being read"):
        _examine(f"file://{model}", IN_MEMORY, write)


def test_a_web_server_with_two_faces_gives_no_evidence() -> None:
    """Its evidence would count for everybody, and it says that nothing changed."""
    with (
        _two_faces() as (uri, swap),
        pytest.raises(SourceUnavailable, match="changed while it was being read"),
    ):
        _examine(uri, BY_RANGES, swap)


def test_a_web_server_can_show_its_other_face_to_nobody_who_holds_the_first() -> None:
    with _two_faces() as (uri, swap):
        found = _examine(uri, IN_MEMORY, swap)
        other = _examine(uri, IN_MEMORY)
    assert found.fingerprint is not None
    assert other.fingerprint is not None
    honest = _examine(f"file://{EXAMPLES / 'llama-b' / WEIGHTS}", IN_MEMORY)
    assert found.fingerprint == honest.fingerprint != other.fingerprint
    files = honest.evidence.root_digest
    assert found.evidence.size_bytes == honest.evidence.size_bytes
    assert files != other.evidence.root_digest


def test_every_place_that_its_namer_may_run_and_that_states_no_digest_is_steady() -> (
    None
):
    assert set(Scheme) - UNSTEADY == {Scheme.HUB, Scheme.OCI, Scheme.PVC}


def test_far_apart_blocks_are_read_in_groups_that_fit_in_memory(
    steady: tuple[Path, SteadySource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE_BYTES", 3 * BLOCK_BYTES)
    file, source = steady
    whole, opened = file.read_bytes(), source.open(file.name)
    asked = [(3 * BLOCK_BYTES, 5), (0, 1), (2 * BLOCK_BYTES - 1, 1)]
    assert opened.read_many(asked) == [whole[at : at + n] for at, n in asked]


def test_a_file_that_says_it_has_any_size_takes_no_memory_for_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "weights.bin"
    with file.open("wb") as opened:
        opened.truncate(1 << 43)  # without content: takes no room
        opened.seek(1 << 42)
        opened.write(b"here")
    source = SteadySource(
        FileSource(refs.parse(f"file://{tmp_path}"), SourceSettings())
    )
    tracemalloc.start()
    try:
        assert source.open(file.name).read(1 << 42, 4) == b"here"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.fixture
def steady(tmp_path: Path) -> tuple[Path, SteadySource]:
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(3 * BLOCK_BYTES + 17))
    ref = refs.parse(f"file://{tmp_path}")
    return file, SteadySource(FileSource(ref, SourceSettings()))


RANGES: Sequence[tuple[int, int]] = [
    (0, 1),
    (BLOCK_BYTES - 1, 2),
    (BLOCK_BYTES, BLOCK_BYTES),
    (3 * BLOCK_BYTES + 16, 1),
    (5, 3 * BLOCK_BYTES),
    (0, 3 * BLOCK_BYTES + 17),
    (7, 0),
]


def test_steady_reads_give_the_bytes_that_were_asked(
    steady: tuple[Path, SteadySource],
) -> None:
    file, source = steady
    whole, opened = file.read_bytes(), source.open(file.name)
    wanted = [whole[offset : offset + length] for offset, length in RANGES]
    assert [opened.read(*pair) for pair in RANGES] == wanted
    assert opened.read_many(RANGES) == wanted


@pytest.mark.parametrize("place", [0, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 16])
@pytest.mark.parametrize(
    "again",
    [
        lambda file, at: file.read(at, 1),
        lambda file, at: file.read_many([(at, 1)]),
        lambda file, at: file.read(0, file.size),
    ],
)
def test_one_changed_byte_is_seen_when_its_block_is_read_again(
    steady: tuple[Path, SteadySource],
    place: int,
    again: Callable[..., object],
) -> None:
    file, source = steady
    with mapped(file) as pages:
        source = SteadySource(FileSource(source.ref, SourceSettings()))
        source.open(file.name).read(0, len(pages))
        pages[place] ^= 1
        with pytest.raises(SourceUnavailable) as caught:
            again(source.open(file.name), place)
    assert caught.value.reason == "ChangedWhileReading"
