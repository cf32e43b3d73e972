# SPDX-License-Identifier: Apache-2.0
"""Headers made to exhaust memory, time or the stack of whoever reads them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from artifact_world.weights import file_of, source_of
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT, Limits
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.header import parse_header


def _reason(text: bytes, limits: Limits = DEFAULT) -> str:
    content = file_of(text)
    with pytest.raises(ArtifactError) as caught:
        parse_header(content, path="m", file_size=len(content), limits=limits)
    return str(caught.value.reason)


@pytest.mark.parametrize("opener", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [9, 2_000, 300_000])
def test_deep_nesting_is_refused_and_not_recursed_into(
    opener: bytes, depth: int
) -> None:
    assert _reason(b'{"a":' + opener * depth + b"}") == "LimitExceeded"


@pytest.mark.parametrize("item", [b"[],", b"{},", b"0,", b'"",'])
def test_a_flood_of_values_is_refused_before_any_is_made(item: bytes) -> None:
    limits = Limits(tensors_max=100)
    text = b'{"a":[' + item * 10_000 + b"0]}"
    assert _reason(text, limits) == "LimitExceeded"


@pytest.mark.parametrize(
    "text",
    [
        b'{"' + b'\\"' * 500_000 + b"}",
        b'{"' + b"\\" * 1_000_000 + b"}",
        b"{" + b'"' * 999_999 + b"}",
        b'{"a":' + b"9" * 1_000_000 + b"}",
    ],
)
def test_awkward_text_is_read_in_linear_time(text: bytes) -> None:
    begin = time.process_time()
    assert _reason(text) == "MalformedHeader"
    assert time.process_time() - begin < 5


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    content = (2**62).to_bytes(8, "little") + b"{}" * 100
    source = source_of(tmp_path, {"model.safetensors": content})
    with pytest.raises(ArtifactError) as caught:
        Checkpoint.open(source)
    assert caught.value.reason == "HeaderTooLarge"
    assert caught.value.path == "model.safetensors"
