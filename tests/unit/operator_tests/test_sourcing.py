# SPDX-License-Identifier: Apache-2.0
"""How references are resolved and examined with the access that an object has."""

import asyncio
import base64
import logging
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import pedigree_operator.sourcing as sourcing
from operator_world.worlds import DIGEST, IDENTITY, NOW, evidence
from pedigree.errors import PedigreeError, SourceRefused
from pedigree.evidence import NO_TRUST, Evidence, Resolution, Signatures
from pedigree.refs import ModelRef
from pedigree.sources import SourceSettings
from pedigree_operator.access import Access, sources_in
from pedigree_operator.cluster import ClusterError
from pedigree_operator.credentials import Credentials
from pedigree_operator.index import Index
from pedigree_operator.jobs import ExamineCommand, Examined
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.lookups import RESOLVING_MAX, Lookups
from pedigree_operator.sourcing import NEVER_TAKEN, Sourcing

CANARY = "hf_CanaryCanaryCanary0123456789"
OURS = "hf_OperatorsOwnToken987654321"
HUB = "hf://org/model"
CLAIM = "pvc://models/chat"
ARTIFACT = "oci://registry.example/models/chat:v1"
MINE = Access(HUB, "team", "hub")

Asked = tuple[str | None, dict[str, str]]
CLIENT_CONNECTIONS = 100
"""Of the client that all references share; one namespace must not take all of them."""


class Recorded:
    """A recorder that only remembers."""

    def __init__(self) -> None:
        self.evidence: list[Evidence] = []
        self.refusals: list[int] = []
        self.withdrawn: list[tuple[str, str, str]] = []
        self.seen: list[Resolution] = []

    async def record(self, found: Evidence) -> None:
        if self.refusals:
            raise ClusterError("spec is invalid", status=self.refusals.pop())
        self.evidence.append(found)

    async def withdraw(self, uri: str, identity: str, scope: str) -> None:
        self.withdrawn.append((uri, identity, scope))

    async def saw(self, known: Evidence, seen: Resolution, now: object) -> None:
        self.seen.append(seen)


class Compared:
    """Lineages that compare nothing."""

    def examined(self, found: Evidence) -> None:
        self.last = found

    async def compare(self, found: Evidence) -> None:
        return None


class Counted:
    """Metrics that count nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Claims:
    """Reads claims, as the Jobs would."""

    async def resolve(self, access: Access) -> tuple[str, str]:
        return access.uri, "claim:1"

    async def examine(self, access: Access) -> Examined:
        seen = Resolution(access.uri, access.uri, "claim:1", "2026-11-23T11:00:00Z")
        return Examined(replace(evidence(), resolutions=(seen,)), 1, 0.1)


class World:
    """A Sourcing whose sources, Secrets and examinations are the test's."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, volumes: Claims | None = None
    ) -> None:
        self.token = CANARY
        self.asked: list[Asked] = []
        self.given: list[Credentials] = []
        self.stores: list[Path] = []
        self.read = 0
        self.error: Exception | None = None
        self.identity = IDENTITY
        self.signatures: Signatures | None = None
        self.recorder = Recorded()
        self.index = Index()
        monkeypatch.setattr(sourcing, "resolve_identity", self.resolve_identity)
        monkeypatch.setattr(sourcing, "examine", self.examine)
        self.sourcing = Sourcing(
            command=ExamineCommand(
                store=Path("/nowhere"), file_roots=(), deadline_s=1.0, environment={}
            ),
            settings=SourceSettings(hub_token=OURS, private_hosts=("minio:9000",)),
            cluster=self,
            index=self.index,
            recorder=cast(Any, self.recorder),
            lineages=cast(Any, Compared()),
            metrics=cast(Any, Counted()),
            now=lambda: NOW,
            volumes=volumes,
        )

    async def get(self, resource: object, namespace: str, name: str) -> Any:
        assert (namespace, name) == ("team", "hub")
        self.read += 1
        return {"data": {"HF_TOKEN": base64.b64encode(self.token.encode()).decode()}}

    def resolve_identity(
        self, ref: ModelRef, settings: SourceSettings
    ) -> tuple[ModelRef, str]:
        self.asked.append((settings.hub_token, dict(settings.credentials)))
        assert settings.private_hosts == ("minio:9000",)
        assert settings.connections * RESOLVING_MAX <= CLIENT_CONNECTIONS
        if self.error is not None:
            raise self.error
        return ref, self.identity

    async def examine(
        self, uri: str, command: ExamineCommand, credentials: Credentials
    ) -> Examined:
        self.given.append(credentials)
        self.stores.append(command.store)
        seen = Resolution(uri, uri, IDENTITY, "2026-11-23T11:00:00Z")
        found = replace(evidence(), resolutions=(seen,), signatures=self.signatures)
        return Examined(found, 1, 0.1)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(work)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_reference_without_a_secret_is_asked_with_what_the_operator_has(
    world: World,
) -> None:
    world.run(world.sourcing.resolve(Access(HUB)))
    world.run(world.sourcing.examine(Access(HUB)))
    assert world.asked == [(OURS, {})]
    assert [held.values for held in world.given] == [{}]
    assert world.read == 0
    assert world.recorder.withdrawn == [(HUB, IDENTITY, "")]
    assert [one.scope for one in world.recorder.evidence[0].resolutions] == [""]


def test_a_reference_with_a_secret_is_asked_with_that_and_nothing_else(
    world: World,
) -> None:
    world.run(world.sourcing.resolve(MINE))
    world.run(world.sourcing.examine(MINE))
    assert world.asked == [(CANARY, {"HF_TOKEN": CANARY})]
    assert [held.values for held in world.given] == [{"HF_TOKEN": CANARY}]
    assert world.recorder.withdrawn == [(HUB, IDENTITY, "team/hub")]
    (recorded,) = world.recorder.evidence
    assert [one.scope for one in recorded.resolutions] == ["team/hub"]
    assert recorded.confined_to == "", "we read it ourselves"
    assert CANARY not in repr(recorded)


def test_signatures_under_a_set_that_changed_meanwhile_outdate_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.signatures = Signatures(NO_TRUST)
    world.run(world.sourcing.examine(Access(HUB)))
    assert world.recorder.evidence[-1].signatures == Signatures(NO_TRUST)
    assert caplog.text == ""
    world.signatures = Signatures(DIGEST)
    world.run(world.sourcing.examine(Access(HUB)))
    assert world.recorder.evidence[-1].signatures is None
    assert "PEDIGREE_TRUST has changed; restart" in caplog.text


def test_a_rotated_secret_counts_from_the_next_look_on(world: World) -> None:
    world.run(world.sourcing.resolve(MINE))
    world.token = "hf_TheNextOne"
    world.run(world.sourcing.resolve(MINE))
    world.run(world.sourcing.examine(MINE))
    assert [token for token, _ in world.asked] == [CANARY, "hf_TheNextOne"]
    assert world.given[0].values == {"HF_TOKEN": "hf_TheNextOne"}
    assert world.read == 3


@pytest.mark.parametrize(
    "error",
    [
        SourceRefused(f"401 for {CANARY}", hint=f"is {CANARY} right?"),
        ValueError(f"invalid header value b'Bearer {CANARY}'"),
        RuntimeError(CANARY[:20]),
    ],
)
def test_no_failure_of_a_source_shows_the_secret_in_a_message_or_a_log(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world.error = error
    caplog.set_level(logging.DEBUG)
    lookups = Lookups(
        resolve=world.sourcing.resolve,
        examine=world.sourcing.examine,
        now=lambda: NOW,
        wake=lambda key: None,
        concurrency=1,
    )

    async def look() -> None:
        lookups.resolve(MINE, Key(Kind.MODEL_DEPLOYMENT, "team", "x"))
        while lookups.state(MINE).failure is None:
            await asyncio.sleep(0.01)
        await lookups.stop()

    world.run(look())
    failure = lookups.state(MINE).failure
    assert failure is not None
    told = f"{failure} {caplog.text} {[record.__dict__ for record in caplog.records]}"
    pieces = {CANARY[i : i + 8] for i in range(len(CANARY) - 7)}
    assert not [piece for piece in pieces if piece in told]
    assert "[redacted]" in failure.message


def test_a_bug_without_credentials_stays_a_bug(world: World) -> None:
    world.error = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        world.run(world.sourcing.resolve(Access(HUB)))


def test_an_identity_that_repeats_the_secret_is_not_recorded(world: World) -> None:
    world.identity = f"etag:{CANARY}"
    with pytest.raises(SourceRefused) as caught:
        world.run(world.sourcing.resolve(MINE))
    assert caught.value.reason == "CredentialsInAnswer"
    assert world.recorder.withdrawn == []


def test_known_content_is_told_for_the_scope_that_saw_it(world: World) -> None:
    seen = Resolution(HUB, HUB, IDENTITY, "2026-11-23T11:00:00Z", "team/hub")
    known = replace(evidence(), resolutions=(seen,))
    world.index.evidence[DIGEST, ""] = known
    world.index.content["team/hub", HUB, IDENTITY] = DIGEST
    world.run(world.sourcing.resolve(Access(HUB)))
    assert world.recorder.seen == [], "nobody has read it without a Secret"
    world.run(world.sourcing.resolve(MINE))
    assert [one.scope for one in world.recorder.seen] == ["team/hub"]


def test_what_a_claim_holds_counts_in_its_namespace_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, Claims())
    access = Access(CLAIM, "team")
    located = world.run(world.sourcing.resolve(access))
    assert located.identity == "claim:1"
    result = world.run(world.sourcing.examine(access))
    (recorded,) = world.recorder.evidence
    assert recorded.confined_to == result.evidence.confined_to == "team"
    assert [one.scope for one in recorded.resolutions] == ["team"]
    assert recorded.lineage is None, "ours is made by us"
    assert world.asked == []


def test_without_a_reader_of_claims_the_source_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.error = SourceRefused("only there", reason="OnlyInCluster")
    with pytest.raises(PedigreeError) as caught:
        world.run(world.sourcing.resolve(Access(CLAIM, "team")))
    assert caught.value.reason == "OnlyInCluster"


@pytest.mark.parametrize("secret", ["", "hub"])
def test_what_a_registry_states_is_believed_in_the_namespace_that_names_it_only(
    world: World, secret: str
) -> None:
    access = Access(ARTIFACT, "team", secret)
    world.run(world.sourcing.examine(access))
    (recorded,) = world.recorder.evidence
    assert recorded.confined_to == "team"
    assert [one.scope for one in recorded.resolutions] == [access.scope]
    assert world.stores == [Path("/nowhere/namespaces/team")], "its fingerprint, too"


def test_a_registry_that_a_reference_model_names_is_the_administrators_choice(
    world: World,
) -> None:
    obj = {"metadata": {"name": "llama"}, "spec": {"source": {"uri": ARTIFACT}}}
    (access,) = sources_in(obj)
    world.run(world.sourcing.examine(access))
    world.run(world.sourcing.examine(Access(HUB)))
    assert [one.confined_to for one in world.recorder.evidence] == ["", ""]
    assert world.stores == [Path("/nowhere"), Path("/nowhere")]


def test_a_source_that_never_answers_holds_up_no_end_of_the_process() -> None:
    script = (
        "import asyncio, threading\n"
        "from pedigree_operator.fair_room import in_thread\n"
        "async def main():\n"
        "    asked = in_thread(threading.Event().wait)\n"
        "    try: await asyncio.wait_for(asked, 0.05)\n"
        "    except TimeoutError: print('told')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")


@pytest.mark.parametrize("status", sorted(NEVER_TAKEN))
def test_evidence_that_the_api_server_never_takes_holds_up_nobody(
    world: World, status: int
) -> None:
    world.recorder.refusals = [status]
    with pytest.raises(PedigreeError) as caught:
        world.run(world.sourcing.examine(Access(HUB)))
    assert caught.value.reason == "EvidenceRefused"
    assert world.recorder.evidence == []


@pytest.mark.parametrize("status", [0, 403, 409, 429, 503])
def test_evidence_is_recorded_when_the_api_server_is_back(
    world: World, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sourcing, "RECORD_RETRY_FIRST_S", 0.01)
    world.recorder.refusals = [status]
    world.run(world.sourcing.examine(Access(HUB)))
    assert len(world.recorder.evidence) == 1
