# SPDX-License-Identifier: Apache-2.0
"""``pedigree examine --hand-back``: a Job writes what it found into ConfigMaps.

They are there already, empty, and the Job's account may read and patch these and
nothing else.  Each is patched once and sealed by the same patch: the API server lets
nobody change the content of an immutable ConfigMap.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.errors import ConfigError, PedigreeError, quote

if TYPE_CHECKING:
    from datetime import datetime

    from pedigree.examine import Examination, Progress
    from pedigree.refs import ModelRef
    from pedigree.sources import SourceSettings

ACCOUNT_DIR = "PEDIGREE_ACCOUNT_DIR"
"""Variable that names the folder with the token and the CA of the API server."""
DEFAULT_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT_S = 30.0
ATTEMPTS = 6
FIRST_WAIT_S = 0.5
_SAID_MAX_BYTES = 4_000_000
"""A full ConfigMap, as the API server shows it."""
_TARGET = re.compile(r"([a-z0-9-]{1,63})/([a-z0-9.-]{1,240})")
_TOKEN = re.compile(r"[!-~]+")
_UNCHANGEABLE = 422
_AGAIN = frozenset({0, 403, 404, 409, 429})
"""Besides 5xx: permissions and objects that are new are known to all a moment later."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects take the answer.

    Attributes:
        namespace: Their namespace.
        name: Of the ConfigMap that takes the answer itself.
    """

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read ``NAMESPACE/CONFIGMAP``.

        Raises:
            ConfigError: It is something else.
        """
        found = _TARGET.fullmatch(text)
        if found is None:
            raise ConfigError(f"--hand-back is {quote(text)}, wanted NAMESPACE/NAME")
        return cls(found[1], found[2])


class ApiServer:
    """The API server as a Pod reaches it.

    Args:
        environment: Where it is, and where the account is if not in its usual place.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Read nothing yet.

        Raises:
            ConfigError: The process does not run in a Pod.
        """
        self._host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "")
        if not self._host or not port.isdecimal():
            raise ConfigError(
                "there is no API server to hand back to: KUBERNETES_SERVICE_HOST is "
                f"{quote(self._host)} and KUBERNETES_SERVICE_PORT {quote(port)}",
                hint="--hand-back is for Jobs in a cluster; use --json elsewhere",
            )
        self._port = int(port)
        self._account = Path(environment.get(ACCOUNT_DIR) or DEFAULT_ACCOUNT_DIR)
        self._sleep = sleep

    def seal(self, target: Target, key: str, value: bytes) -> None:
        """Put a value into an empty ConfigMap, and seal it.

        Raises:
            PedigreeError: It could not be (reason ``NotHandedBack``).
        """
        data = {key: base64.b64encode(value).decode("ascii")}
        body = json.dumps({"binaryData": data, "immutable": True}).encode("ascii")
        status, said = self._persistently("PATCH", target, body)
        if status == _UNCHANGEABLE:
            # Our own patch of before, whose answer got lost?
            _, found = self._persistently("GET", target, None)
            if found.get("binaryData") == data:
                return
            said = {"message": "it is sealed with another content"}
        if status != http.client.OK:
            raise PedigreeError(
                f"ConfigMap {target.namespace}/{target.name} could not be patched: "
                f"HTTP {status} {quote(str(said.get('message', '')))}",
                reason="NotHandedBack",
            )

    def _persistently(
        self, method: str, target: Target, body: bytes | None
    ) -> tuple[int, dict[str, Any]]:
        wait_s = FIRST_WAIT_S
        for attempt in range(ATTEMPTS):
            if attempt:
                self._sleep(wait_s)
                wait_s *= 2
            status, said = self._request(method, target, body)
            if status not in _AGAIN and status < http.client.INTERNAL_SERVER_ERROR:
                break
        return status, said

    def _request(
        self, method: str, target: Target, body: bytes | None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one answer; status 0 when there was none."""
        path = f"/api/v1/namespaces/{target.namespace}/configmaps/{target.name}"
        try:
            connection = http.client.HTTPSConnection(
                self._host,
                self._port,
                timeout=TIMEOUT_S,
                context=ssl.create_default_context(cafile=self._account / "ca.crt"),
            )
            try:
                # The token is read each time: it is replaced while we run.
                connection.request(method, path, body, self._headers())
                response = connection.getresponse()
                content = response.read(_SAID_MAX_BYTES)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, {"message": f"{type(error).__name__}: {error}"}
        try:
            said = json.loads(content)
        except (ValueError, RecursionError):
            said = None
        return response.status, said if isinstance(said, dict) else {}

    def _headers(self) -> dict[str, str]:
        token = (self._account / "token").read_text("ascii").strip()
        if not _TOKEN.fullmatch(token):
            # http.client would show it in its error.
            raise ValueError(f"{self._account / 'token'} holds no token of one line")
        return {
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/merge-patch+json",
            "User-Agent": "pedigree-examine",
        }


def hand_back(
    server: ApiServer,
    target: Target,
    code: int,
    document: Mapping[str, Any],
    fingerprint: bytes,
) -> None:
    """Write the parts of a fingerprint, and then the answer that vouches for them.

    Args:
        server: The API server.
        target: Where to.
        code: Exit code of the examination.
        document: What ``--json`` prints.
        fingerprint: Its stored form; empty when there is none.

    Raises:
        PedigreeError: It is too large, or could not be written.
    """
    from pedigree.examine.handed_back import (
        ANSWER_KEY,
        PART_KEY,
        answer_of,
        part_names,
        parts_of,
    )

    answer = answer_of(code, document, fingerprint)
    parts = parts_of(fingerprint)
    for name, part in zip(part_names(target.name), parts, strict=False):
        server.seal(Target(target.namespace, name), PART_KEY, part)
    server.seal(target, ANSWER_KEY, answer)


def examine_to_fit(
    ref: ModelRef,
    sources: SourceSettings,
    *,
    deadline_s: float | None,
    now: datetime,
    progress: Progress | None = None,
) -> Examination:
    """Examine a model so that its fingerprint can be handed back.

    As from a bucket or the Hub: deep for small models, fast for large ones, whose deep
    fingerprint has tens of megabytes.  A small model with a deep fingerprint that is
    too large after all is read again for the fast one.

    Raises:
        PedigreeError: As :func:`pedigree.examine.examine`.
    """
    from pedigree.errors import ArtifactError
    from pedigree.examine import ExamineSettings, examine
    from pedigree.examine.handed_back import FINGERPRINT_MAX_BYTES
    from pedigree.fingerprint.build import automatic_profile
    from pedigree.fingerprint.spec import Profile
    from pedigree.sources import open_source
    from pedigree.tensors.checkpoint import Checkpoint

    try:
        opened = Checkpoint.open(open_source(ref, sources), sources.limits)
        profile = automatic_profile(opened)
    except ArtifactError:  # the examination says what is wrong
        profile = Profile.FAST
    while True:
        found = examine(
            ref,
            settings=ExamineSettings(
                sources=sources, deadline_s=deadline_s, profile=profile
            ),
            now=now,
            progress=progress,
        )
        made = found.fingerprint
        fits = made is None or len(made.encoded) <= FINGERPRINT_MAX_BYTES
        if fits or profile is Profile.FAST:
            return found
        profile = Profile.FAST


def server_from_environment() -> ApiServer:
    """The API server of the Pod this process runs in.

    Raises:
        ConfigError: It runs in none.
    """
    return ApiServer(os.environ)
