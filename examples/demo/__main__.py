# SPDX-License-Identifier: Apache-2.0
"""``make demo``: everything from nothing, shown step by step, cleaned up at the end."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from controlplane import ControlPlane, ControlPlaneError
from controlplane.binaries import ensure
from controlplane.plane import CORE, WORKLOADS
from demo.narrator import Narrator
from demo.steps import STEPS
from demo.world import DemoError, World

FAILED = 1
INTERRUPTED = 130


def main() -> int:
    """Run the demonstration; the exit code is 0 only if every step came out."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--keep", action="store_true", help="leave everything running until Ctrl-C"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    # Before the clock starts: the first time this builds Kubernetes.
    ensure((*CORE, *WORKLOADS, "helm"))
    tell = Narrator()
    with tempfile.TemporaryDirectory(prefix="pedigree-demo-") as folder:
        try:
            return _run(Path(folder), tell, keep=arguments.keep)
        except (DemoError, ControlPlaneError) as error:
            tell.bad(str(error))
            return FAILED
        except KeyboardInterrupt:
            tell.say("Interrupted; everything is stopped and removed.")
            return INTERRUPTED


def _run(folder: Path, tell: Narrator, *, keep: bool) -> int:
    tell.title("A real Kubernetes control plane starts, on this machine only")
    with ControlPlane(workloads=True) as plane:
        tell.good("etcd, kube-apiserver, controllers, scheduler and a node run")
        world = World(plane, folder, tell)
        try:
            world.prepare()
            for step in STEPS:
                tell.title(f"({step.number}) {step.title}")
                step.run(world)
            _conclude(world)
            if keep:
                _wait(world)
        finally:
            world.stop()
    return 0


def _conclude(world: World) -> None:
    tell = world.tell
    tell.title("What an operator sees")
    for command in (
        ("get", "modeldeployments.pedigree.dev", "--all-namespaces"),
        ("get", "modelevidences.pedigree.dev"),
    ):
        tell.command(f"kubectl {' '.join(command)}")
        tell.output(world.plane.kubectl(*command))
    tell.title("What Prometheus sees")
    _show_metrics(world)
    tell.title("What an auditor sees")
    world.pedigree("audit", "query")
    world.pedigree("audit", "verify")
    tell.title("Where to look next")
    tell.say(
        "README.md for the five-minute path on your own cluster, docs/policy.md for "
        "what a policy can say, docs/lineage.md for how descent is measured and with "
        "which error rate, `pedigree compare A B` for the same check on a laptop."
    )


def _show_metrics(world: World) -> None:
    shown = {
        "webhook": ("pedigree_admission_requests_total", "pedigree_store_age_seconds"),
        "operator": ("pedigree_verdicts_total", "pedigree_fingerprint_bytes_total"),
        "audit": ("pedigree_ledger_entries_total",),
    }
    for name, metrics in shown.items():
        service = world.stack.services[name]
        world.tell.command(f"curl localhost:{service.port}/metrics  # {name}")
        lines = service.get("/metrics")[1].splitlines()
        world.tell.output(
            "\n".join(
                line
                for line in lines
                if line.startswith(metrics) and not line.endswith(" 0.0")
            )
        )


def _wait(world: World) -> None:
    world.tell.title("Left running, until Ctrl-C")
    world.tell.say("Point kubectl at it from another terminal:")
    kubectl = ensure(["kubectl"])["kubectl"]
    world.tell.output(
        f"export KUBECONFIG={world.plane.kubeconfig}\n"
        f"alias kubectl={kubectl}    # the one of this cluster's version\n"
        "kubectl get mldep --all-namespaces"
    )
    world.tell.say(
        f"Models are in {world.models}, logs of the services in {world.stack.folder}."
    )
    signal.pause()


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
