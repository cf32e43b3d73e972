# SPDX-License-Identifier: Apache-2.0
"""How the command says that it has no answer: on stderr, as JSON, by exit code."""

from __future__ import annotations

import json
import sys
from typing import Any

from pedigree.errors import (
    ConfigError,
    ModelRefError,
    PedigreeError,
    SourceUnavailable,
)

EXIT_OK = 0
EXIT_NEGATIVE = 1
"""An answer was reached, and it is no."""
EXIT_USAGE = 2
EXIT_NO_ANSWER = 3
EXIT_NOTHING_TO_CHECK = 4
EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells say it."""


def exit_code(error: PedigreeError) -> int:
    """Exit code of an error: 2 for wrong usage, else 3."""
    wrong_usage = isinstance(error, ConfigError | ModelRefError)
    return EXIT_USAGE if wrong_usage else EXIT_NO_ANSWER


def failure_document(error: Exception) -> dict[str, Any]:
    """The JSON document ``pedigree.dev/error/v1`` for an error."""
    known = error if isinstance(error, PedigreeError) else None
    body: dict[str, Any] = {
        "class": type(error).__name__,
        "reason": known.reason if known else "InternalError",
        "message": known.message if known else f"{type(error).__name__}: {error}",
        "hint": (known.hint if known else None) or "",
    }
    if isinstance(error, SourceUnavailable) and error.retry_after_s is not None:
        body["retryAfterSeconds"] = error.retry_after_s
    return {"schema": "pedigree.dev/error/v1", "error": body}


def print_failure(error: Exception, *, as_json: bool) -> None:
    """Say on stderr what failed and what to do, and on stdout too when JSON is due."""
    body = failure_document(error)["error"]
    sys.stderr.write(f"error: {body['message']}\n")
    if body["hint"]:
        sys.stderr.write(f"hint: {body['hint']}\n")
    if body["class"] and not isinstance(error, PedigreeError):
        sys.stderr.write("hint: this is a bug in pedigree; please report it\n")
    if as_json:
        sys.stdout.write(json.dumps(failure_document(error), indent=2) + "\n")
        sys.stdout.flush()
