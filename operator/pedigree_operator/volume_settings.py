# SPDX-License-Identifier: Apache-2.0
"""Settings of the Jobs that read volume claims."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pedigree.errors import ConfigError, quote
from pedigree.serving.environment import Environment

DAY_S = 86400.0
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_USER = re.compile(r"[1-9][0-9]{0,9}:[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSettings:
    """How volume claims are read; by default they are not.

    Attributes:
        namespaces: ``PEDIGREE_VOLUME_NAMESPACES``, comma separated: claims are read in
            these namespaces only.  The operator needs permissions in each.
        image: ``PEDIGREE_VOLUME_IMAGE``: what the Jobs run, this project's image.
        pull_policy: ``PEDIGREE_VOLUME_PULL_POLICY``.
        pull_secrets: ``PEDIGREE_VOLUME_PULL_SECRETS``, comma separated: Secrets of the
            claim's namespace.
        reexamine_s: ``PEDIGREE_VOLUME_REEXAMINE_S``: what a Job found stands for so
            long; the content of a claim can change unseen, so this bounds how late a
            change is noticed.
        mount_s: ``PEDIGREE_VOLUME_MOUNT_S``: a Pod that has not started by then, since
            its claim cannot be mounted for instance, is given up.
        deadline_s: ``PEDIGREE_VOLUME_DEADLINE_S``: then an examination is ended.
        user: ``PEDIGREE_VOLUME_USER``: ``uid:gid`` that reads the files, never root;
            ``any`` (kept as an empty
            text) leaves the choice to the platform.
        cpu: ``PEDIGREE_VOLUME_CPU``: requested.
        memory: ``PEDIGREE_VOLUME_MEMORY``: requested, and the limit.
        poll_s: How often a Job is looked at.
    """

    namespaces: tuple[str, ...] = ()
    image: str = ""
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    reexamine_s: float = 3600.0
    mount_s: float = 300.0
    deadline_s: float = 3600.0
    user: str = "65532:65532"
    cpu: str = "500m"
    memory: str = "2Gi"
    poll_s: float = 1.0

    @classmethod
    def from_env(cls, env: Environment) -> VolumeSettings:
        """Read the settings.

        Raises:
            ConfigError: A value cannot be used; the message names the variable.
        """
        namespaces = _names(env, "PEDIGREE_VOLUME_NAMESPACES")
        image = env.text("PEDIGREE_VOLUME_IMAGE")
        if namespaces and not image:
            raise ConfigError(
                "PEDIGREE_VOLUME_NAMESPACES is set and PEDIGREE_VOLUME_IMAGE is not",
                hint="name the image of this project that Jobs are to run",
            )
        return cls(
            namespaces=namespaces,
            image=image if namespaces else "",
            pull_policy=env.choice(
                "PEDIGREE_VOLUME_PULL_POLICY",
                "IfNotPresent",
                ("Always", "IfNotPresent", "Never"),
            ),
            pull_secrets=_names(env, "PEDIGREE_VOLUME_PULL_SECRETS"),
            reexamine_s=_seconds(env, "PEDIGREE_VOLUME_REEXAMINE_S", 3600.0),
            mount_s=_seconds(env, "PEDIGREE_VOLUME_MOUNT_S", 300.0),
            deadline_s=_seconds(env, "PEDIGREE_VOLUME_DEADLINE_S", 3600.0),
            user=_user(env),
            cpu=_quantity(env, "PEDIGREE_VOLUME_CPU", "500m"),
            memory=_quantity(env, "PEDIGREE_VOLUME_MEMORY", "2Gi"),
        )


def _seconds(env: Environment, name: str, default: float) -> float:
    return env.seconds(name, default, least=1.0, most=DAY_S)


def _user(env: Environment) -> str:
    text = env.text("PEDIGREE_VOLUME_USER", "65532:65532")
    if text != "any" and not _USER.fullmatch(text):
        raise ConfigError(
            f"PEDIGREE_VOLUME_USER is {quote(text)}, wanted uid:gid, both above 0, or "
            "any"
        )
    return "" if text == "any" else text


def _quantity(env: Environment, name: str, default: str) -> str:
    text = env.text(name, default)
    if not _QUANTITY.fullmatch(text):
        raise ConfigError(f"{name} is {quote(text)}, wanted a quantity such as 2Gi")
    return text


def _names(env: Environment, name: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in env.text(name).split(",") if part.strip())
    for each in found:
        if not _NAME.fullmatch(each):
            raise ConfigError(
                f"{name} names {quote(each)}, wanted names separated by commas"
            )
    return found
