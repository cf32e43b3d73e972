# SPDX-License-Identifier: Apache-2.0
"""kopf's part: it watches, and every event only brings the cache up to date.

No handler of kopf's own kinds (create, update, resume) is used: those keep progress and
differences in annotations and finalizers of users' objects, and write back on every
change.  kopf calls these functions; an exception here is logged by kopf and the event
lost, which the next resync repairs.
"""

from __future__ import annotations

from typing import Any, Protocol

import kopf

from pedigree_operator.cluster import Connection
from pedigree_operator.kinds import RESOURCES, Kind


class Inbox(Protocol):
    """Where events go."""

    def seen(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object is there, or has changed."""

    def gone(self, kind: Kind, obj: dict[str, Any]) -> None:
        """An object was deleted."""

    def connection(self) -> Connection:
        """How to reach the API server, with a token that is valid now."""


def build_registry(inbox: Inbox) -> kopf.OperatorRegistry:
    """All handlers, in a registry of their own."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login(inbox))
    for kind, resource in RESOURCES.items():
        selector = (resource.group, resource.version, resource.plural)
        kopf.on.event(*selector, registry=registry, id=str(kind))(_watch(inbox, kind))
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Kopf without anything that writes, and with every wait bounded."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.worker_limit = None  # a limit can deadlock the start
    settings.queueing.exit_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 30
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.enforce_retry_after = True
    for resource in RESOURCES.values():
        if resource.label_selector:
            key = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[key] = resource.label_selector
    return settings


def _watch(inbox: Inbox, kind: Kind) -> Any:
    async def handle(event: kopf.RawEvent, **_: Any) -> None:
        """Called by kopf for each object listed and each event watched."""
        obj: Any = event["object"]
        if event["type"] == "DELETED":
            inbox.gone(kind, obj)
        else:
            inbox.seen(kind, obj)

    return handle


def _login(inbox: Inbox) -> Any:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        """Called by kopf at start, and again when a token has expired."""
        found = inbox.connection()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file or None,
            scheme="Bearer" if found.token else None,
            token=found.token or None,
            certificate_path=found.certificate_file or None,
            private_key_path=found.key_file or None,
        )

    return login
