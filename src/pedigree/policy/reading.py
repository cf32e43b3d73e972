# SPDX-License-Identifier: Apache-2.0
"""Reads parsed YAML field by field, and collects every problem with its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pedigree.errors import quote
from pedigree.policy.terms import FieldProblem

TEXT_MAX_CHARS = 253
_Word = TypeVar("_Word", bound=StrEnum)
_Item = TypeVar("_Item")


class Reader:
    """A map at a path.  Reads return a default and note the problem; none raises."""

    def __init__(self, data: object, path: str, problems: list[FieldProblem]) -> None:
        self.path = path
        self.problems = problems
        self._seen: set[str] = set()
        self._data: Mapping[Any, Any] = {}
        if isinstance(data, Mapping):
            self._data = data
        else:
            self.problem(f"is {quote(data, 80)}, wanted a map")

    def problem(self, message: str, key: str = "") -> None:
        """Note a problem with this map or with one of its fields."""
        field = f"{self.path}.{key}" if key else self.path
        self.problems.append(FieldProblem(field, message))

    def has(self, key: str) -> bool:
        """Whether a field is there and not null."""
        self._seen.add(key)
        return self._data.get(key) is not None

    def raw(self, key: str) -> object:
        """A field as it is."""
        self._seen.add(key)
        return self._data.get(key)

    def child(self, key: str) -> Reader:
        """A field that is a map."""
        return Reader(self.raw(key), f"{self.path}.{key}", self.problems)

    def text(self, key: str) -> str:
        """A field that is a non-empty string; empty when it is not."""
        value = self.raw(key)
        if isinstance(value, str) and 0 < len(value) <= TEXT_MAX_CHARS:
            return value
        self.problem(
            f"is {quote(value, 80)}, wanted a string of 1 to {TEXT_MAX_CHARS} "
            "characters",
            key,
        )
        return ""

    def word(
        self,
        key: str,
        default: _Word,
        allowed: tuple[_Word, ...] = (),
        *,
        required: bool = False,
    ) -> _Word:
        """A field that is one of a few words; the default when absent or wrong.

        Args:
            key: Name of the field.
            default: Also says which words there are, if ``allowed`` does not.
            allowed: The words.
            required: Whether its absence is a problem.
        """
        value = self.raw(key)
        known = allowed or tuple(type(default))
        if value is None:
            if required:
                self.problem(f"is missing, wanted {_either(known)}", key)
            return default
        for word in known:
            if value == word.value:
                return word
        self.problem(f"is {quote(value, 80)}, wanted {_either(known)}", key)
        return default

    def items(
        self, key: str, read: Callable[[object, str], _Item], maximum: int
    ) -> tuple[_Item, ...]:
        """A field that is a list, each item read with its path."""
        value = self.raw(key)
        if value is None:
            return ()
        path = f"{self.path}.{key}"
        if not isinstance(value, list):
            self.problem(f"is {quote(value, 80)}, wanted a list", key)
            return ()
        if len(value) > maximum:
            self.problem(f"has {len(value)} items, allowed are {maximum}", key)
            return ()
        return tuple(read(item, f"{path}[{i}]") for i, item in enumerate(value))

    def texts(self, key: str, maximum: int) -> tuple[str, ...]:
        """A field that is a list of non-empty strings."""

        def read(item: object, path: str) -> str:
            if isinstance(item, str) and 0 < len(item) <= TEXT_MAX_CHARS:
                return item
            self.problems.append(
                FieldProblem(path, f"is {quote(item, 80)}, wanted a non-empty string")
            )
            return ""

        return self.items(key, read, maximum)

    def words(self, key: str, kind: type[_Word]) -> frozenset[str]:
        """A field that is a list of words of one kind."""
        found = self.texts(key, len(kind))
        known = tuple(kind)
        for index, item in enumerate(found):
            if item and item not in known:
                self.problem(
                    f"is {quote(item, 80)}, wanted {_either(known)}", f"{key}[{index}]"
                )
        return frozenset(found)

    def nothing_else(self) -> None:
        """Note every field that was not read: a typo must not weaken a policy."""
        for key in self._data:
            if key not in self._seen:
                wanted = ", ".join(sorted(self._seen))
                self.problem(
                    f"is not a field this version knows; known are {wanted}",
                    quote(key, 80).strip("'"),
                )


def _either(words: tuple[StrEnum, ...]) -> str:
    return " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
