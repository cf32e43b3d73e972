# SPDX-License-Identifier: Apache-2.0
"""A registry that states the digest of one model and serves the weights of another.

Anybody may run one.  An examination by ranges never sees the whole layer, so it
believes the digest; what it finds must then count for nobody but who named it.
"""

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from artifact_world.registry import Registry, digest_of, serve
from operator_world.evidence_server import EvidenceServer
from pedigree.evidence import Evidence
from pedigree.registry.store import FingerprintStore
from pedigree.sources import SourceSettings
from pedigree_operator.access import Access, access_to
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster
from pedigree_operator.index import Index, Object
from pedigree_operator.jobs import ExamineCommand
from pedigree_operator.kinds import Key
from pedigree_operator.recorder import Recorder
from pedigree_operator.sourcing import Sourcing

MODELS = Path(__file__).parents[3] / "examples" / "models"
GENUINE, OTHER = MODELS / "llama-a", MODELS / "llama-b"
WEIGHTS = "model.safetensors"


class Uncompared:
    """Lineages and metrics that do nothing."""

    async def compare(self, found: Evidence) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class World:
    """The operator's examinations, in real processes, and what is kept of them."""

    def __init__(self, folder: Path, hosts: tuple[str, ...]) -> None:
        server = EvidenceServer()
        self.index = Index()
        self.root = folder / "store"
        self.root.mkdir()
        cache = Cache(lambda: 0.0, self.changed)
        self.sourcing = Sourcing(
            command=ExamineCommand(
                store=self.root,
                file_roots=(MODELS,),
                deadline_s=60.0,
                private_hosts=hosts,
                environment=os.environ,
            ),
            settings=SourceSettings(),
            cluster=cast(Any, server),
            index=self.index,
            recorder=Recorder(cast(Cluster, server), cache),
            lineages=cast(Any, Uncompared()),
            metrics=cast(Any, Uncompared()),
            now=lambda: datetime.now(UTC),
        )

    def changed(self, key: Key, old: Object | None, new: Object | None) -> None:
        self.index.update(key, old, new)

    def examine(self, access: Access) -> Evidence:
        found = asyncio.run(self.sourcing.examine(access))
        return found.evidence

    def stored(self, found: Evidence) -> str:
        """Digest of everybody's fingerprint of a model; empty if there is none."""
        fingerprint = FingerprintStore(self.root).get(found.digest)
        return str(fingerprint.digest) if fingerprint is not None else ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    lying = Registry()
    files = sorted(GENUINE.iterdir())
    lying.push([lying.layer(path.read_bytes(), path=path.name) for path in files])
    stated = digest_of((GENUINE / WEIGHTS).read_bytes())
    lying.blobs[stated] = (OTHER / WEIGHTS).read_bytes()
    with serve(lying):
        yield lying


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    hosts = (f"http://{registry.host}", f"http://localhost:{registry.port}")
    return World(tmp_path, hosts)


@pytest.mark.parametrize("lie_first", [True, False])
def test_a_lie_about_a_model_is_believed_by_nobody_else(
    world: World, registry: Registry, lie_first: bool
) -> None:
    lie = access_to(f"oci://{registry.host}/org/model:v1", "team-b", "")
    truth = access_to(f"file://{GENUINE}", "team-a", "")
    if lie_first:
        lied = world.examine(lie)
        assert world.index.find(lied.digest, "team-a") is None
        assert world.stored(lied) == ""
        told = world.examine(truth)
    else:
        told = world.examine(truth)
        lied = world.examine(lie)
    assert lied.digest == told.digest, "else there is no lie"
    assert lied.fingerprint != told.fingerprint
    assert world.stored(told) == str(told.fingerprint)
    for namespace in ("", "team-a", "team-b", "team-c"):
        known = world.index.find(told.digest, namespace)
        assert known is not None
        assert known.fingerprint == told.fingerprint
