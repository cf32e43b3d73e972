# SPDX-License-Identifier: Apache-2.0
"""Examinations of web servers and registries whose network dies at a byte."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

import made_models
from artifact_world import registry, web
from artifact_world.cut import Network, between
from pedigree.digests import Digest
from pedigree.errors import SourceUnavailable
from pedigree.evidence import to_spec
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.fingerprint.model import Fingerprint
from pedigree.refs import parse
from pedigree.sources import SourceSettings
from pedigree.sources.settings import CacheSettings

NOW = datetime(2026, 11, 23, tzinfo=UTC)
INDEX = "model.safetensors.index.json"


class _Store(dict[Digest, Fingerprint]):
    """Fingerprints in memory."""

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> None:
        self[model_digest] = fingerprint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("model")
    weights = made_models.llama(5, layers=1, width=32, neurons=48)
    made_models.write(folder, weights, shards=2)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def _web(files: dict[str, bytes]) -> Iterator[tuple[Network, str]]:
    content = {f"/m/{name}": data for name, data in files.items()}
    with web.serve(web.WebServer(content)) as server, between(server.port) as network:
        yield network, f"https://127.0.0.1:{network.port}/m/{INDEX}"


def _packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


@contextmanager
def _registry(files: dict[str, bytes], packed: bool) -> Iterator[tuple[Network, str]]:
    with (
        registry.serve(registry.Registry()) as server,
        between(server.port) as network,
    ):
        server.port = network.port  # so that redirects lead through the network
        raw = [server.layer(data, path=name) for name, data in files.items()]
        whole = [server.layer(_packed(files), f"{registry.TAR}+gzip")]
        server.push(whole if packed else raw)
        yield network, f"oci://127.0.0.1:{network.port}/org/model:v1"


SERVED = {
    "https": _web,
    "oci, raw layers": partial(_registry, packed=False),
    "oci, a packed layer": partial(_registry, packed=True),
}


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_a_source_cut_off_at_any_byte_leaves_nothing_and_a_retry_finishes(
    served: object, files: dict[str, bytes], tmp_path: Path
) -> None:
    with served(files) as (network, reference):  # type: ignore[operator]
        undisturbed = _examine(reference, tmp_path / "undisturbed", _Store())
        total = network.passed
        assert undisturbed.fingerprint is not None
        assert total > sum(map(len, files.values())) * 0.5
        grid = {0, 1, 17, 200, total - 1, *range(0, total, total // 11)}
        for budget in sorted(grid):
            network.heal()
            network.budget = budget
            store, cache = _Store(), tmp_path / str(budget)
            with pytest.raises(SourceUnavailable):
                _examine(reference, cache, store)
            assert store == {}
            network.heal()
            found = _examine(reference, cache, store)
            assert to_spec(found.evidence) == to_spec(undisturbed.evidence)
            assert list(store) == [undisturbed.evidence.digest]


def _examine(reference: str, cache: Path, store: _Store) -> Examination:
    sources = SourceSettings(
        timeout_s=5, attempts=1, connections=4, cache=CacheSettings(folder=cache)
    )
    settings = ExamineSettings(sources=sources)
    return examine(parse(reference), settings=settings, store=store, now=NOW)
