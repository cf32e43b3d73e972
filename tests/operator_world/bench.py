# SPDX-License-Identifier: Apache-2.0
"""A control plane of its own with the operator as a process on it."""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client, config

from controlplane import ControlPlane
from controlplane.binaries import ensure
from controlplane.processes import Process
from outbox_file import entries_in
from scraped import get, sum_of
from stack.chart import render

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "examples" / "models"
SYSTEM = "pedigree-system"
ACCESS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
GROUP, VERSION = "pedigree.dev", "v1alpha1"
WAIT_S = 40.0
EACH_WAIT_S = 5.0
"""More for each model that earlier tests left: all of them may be read and compared
again first, on a machine that is busy with other things."""
POLL_S = 0.05
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")

Json = dict[str, Any]


class Bench:
    """The operator on a control plane, with the models it may read."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.models = folder / "models"
        self.data = folder / "data"
        self.folder = folder
        self._api = config.new_client_from_config(  # type: ignore[no-untyped-call]
            str(plane.kubeconfig)
        )
        # Their types say that nearly everything may be None, which it is not here.
        self.objects: Any = client.CustomObjectsApi(self._api)
        self.core: Any = client.CoreV1Api(self._api)
        self.apps: Any = client.AppsV1Api(self._api)
        self.process: Process | None = None
        self.port = 0

    def prepare(self) -> None:
        """Install the kinds and the operator's permissions, both as they ship."""
        self.models.mkdir()
        self.data.mkdir()
        kubectl = self.plane.kubectl
        applied = kubectl(
            "apply", "--server-side", "-o", "name", "-f", str(ROOT / "crds")
        )
        kubectl("wait", "--for=condition=Established", *applied.split())
        kubectl("create", "namespace", SYSTEM)
        values = {
            "image": {"repository": "example.invalid/pedigree"},
            "certificates": {"mode": "certManager"},
        }
        rendered = render(ensure(["helm"])["helm"], namespace=SYSTEM, values=values)
        documents = [
            document
            for document in rendered
            if document["kind"] in ACCESS
            and document["metadata"]["name"] == "pedigree-operator"
        ]
        assert sorted({it["kind"] for it in documents}) == sorted(ACCESS)
        listed = {"apiVersion": "v1", "kind": "List", "items": documents}
        kubectl("apply", "-f", "-", input=json.dumps(listed))

    def put_model(self, name: str, example: str) -> str:
        """Copy an example model to where the operator may read; gives its URI."""
        target = self.models / name
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(MODELS / example, target)
        return f"file://{target}"

    def start(self, **settings: str) -> None:
        """Start the operator and wait until it is ready."""
        port_file = self.folder / f"ports-{secrets.token_hex(3)}.json"
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        account = f"{SYSTEM}:pedigree-operator"
        environment = {
            **inherited,
            "PEDIGREE_KUBECONFIG": str(self.plane.kubeconfig_for(account)),
            "PEDIGREE_DATA_DIR": str(self.data),
            "PEDIGREE_FILE_ROOTS": str(self.models),
            "PEDIGREE_METRICS_PORT": "0",
            "PEDIGREE_HOST": "127.0.0.1",
            "PEDIGREE_PORT_FILE": str(port_file),
            **settings,
        }
        self.process = Process(
            "operator",
            [sys.executable, "-Im", "pedigree_operator"],
            log=self.folder / "operator.log",
            env=environment,
            cwd=Path("/"),
        ).start()
        self.process.wait_until(port_file.exists, timeout_s=30, wanted="has a port")
        self.port = json.loads(port_file.read_text())["http"]
        self.process.wait_until(
            lambda: self.get("/readyz")[0] == 200, timeout_s=30, wanted="is ready"
        )

    def stop(self) -> None:
        """End the operator, gently."""
        assert self.process is not None
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL the operator alone; its children must see to themselves."""
        assert self.process is not None
        os.kill(self.process.pid, 9)
        self.process.wait(timeout_s=10)

    def log(self) -> str:
        """What the operator has written."""
        return (self.folder / "operator.log").read_text()

    def get(self, path: str) -> tuple[int, str]:
        """GET from the operator; status 0 when nobody answers."""
        return get(self.port, path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples whose labels agree."""
        return sum_of(self.get("/metrics")[1], name, **labels)

    def examinations(self) -> float:
        """How many examinations this process has ended."""
        return self.metric("pedigree_examinations_total")

    def apply(self, plural: str, name: str, spec: Json, namespace: str = "") -> Json:
        """Create an object."""
        kinds = {
            "modeldeployments": "ModelDeployment",
            "clusterlineagepolicies": "ClusterLineagePolicy",
            "lineagepolicies": "LineagePolicy",
            "referencemodels": "ReferenceModel",
        }
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kinds[plural],
            "metadata": {"name": name},
            "spec": spec,
        }
        if namespace:
            made: Json = self.objects.create_namespaced_custom_object(
                GROUP, VERSION, namespace, plural, body
            )
        else:
            made = self.objects.create_cluster_custom_object(
                GROUP, VERSION, plural, body
            )
        return made

    def read(self, plural: str, name: str, namespace: str = "") -> Json:
        """One object."""
        if namespace:
            found: Json = self.objects.get_namespaced_custom_object(
                GROUP, VERSION, namespace, plural, name
            )
        else:
            found = self.objects.get_cluster_custom_object(GROUP, VERSION, plural, name)
        return found

    def evidences(self) -> list[Json]:
        """All evidence there is."""
        found: Json = self.objects.list_cluster_custom_object(
            GROUP, VERSION, "modelevidences"
        )
        items: list[Json] = found["items"]
        return items

    def reference(self, name: str, uri: str, *, ready: bool = True) -> None:
        """Register a reference model, and wait until it can be compared with."""
        spec = {"family": name, "publisher": "tests", "source": {"uri": uri}}
        self.apply("referencemodels", name, spec)
        if ready:
            self.until(
                lambda: condition(self.read("referencemodels", name), "Ready"),
                lambda it: it.get("status") == "True",
                f"reference model {name} is ready",
            )

    def policy(self, name: str, namespace: str, *rules: Json, **more: Any) -> None:
        """A cluster policy for one namespace, known to the operator if that runs.

        Watches of two kinds are not ordered: an object made right after its policy
        may be judged without it, correctly, and then again with it.
        """
        label = {"kubernetes.io/metadata.name": namespace}
        match = {"namespaceSelector": {"matchLabels": label}}
        spec = {"match": match, "rules": list(rules), **more}
        self.apply("clusterlineagepolicies", name, spec)
        if self.process is not None and self.process.running:
            self.until(
                lambda: self.read("clusterlineagepolicies", name),
                lambda obj: (
                    obj.get("status", {}).get("observedGeneration")
                    == obj["metadata"]["generation"]
                ),
                f"policy {name} was seen",
            )

    def verdict(
        self, namespace: str, name: str, result: str, *, ready: str = ""
    ) -> Json:
        """Wait for a verdict, and for Ready if asked; gives the object."""
        obj: Json = self.until(
            lambda: self.read("modeldeployments", name, namespace),
            lambda obj: (
                obj.get("status", {}).get("verdict", {}).get("result") == result
                and ready in ("", condition(obj, "Ready").get("status"))
            ),
            f"{namespace}/{name} has the verdict {result}",
        )
        return obj

    def until(
        self,
        look: Callable[[], Any],
        wanted: Callable[[Any], Any],
        what: str,
        timeout_s: float | None = None,
    ) -> Any:
        """Look again and again until what is seen is as wanted."""
        if timeout_s is None:
            timeout_s = WAIT_S + EACH_WAIT_S * len(self.evidences())
        deadline = time.monotonic() + timeout_s
        seen = None
        while True:
            try:
                seen = look()
                if wanted(seen):
                    return seen
            except client.ApiException as error:
                if error.status != 404:
                    raise
                seen = "404"
            if time.monotonic() > deadline:
                tail = self.log()[-6000:]
                shown = json.dumps(seen, indent=1, default=str)
                raise AssertionError(f"not true that {what}: {shown}\n{tail}")
            time.sleep(POLL_S)

    def settle(self) -> None:
        """Wait until the operator has nothing to do, twice in a row."""
        calm = 0

        def look() -> int:
            nonlocal calm
            busy = self.metric("pedigree_queue_depth") or self.examining()
            calm = 0 if busy else calm + 1
            return calm

        time.sleep(0.3)
        self.until(look, lambda seen: seen >= 8, "the operator has nothing to do")

    def entries(self, uid: str) -> list[Json]:
        """Ledger entries about one object, in order, from the outbox's file."""
        entries = entries_in(self.data / "outbox.db")
        return [entry for entry in entries if entry["object"]["uid"] == uid]

    def events(self, namespace: str, name: str) -> list[tuple[str, str]]:
        """(reason, message) of the Events about an object, oldest first."""
        found = self.core.list_namespaced_event(
            namespace, field_selector=f"involvedObject.name={name}"
        ).items
        ours = [item for item in found if item.source.component == "pedigree-operator"]
        ours.sort(key=lambda item: int(item.metadata.resource_version))
        return [(item.reason, item.message) for item in ours]

    def examining(self) -> list[int]:
        """Process ids of running examinations."""
        assert self.process is not None
        children = []
        for task in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            children += [int(pid) for pid in task.read_text().split()]
        return [
            pid
            for pid in children
            if arguments(pid)[1:4] == ["-Im", "pedigree", "examine"]
        ]


def arguments(pid: int) -> list[str]:
    """Command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def condition(obj: Mapping[str, Any], wanted: str) -> Json:
    """One condition of an object; empty if it has none of that type."""
    for item in obj.get("status", {}).get("conditions", ()):
        if item["type"] == wanted:
            return dict(item)
    return {}


def model(uri: str, **more: Any) -> Json:
    """A spec with one model."""
    return {"models": [{"name": "base", "source": {"uri": uri}, **more}]}


def template(**labels: str) -> Json:
    """A workload that the operator makes."""
    pod = {"containers": [{"name": "serve", "image": "example.invalid/serve:1"}]}
    return {"template": {"replicas": 1, "labels": labels, "podSpec": pod}}


@contextmanager
def running_bench(programs: dict[str, Path], folder: Path) -> Iterator[Bench]:
    """A control plane with workloads, and the operator running on it."""
    with ControlPlane(programs=programs) as plane:
        bench = Bench(plane, folder)
        bench.prepare()
        bench.start()
        try:
            yield bench
        finally:
            if bench.process is not None:
                bench.stop()
