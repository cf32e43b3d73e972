# SPDX-License-Identifier: Apache-2.0
"""Equal tensors: what they rest on, and what does not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import made_fingerprints as made
from pedigree.fingerprint.model import NO_DIGEST, Fingerprint
from pedigree.lineage import hash_test
from pedigree.lineage.results import NotRun


def two() -> Fingerprint:
    return made.fingerprint({"neuron.up": np.zeros((2, 1, 1), np.int8)})


def sampled(fingerprint: Fingerprint, seen: int = 640) -> Fingerprint:
    """The same, of a profile that did not read everything."""
    records = tuple(
        replace(record, full_digest=NO_DIGEST, seen=seen)
        for record in fingerprint.tensors
    )
    return replace(fingerprint, tensors=records)


def edited(fingerprint: Fingerprint, field: str) -> Fingerprint:
    """The same with another digest of its first tensor."""
    change: dict[str, Any] = {field: bytes([255] * 16)}
    first = replace(fingerprint.tensors[0], **change)
    return replace(fingerprint, tensors=(first, *fingerprint.tensors[1:]))


def test_all_bytes_are_compared_if_both_were_read_whole() -> None:
    a = two()
    b = edited(a, "full_digest")
    found = hash_test.run(a, b)
    assert (found.n, found.effect) == (1, 0.5)
    assert "all bytes" in found.detail
    assert not hash_test.same_content(a, b)
    assert hash_test.same_content(a, edited(a, "sample_digest"))


def test_samples_are_compared_if_one_was_not_and_the_result_says_so() -> None:
    a = two()
    b = sampled(edited(a, "full_digest"))
    found = hash_test.run(a, b)
    assert (found.n, found.effect) == (2, 1.0)
    assert "640 or more sampled values of each tensor" in found.detail
    assert hash_test.same_content(a, b)
    assert not hash_test.same_content(a, edited(b, "sample_digest"))


def test_equal_digests_of_other_shapes_do_not_count() -> None:
    a = two()
    turned = tuple(replace(r, shape=r.shape[::-1]) for r in a.tensors)
    b = replace(a, tensors=turned)
    assert hash_test.run(a, b).n == 0
    assert not hash_test.same_content(a, b)
    assert not hash_test.same_tensors(a, b)


def test_tensors_with_few_distinct_values_say_nothing() -> None:
    a = two()
    dull = replace(a, tensors=tuple(replace(r, distinct=3) for r in a.tensors))
    assert hash_test.run(dull, dull).reason is NotRun.NOTHING_INFORMATIVE
    assert not hash_test.same_content(dull, dull)


def test_each_partner_is_used_once() -> None:
    a = two()
    one = a.tensors[0]
    twice = replace(a, tensors=(one, one))
    assert hash_test.run(twice, a).n == 1


def test_the_p_value_is_that_of_a_collision_of_digests() -> None:
    found = hash_test.run(two(), two())
    assert -39 < found.log10_p < -37
