# SPDX-License-Identifier: Apache-2.0
"""Which kinds of object are gated, and how models are found in each.

One row of :data:`ADAPTERS` per kind.  A new kind (Pods, Deployments, KServe) is a new
row: how to read its models, and which part of it says that the models changed.  A kind
without a row is never waved through: :mod:`pedigree_webhook.decide` refuses it, because
whoever put it into the webhook's rules expects it to be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pedigree.evidence import GROUP, VERSION
from pedigree.policy.subject import (
    Subject,
    model_fields,
    subject_from_model_deployment,
)
from pedigree_webhook.review import GroupVersionKind

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How one kind of object is read.

    Attributes:
        kind: Its kind, as metrics name it.
        subject: From the object and its namespace's labels to what policies look at.
            Total: what cannot be read becomes the subject's ``problem``.
        models: The part of the object that says which models run; empty when it
            names none.
        skipped_subresources: Subresources through which no model can change, so that
            they are admitted unread.  Any other subresource is refused.
    """

    kind: str
    subject: Callable[[Object, Mapping[str, str]], Subject]
    models: Callable[[Object], list[Any]]
    skipped_subresources: frozenset[str]


ADAPTERS: Mapping[GroupVersionKind, Adapter] = {
    GroupVersionKind(GROUP, VERSION, "ModelDeployment"): Adapter(
        kind="ModelDeployment",
        subject=subject_from_model_deployment,
        models=model_fields,
        # A CRD's status subresource ignores spec; scale carries only a number.
        skipped_subresources=frozenset({"status", "scale"}),
    ),
}

GATED_RESOURCES: Mapping[str, GroupVersionKind] = {
    "modeldeployments": GroupVersionKind(GROUP, VERSION, "ModelDeployment"),
}
"""Subresources such as ``scale`` arrive with a kind of their own (``autoscaling/v1
Scale``), so for them the adapter is found by the resource."""


def adapter_for(
    kind: GroupVersionKind, resource: str, subresource: str
) -> Adapter | None:
    """The row for a request; None for a kind that nobody taught this webhook."""
    if subresource:
        owner = GATED_RESOURCES.get(resource)
        return ADAPTERS.get(owner) if owner is not None else None
    return ADAPTERS.get(kind)


def models_unchanged(adapter: Adapter, old: Object | None, new: Object | None) -> bool:
    """Whether an update leaves the models as they are.

    False when either side names no model at all: two unreadable objects are not "the
    same models".
    """
    if old is None or new is None:
        return False
    before, after = adapter.models(old), adapter.models(new)
    return before != [] and before == after
