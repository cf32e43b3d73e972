# SPDX-License-Identifier: Apache-2.0
"""Who may do what: Kubernetes says, by TokenReview and SubjectAccessReview.

The paths of this service are authorised as ``nonResourceURLs``, so access is given
with an ordinary ClusterRole:

====================  ====  ==============================================
``/api/v1/entries``   post  append entries (webhook and operator)
``/api/v1/verdicts``  read  read entries
``/api/v1/verify``    read  verify the ledger, read its head
====================  ====  ==============================================

The verb for reading is not ``get``: the built-in ClusterRole ``system:discovery`` lets
every authenticated user ``get`` ``/api/*``, which would be the whole ledger.

Whatever goes wrong on the way to an answer is a refusal.  Answers are kept for a
minute at most, so a permission taken away works that long.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from kubernetes import client, config

from pedigree.errors import ConfigError, PedigreeError, quote

ALLOWED_FOR_S = 60.0
REFUSED_FOR_S = 10.0
"""Shorter, so that a permission just given works soon."""
CACHE_MAX = 1024
TOKEN_MAX_CHARS = 16_384
"""Tokens of ServiceAccounts have about 1,200."""
REQUEST_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class AccessDenied(PedigreeError):  # noqa: N818 - reads as what it says
    """The caller is not let in.

    Attributes:
        status: HTTP status: 401 unknown, 403 known but not allowed, 503 no answer.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, reason=reason)
        self.status = status


class Access(Protocol):
    """Decides whether the bearer of a token may do something."""

    def authorize(self, token: str, path: str, verb: str) -> str:
        """Return the caller's user name.

        Raises:
            AccessDenied: The caller is not let in, for whatever reason.
        """


class OpenAccess:
    """Lets everybody in as ``system:anonymous``; for loopback only, see ``config``."""

    def authorize(self, token: str, path: str, verb: str) -> str:
        """Return ``system:anonymous``."""
        del token, path, verb
        return "system:anonymous"


@dataclass(frozen=True, slots=True)
class _Answer:
    """A user name, or a refusal; good until a time."""

    user: str
    denied: tuple[int, str, str] | None
    until: float


class KubernetesAccess:
    """Asks the API server, and keeps its answers for a short while."""

    def __init__(
        self,
        api: client.ApiClient,
        *,
        audiences: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make one.

        Args:
            api: The official client; its user may create ``tokenreviews`` and
                ``subjectaccessreviews`` (ClusterRole ``system:auth-delegator``).
            audiences: A token must be for one of these; empty: for the API server.
            clock: Seconds that never run backwards.
        """
        self._authentication = client.AuthenticationV1Api(api)
        self._authorization = client.AuthorizationV1Api(api)
        self._audiences = audiences
        self._clock = clock
        self._lock = threading.Lock()
        # Keyed by a digest: tokens themselves are not kept.
        self._answers: OrderedDict[tuple[bytes, str, str], _Answer] = OrderedDict()

    def authorize(self, token: str, path: str, verb: str) -> str:
        """Return the caller's user name.

        Raises:
            AccessDenied: The caller is not let in, for whatever reason.
        """
        if not token:
            raise AccessDenied(401, "TokenMissing", "no bearer token was sent")
        if len(token) > TOKEN_MAX_CHARS or not token.isascii():
            raise AccessDenied(401, "TokenInvalid", "the bearer token is malformed")
        key = (hashlib.sha256(token.encode("ascii")).digest(), path, verb)
        answer = self._known(key)
        if answer is None:
            answer = self._ask(token, path, verb)
            self._keep(key, answer)
        if answer.denied is not None:
            raise AccessDenied(*answer.denied)
        return answer.user

    def _known(self, key: tuple[bytes, str, str]) -> _Answer | None:
        with self._lock:
            answer = self._answers.get(key)
            return answer if answer and self._clock() < answer.until else None

    def _keep(self, key: tuple[bytes, str, str], answer: _Answer) -> None:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > CACHE_MAX:
                self._answers.popitem(last=False)

    def _ask(self, token: str, path: str, verb: str) -> _Answer:
        """Both questions.

        Raises:
            AccessDenied: There was no answer; that is not kept.
        """
        try:
            user = self._review_token(token)
            allowed = user is not None and self._review_access(user, path, verb)
        except Exception as error:  # whatever fails here must not let anybody in
            log.warning("access cannot be decided: %s: %s", type(error).__name__, error)
            raise AccessDenied(
                503,
                "AccessUnavailable",
                "the Kubernetes API server gave no answer about this token",
            ) from error
        now = self._clock()
        if user is None:
            denied = (401, "TokenInvalid", "the bearer token is not accepted")
            return _Answer("", denied, now + REFUSED_FOR_S)
        if not allowed:
            denied = (
                403,
                "AccessForbidden",
                f"user {quote(user.username)} may not {verb} {path}",
            )
            return _Answer("", denied, now + REFUSED_FOR_S)
        return _Answer(user.username, None, now + ALLOWED_FOR_S)

    def _review_token(self, token: str) -> Any:
        """The token's user; None if it has none."""
        review: Any = self._authentication.create_token_review(
            client.V1TokenReview(
                spec=client.V1TokenReviewSpec(
                    token=token, audiences=list(self._audiences) or None
                )
            ),
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        status = review.status
        if status.authenticated is not True or not status.user.username:
            return None
        # An API server that ignores audiences answers without any.
        if self._audiences and not set(self._audiences) & set(status.audiences or ()):
            return None
        return status.user

    def _review_access(self, user: Any, path: str, verb: str) -> bool:
        review: Any = self._authorization.create_subject_access_review(
            client.V1SubjectAccessReview(
                spec=client.V1SubjectAccessReviewSpec(
                    user=user.username,
                    groups=user.groups,
                    uid=user.uid,
                    extra=user.extra,
                    non_resource_attributes=client.V1NonResourceAttributes(
                        path=path, verb=verb
                    ),
                )
            ),
            _request_timeout=REQUEST_TIMEOUT_S,
        )
        return review.status.allowed is True and not review.status.denied


def kubernetes_access(
    kubeconfig: Path | None, audiences: tuple[str, ...]
) -> KubernetesAccess:
    """Access by the API server of a kubeconfig, or of the cluster this runs in.

    Raises:
        ConfigError: Neither can be used.
    """
    try:
        if kubeconfig is not None:
            api = config.new_client_from_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig)
            )
        else:
            settings = client.Configuration()
            config.load_incluster_config(  # type: ignore[no-untyped-call]
                client_configuration=settings
            )
            api = client.ApiClient(settings)
    except (
        config.ConfigException,
        AttributeError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:  # all of which the client lets out for a kubeconfig that is wrong
        raise ConfigError(
            f"the Kubernetes API server is not known: {error}",
            hint="set PEDIGREE_KUBECONFIG, or run in a cluster",
        ) from error
    return KubernetesAccess(api, audiences=audiences)
