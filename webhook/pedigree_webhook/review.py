# SPDX-License-Identifier: Apache-2.0
"""AdmissionReview v1, read into values and written from values.

What cannot be read is the caller's mistake and becomes an HTTP error (kopf makes the
same distinction): the API server then applies the configuration's ``failurePolicy``.
A question that *can* be read always gets an AdmissionReview as its answer, also when
the answer is no.  This module decides nothing and knows no web framework.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from pedigree.errors import PedigreeError, quote

API_VERSION = "admission.k8s.io/v1"
NAME_MAX_CHARS = 253
"""Kubernetes' own bound on names of objects and namespaces."""
GROUPS_MAX = 64
_UID = re.compile(r"[!-~]{1,253}")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")

_HTTP_REASONS = {
    400: "BadRequest",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    500: "InternalError",
}


class Operation(StrEnum):
    """What the requester wants to do.  Closed set; a metric label."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class ReviewError(PedigreeError):
    """The call is not an AdmissionReview that can be answered.

    Args:
        message: What is wrong with it.
        http_status: 400, 413 or 415.
    """

    default_reason = "ReviewInvalid"

    def __init__(self, message: str, *, http_status: int = 400) -> None:
        super().__init__(message)
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class GroupVersionKind:
    """The type of an object."""

    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group or 'core'}/{self.version} {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """One question of the API server.

    Attributes:
        uid: Names the question; the answer repeats it.
        kind: Type of ``object``, converted as the webhook's rules ask.
        resource: Plural name, as in ``modeldeployments``.
        subresource: ``status``, ``scale`` ... or empty.
        operation: What is asked for.
        namespace: Empty for cluster-scoped objects.
        name: May be empty on CREATE, when the API server is to make one up.
        user: Who asks, as authenticated.
        groups: The user's groups, at most ``GROUPS_MAX``.
        dry_run: Whether nothing may be changed anywhere, our records included.
        object: The new object; None on DELETE.
        old_object: The stored object; None on CREATE.
    """

    uid: str
    kind: GroupVersionKind
    resource: str
    subresource: str
    operation: Operation
    namespace: str
    name: str
    user: str
    groups: tuple[str, ...]
    dry_run: bool
    object: Mapping[str, Any] | None
    old_object: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class StatusCause:
    """One ground of a refusal: ``metav1.StatusCause``."""

    reason: str
    message: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResponse:
    """One answer to the API server.

    Attributes:
        uid: That of the request.
        allowed: The answer.
        code: HTTP status the requester gets when refused.
        reason: ``status.reason``; kubectl prints it in parentheses.
        message: ``status.message``; a sentence for the requester.
        causes: ``status.details.causes``.
        details: ``name``, ``group`` and ``kind`` of the refused object.
        warnings: Printed by kubectl whether allowed or not.
        annotations: End in the API server's own audit log, prefixed with the name of
            the webhook.
    """

    uid: str
    allowed: bool
    code: int
    reason: str
    message: str
    causes: tuple[StatusCause, ...]
    details: Mapping[str, str]
    warnings: tuple[str, ...]
    annotations: Mapping[str, str]


def parse_review(body: bytes, content_type: str) -> AdmissionRequest:
    """Read the body of a call to ``/validate``.

    Raises:
        ReviewError: It is not an AdmissionReview v1 with a complete request.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ReviewError(
            f"content type is {quote(content_type)}, wanted 'application/json'",
            http_status=415,
        )
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReviewError(f"body is not JSON: {quote(str(error))}") from None
    if not isinstance(review, dict):
        raise ReviewError(f"body is {_type(review)}, wanted an AdmissionReview object")
    for field, wanted in (("apiVersion", API_VERSION), ("kind", "AdmissionReview")):
        if review.get(field) != wanted:
            raise ReviewError(
                f"{field} is {quote(review.get(field))}, wanted {wanted!r}"
            )
    request = review.get("request")
    if not isinstance(request, dict):
        raise ReviewError(f"request is {_type(request)}, wanted an object")
    return _request(request)


def _request(request: dict[str, Any]) -> AdmissionRequest:
    uid = _text(request, "uid", "request.")
    if not _UID.fullmatch(uid):
        raise ReviewError(
            f"request.uid is {quote(uid, 80)}, wanted 1 to 253 printable ASCII "
            "characters"
        )
    user = _object(request, "userInfo") or {}
    return AdmissionRequest(
        uid=uid,
        kind=_kind(request),
        resource=_text(_object(request, "resource") or {}, "resource", "resource."),
        subresource=_text(request, "subResource", "request."),
        operation=_operation(request),
        namespace=_name(request, "namespace"),
        name=_name(request, "name"),
        user=_text(user, "username", "request.userInfo."),
        groups=_groups(user),
        dry_run=_dry_run(request),
        object=_object(request, "object"),
        old_object=_object(request, "oldObject"),
    )


def _kind(request: dict[str, Any]) -> GroupVersionKind:
    kind = _object(request, "kind")
    if kind is None:
        raise ReviewError("request.kind is missing, wanted group, version and kind")
    parts = [
        _text(kind, part, "request.kind.") for part in ("group", "version", "kind")
    ]
    if not parts[1] or not _KIND.fullmatch(parts[2]):
        raise ReviewError(
            f"request.kind is {quote(kind, 80)}, wanted a version, and a kind of "
            "letters and digits"
        )
    return GroupVersionKind(*parts)


def _operation(request: dict[str, Any]) -> Operation:
    text = _text(request, "operation", "request.")
    if text not in tuple(Operation):
        raise ReviewError(
            f"request.operation is {quote(text)}, wanted one of {', '.join(Operation)}"
        )
    return Operation(text)


def _groups(user: Mapping[str, Any]) -> tuple[str, ...]:
    groups = user.get("groups")
    if groups is None:
        return ()
    if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
        raise ReviewError("request.userInfo.groups is not a list of strings")
    return tuple(groups[:GROUPS_MAX])


def _dry_run(request: dict[str, Any]) -> bool:
    value = request.get("dryRun")
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ReviewError(f"request.dryRun is {_type(value)}, wanted true or false")
    return value


def _text(data: Mapping[str, Any], key: str, path: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReviewError(f"{path}{key} is {_type(value)}, wanted a string")
    return value


def _name(request: Mapping[str, Any], key: str) -> str:
    name = _text(request, key, "request.")
    if len(name) > NAME_MAX_CHARS:
        raise ReviewError(
            f"request.{key} has {len(name)} characters, allowed are {NAME_MAX_CHARS}"
        )
    return name


def _object(request: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    value = request.get(key)
    if value is not None and not isinstance(value, dict):
        raise ReviewError(f"request.{key} is {_type(value)}, wanted an object")
    return value


def _type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    if value is None:
        return "null or missing"
    return names.get(type(value), "a number")


def render_review(response: AdmissionResponse) -> bytes:
    """The AdmissionReview that answers a request, as JSON."""
    answer: dict[str, Any] = {"uid": response.uid, "allowed": response.allowed}
    if not response.allowed:
        causes = [
            {"reason": cause.reason, "message": cause.message, "field": cause.field}
            for cause in response.causes
        ]
        answer["status"] = {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "code": response.code,
            "reason": response.reason,
            "message": response.message,
            "details": {**response.details, "causes": causes},
        }
    if response.warnings:
        answer["warnings"] = list(response.warnings)
    if response.annotations:
        answer["auditAnnotations"] = dict(response.annotations)
    return orjson.dumps(
        {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": answer}
    )


def render_error(http_status: int, message: str) -> bytes:
    """The body of an HTTP error: a ``metav1.Status``, which API servers understand."""
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "code": http_status,
            "reason": _HTTP_REASONS.get(http_status, "Unknown"),
            "message": message,
        }
    )
