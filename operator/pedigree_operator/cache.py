# SPDX-License-Identifier: Apache-2.0
"""The operator's picture of the cluster, in memory.

It is listed whole before anything is judged, kept current by watch events and by what
the operator itself has written, and listed again now and then, because a watch can miss
a deletion.  A newer version of an object is never replaced by an older one, and a
deleted object does not come back with a late list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pedigree_operator.kinds import Key, Kind

Object = Mapping[str, Any]
_GONE_MAX = 4096


def key_of(kind: Kind, obj: Object) -> Key:
    """The key of an object."""
    metadata = obj["metadata"]
    return Key(kind, metadata.get("namespace") or "", metadata["name"])


def version_of(obj: Object) -> int:
    """Resource version as a number; 0 where it is none.

    Kubernetes promises since 1.35 that the versions of one resource can be compared as
    numbers; every etcd-backed server before it kept that unpromised.
    """
    text = str(obj.get("metadata", {}).get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0


class Cache:
    """Objects by key.  Not thread-safe: use it from its event loop only.

    Args:
        clock: Monotonic seconds.
        listener: Told of each change as (key, old or None, new or None).
    """

    def __init__(
        self,
        clock: Callable[[], float],
        listener: Callable[[Key, Object | None, Object | None], None],
    ) -> None:
        self._clock = clock
        self._listener = listener
        self._objects: dict[Kind, dict[Key, Object]] = {kind: {} for kind in Kind}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._listed: dict[Kind, float] = {}

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once."""
        return len(self._listed) == len(Kind)

    def age_s(self) -> float:
        """Seconds since the last complete list; infinite before the first."""
        if not self.synced:
            return float("inf")
        return self._clock() - min(self._listed.values())

    def get(self, key: Key) -> Object | None:
        """One object."""
        return self._objects[key.kind].get(key)

    def all(self, kind: Kind) -> Iterator[Object]:
        """All objects of a kind; the cache must not change meanwhile."""
        return iter(self._objects[kind].values())

    def keys(self, kind: Kind) -> list[Key]:
        """Keys of all objects of a kind."""
        return list(self._objects[kind])

    def put(self, kind: Kind, obj: Object) -> bool:
        """Take in an object; returns whether it was news."""
        metadata = obj["metadata"]
        if metadata.get("uid") in self._gone:
            return False
        key = key_of(kind, obj)
        old = self._objects[kind].get(key)
        if old is not None and version_of(old) >= version_of(obj) > 0:
            return False
        self._objects[kind][key] = obj
        self._listener(key, old, obj)
        return True

    def drop(self, kind: Kind, obj: Object) -> None:
        """Take out a deleted object, unless a new one of that name is there."""
        self._remember_gone(str(obj["metadata"].get("uid") or ""))
        key = key_of(kind, obj)
        old = self._objects[kind].get(key)
        if old is None or old["metadata"].get("uid") != obj["metadata"].get("uid"):
            return
        del self._objects[kind][key]
        self._listener(key, old, None)

    def replace(self, kind: Kind, objects: Iterable[Object], since: int) -> None:
        """Take in a complete list.

        Args:
            kind: Of which kind.
            objects: All there are.
            since: The newest version that was known when the list was asked for:
                what came later is not in the list and stays.
        """
        listed = {key_of(kind, obj): obj for obj in objects}
        for obj in listed.values():
            self.put(kind, obj)
        for key, old in list(self._objects[kind].items()):
            if key not in listed and version_of(old) <= since:
                self.drop(kind, old)
        self._listed[kind] = self._clock()

    def newest(self, kind: Kind) -> int:
        """The newest version known of a kind."""
        return max(map(version_of, self._objects[kind].values()), default=0)

    def _remember_gone(self, uid: str) -> None:
        if uid:
            self._gone[uid] = None
            while len(self._gone) > _GONE_MAX:
                self._gone.popitem(last=False)
