# SPDX-License-Identifier: Apache-2.0
"""Volume claims read by Jobs: what is made, what is believed, what fails and how."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from operator_world.volume_world import (
    ACCESS,
    START,
    TEAM,
    URI,
    Examination,
    World,
    examination,
)
from pedigree.digests import Digest
from pedigree.errors import PedigreeError, SourceRefused, SourceUnavailable
from pedigree.evidence import from_object
from pedigree.examine.handed_back import ANSWER_KEY, part_names
from pedigree_operator.access import Access
from pedigree_operator.cluster import ClusterError
from pedigree_operator.jobs import ExaminationFailed, Examined
from pedigree_operator.volume_manifests import ANSWER


@pytest.fixture(scope="module")
def llama() -> Examination:
    return examination("llama-a")


@pytest.fixture(scope="module")
def tuned() -> Examination:
    return examination("llama-a.sft")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def found(world: World, access: Access = ACCESS) -> Examined:
    return asyncio.run(world.volumes.examine(access))


def error(world: World, access: Access = ACCESS) -> PedigreeError:
    with pytest.raises(PedigreeError) as caught:
        asyncio.run(world.volumes.examine(access))
    return caught.value


def once(play: Callable[[World], None]) -> Callable[[World], None]:
    """A Pod that does something the first time there is a Job for it."""

    def kubelet(world: World) -> None:
        if not world.job["status"].get("conditions"):
            play(world)

    return kubelet


def digest_of(made: Examination) -> Digest:
    return from_object({"metadata": {}, **made.document["evidence"]}).digest


def test_what_the_job_found_is_evidence_of_its_namespace_alone(
    world: World, llama: Examination
) -> None:
    world.kubelet = once(lambda it: it.finish(llama))
    result = found(world)
    evidence = result.evidence
    assert evidence.digest == digest_of(llama)
    assert evidence.confined_to == TEAM
    (seen,) = evidence.resolutions
    assert (seen.uri, seen.scope) == (URI, TEAM)
    kept = world.store.within(TEAM).get(evidence.digest)
    assert kept is not None
    assert kept.digest == evidence.fingerprint
    assert world.store.get(evidence.digest) is None, "nobody else is compared with it"


def test_the_job_runs_only_when_all_it_needs_is_there(
    world: World, llama: Examination
) -> None:
    world.kubelet = once(lambda it: it.hand_back(llama))
    found(world)
    changes = ("create", "patch")
    made = [(verb, kind) for verb, kind, _ in world.calls if verb in changes]
    assert made[0] == ("create", "jobs")
    assert made[-1] == ("patch", "jobs")
    between = {kind for _, kind in made[1:-1]}
    assert between == {"configmaps", "serviceaccounts", "roles", "rolebindings"}


def test_one_job_serves_resolving_and_examining_until_its_answer_is_old(
    world: World, llama: Examination, tuned: Examination
) -> None:
    world.kubelet = once(lambda it: it.finish(llama))
    first = asyncio.run(world.volumes.resolve(ACCESS))
    found(world)
    assert world.made("jobs") == 1
    world.at += timedelta(seconds=world.settings.reexamine_s - 60)
    assert asyncio.run(world.volumes.resolve(ACCESS)) == first
    assert world.made("jobs") == 1
    world.at += timedelta(seconds=61)
    world.kubelet = once(lambda it: it.finish(tuned))
    later = asyncio.run(world.volumes.resolve(ACCESS))
    assert world.made("jobs") == 2
    assert later != first, "the claim holds another model now"


def test_unchanged_content_keeps_its_identity_and_a_claim_made_anew_does_not(
    world: World, llama: Examination
) -> None:
    world.kubelet = once(lambda it: it.finish(llama))
    first = asyncio.run(world.volumes.resolve(ACCESS))
    world.at += timedelta(seconds=world.settings.reexamine_s + 1)
    assert asyncio.run(world.volumes.resolve(ACCESS)) == first
    assert world.made("jobs") == 2
    for key in [key for key in world.objects if key[0] == "jobs"]:
        del world.objects[key]  # owned by the claim, so it goes with it
    world.put("persistentvolumeclaims", "weights", {})
    assert asyncio.run(world.volumes.resolve(ACCESS)) != first


@pytest.mark.parametrize("killed_at", ["configmaps", "rolebindings", "sleep"])
def test_another_process_goes_on_with_the_job_of_one_that_was_killed(
    world: World, llama: Examination, killed_at: str
) -> None:
    def kill(_: World) -> None:
        raise asyncio.CancelledError

    if killed_at == "sleep":
        world.kubelet = kill
    else:
        world.killed["create", killed_at] = True
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.volumes.examine(ACCESS))
    world.killed.clear()
    before = world.job["metadata"]["uid"]
    assert world.job["spec"]["suspend"] is (killed_at != "sleep")
    world.kubelet = once(lambda it: it.hand_back(llama))
    world.volumes = world.reader()
    assert found(world).evidence.digest == digest_of(llama)
    assert world.made("jobs") == 1
    assert world.job["metadata"]["uid"] == before


def test_two_who_ask_at_once_share_one_job(world: World, llama: Examination) -> None:
    world.kubelet = once(lambda it: it.hand_back(llama))

    async def both() -> list[Examined]:
        asked = (world.volumes.examine(ACCESS) for _ in range(2))
        return list(await asyncio.gather(*asked))

    first, second = asyncio.run(both())
    assert first.evidence.digest == second.evidence.digest
    assert world.made("jobs") == 1


def jobs_at_once(world: World, accesses: list[Access]) -> int:
    """How many Jobs there are at most while none of them ends."""
    most = 0

    def kubelet(it: World) -> None:
        nonlocal most
        if it.at > START + timedelta(seconds=20):
            raise asyncio.CancelledError
        most = max(most, len(it.of("jobs")))

    world.kubelet = kubelet

    async def all_at_once() -> None:
        asked = (world.volumes.examine(access) for access in accesses)
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(all_at_once())
    return most


def test_two_folders_of_a_claim_are_read_one_after_the_other(world: World) -> None:
    folders = [Access(f"{URI}/{name}", TEAM) for name in ("one", "two")]
    assert jobs_at_once(world, folders) == 1


def test_four_claims_of_a_namespace_are_read_at_once_and_others_wait(
    world: World,
) -> None:
    names = [f"claim-{number}" for number in range(6)]
    for name in names:
        world.put("persistentvolumeclaims", name, {})
    assert jobs_at_once(world, [Access(f"pvc://{name}", TEAM) for name in names]) == 4


def test_what_the_examination_refused_is_told_in_its_own_words(world: World) -> None:
    refusal = SourceRefused("there is no folder", reason="NotFound", hint="copy it")
    world.kubelet = once(lambda it: it.finish(refusal))
    said = error(world)
    assert isinstance(said, SourceRefused)
    assert (said.reason, str(said)) == ("NotFound", "there is no folder; copy it")


def test_a_failure_that_was_told_is_not_told_again_for_another_attempt(
    world: World, llama: Examination
) -> None:
    gone = SourceUnavailable("the disk is away", reason="ReadFailed")
    world.kubelet = once(lambda it: it.finish(gone))
    assert error(world).reason == "ReadFailed"
    world.kubelet = once(lambda it: it.finish(llama))
    assert found(world).evidence.digest == digest_of(llama)
    assert world.made("jobs") == 2


def test_a_failure_that_nobody_was_told_of_is_told_after_a_restart(
    world: World,
) -> None:
    refusal = SourceRefused("there is no folder", reason="NotFound")
    world.kubelet = once(lambda it: it.finish(refusal))
    error(world)
    world.volumes = world.reader()
    assert error(world).reason == "NotFound"
    assert world.made("jobs") == 1


def test_a_claim_that_is_not_there_is_refused_and_no_job_made(world: World) -> None:
    said = error(world, Access("pvc://other/llama", TEAM))
    assert isinstance(said, SourceRefused)
    assert said.reason == "NotFound"
    assert "'other'" in str(said)
    assert not world.of("jobs")


@pytest.mark.parametrize(
    ("access", "reason", "hint"),
    [
        (Access(URI, "elsewhere"), "VolumesDisabled", "volumes.namespaces"),
        (Access(URI, ""), "OnlyInCluster", "ModelDeployment"),
    ],
)
def test_claims_are_read_only_where_the_administrator_says_so(
    world: World, access: Access, reason: str, hint: str
) -> None:
    said = error(world, access)
    assert isinstance(said, SourceRefused)
    assert said.reason == reason
    assert hint in str(said)
    assert not world.calls


def test_a_pod_that_cannot_mount_is_given_up_with_what_the_cluster_says(
    world: World,
) -> None:
    message = "0/3 nodes are available: volume is attached to another node"
    condition = {"status": "False", "reason": "Unschedulable", "message": message}
    world.kubelet = lambda it: it.pod(phase="Pending", conditions=[condition])
    said = error(world)
    assert isinstance(said, SourceUnavailable)
    assert said.reason == "VolumeNotMounted"
    assert message in str(said)
    assert not world.of("jobs"), "it would hold the claim, or wait for it for ever"


def test_a_pod_that_waits_in_its_container_says_why(world: World) -> None:
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    world.kubelet = lambda it: it.pod(
        phase="Pending", containerStatuses=[{"state": state}]
    )
    assert "ImagePullBackOff: no such image" in str(error(world))


def test_a_job_without_a_pod_is_given_up_too(world: World) -> None:
    said = error(world)
    assert said.reason == "VolumeNotMounted"
    assert "no Pod" in str(said)


def test_a_pod_that_runs_is_not_given_up(world: World, llama: Examination) -> None:
    def kubelet(it: World) -> None:
        it.pod(phase="Running")
        if it.at > START + timedelta(minutes=20):
            it.hand_back(llama)

    world.kubelet = kubelet
    assert found(world).evidence.digest == digest_of(llama)


def test_the_last_words_of_a_crash_are_told_quoted_and_bounded(world: World) -> None:
    words = "x" * 5000 + "\x1b[2J out of memory"
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": words}}

    def kubelet(it: World) -> None:
        it.pod(phase="Failed", containerStatuses=[{"state": ended}])
        it.end("Failed", "BackoffLimitExceeded")

    world.kubelet = once(kubelet)
    said = error(world)
    assert isinstance(said, ExaminationFailed)
    assert "exit code 137 (OOMKilled)" in str(said)
    assert "\x1b" not in str(said)
    assert len(str(said)) < 1500


def test_a_job_past_its_deadline_says_so(world: World) -> None:
    world.kubelet = once(lambda it: it.end("Failed", "DeadlineExceeded"))
    said = error(world)
    assert isinstance(said, SourceUnavailable)
    assert said.reason == "DeadlineExceeded"


def test_a_job_that_hands_nothing_back_says_so(world: World) -> None:
    world.kubelet = once(lambda it: it.end())
    said = error(world)
    assert isinstance(said, SourceUnavailable)
    assert said.reason == "NotHandedBack"


def test_a_job_that_is_deleted_says_so(world: World) -> None:
    def kubelet(it: World) -> None:
        it.objects = {key: it.objects[key] for key in it.objects if key[0] != "jobs"}

    world.kubelet = kubelet
    assert error(world).reason == "JobDeleted"


def test_an_answer_that_is_not_sealed_is_none_yet(
    world: World, llama: Examination
) -> None:
    def kubelet(it: World) -> None:
        it.hand_back(llama)
        name = it.job["metadata"]["annotations"][ANSWER]
        it.objects["configmaps", TEAM, name]["immutable"] = False
        it.end()

    world.kubelet = once(kubelet)
    assert error(world).reason == "NotHandedBack"


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"schema": 1}']
)
def test_rubbish_for_an_answer_is_refused(world: World, value: bytes) -> None:
    world.kubelet = once(
        lambda it: it.seal(it.job["metadata"]["annotations"][ANSWER], ANSWER_KEY, value)
    )
    said = error(world)
    assert isinstance(said, SourceRefused)
    assert said.reason == "AnswerRefused"


def test_an_answer_that_is_too_large_is_refused_undecoded(world: World) -> None:
    def kubelet(it: World) -> None:
        name = it.job["metadata"]["annotations"][ANSWER]
        it.seal(name, ANSWER_KEY, b" " * 1_000_000)

    world.kubelet = once(kubelet)
    said = error(world)
    assert said.reason == "AnswerRefused"
    assert "1333336 characters" in str(said)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda part: part[:-1],
        lambda part: part[:-1] + bytes([part[-1] ^ 1]),
        lambda part: b"",
    ],
)
def test_a_fingerprint_that_is_not_the_one_spoken_of_is_refused(
    world: World, llama: Examination, spoil: Callable[[bytes], bytes]
) -> None:
    def kubelet(it: World) -> None:
        it.hand_back(llama)
        name = it.job["metadata"]["annotations"][ANSWER]
        (first, *_) = part_names(name)
        it.seal(first, "part", spoil(llama.fingerprint))

    world.kubelet = once(kubelet)
    said = error(world)
    assert said.reason == "AnswerRefused"
    assert "speaks of a fingerprint" in str(said)
    assert not list(world.folder.rglob("*.safetensors"))


def test_a_large_fingerprint_comes_in_parts(
    world: World, llama: Examination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pedigree.examine.handed_back.PART_MAX_BYTES", 10_000)
    world.kubelet = once(lambda it: it.hand_back(llama))
    result = found(world)
    sealed = [obj for obj in world.of("configmaps") if obj.get("immutable")]
    assert len(sealed) == 1 + -(-len(llama.fingerprint) // 10_000)
    kept = world.store.within(TEAM).get(result.evidence.digest)
    assert kept is not None
    assert kept.encoded == llama.fingerprint


def test_evidence_without_its_fingerprint_is_refused(
    world: World, llama: Examination
) -> None:
    world.kubelet = once(lambda it: it.hand_back(replace(llama, fingerprint=b"")))
    said = error(world)
    assert said.reason == "AnswerRefused"
    assert "no fingerprint" in str(said)


def test_a_fingerprint_that_evidence_does_not_name_is_refused(
    world: World, llama: Examination, tuned: Examination
) -> None:
    other = replace(llama, fingerprint=tuned.fingerprint)
    world.kubelet = once(lambda it: it.hand_back(other))
    assert error(world).reason == "AnswerRefused"


@pytest.mark.parametrize(
    ("status", "said", "kind", "reason"),
    [
        (403, "jobs is forbidden", SourceRefused, "VolumesForbidden"),
        (403, "exceeded quota: small", SourceUnavailable, "QuotaExceeded"),
        (422, "is invalid", SourceRefused, "JobRefused"),
        (500, "not now", SourceUnavailable, "ClusterUnavailable"),
        (0, "nobody there", SourceUnavailable, "ClusterUnavailable"),
    ],
)
def test_what_the_api_server_refuses_is_told_as_a_source_tells_it(
    world: World, status: int, said: str, kind: type, reason: str
) -> None:
    world.refuse["create", "jobs"] = ClusterError(said, status=status)
    raised = error(world)
    assert type(raised) is kind
    assert raised.reason == reason
    assert said in str(raised)


def test_a_job_of_somebody_else_with_our_name_is_replaced(
    world: World, llama: Examination
) -> None:
    world.kubelet = once(lambda it: it.hand_back(llama))
    found(world)
    world.job["metadata"]["annotations"] = {ANSWER: "../secrets/theirs"}
    found(world)
    assert world.made("jobs") == 2


def test_numbers_and_words_of_an_answer_can_do_no_harm(
    world: World, llama: Examination
) -> None:
    document = {**llama.document, "seconds": -1e300, "bytesRead": 10**60}
    world.kubelet = once(lambda it: it.hand_back(replace(llama, document=document)))
    result = found(world)
    assert (result.seconds, result.bytes_read) == (0.0, 0)


def test_a_lineage_that_an_answer_claims_is_not_believed(
    world: World, llama: Examination
) -> None:
    lineage = {
        "registryDigest": f"sha256:{'0' * 64}",
        "references": 1,
        "judgedAt": "2026-11-23T12:00:00Z",
        "engine": "9",
        "matches": [],
        "omitted": 0,
    }
    given = llama.document["evidence"]
    status = {**given["status"], "lineage": lineage}
    document = {**llama.document, "evidence": {**given, "status": status}}
    world.kubelet = once(lambda it: it.hand_back(replace(llama, document=document)))
    assert found(world).evidence.lineage is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("files", -1),
        ("files", {"a": 1}),
        ("sizeBytes", 2**53),
        ("parameters", "many"),
        ("formats", [["safetensors"]]),
        ("formats", 7),
        ("engine", None),
        ("digest", "sha256:0"),
        ("findings", [{"reason": {}, "severity": "Info", "message": "m"}]),
        ("claims", [{"field": "license", "value": 3, "source": "s"}]),
    ],
)
def test_values_that_could_not_be_recorded_are_refused(
    world: World, llama: Examination, name: str, value: object
) -> None:
    given = llama.document["evidence"]
    spec = {**given["spec"], name: value}
    document = {**llama.document, "evidence": {**given, "spec": spec}}
    world.kubelet = once(lambda it: it.hand_back(replace(llama, document=document)))
    assert error(world).reason == "AnswerRefused"


def test_an_error_from_a_job_is_cut_and_its_reason_is_a_word(world: World) -> None:
    long = SourceUnavailable("m" * 100_000, reason="not a word", retry_after_s=1e300)
    world.kubelet = once(lambda it: it.hand_back_error(long))
    said = error(world)
    assert said.reason == "ExaminationFailed"
    assert len(str(said)) < 5000
    assert getattr(said, "retry_after_s", None) is None


def test_values_that_are_no_base64_are_refused(
    world: World, llama: Examination
) -> None:
    def kubelet(it: World) -> None:
        it.hand_back(llama)
        name = it.job["metadata"]["annotations"][ANSWER]
        held = it.objects["configmaps", TEAM, name]["binaryData"]
        held[ANSWER_KEY] = "!" + held[ANSWER_KEY]

    world.kubelet = once(kubelet)
    said = error(world)
    assert said.reason == "AnswerRefused"
    assert "base64" in str(said)
