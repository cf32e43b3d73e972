# SPDX-License-Identifier: Apache-2.0
"""The objects of one examination of a volume claim: pure, no cluster.

A suspended Job is made first, owned by the claim; then what its Pod needs, owned by the
Job; then it is let run.  So everything goes with the claim, with the Job, or with the
Job's time to live, and a Pod never runs before its permissions are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedigree import __version__
from pedigree.examine.handed_back import part_names
from pedigree.refs import ModelRef
from pedigree_operator.kinds import Resource
from pedigree_operator.volume_settings import VolumeSettings

MOUNT = "/models"
ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
CONTAINER = "examine"
TOKEN_LIFE_S = 3600
"""The kubelet replaces it in time."""
EXAMINATION = "pedigree.dev/volume-examination"
"""Label: which claim and path; the name of the Job, too."""
ANSWER = "pedigree.dev/answer"
"""Annotation of the Job: name of the ConfigMap that takes the answer, and of the
account, the role and its binding."""
MODEL = "pedigree.dev/model"
"""Annotation of the Job: the reference."""
_LABELS = {
    "app.kubernetes.io/name": "pedigree",
    "app.kubernetes.io/component": "volume-examination",
    "app.kubernetes.io/managed-by": "pedigree-operator",
}

JOBS = Resource("batch", "v1", "jobs", True)
CONFIG_MAPS = Resource("", "v1", "configmaps", True)
ACCOUNTS = Resource("", "v1", "serviceaccounts", True)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", True)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", True)
CLAIMS = Resource("", "v1", "persistentvolumeclaims", True)
PODS = Resource("", "v1", "pods", True)

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder of a claim.

    Attributes:
        namespace: Of the claim.
        claim: Its name.
        uid: Its UID: a claim of the same name that was made anew is another.
        path: The model's folder in it; empty for all of it.
    """

    namespace: str
    claim: str
    uid: str
    path: str

    @property
    def name(self) -> str:
        """Name of the Job.

        It is the same for the same folder and version, so that there is one Job at a
        time, whoever makes it and however often.
        """
        parts = (self.uid, self.path, __version__)
        said = "\0".join(parts).encode("utf-8", "surrogatepass")
        return f"pedigree-{hashlib.sha256(said).hexdigest()[:24]}"


def split(ref: ModelRef) -> tuple[str, str]:
    """Claim and path of a ``pvc://`` reference."""
    claim, _, path = ref.location.partition("/")
    return claim, path


def job(volume: Volume, settings: VolumeSettings, ref: ModelRef, answer: str) -> Object:
    """The Job, suspended.

    Args:
        volume: What it reads.
        settings: How.
        ref: The reference, for people.
        answer: Name of the ConfigMap for the answer, which nobody can guess before.
    """
    made = _metadata(volume, volume.name, _owner("v1", "PersistentVolumeClaim", volume))
    made["annotations"] = {ANSWER: answer, MODEL: str(ref)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": made,
        "spec": {
            "suspend": True,
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(settings.mount_s + settings.deadline_s),
            "ttlSecondsAfterFinished": int(settings.reexamine_s) + 600,
            "template": {
                "metadata": {"labels": made["labels"]},
                "spec": _pod(volume, settings, answer),
            },
        },
    }


def belongings(
    volume: Volume, job_uid: str, answer: str
) -> list[tuple[Resource, Object]]:
    """What the Job's Pod needs, each with its kind; in the order of making.

    All have names that no Job before had, whose belongings may still be going away.

    Args:
        volume: What the Job reads.
        job_uid: Its owner's UID.
        answer: Name of the ConfigMap for the answer.
    """
    job_owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": volume.name,
        "uid": job_uid,
    }
    names = [answer, *part_names(answer)]
    made: list[tuple[Resource, Object]] = [
        (
            CONFIG_MAPS,
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": _metadata(volume, name, job_owner),
            },
        )
        for name in names
    ]
    made.append((ACCOUNTS, _account(volume, job_owner, answer)))
    made.append((ROLES, _role(volume, job_owner, names)))
    made.append((BINDINGS, _binding(volume, job_owner, answer)))
    return made


def command(volume: Volume, settings: VolumeSettings, answer: str) -> list[str]:
    """What the container runs."""
    model = f"file://{MOUNT}/{volume.path}".rstrip("/")
    words = [
        *("pedigree", "examine", model),
        *("--file-root", MOUNT),
        *("--deadline", str(int(settings.deadline_s))),
        *("--hand-back", f"{volume.namespace}/{answer}"),
        "--json",
    ]
    # The kubelet puts variables where a command says $(NAME); $$ stands for one $.
    return [word.replace("$", "$$") for word in words]


def _account(volume: Volume, owner: Mapping[str, str], name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(volume, name, owner),
        "automountServiceAccountToken": False,
    }


def _role(volume: Volume, owner: Mapping[str, str], names: list[str]) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": _metadata(volume, names[0], owner),
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": names,
                "verbs": ["get", "patch"],
            }
        ],
    }


def _binding(volume: Volume, owner: Mapping[str, str], name: str) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": _metadata(volume, name, owner),
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": name,
        },
        "subjects": [
            {
                "kind": "ServiceAccount",
                "name": name,
                "namespace": volume.namespace,
            }
        ],
    }


def _pod(volume: Volume, settings: VolumeSettings, answer: str) -> Object:
    made: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": answer,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(volume, settings, answer)],
        "volumes": [
            {
                "name": "models",
                "persistentVolumeClaim": {"claimName": volume.claim, "readOnly": True},
            },
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "account", "projected": _projected()},
        ],
    }
    if settings.user:
        # No fsGroup: it would change the owner of the tenant's files.
        user, _, group = settings.user.partition(":")
        made["securityContext"] |= {"runAsUser": int(user), "runAsGroup": int(group)}
    if settings.pull_secrets:
        made["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    return made


def _container(volume: Volume, settings: VolumeSettings, answer: str) -> Object:
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": command(volume, settings, answer),
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an emptyDir of its own
            {"name": "PEDIGREE_ACCOUNT_DIR", "value": ACCOUNT_DIR},
            # Nothing but the volume is read: no host may be asked for anything.
            {"name": "PEDIGREE_PRIVATE_HOSTS", "value": ""},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "resources": {
            "requests": {"cpu": settings.cpu, "memory": settings.memory},
            "limits": {"memory": settings.memory},
        },
        # Its last words, if it says no more than that.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "models", "mountPath": MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "account", "mountPath": ACCOUNT_DIR, "readOnly": True},
        ],
    }


def _projected() -> Object:
    token = {"path": "token", "expirationSeconds": TOKEN_LIFE_S}
    ca_file = {"key": "ca.crt", "path": "ca.crt"}
    return {
        "defaultMode": 0o444,
        "sources": [
            {"serviceAccountToken": token},
            {"configMap": {"name": "kube-root-ca.crt", "items": [ca_file]}},
        ],
    }


def _owner(version: str, kind: str, volume: Volume) -> dict[str, str]:
    return {
        "apiVersion": version,
        "kind": kind,
        "name": volume.claim,
        "uid": volume.uid,
    }


def _metadata(volume: Volume, name: str, owner: Mapping[str, str]) -> Object:
    return {
        "name": name,
        "namespace": volume.namespace,
        "labels": {**_LABELS, EXAMINATION: volume.name},
        "ownerReferences": [dict(owner)],
    }
