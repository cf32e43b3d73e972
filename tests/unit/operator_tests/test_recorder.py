# SPDX-License-Identifier: Apache-2.0
"""What evidence says of the references that led to it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, cast

from operator_world.evidence_server import EvidenceServer
from operator_world.worlds import DIGEST, NOW, OTHER, URI, evidence
from pedigree.digests import Digest
from pedigree.evidence import SOURCES_MAX, Evidence, Resolution, from_object, to_object
from pedigree_operator.cache import Cache
from pedigree_operator.cluster import Cluster
from pedigree_operator.kinds import Key, Kind
from pedigree_operator.moments import format_time
from pedigree_operator.recorder import Recorder

BRANCH = "hf://org/model@main"
FIRST, SECOND = (f"hf://org/model@{digit * 40}" for digit in "12")


class Setting:
    def __init__(self) -> None:
        self.server = EvidenceServer()
        self.cache = Cache(lambda: 0.0, lambda key, old, new: None)
        self.recorder = Recorder(cast(Cluster, self.server), self.cache)

    def record(self, digest: Digest, *seen: Resolution) -> None:
        run(self.recorder.record(replace(evidence(digest), resolutions=seen)))

    def led_to(self, digest: Digest) -> list[tuple[str, str]]:
        """References and identities that the evidence of a digest tells of."""
        obj = self.cache.get(Key(Kind.MODEL_EVIDENCE, "", f"sha256-{digest.hex}"))
        assert obj is not None
        return [(seen.uri, seen.identity) for seen in from_object(obj).resolutions]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


def seen(uri: str, identity: str, at: int = 0, pinned: str = "") -> Resolution:
    moment = NOW.replace(minute=at)
    return Resolution(uri, pinned or uri, identity, format_time(moment))


def test_a_folder_that_changed_leads_to_its_new_content_only() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(URI, "stat:1"))
    setting.record(OTHER, seen(URI, "stat:2", 1))
    assert setting.led_to(DIGEST) == []
    assert setting.led_to(OTHER) == [(URI, "stat:2")]


def test_an_outdated_resolution_does_not_come_back_for_want_of_room() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(URI, "stat:1"))
    setting.record(OTHER, seen(URI, "stat:2", 1))
    for number in range(SOURCES_MAX):
        name = f"file:///models/copy-{number}"
        setting.record(OTHER, seen(name, "stat:3", 2 + number))
    assert (URI, "stat:2") not in setting.led_to(OTHER)
    assert setting.led_to(DIGEST) == [], "the webhook would believe this one"


def test_a_changed_folder_leads_nowhere_as_long_as_it_is_not_examined() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(URI, "stat:1"))
    run(setting.recorder.withdraw(URI, "stat:2"))
    assert setting.led_to(DIGEST) == []


def test_a_branch_that_moved_leaves_the_commit_that_it_meant() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(BRANCH, "commit:1", pinned=FIRST))
    setting.record(OTHER, seen(BRANCH, "commit:2", 1, pinned=SECOND))
    assert setting.led_to(DIGEST) == [(FIRST, "commit:1")]
    assert setting.led_to(OTHER) == [(BRANCH, "commit:2")]


def test_a_branch_that_moves_back_at_once_leads_back() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(BRANCH, "commit:1", pinned=FIRST))
    setting.record(OTHER, seen(BRANCH, "commit:2", 1, pinned=SECOND))
    back = seen(BRANCH, "commit:1", 2, pinned=FIRST)
    run(setting.recorder.withdraw(BRANCH, "commit:1"))
    run(setting.recorder.saw(evidence(DIGEST), back, NOW.replace(minute=2)))
    assert (BRANCH, "commit:1") in setting.led_to(DIGEST)
    assert setting.led_to(OTHER) == [(SECOND, "commit:2")]


def test_what_a_reference_still_means_is_not_withdrawn() -> None:
    setting = Setting()
    setting.record(DIGEST, seen(URI, "stat:1"), seen("file:///models/b", "stat:9"))
    version = setting.server.version
    run(setting.recorder.withdraw(URI, "stat:1"))
    assert setting.server.version == version, "nothing was written"
    run(setting.recorder.withdraw(URI, "stat:2"))
    assert setting.led_to(DIGEST) == [("file:///models/b", "stat:9")]


def test_evidence_that_cannot_be_read_holds_up_nobody() -> None:
    setting = Setting()
    obj = to_object(replace(evidence(), resolutions=(seen(URI, "stat:1"),)))
    del obj["spec"]["files"]
    setting.cache.put(Kind.MODEL_EVIDENCE, obj)
    run(setting.recorder.withdraw(URI, "stat:2"))
    setting.record(OTHER, seen(URI, "stat:2"))
    assert setting.led_to(OTHER) == [(URI, "stat:2")]


def scoped(scope: str, identity: str, at: int = 0) -> Resolution:
    return replace(seen(URI, identity, at), scope=scope)


def told_of(setting: Setting, name: str) -> list[tuple[str, str]]:
    """Scopes and identities that an object tells of."""
    obj = setting.cache.get(Key(Kind.MODEL_EVIDENCE, "", name))
    assert obj is not None
    return [(one.scope, one.identity) for one in from_object(obj).resolutions]


def test_what_one_scope_means_now_withdraws_nothing_of_another() -> None:
    setting = Setting()
    setting.record(DIGEST, scoped("", "c1"))
    setting.record(DIGEST, scoped("team/hub", "c1", 1))
    setting.record(OTHER, scoped("team/hub", "c2", 2))
    assert told_of(setting, evidence(DIGEST).object_name) == [("", "c1")]
    assert told_of(setting, evidence(OTHER).object_name) == [("team/hub", "c2")]
    run(setting.recorder.withdraw(URI, "c3"))
    assert told_of(setting, evidence(DIGEST).object_name) == []
    assert told_of(setting, evidence(OTHER).object_name) == [("team/hub", "c2")]


def test_a_reference_is_kept_once_for_each_scope() -> None:
    setting = Setting()
    for at, scope in enumerate(("", "team/hub", "team", "team/hub")):
        setting.record(DIGEST, scoped(scope, "c1", at))
    told = told_of(setting, evidence(DIGEST).object_name)
    assert sorted(told) == [("", "c1"), ("team", "c1"), ("team/hub", "c1")]


def confined(scope: str = "team", **changes: Any) -> Evidence:
    resolutions = (scoped(scope, "v1"),)
    found = replace(evidence(DIGEST), resolutions=resolutions, confined_to="team")
    return replace(found, **changes)


def test_confined_evidence_is_an_object_of_its_own() -> None:
    setting = Setting()
    run(setting.recorder.record(confined()))
    assert list(setting.server.objects) == [f"sha256-{DIGEST.hex}.team"]
    setting.record(DIGEST, scoped("", "c1"))
    assert told_of(setting, f"sha256-{DIGEST.hex}") == [("", "c1")]
    assert told_of(setting, f"sha256-{DIGEST.hex}.team") == [("team", "v1")]


def test_confined_evidence_changes_no_fact_that_counts_everywhere() -> None:
    setting = Setting()
    setting.record(DIGEST, scoped("", "c1"))
    before = setting.server.objects[f"sha256-{DIGEST.hex}"]
    lineage = evidence(DIGEST, ancestor="forged").lineage
    run(setting.recorder.record(confined(lineage=lineage, files=99)))
    assert list(setting.server.objects) == [f"sha256-{DIGEST.hex}"]
    after = setting.server.objects[f"sha256-{DIGEST.hex}"]
    assert after["spec"] == before["spec"]
    assert after["status"]["lineage"] == before["status"]["lineage"]
    assert ("team", "v1") in told_of(setting, f"sha256-{DIGEST.hex}")


def test_a_newer_comparison_of_confined_evidence_stays_with_it() -> None:
    setting = Setting()
    setting.record(DIGEST, scoped("", "c1"))
    run(setting.recorder.record(confined()))
    setting.server.objects.pop(f"sha256-{DIGEST.hex}")
    setting.cache.drop(
        Kind.MODEL_EVIDENCE, {"metadata": {"name": f"sha256-{DIGEST.hex}"}}
    )
    run(setting.recorder.record(confined()))
    lineage = evidence(DIGEST, ancestor="").lineage
    assert lineage is not None
    run(setting.recorder.set_lineage(confined(), lineage))
    stored = setting.server.objects[f"sha256-{DIGEST.hex}.team"]
    assert stored["status"]["lineage"]["matches"] == []


def test_a_crowd_of_references_pushes_out_nobody_elses() -> None:
    setting = Setting()
    ours = seen("hf://org/model", "commit:1")
    other = replace(seen("s3://bucket/model", "objects:1"), scope="theirs/reader")
    setting.record(DIGEST, ours)
    setting.record(DIGEST, other)
    for number in range(2 * SOURCES_MAX):
        host = seen(f"https://crowd.example/{number}.gguf", "web:1", 1 + number)
        secret = replace(host, uri=f"s3://b/{number}", scope=f"crowd/secret-{number}")
        setting.record(DIGEST, host)
        setting.record(DIGEST, secret)
    kept = setting.led_to(DIGEST)
    assert (ours.uri, ours.identity) in kept
    assert (other.uri, other.identity) in kept


def test_a_version_that_takes_all_room_takes_it_from_nobody() -> None:
    setting = Setting()
    setting.record(DIGEST, seen("hf://org/model", "commit:1"))
    greedy = seen("s3://b/m.gguf", "objects:1", 1, pinned="s3://b/m.gguf@" + "&" * 490)
    setting.record(DIGEST, replace(greedy, identity="<" * 256))
    assert setting.led_to(DIGEST) == [("hf://org/model", "commit:1")]


def test_the_longest_plain_resolution_is_kept() -> None:
    setting = Setting()
    uri, pinned = "s3://" + "a" * 507, "s3://" + "b" * 507
    longest = replace(seen(uri, "i" * 256, pinned=pinned), scope="n" * 317)
    setting.record(DIGEST, longest)
    assert setting.led_to(DIGEST) == [(uri, "i" * 256)]
