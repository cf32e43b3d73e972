# SPDX-License-Identifier: Apache-2.0
"""Examinations of far places whose network dies at a byte.

The Hub is in the neighbour that kills processes too.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

import made_models
from artifact_world import azure, gcs, registry, web
from artifact_world.cut import Network, between
from artifact_world.tar import tar_of
from pedigree.digests import Digest
from pedigree.errors import SourceUnavailable
from pedigree.evidence import to_spec
from pedigree.examine import Examination, ExamineSettings, examine, steady
from pedigree.fingerprint.model import Fingerprint
from pedigree.refs import parse
from pedigree.sources import SourceSettings, held
from pedigree.sources.settings import CacheSettings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of moto

NOW = datetime(2026, 11, 23, tzinfo=UTC)
INDEX = "model.safetensors.index.json"
Files = dict[str, bytes]
Row = tuple[str, tuple[int, int] | None, bool]
"""Path, bytes asked for, and whether the answer arrived whole."""


@dataclass
class _Place:
    """Where a model is, behind a network.

    Attributes:
        network: What dies.
        reference: The model.
        credentials: With which it is read.
        asks_anew: Whether a request is asked again by every examination, because it
            tells what the reference means now.
    """

    network: Network
    reference: str
    asks_anew: Callable[[str, tuple[int, int] | None], bool]
    credentials: dict[str, str] = field(default_factory=dict)


class _Store(dict[Digest, Fingerprint]):
    """Fingerprints in memory."""

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> None:
        self[model_digest] = fingerprint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("model")
    weights = made_models.llama(5, layers=1, width=32, neurons=48)
    made_models.write(folder, weights, shards=2)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def _web(files: Files, lengths: bool) -> Iterator[_Place]:
    content = {f"/m/{name}": data for name, data in files.items()}
    world = web.WebServer(content, lengths=lengths)
    with web.serve(world) as server, between(server.port) as network:
        yield _Place(
            network,
            f"https://127.0.0.1:{network.port}/m/{INDEX}",
            lambda path, asked: asked == (0, 0) or path.endswith(INDEX),
        )


def _packed(files: Files) -> bytes:
    return gzip.compress(tar_of(*files.items()), mtime=0)


@contextmanager
def _registry(files: Files, packed: bool) -> Iterator[_Place]:
    with (
        registry.serve(registry.Registry()) as server,
        between(server.port) as network,
    ):
        server.port = network.port  # so that redirects lead through the network
        raw = [server.layer(data, path=name) for name, data in files.items()]
        rows = sorted(files.items())
        halves = [dict(rows[:2]), dict(rows[2:])]
        tars = [server.layer(_packed(half), f"{registry.TAR}+gzip") for half in halves]
        server.push(tars if packed else raw)
        yield _Place(
            network,
            f"oci://127.0.0.1:{network.port}/org/model:v1",
            lambda path, _: not path.startswith("/store/"),  # where blobs lead
        )


def _is_list(_: str, asked: tuple[int, int] | None) -> bool:
    """Objects are always read by ranges, and lists are not."""
    return asked is None


@contextmanager
def _s3(files: Files) -> Iterator[_Place]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        bucket = f"http://127.0.0.1:{port}/models"
        _put(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")
        _put(bucket)
        for name, data in files.items():
            _put(f"{bucket}/llama/{name}", data)
        with between(port) as network:
            credentials = {
                "AWS_ACCESS_KEY_ID": "AKIDMADEUP",
                "AWS_SECRET_ACCESS_KEY": "secret/made+up",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{network.port}",
            }
            yield _Place(network, "s3://models/llama", _is_list, credentials)
    finally:
        server.stop()


def _put(url: str, body: bytes = b"", method: str = "PUT") -> None:
    kind = {"Content-Type": "application/octet-stream"}
    urlopen(Request(url, body, kind, method=method), timeout=10).close()


@contextmanager
def _gcs(files: Files) -> Iterator[_Place]:
    with gcs.serve(gcs.Gcs()) as server, between(server.port) as network:
        for name, data in files.items():
            server.put(f"llama/{name}", data)
        credentials = {
            "GOOGLE_BASE_URL": f"http://127.0.0.1:{network.port}",
            "GOOGLE_SERVICE_ACCOUNT_KEY": gcs.account_key(),
        }
        yield _Place(network, "gs://models/llama", _is_list, credentials)


@contextmanager
def _azure(files: Files) -> Iterator[_Place]:
    blobs = {f"llama/{name}": data for name, data in files.items()}
    with azure.serve(azure.Azure(blobs)) as server, between(server.port) as network:
        credentials = {
            "AZURE_STORAGE_ACCOUNT_NAME": azure.ACCOUNT,
            "AZURE_STORAGE_ENDPOINT": (
                f"http://127.0.0.1:{network.port}/{azure.ACCOUNT}"
            ),
        }
        yield _Place(network, "az://models/llama", _is_list, credentials)


SERVED: dict[str, Callable[[Files], AbstractContextManager[_Place]]] = {
    "https": partial(_web, lengths=True),
    "https, answers without length": partial(_web, lengths=False),
    "oci, raw layers": partial(_registry, packed=False),
    "oci, a packed layer": partial(_registry, packed=True),
    "s3": _s3,
    "gs": _gcs,
    "az": _azure,
}


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_a_source_cut_off_at_any_byte_leaves_nothing_and_a_retry_finishes(
    served: Callable[[Files], AbstractContextManager[_Place]],
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small files take many requests too, so that a part of one may be kept.
    for module, name in ((held, "CHUNK_BYTES"), (steady, "BLOCK_BYTES")):
        monkeypatch.setattr(module, name, 4 << 10)
    with served(files) as place:
        network = place.network
        undisturbed = _examine(place, tmp_path / "undisturbed", _Store())
        total = network.passed
        assert undisturbed.fingerprint is not None
        assert total > sum(map(len, files.values())) * 0.5
        kept: set[tuple[str, int]] = set()
        for budget in sorted({0, 1, 17, 200, total - 1, *range(0, total, total // 11)}):
            network.heal()
            network.budget = budget
            store, cache = _Store(), tmp_path / str(budget)
            with pytest.raises(SourceUnavailable):
                _examine(place, cache, store)
            assert store == {}
            got = _received(place, network.exchanges())
            network.heal()
            found = _examine(place, cache, store)
            assert to_spec(found.evidence) == to_spec(undisturbed.evidence)
            assert list(store) == [undisturbed.evidence.digest]
            again = got & _received(place, network.exchanges())
            assert not again, f"asked for again after {budget} bytes"
            kept |= got
        assert kept


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_an_answer_that_breaks_off_is_no_evidence_where_nothing_is_kept(
    served: Callable[[Files], AbstractContextManager[_Place]], files: Files
) -> None:
    with served(files) as place:
        network = place.network
        undisturbed = _examine(place, None, _Store())
        total = network.passed
        for missing in (1, 2, 100, 300, total // 2):
            network.heal()
            network.budget = total - missing
            store = _Store()
            with pytest.raises(SourceUnavailable):
                _examine(place, None, store)
            assert store == {}
        network.heal()
        found = _examine(place, None, _Store())
        assert to_spec(found.evidence) == to_spec(undisturbed.evidence)


def _received(place: _Place, rows: Sequence[Row]) -> set[tuple[str, int]]:
    """Bytes of the model that arrived, by path; -1 stands for all of a file."""
    return {
        (path, at)
        for path, asked, whole in rows
        if whole and not place.asks_anew(path, asked)
        for at in (range(asked[0], asked[1] + 1) if asked else (-1,))
    }


def _examine(place: _Place, cache: Path | None, store: _Store) -> Examination:
    sources = SourceSettings(
        timeout_s=5,
        attempts=1,
        connections=4,
        cache=CacheSettings(folder=cache) if cache else None,
        credentials=place.credentials,
    )
    settings = ExamineSettings(sources=sources)
    return examine(parse(place.reference), settings=settings, store=store, now=NOW)
