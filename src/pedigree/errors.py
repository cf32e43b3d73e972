# SPDX-License-Identifier: Apache-2.0
"""Why no verdict was possible, grouped by who must act.

A negative verdict is a value, never an exception.  An exception means that no
verdict could be reached::

    PedigreeError(message, *, reason, hint=None)
    ├── ArtifactError      the bytes are wrong      -> the publisher; assume hostile
    ├── SourceError        the bytes could not be had
    │   ├── SourceUnavailable   transient           -> wait, or the source's operator
    │   └── SourceRefused       not found, refused  -> whoever wrote the reference
    ├── PolicyError        the policy is wrong      -> its author (field path given)
    ├── ModelRefError      the reference is wrong   -> whoever wrote it
    ├── ConfigError        wrongly started          -> whoever deploys it
    └── LedgerError        the audit ledger cannot be written, read or believed

``reason`` is a stable CamelCase token, the same in conditions, metrics, logs and
JSON; ``message`` is a sentence for people and may change.  Messages say what
failed, what was got and what was wanted; ``hint`` says what to do next.
"""

from __future__ import annotations


class PedigreeError(Exception):
    """Root of every error this project raises on purpose.

    Args:
        message: What failed, what was got, what was wanted.
        reason: Stable CamelCase token for machines.
        hint: What to do next, or None when the message already says it.
    """

    default_reason = "InternalError"

    def __init__(
        self, message: str, *, reason: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ArtifactError(PedigreeError):
    """The model's bytes are wrong; its publisher must act, and may be hostile."""

    default_reason = "ArtifactInvalid"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        hint: str | None = None,
        path: str = "",
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.path = path


class SourceError(PedigreeError):
    """The model's bytes could not be had."""

    default_reason = "SourceUnavailable"


class SourceUnavailable(SourceError):  # noqa: N818 - reads as the reason it carries
    """The source failed for now; the same call may succeed later.

    Args:
        message: What failed.
        retry_after_s: Seconds to wait before the next try, if the source said so.
        reason: Stable token.
        hint: What to do next.
    """

    default_reason = "SourceUnavailable"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        reason: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.retry_after_s = retry_after_s


class SourceRefused(SourceError):  # noqa: N818 - reads as the reason it carries
    """The source said no: not found, forbidden, outside the allowed folders."""

    default_reason = "SourceRefused"


class PolicyError(PedigreeError):
    """A policy object is wrong; its author must act.

    Args:
        message: What is wrong.
        field: Path of the offending field, such as ``spec.rules[2].formats``.
        reason: Stable token.
        hint: What to do next.
    """

    default_reason = "PolicyInvalid"

    def __init__(
        self,
        message: str,
        *,
        field: str,
        reason: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{field}: {message}", reason=reason, hint=hint)
        self.field = field


class ModelRefError(PedigreeError):
    """A model reference cannot be understood; whoever wrote it must act."""

    default_reason = "ReferenceInvalid"


class ConfigError(PedigreeError):
    """This process was started wrongly; whoever deploys it must act."""

    default_reason = "ConfigInvalid"


class LedgerError(PedigreeError):
    """The audit ledger cannot be written, read or believed."""

    default_reason = "LedgerError"


def quote(value: object, limit: int = 256) -> str:
    """Return ``repr(value)`` cut to ``limit`` characters, for use in messages.

    Values that come from outside are never shown whole: a hostile name must not
    fill a log line or a status field.
    """
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
