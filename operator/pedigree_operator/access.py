# SPDX-License-Identifier: Apache-2.0
"""With whose access a reference is read: the key of everything learnt about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pedigree.policy.subject import (
    BOUND,
    SubjectModel,
    credentials_secret,
    scope_of,
    source_uri,
)


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """A reference, and how it is reached.

    Two objects that name one reference share lookups and what these find only if their
    accesses are equal: what one may read, the other may not.

    Attributes:
        uri: The reference as it was written.
        namespace: Where the Secret or the volume claim is; empty if neither is needed.
        secret: Name of the Secret whose credentials are used, and no others; empty for
            what anybody may read.
    """

    uri: str
    namespace: str = ""
    secret: str = ""

    @property
    def scope(self) -> str:
        """For whom it is true what this access finds."""
        return scope_of(self.uri, self.namespace, self.secret)

    @property
    def confined_to(self) -> str:
        """The namespace that what it finds counts in; empty for everywhere."""
        return self.namespace if self.uri.partition("://")[0] in BOUND else ""

    def __str__(self) -> str:
        return f"{self.uri} with {self.scope}" if self.scope else self.uri


def access_to(uri: str, namespace: str, secret: str) -> Access:
    """The access of an object to a reference.

    Args:
        uri: The reference.
        namespace: Of the object that names it.
        secret: Name of the Secret it is read with; empty for none.
    """
    bound = scope_of(uri, namespace, secret) != ""
    return Access(uri, namespace if bound else "", secret)


def access_of(model: SubjectModel, namespace: str) -> Access:
    """The access of a model of an object in a namespace."""
    return access_to(model.uri, namespace, model.secret)


def access_in(source: object, namespace: str) -> Access:
    """The access that a ``source`` of an object in a namespace asks for.

    Raises:
        ValueError: It is no source.
    """
    return access_to(source_uri(source), namespace, credentials_secret(source))


def access_by(uri: str, scope: str) -> Access:
    """The access that a recorded scope came from.

    Args:
        uri: The reference.
        scope: As :attr:`Access.scope` gave it.
    """
    namespace, _, secret = scope.partition("/")
    return Access(uri, namespace, secret)


def sources_in(obj: Mapping[str, Any]) -> frozenset[Access]:
    """Accesses of a ModelDeployment or ReferenceModel; what cannot be read is left."""
    spec = obj.get("spec") or {}
    namespace = str(obj["metadata"].get("namespace") or "")
    named = [item.get("source") for item in spec.get("models") or ()]
    found: set[Access] = set()
    for source in [*named, spec.get("source")]:
        try:
            found.add(access_in(source, namespace))
        except ValueError:
            continue
    return frozenset(found)
