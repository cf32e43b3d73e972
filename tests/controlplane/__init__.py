# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes control plane on one machine, without containers or root.

etcd and kube-apiserver, and for workloads kube-controller-manager, kube-scheduler and
kwok, which plays the kubelets: Deployments become Pods that are scheduled and Running,
but no container ever runs. Everything listens on 127.0.0.1 only.

    with ControlPlane() as plane:
        print(plane.kubectl("get", "nodes"))

For tests and demonstrations; nothing here is part of the product.
"""

from controlplane.errors import (
    CommandError,
    ControlPlaneError,
    ProcessError,
    ProgramError,
)
from controlplane.plane import ControlPlane

__all__ = [
    "CommandError",
    "ControlPlane",
    "ControlPlaneError",
    "ProcessError",
    "ProgramError",
]
