# SPDX-License-Identifier: Apache-2.0
"""An API server in memory for Jobs that read claims; the test plays their Pods."""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from pedigree.cli.failure import failure_document
from pedigree.errors import PedigreeError
from pedigree.evidence import to_spec, to_status
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.handed_back import (
    ANSWER_KEY,
    PART_KEY,
    answer_of,
    part_names,
    parts_of,
)
from pedigree.fingerprint.spec import Profile
from pedigree.refs import parse
from pedigree.registry.store import FingerprintStore
from pedigree.sources import SourceSettings
from pedigree_operator.access import Access
from pedigree_operator.cluster import Cluster, ClusterError
from pedigree_operator.kinds import Resource
from pedigree_operator.volume_manifests import ANSWER, EXAMINATION
from pedigree_operator.volume_settings import VolumeSettings
from pedigree_operator.volumes import Volumes

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
START = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
TEAM = "team"
URI = "pvc://weights/llama"
ACCESS = Access(URI, TEAM)

Json = dict[str, Any]
Objects = list[Json]
SETTINGS = VolumeSettings(namespaces=(TEAM,), image="example.invalid/pedigree:1")


@dataclass
class Examination:
    """What the command would hand back."""

    document: Json
    fingerprint: bytes


def examination(name: str = "llama-a") -> Examination:
    """A real one, of an example model."""
    made = examine(
        parse(f"file://{EXAMPLES}/{name}"),
        settings=ExamineSettings(sources=SourceSettings(), profile=Profile.FAST),
        now=START,
    )
    assert made.fingerprint is not None
    document = {
        "schema": "pedigree.dev/examination/v1",
        "evidence": {
            "spec": to_spec(made.evidence),
            "status": to_status(made.evidence),
        },
        "reused": False,
        "bytesRead": made.bytes_read,
        "seconds": made.seconds,
    }
    return Examination(document, made.fingerprint.encoded)


@dataclass
class World:
    """Objects by kind and name, and a clock that moves when somebody waits."""

    folder: Path
    settings: VolumeSettings = SETTINGS
    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    at: datetime = START
    kubelet: Callable[["World"], None] = lambda world: None
    refuse: dict[tuple[str, str], ClusterError] = field(default_factory=dict)
    killed: dict[tuple[str, str], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.put("persistentvolumeclaims", "weights", {})
        self.store = FingerprintStore(self.folder)
        self.volumes = self.reader()

    def reader(self) -> Volumes:
        """A new process that reads claims."""
        return Volumes(
            cluster=cast(Cluster, self),
            settings=self.settings,
            store=self.store,
            now=lambda: self.at,
            sleep=self.sleep,
        )

    def put(self, plural: str, name: str, obj: Json) -> Json:
        uid = f"uid-{len(self.calls)}-{len(self.objects)}-{name}"
        metadata = {"name": name, "uid": uid, **obj.get("metadata", {})}
        self.objects[plural, TEAM, name] = {**obj, "metadata": metadata}
        return self.objects[plural, TEAM, name]

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.kubelet(self)
        await asyncio.sleep(0)

    def _check(self, verb: str, resource: Resource, name: str) -> None:
        self.calls.append((verb, resource.plural, name))
        if self.killed.get((verb, resource.plural)):
            raise asyncio.CancelledError
        error = self.refuse.get((verb, resource.plural))
        if error is not None:
            raise error

    async def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        self._check("get", resource, name)
        return self.objects.get((resource.plural, namespace, name))

    async def list(self, resource: Resource, namespace: str = "") -> Objects:
        self._check("list", resource, "")
        key, _, value = resource.label_selector.partition("=")
        return [
            obj
            for (plural, where, _), obj in self.objects.items()
            if (plural, where) == (resource.plural, namespace)
            and obj["metadata"].get("labels", {}).get(key) == value
        ]

    async def create(self, resource: Resource, obj: Mapping[str, Any]) -> Json:
        name = obj["metadata"]["name"]
        self._check("create", resource, name)
        assert obj["metadata"]["namespace"] == TEAM
        if (resource.plural, TEAM, name) in self.objects:
            raise ClusterError("is there already", status=409)
        return self.put(resource.plural, name, dict(obj))

    async def create_once(self, resource: Resource, obj: Mapping[str, Any]) -> bool:
        try:
            await self.create(resource, obj)
        except ClusterError as error:
            if error.conflict:
                return False
            raise
        return True

    async def patch_json(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        operations: Sequence[Mapping[str, Any]],
    ) -> Json:
        self._check("patch", resource, name)
        (operation,) = operations
        assert operation == {"op": "replace", "path": "/spec/suspend", "value": False}
        found = self.objects[resource.plural, namespace, name]
        found["spec"] = {**found["spec"], "suspend": False}
        found["status"] = {"startTime": self.at.isoformat()}
        return found

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str
    ) -> None:
        self._check("delete", resource, name)
        found = self.objects.get((resource.plural, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            del self.objects[resource.plural, namespace, name]

    def of(self, plural: str) -> Objects:
        """All objects of a kind."""
        return [obj for (kind, _, _), obj in self.objects.items() if kind == plural]

    def made(self, plural: str) -> int:
        """How many objects of a kind were asked to be made."""
        return sum(call[:2] == ("create", plural) for call in self.calls)

    @property
    def job(self) -> Json:
        """The one Job."""
        (job,) = self.of("jobs")
        return job

    def seal(self, name: str, key: str, value: bytes) -> None:
        """What the command's patch does."""
        held = self.objects["configmaps", TEAM, name]
        held["binaryData"] = {key: base64.b64encode(value).decode()}
        held["immutable"] = True

    def hand_back(self, found: Examination, *, code: int = 0) -> None:
        """What the command does at its end."""
        name = self.job["metadata"]["annotations"][ANSWER]
        parts = parts_of(found.fingerprint)
        for part_name, part in zip(part_names(name), parts, strict=False):
            self.seal(part_name, PART_KEY, part)
        answer = answer_of(code, found.document, found.fingerprint)
        self.seal(name, ANSWER_KEY, answer)

    def hand_back_error(self, error: PedigreeError) -> None:
        """The same for one who has no answer."""
        self.hand_back(Examination(failure_document(error), b""), code=3)

    def finish(self, found: Examination | PedigreeError) -> None:
        """Hand back, and end as the command then does."""
        if isinstance(found, PedigreeError):
            self.hand_back_error(found)
            self.end("Failed", "BackoffLimitExceeded")
        else:
            self.hand_back(found)
            self.end()

    def end(self, kind: str = "Complete", reason: str = "") -> None:
        """The Job ends."""
        condition = {"type": kind, "status": "True", "reason": reason}
        self.job["status"] = {**self.job["status"], "conditions": [condition]}

    def pod(self, **status: Any) -> None:
        """The Job's Pod, in some state."""
        job = self.job["metadata"]
        labels = {EXAMINATION: job["name"]}
        owner = {"kind": "Job", "uid": job["uid"]}
        metadata = {"labels": labels, "ownerReferences": [owner]}
        self.put("pods", "pod", {"metadata": metadata, "status": status})
