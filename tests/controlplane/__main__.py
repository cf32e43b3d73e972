# SPDX-License-Identifier: Apache-2.0
"""``python -m controlplane``: a control plane to try things on, until Ctrl-C."""

import argparse
import signal
import sys
import time
from types import FrameType

from controlplane.errors import ControlPlaneError
from controlplane.plane import ControlPlane


def main(arguments: list[str] | None = None) -> int:
    """Start it, print how to use it, wait for Ctrl-C or SIGTERM, stop it."""
    parser = argparse.ArgumentParser(
        prog="python -m controlplane",
        description="Start a real Kubernetes control plane and keep it until Ctrl-C.",
    )
    parser.add_argument(
        "--no-workloads",
        action="store_true",
        help="etcd and kube-apiserver only: no controllers, scheduler or nodes",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the data folder, with all logs"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    plane = ControlPlane(workloads=not options.no_workloads, keep=options.keep or None)
    started = time.monotonic()
    try:
        with plane:
            took = time.monotonic() - started
            print(f"# {plane.url} is ready after {took:.1f} s; Ctrl-C stops it")
            print(f"# logs: {plane.data / 'logs'}")
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            return _watch(plane)
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _watch(plane: ControlPlane) -> int:
    """Wait for a program to end, which none should."""
    while True:
        time.sleep(1)
        for process in plane.processes.values():
            if not process.running:
                print(
                    f"error: {process.name} ended with exit code {process.exit_code}; "
                    f"{process.tail()}",
                    file=sys.stderr,
                )
                return 1


if __name__ == "__main__":
    sys.exit(main())
