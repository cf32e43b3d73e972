# SPDX-License-Identifier: Apache-2.0
"""One real control plane for the session, and a namespace of its own for each test.

Where the programs cannot be had, everything that needs them is skipped with the reason;
but never where ``CI`` is set: there it fails, lest a green run hides that nothing ran.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from controlplane import ControlPlane, ProgramError
from controlplane.binaries import ensure
from controlplane.plane import CORE, WORKLOADS

HERE = Path(__file__).parent
CRDS = HERE.parents[1] / "crds"
NAME_MAX = 63  # characters of a namespace's name (RFC 1123 label)
ACCOUNT_TIMEOUT_S = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """The control plane's programs, built on first use (which takes minutes)."""
    try:
        return ensure((*CORE, *WORKLOADS))
    except ProgramError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no control plane: {error}")


@pytest.fixture(scope="session")
def control_plane(programs: dict[str, Path]) -> Iterator[ControlPlane]:
    """A control plane with workloads; shared, so leave nothing cluster-wide behind."""
    with ControlPlane(programs=programs) as plane:
        yield plane


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Iterator[client.ApiClient]:
    """The official API client, with an administrator's certificate."""
    api: client.ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]
        str(control_plane.kubeconfig)
    )
    with api:
        yield api


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> tuple[str, ...]:
    """All CRDs of the repository, established; gives their names."""
    applied = control_plane.kubectl(
        "apply", "--server-side", "--output=name", f"--filename={CRDS}"
    ).split()
    control_plane.kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", *applied
    )
    return tuple(name.partition("/")[2] for name in applied)


@pytest.fixture
def namespace(request: pytest.FixtureRequest, admin: client.ApiClient) -> Iterator[str]:
    """A new namespace, ready for Pods; deleted afterwards without waiting for it."""
    core = client.CoreV1Api(admin)
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    suffix = secrets.token_hex(3)
    name = f"{words[: NAME_MAX - 1 - len(suffix)].rstrip('-')}-{suffix}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    _wait_for_default_account(core, name)
    yield name
    core.delete_namespace(name)


def _wait_for_default_account(core: client.CoreV1Api, namespace: str) -> None:
    """Without it every Pod in the namespace is refused."""
    deadline = time.monotonic() + ACCOUNT_TIMEOUT_S
    while True:
        try:
            core.read_namespaced_service_account("default", namespace)
        except client.ApiException as error:
            if error.status != 404 or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
