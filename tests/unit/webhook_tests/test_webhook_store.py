# SPDX-License-Identifier: Apache-2.0
import threading

import pytest

from pedigree_webhook.evidence_index import EvidenceIndex, read_evidence
from pedigree_webhook.store import Store, StoreKind
from webhook_world import evidence, namespace, policy, reference, uri

EARLY, LATE = "2026-11-23T10:00:00.000Z", "2026-11-23T11:00:00.000Z"
COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


def store_with(*objects: dict[str, object]) -> Store:
    store = Store(lambda: 0.0)
    store.replace(StoreKind.EVIDENCE, objects)
    return store


def digest_of(store: Store, wanted: str) -> str:
    known = store.snapshot.evidence.get(wanted)
    assert known is not None
    assert known.evidence is not None
    return str(known.evidence.digest)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_of_two_resolutions_the_latest_counts(reverse: bool, one_by_one: bool) -> None:
    old = evidence("m", "llama-a", content="old", resolved_at=EARLY)
    new = evidence("m", "gpt2-a", content="new", resolved_at=LATE)
    objects = [new, old] if reverse else [old, new]
    if one_by_one:
        store = store_with()
        for obj in objects:
            store.put(StoreKind.EVIDENCE, obj)
    else:
        store = store_with(*objects)
    assert digest_of(store, uri("m")) == new["spec"]["digest"]
    store.remove(StoreKind.EVIDENCE, new)
    assert digest_of(store, uri("m")) == old["spec"]["digest"]
    store.remove(StoreKind.EVIDENCE, old)
    assert store.snapshot.evidence.get(uri("m")) is None


def test_a_resolution_seen_again_later_moves_the_reference_back() -> None:
    first = evidence("m", content="first", resolved_at=EARLY)
    second = evidence("m", content="second", resolved_at=LATE)
    store = store_with(first, second)
    again = evidence("m", content="first", resolved_at="2026-11-23T12:00:00.000Z")
    store.put(StoreKind.EVIDENCE, again)
    assert digest_of(store, uri("m")) == first["spec"]["digest"]


def test_unreadable_newer_evidence_does_not_fall_back_to_older() -> None:
    """Else bytes that no longer run would be judged."""
    old = evidence("m", "llama-a", content="old", resolved_at=EARLY)
    new = evidence("m", content="new", resolved_at=LATE)
    new["spec"]["findings"] = [{"reason": "X", "severity": "Enormous", "message": ""}]
    store = store_with(old, new)
    known = store.snapshot.evidence.get(uri("m"))
    assert known is not None
    assert known.evidence is None
    assert "cannot be read" in known.problem
    assert store.unreadable(StoreKind.EVIDENCE) == 1
    store.put(StoreKind.EVIDENCE, evidence("m", content="new", resolved_at=LATE))
    assert store.unreadable(StoreKind.EVIDENCE) == 0
    assert digest_of(store, uri("m")) == new["spec"]["digest"]


def test_at_equal_times_no_evidence_beats_wrong_evidence() -> None:
    good = evidence("m", content="a", resolved_at=LATE)
    broken = evidence("m", content="b", resolved_at=LATE)
    broken["spec"].pop("files")
    for objects in ([good, broken], [broken, good]):
        known = store_with(*objects).snapshot.evidence.get(uri("m"))
        assert known is not None
        assert known.evidence is None


def test_one_reference_has_one_spelling() -> None:
    store = store_with(evidence("m"))
    assert digest_of(store, "file:///models//m/") == digest_of(store, uri("m"))


def test_a_commit_that_a_branch_resolved_to_is_known_too() -> None:
    obj = evidence("m", pinned_uri=f"hf://org/m@{COMMIT}")
    obj["status"]["resolutions"][0]["uri"] = "hf://org/m@main"
    store = store_with(obj)
    assert digest_of(store, f"hf://org/m@{COMMIT}") == obj["spec"]["digest"]
    assert digest_of(store, "hf://org/m@main") == obj["spec"]["digest"]
    assert store.snapshot.evidence.get("hf://org/m") is None


def test_a_pinned_reference_that_is_not_pinned_is_not_believed() -> None:
    obj = evidence("m", pinned_uri="hf://org/m@main")
    store = store_with(obj)
    assert store.snapshot.evidence.get("hf://org/m@main") is None


@pytest.mark.parametrize(
    "status",
    [None, [], {"resolutions": "x"}, {"resolutions": [None, {}, {"uri": 3}]}],
)
def test_evidence_without_usable_resolutions_is_known_by_no_reference(
    status: object,
) -> None:
    obj = evidence("m") | {"status": status}
    assert read_evidence("m", obj).entries == ()


def test_a_time_that_is_none_is_older_than_any() -> None:
    strange = evidence("m", content="strange", resolved_at="yesterday")
    usual = evidence("m", content="usual", resolved_at=EARLY)
    store = store_with(strange, usual)
    assert digest_of(store, uri("m")) == usual["spec"]["digest"]


def test_changes_one_by_one_give_the_same_index_as_a_list() -> None:
    objects = [
        read_evidence(
            f"{model}-{content}",
            evidence(model, content=content, resolved_at=f"2026-11-23T{hour}:00:00Z"),
        )
        for hour, (model, content) in enumerate(
            [("a", "1"), ("b", "1"), ("a", "2"), ("c", "3"), ("b", "3")], start=10
        )
    ]
    grown = EvidenceIndex()
    for obj in objects:
        grown = grown.changed(None, obj)
    listed = EvidenceIndex.of(objects)
    for model in "abc":
        assert grown.get(uri(model)) == listed.get(uri(model))
    for obj in objects:
        grown = grown.changed(obj, None)
    assert len(grown) == 0


def test_a_snapshot_never_changes_under_a_request() -> None:
    store = store_with(evidence("m"))
    before = store.snapshot
    store.replace(StoreKind.EVIDENCE, [])
    store.put(StoreKind.CLUSTER_POLICY, policy())
    assert before.evidence.get(uri("m")) is not None
    assert before.policies_for("team-a") == ()
    assert store.snapshot.evidence.get(uri("m")) is None


def test_policies_come_cluster_first_and_by_name() -> None:
    store = Store()
    objects = [policy("z"), policy("a")]
    store.replace(StoreKind.CLUSTER_POLICY, objects)
    store.replace(
        StoreKind.POLICY,
        [policy("b", namespace="team-a"), policy("x", namespace="team-b")],
    )
    keys = [item.key for item in store.snapshot.policies_for("team-a")]
    assert keys == ["a", "z", "team-a/b"]
    assert [item.key for item in store.snapshot.policies_for("")] == ["a", "z"]
    store.remove(StoreKind.POLICY, objects[0] | {"metadata": {"name": "nobody"}})
    assert len(store.snapshot.policies_for("team-a")) == 3


def test_a_reference_that_cannot_be_read_is_left_out_and_counted() -> None:
    store = Store()
    broken = reference("llama-a", trust="Somewhat")
    store.replace(StoreKind.REFERENCE, [broken, reference("gpt2-a")])
    assert set(store.snapshot.references) == {"gpt2-a"}
    assert store.unreadable(StoreKind.REFERENCE) == 1
    store.put(StoreKind.REFERENCE, reference("llama-a"))
    assert set(store.snapshot.references) == {"gpt2-a", "llama-a"}
    assert store.unreadable(StoreKind.REFERENCE) == 0


def test_age_counts_from_the_last_confirmation_and_needs_a_list() -> None:
    now = 100.0
    store = Store(lambda: now)
    store.confirm(StoreKind.EVIDENCE)
    store.put(StoreKind.EVIDENCE, evidence("m"))
    assert StoreKind.EVIDENCE in store.view().unsynced
    store.replace(StoreKind.EVIDENCE, [evidence("m")])
    now = 110.0
    assert store.view().age_s[StoreKind.EVIDENCE] == 10
    store.confirm(StoreKind.EVIDENCE)
    assert store.view().age_s[StoreKind.EVIDENCE] == 0
    now = 115.0
    store.put(StoreKind.EVIDENCE, evidence("n"))
    assert store.view().age_s[StoreKind.EVIDENCE] == 0


def test_a_namespace_that_appears_ends_the_wait_for_it() -> None:
    store = Store()
    store.replace(StoreKind.NAMESPACE, [])
    timer = threading.Timer(
        0.05, lambda: store.put(StoreKind.NAMESPACE, namespace("late"))
    )
    timer.start()
    store.wait_for_namespace("late", 10)
    timer.join()
    assert "late" in store.snapshot.namespaces


def test_readers_see_whole_states_while_writers_write() -> None:
    """Each write changes two references at once: never one without the other."""
    store = Store()
    stopping = threading.Event()
    torn: list[int] = []

    def read() -> None:
        while not stopping.is_set():
            index = store.snapshot.evidence
            if (index.get(uri("a")) is None) != (index.get(uri("b")) is None):
                torn.append(1)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    both = [evidence("a"), evidence("b")]
    for turn in range(200):
        store.replace(StoreKind.EVIDENCE, both if turn % 2 else [])
    stopping.set()
    for reader in readers:
        reader.join()
    assert torn == []
