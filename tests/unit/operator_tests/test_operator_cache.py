# SPDX-License-Identifier: Apache-2.0
"""The picture of the cluster against late, lost and repeated news."""

from typing import Any

from pedigree_operator.cache import Cache, version_of
from pedigree_operator.kinds import Key, Kind

POD = Kind.POD


def pod(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "team",
        "uid": uid or name,
        "resourceVersion": str(version),
    }
    return {"metadata": metadata}


def cache() -> tuple[Cache, list[tuple[str, int, int]]]:
    heard: list[tuple[str, int, int]] = []

    def listen(key: Key, old: Any, new: Any) -> None:
        heard.append((key.name, version_of(old or {}), version_of(new or {})))

    return Cache(lambda: 1000.0, listen), heard


def test_a_newer_version_is_not_replaced_by_an_older_one() -> None:
    store, heard = cache()
    assert store.put(POD, pod("a", 7))
    assert not store.put(POD, pod("a", 6))
    assert not store.put(POD, pod("a", 7)), "the same again is no news"
    assert heard == [("a", 0, 7)]


def test_a_deleted_object_does_not_come_back_with_a_late_list() -> None:
    store, _ = cache()
    store.put(POD, pod("a", 7))
    store.drop(POD, pod("a", 8))
    store.replace(POD, [pod("a", 7)], since=7)
    assert store.get(Key(POD, "team", "a")) is None


def test_a_late_deletion_does_not_take_the_successor() -> None:
    store, _ = cache()
    store.put(POD, pod("a", 9, uid="second"))
    store.drop(POD, pod("a", 8, uid="first"))
    assert store.get(Key(POD, "team", "a")) is not None


def test_a_list_removes_what_is_gone_but_not_what_came_meanwhile() -> None:
    store, heard = cache()
    store.put(POD, pod("gone", 5))
    store.put(POD, pod("new", 12))
    store.replace(POD, [pod("kept", 6)], since=10)
    assert {key.name for key in store.keys(POD)} == {"kept", "new"}
    assert ("gone", 5, 0) in heard


def test_it_is_synced_when_every_kind_was_listed() -> None:
    store, _ = cache()
    assert store.age_s() == float("inf")
    for kind in Kind:
        assert not store.synced
        store.replace(kind, [], since=0)
    assert store.synced
    assert store.age_s() == 0.0
