# SPDX-License-Identifier: Apache-2.0
"""Signatures in the operator: kept with care, and looked for again for new signers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from made_signatures import new_key, public_pem
from operator_world.worlds import DIGEST, NOW, OTHER, URI, World, deployment, evidence
from operator_world.worlds import policy as a_policy
from pedigree.evidence import (
    NO_TRUST,
    Evidence,
    Resolution,
    Signature,
    Signatures,
    to_object,
)
from pedigree.policy.verdict import Action, Reason
from pedigree.signatures.trust import read_trust
from pedigree_operator.access import Access, access_by
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster
from pedigree_operator.config import Config
from pedigree_operator.index import Index
from pedigree_operator.jobs import ExamineCommand
from pedigree_operator.kinds import Key, Kind, Resource
from pedigree_operator.lineages import LOOKS_MAX, Lineages
from pedigree_operator.lookups import UNSEEN, Failure, UriState
from pedigree_operator.reconcile import reconcile
from pedigree_operator.recorder import Recorder

TODAY = DIGEST
YESTERDAY = OTHER
GOOD = Signature("model.sig", "Valid", "acme", "key", "0" * 64)
SIGNED = {"name": "signed", "signature": {"required": "Always"}}
POLICY = {
    "kind": "ClusterLineagePolicy",
    "metadata": {"name": "prod", "uid": "p", "generation": 1},
    "spec": {"rules": [SIGNED]},
}
OTHER_POLICY = {
    **POLICY,
    "spec": {"rules": [{"name": "p", "pinned": {"required": "Always"}}]},
}
KEY = Key(Kind.MODEL_EVIDENCE, "", f"sha256-{DIGEST.hex}")
Json = dict[str, Any]


def _seen(trust: Signatures | None, **changes: Any) -> Evidence:
    return replace(evidence(), signatures=trust, **changes)


class _Lookups:
    """Takes down what is to be examined."""

    def __init__(self) -> None:
        self.examined: list[Access] = []
        self.failure: Failure | None = None

    def state(self, access: Access) -> UriState:
        return UriState(failure=self.failure) if self.failure else UNSEEN

    def examine(self, access: Access, key: Key) -> None:
        self.examined.append(access)


def _index(found: Evidence, policy: Json = POLICY) -> Index:
    index = Index(TODAY)
    key = Key(Kind.CLUSTER_LINEAGE_POLICY, "", "prod")
    index.update(key, None, policy)
    name = Key(Kind.MODEL_EVIDENCE, "", found.object_name)
    index.update(name, None, to_object(found))
    return index


def _lineages(index: Index, lookups: _Lookups) -> Lineages:
    unused = cast(Any, None)
    lineages = Lineages(
        index=index,
        store=unused,
        rescanner=unused,
        recorder=unused,
        metrics=unused,
        now=lambda: NOW,
        wake=lambda key: None,
    )
    lineages.assemble(cast(Any, lookups))
    index.is_stale = lambda evidence: False  # type: ignore[method-assign]
    return lineages


@pytest.mark.parametrize(
    "found", [None, Signatures(YESTERDAY, (GOOD,)), Signatures(NO_TRUST)]
)
def test_evidence_about_other_signers_is_examined_again(
    found: Signatures | None,
) -> None:
    lookups = _Lookups()
    lineages = _lineages(_index(_seen(found)), lookups)
    asyncio.run(lineages.refresh(KEY))
    assert lookups.examined == [access_by(URI, "")]


def test_a_model_is_not_read_again_for_nothing() -> None:
    lookups = _Lookups()
    current = _seen(Signatures(TODAY, (GOOD,)))
    asyncio.run(_lineages(_index(current), lookups).refresh(KEY))
    stale = _seen(Signatures(YESTERDAY))
    asyncio.run(_lineages(_index(stale, OTHER_POLICY), lookups).refresh(KEY))
    confined = replace(stale, confined_to="team")
    name = Key(Kind.MODEL_EVIDENCE, "", confined.object_name)
    asyncio.run(_lineages(_index(confined), lookups).refresh(name))
    assert lookups.examined == []


def test_a_registry_of_a_namespace_is_not_read_for_what_counts_everywhere() -> None:
    uri, at = "oci://lying.example/model@sha256:" + "a" * 64, "2026-11-23T11:59:00Z"
    lying = Resolution(uri, uri, "i", at, "team")
    found = _seen(None)
    found = replace(found, resolutions=(lying, *found.resolutions))
    index = _index(found)
    model = {"name": "base", "source": {"uri": uri}}
    name = Key(Kind.MODEL_DEPLOYMENT, "team", "chat")
    index.update(name, None, deployment(models=[model]))
    assert access_by(uri, "team") in index.accesses()
    lookups = _Lookups()
    asyncio.run(_lineages(index, lookups).refresh(KEY))
    assert lookups.examined == [access_by(URI, "")]


def test_looking_again_has_an_end_and_waits_for_a_source_that_fails() -> None:
    lookups = _Lookups()
    lineages = _lineages(_index(_seen(None)), lookups)
    lookups.failure = Failure(
        Reason.SOURCE_UNAVAILABLE, "x", "x", NOW + timedelta(minutes=1), 1
    )
    asyncio.run(lineages.refresh(KEY))
    assert lookups.examined == []
    lookups.failure = None
    for _ in range(2 * LOOKS_MAX):
        asyncio.run(lineages.refresh(KEY))
    assert len(lookups.examined) == LOOKS_MAX


class _Server:
    """An API server that knows one ``ModelEvidence``."""

    def __init__(self) -> None:
        self.obj: Json | None = None
        self.version = 0

    async def create(self, resource: Resource, obj: Json) -> Json:
        return self._store(obj)

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self.obj

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, patch: Json
    ) -> Json:
        assert self.obj is not None
        return self._store(_merged(self.obj, {"status": patch["status"]}))

    def _store(self, obj: Json) -> Json:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        self.obj = {**obj, "metadata": metadata}
        return self.obj


def _merged(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    before = old if isinstance(old, dict) else {}
    changed = {key: _merged(before.get(key), value) for key, value in patch.items()}
    return {
        key: value for key, value in {**before, **changed}.items() if value is not None
    }


def _recorded(*found: Evidence) -> Json | None:
    server = _Server()
    cache = Cache(lambda: 0.0, lambda key, old, new: None)
    recorder = Recorder(cast(Cluster, server), cache)
    for item in found:
        asyncio.run(recorder.record(item))
    assert server.obj is not None
    signatures: Json | None = server.obj["status"].get("signatures")
    return signatures


def _signers(stored: Json | None) -> list[str]:
    return [item["signer"] for item in (stored or {"found": []})["found"]]


def test_a_copy_without_signature_leaves_what_the_signed_copy_showed() -> None:
    signed, bare = _seen(Signatures(TODAY, (GOOD,))), _seen(Signatures(TODAY))
    assert _signers(_recorded(signed, bare)) == ["acme"]
    assert _signers(_recorded(bare, signed)) == ["acme"]


def test_new_signers_replace_what_old_ones_vouched_for() -> None:
    before, now = _seen(Signatures(YESTERDAY, (GOOD,))), _seen(Signatures(TODAY))
    stored = _recorded(before, now)
    assert stored is not None
    assert (stored["trustDigest"], stored["found"]) == (str(TODAY), [])


def test_what_was_found_within_a_namespace_vouches_for_nothing_elsewhere() -> None:
    everywhere = _seen(Signatures(TODAY))
    seen = Resolution("pvc://claim/m", "pvc://claim/m", "i", "2026-11-23T11:00:00Z")
    forged = _seen(Signatures(TODAY, (GOOD,)), confined_to="team", resolutions=(seen,))
    assert _signers(_recorded(everywhere, forged)) == []


def _verdict(world: World, today: Any) -> tuple[Action, Reason]:
    view = replace(world.view(), trusted_signers=today)
    verdict = reconcile(deployment(), view, NOW).verdict
    assert verdict is not None
    return verdict.action, verdict.reason


def test_a_verdict_knows_whom_the_operator_trusts() -> None:
    world = World(
        policies=(a_policy(SIGNED),),
        evidence=(_seen(Signatures(TODAY, (GOOD,))),),
    )
    assert _verdict(world, TODAY)[0] is Action.ALLOW
    assert _verdict(world, YESTERDAY) == (Action.HOLD, Reason.EVIDENCE_STALE)
    assert _verdict(world, NO_TRUST) == (Action.HOLD, Reason.EVIDENCE_STALE)


def test_an_examination_is_told_the_folder_that_the_operator_reads(
    tmp_path: Path,
) -> None:
    (tmp_path / "acme.pub").write_bytes(public_pem(new_key()))
    environment = {"PEDIGREE_TRUST": str(tmp_path), "KUBERNETES_SERVICE_HOST": "x"}
    config = Config.from_env(environment)
    assert config.trust == tmp_path
    assert read_trust(config.trust).digest != NO_TRUST
    command = ExamineCommand(
        store=tmp_path, file_roots=(), deadline_s=1.0, environment=environment
    )
    child = command.child_environment()
    assert child["PEDIGREE_TRUST"] == str(tmp_path)
    assert "KUBERNETES_SERVICE_HOST" not in child
