# SPDX-License-Identifier: Apache-2.0
"""Exact identity: digests, and the one canonical form of JSON that is hashed.

A digest says that two things are the same to the last bit.  Near identity is the
business of fingerprints.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest, printed as ``sha256:<64 lower-case hex digits>``.

    ``Digest.parse(str(d)) == d`` holds for every digest.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError(
                f"digest is {self.hex[:80]!r}, wanted 64 lower-case hex digits"
            )

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def raw(self) -> bytes:
        """The 32 bytes of the digest."""
        return bytes.fromhex(self.hex)

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Read ``sha256:<hex>``.

        Args:
            text: Often a member of JSON that somebody else wrote, so of any type.

        Raises:
            ValueError: It is anything else.
        """
        if not isinstance(text, str):
            raise ValueError(
                f"digest is a {type(text).__name__}, wanted 'sha256:<64 hex digits>'"
            )
        algorithm, colon, digits = text.partition(":")
        if algorithm != "sha256" or not colon:
            raise ValueError(
                f"digest is {text[:80]!r}, wanted 'sha256:<64 hex digits>'"
            )
        return cls(digits)


def sha256(data: bytes) -> Digest:
    """Digest of bytes in memory."""
    return Digest(hashlib.sha256(data).hexdigest())


def canonical_json(value: object) -> bytes:
    """Encode JSON so that equal values give equal bytes.

    Keys sorted by code point, no white space, UTF-8, no floats.  For the values
    used here (strings, integers, booleans, null, lists, string-keyed maps) this is
    RFC 8785 as long as integers stay within 2**53; larger ones and floats are refused
    because readers in other languages would not agree on them.

    Raises:
        TypeError: The value holds something JSON cannot say exactly.
        ValueError: An integer is outside +-2**53, or a string is not Unicode.
    """
    _check(value, "$")
    return json.dumps(
        value,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    ).encode("utf-8")


def json_digest(value: object) -> Digest:
    """Digest of the canonical form of a JSON value."""
    return sha256(canonical_json(value))


def _check(value: object, path: str) -> None:
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > 2**53:
            raise ValueError(f"{path} is {value}, wanted an integer within 2**53")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path} has the key {key!r}, wanted a string")
            _check(item, f"{path}.{key}")
    else:
        raise TypeError(
            f"{path} is a {type(value).__name__}, wanted string, integer, boolean, "
            "null, list or map"
        )
