# SPDX-License-Identifier: Apache-2.0
"""Stored fingerprints and Secrets, when the lineage of a model is compared again."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from made_fingerprints import fingerprint, random_parts
from operator_world.worlds import DIGEST, IDENTITY, NOW, URI, deployment, evidence
from pedigree.evidence import Resolution, to_object
from pedigree.fingerprint.model import Fingerprint
from pedigree.registry.store import FingerprintStore
from pedigree_operator.access import Access
from pedigree_operator.index import Index
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lineages import Lineages
from pedigree_operator.rescan import FingerprintMissing, Rescanner

OURS = Access(URI, "team", "hub")


def made(seed: int) -> Fingerprint:
    return fingerprint(random_parts(seed))


def test_a_fingerprint_of_a_namespace_is_never_that_of_everybody(
    tmp_path: Path,
) -> None:
    store = FingerprintStore(tmp_path)
    ours, forged = made(1), made(2)
    store.put(DIGEST, ours)
    store.within("team").put(DIGEST, forged)
    store.within("fingerprints").put(DIGEST, forged)
    for namespace, expected in (("", ours), ("team", forged)):
        found = store.within(namespace).get(DIGEST)
        assert found is not None
        assert found.digest == expected.digest
    assert store.within("other").get(DIGEST) is None


def test_confined_evidence_is_compared_by_the_fingerprint_of_its_namespace(
    tmp_path: Path,
) -> None:
    store = FingerprintStore(tmp_path)
    store.within("team").put(DIGEST, made(1))
    rescanner = Rescanner(store)
    confined = replace(evidence(), confined_to="team")
    lineage = asyncio.run(rescanner.compare(confined, {}, NOW))
    assert lineage.references == 0
    for other in (evidence(), replace(evidence(), confined_to="other")):
        with pytest.raises(FingerprintMissing):
            asyncio.run(rescanner.compare(other, {}, NOW))
    rescanner.stop()


class Lost:
    """A rescanner that finds no fingerprint."""

    async def compare(self, *_: object) -> None:
        raise FingerprintMissing("no fingerprint is stored")


class Lookups:
    """Takes down what is examined again."""

    def __init__(self) -> None:
        self.examined: list[Access] = []

    def examine(self, access: Access, key: Key) -> None:
        self.examined.append(access)


def examined_again(*objects: dict[str, Any]) -> list[Access]:
    """What is read again for a lost fingerprint that a Secret of team led to."""
    seen = Resolution(URI, URI, IDENTITY, "2026-11-23T11:00:00Z", OURS.scope)
    found = replace(evidence(), resolutions=(seen,), lineage=None)
    key = Key(Kind.MODEL_EVIDENCE, "", found.object_name)
    index = Index()
    index.update(key, None, to_object(found))
    for obj in objects:
        index.update(Key(Kind.MODEL_DEPLOYMENT, "team", "chat"), None, obj)
    lookups = Lookups()
    lineages = Lineages(
        index=index,
        store=FingerprintStore(Path("/nowhere")),
        rescanner=cast(Any, Lost()),
        recorder=cast(Any, None),
        metrics=cast(Any, None),
        now=lambda: NOW,
        wake=lambda key: None,
    )
    lineages.assemble(cast(Any, lookups))
    asyncio.run(lineages.refresh(key))
    return lookups.examined


def naming(secret: str) -> dict[str, Any]:
    source = {"uri": URI, "credentialsSecret": {"name": secret}}
    return deployment(models=[{"name": "base", "source": source}])


def test_a_secret_is_used_again_for_as_long_as_an_object_names_it() -> None:
    assert examined_again(naming("hub")) == [OURS]
    assert examined_again() == []
    assert examined_again(naming("mine"), deployment()) == []
