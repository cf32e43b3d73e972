# SPDX-License-Identifier: Apache-2.0
"""Reads settings out of environment variables.

A variable that is unset, empty or blank keeps its default.  One that cannot be
understood ends the start: the message names it, what it holds and what is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pedigree.errors import ConfigError, quote

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a Pod is reached from outside itself
LOG_LEVELS = ("debug", "info", "warning", "error")
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_DIGITS_MAX = 18


class Environment:
    """The variables that a process was started with.

    Args:
        values: All of them; it is not copied.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """Any text, without white space around it."""
        return self._values.get(name, "").strip() or default

    def path(self, name: str) -> Path | None:
        """A path, or None."""
        text = self.text(name)
        return Path(text) if text else None

    def needed_path(self, name: str) -> Path:
        """A path that has no default.

        Raises:
            ConfigError: It is not set.
        """
        path = self.path(name)
        if path is None:
            raise ConfigError(f"{name} is not set, wanted a path", hint=f"set {name}")
        return path

    def choice(
        self,
        name: str,
        default: str,
        allowed: Sequence[str],
        *,
        any_case: bool = False,
    ) -> str:
        """One of some words.

        Args:
            name: The variable.
            default: What is taken when it is not set.
            allowed: The words; lower case if ``any_case``.
            any_case: Whether capitals make no difference.

        Raises:
            ConfigError: It is none of them.
        """
        text = self.text(name, default)
        word = text.lower() if any_case else text
        if word not in allowed:
            wanted = ", ".join(map(str, allowed))
            raise ConfigError(f"{name} is {quote(text)}, wanted one of {wanted}")
        return word

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number, in ASCII digits.

        Raises:
            ConfigError: It is none, or out of bounds.
        """
        text = self.text(name, str(default))
        digits = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
        if not digits or not least <= int(text) <= most:
            raise ConfigError(
                f"{name} is {quote(text)}, wanted a whole number from {least} to {most}"
            )
        return int(text)

    def port(self, name: str, default: int) -> int:
        """A TCP port; 0 stands for a free one.

        Raises:
            ConfigError: It is none.
        """
        return self.whole(name, default, least=0, most=65535)

    def seconds(self, name: str, default: float, *, least: float, most: float) -> float:
        """A finite number of seconds.

        Raises:
            ConfigError: It is none, or out of bounds.
        """
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:  # nothing is so for "not a number"
            raise ConfigError(
                f"{name} is {quote(text)}, wanted seconds from {least:g} to {most:g}"
            )
        return value

    def kubeconfig(self) -> Path | None:
        """``PEDIGREE_KUBECONFIG``, else ``KUBECONFIG``, else None: the Pod's own."""
        return self.path("PEDIGREE_KUBECONFIG") or self.path("KUBECONFIG")

    def log_level(self) -> str:
        """``PEDIGREE_LOG_LEVEL``, in any case; default info.

        Raises:
            ConfigError: It is none of ``LOG_LEVELS``.
        """
        return self.choice("PEDIGREE_LOG_LEVEL", "info", LOG_LEVELS, any_case=True)
