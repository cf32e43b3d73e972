# SPDX-License-Identifier: Apache-2.0
"""Digests and the canonical form of JSON."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.digests import (
    Digest,
    canonical_json,
    json_digest,
    sha256,
)

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.binary())
def test_a_digest_prints_as_it_is_read(data: bytes) -> None:
    digest = sha256(data)
    assert Digest.parse(str(digest)) == digest
    assert digest.raw == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "a" * 64,
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha512:" + "a" * 64,
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="digest is"):
        Digest.parse(text)


@given(_JSON)
def test_canonical_json_means_what_it_was_made_from(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _JSON))
def test_the_order_of_keys_does_not_change_a_digest(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert json_digest(turned) == json_digest(value)


def test_canonical_json_has_the_known_bytes() -> None:
    value = {"b": [1, True, None], "a": "é\n", "€": {}}
    assert canonical_json(value) == '{"a":"é\\n","b":[1,true,null],"€":{}}'.encode()


@pytest.mark.parametrize("value", [1.0, {"a": 0.5}, {1: "a"}, b"a", {"a": {1, 2}}])
def test_what_json_cannot_say_exactly_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, "\ud800"])
def test_what_readers_would_not_agree_on_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - UnicodeEncodeError is one
        canonical_json([value])
