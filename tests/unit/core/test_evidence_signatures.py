# SPDX-License-Identifier: Apache-2.0
"""Signatures in stored evidence: exact within bounds, and never more than they are."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedigree.digests import sha256
from pedigree.errors import LedgerError
from pedigree.evidence import (
    NO_TRUST,
    OBJECT_MAX_BYTES,
    SIGNATURES_MAX,
    Signature,
    Signatures,
    from_object,
    merge_signatures,
    signatures_to_dict,
    stored_bytes,
    to_object,
)
from worlds.evidences import maximal_evidence
from worlds.policies import derived, evidence

TODAY = sha256(b"today")
GOOD = Signature("model.sig", "Valid", "acme", "key", "0" * 64, ("a.py",), 1)
BAD = Signature("model.sig", "BadSignature", method="key")
TEXTS = st.text(st.characters(exclude_categories=()), max_size=300)


def _stored(found: Signatures) -> Signatures | None:
    return from_object(to_object(evidence(signatures=found))).signatures


def test_what_is_stored_is_what_is_read() -> None:
    other = dataclasses.replace(BAD, ignored=("x", "y z"), ignored_files=7)
    found = Signatures(TODAY, (GOOD, other))
    assert _stored(found) == found
    assert _stored(Signatures(NO_TRUST)) == Signatures(NO_TRUST)
    assert from_object(to_object(evidence())).signatures is None


def test_names_that_do_not_fit_are_counted_and_not_cut() -> None:
    names = ("a.py", "x" * 400, "b.py")
    long = dataclasses.replace(GOOD, unsigned=names, unsigned_files=3)
    kept = _stored(Signatures(TODAY, (long,)))
    assert kept is not None
    assert (kept.found[0].unsigned, kept.found[0].unsigned_files) == (("a.py",), 3)


def test_names_have_room_together_and_the_rest_is_counted() -> None:
    names = tuple(f"{n}" * 50 for n in range(8))
    many = dataclasses.replace(GOOD, unsigned=names, unsigned_files=8)
    kept = _stored(Signatures(TODAY, (many,)))
    assert kept is not None
    assert kept.found[0].unsigned == names[:2]
    assert kept.found[0].unsigned_files == 8


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.builds(
            Signature,
            *[TEXTS] * 5,
            st.lists(TEXTS, max_size=20).map(tuple),
            st.integers(0, 2**53),
            st.lists(TEXTS, max_size=20).map(tuple),
            st.integers(0, 2**53),
        ),
        max_size=9,
    )
)
def test_no_signature_pushes_an_object_over_its_bound(found: list[Signature]) -> None:
    signatures = Signatures(TODAY, tuple(found))
    assert stored_bytes(signatures_to_dict(signatures)) <= 1200
    whole = dataclasses.replace(maximal_evidence(), signatures=signatures)
    stored = to_object(whole)
    assert stored_bytes(stored) <= OBJECT_MAX_BYTES
    assert to_object(from_object(stored)) == stored
    again = from_object(stored)
    assert again.lineage is not None
    assert again.lineage.matches
    assert again.resolutions[:1] == whole.resolutions[:1]


def test_one_signature_of_the_largest_kind_has_room() -> None:
    largest = Signature(
        "s" * 300, "KeylessNotSupported", "n" * 63, "certificate", "0" * 64,
        ("u" * 130,), 9999, ("i" * 130,), 9999,
    )  # fmt: skip
    kept = _stored(Signatures(TODAY, (largest, largest)))
    assert kept is not None
    assert kept.found[0].signer == "n" * 63


def test_signatures_that_cannot_be_read_make_evidence_unreadable() -> None:
    stored = to_object(evidence(signatures=Signatures(TODAY, (GOOD,))))
    del stored["status"]["signatures"]["trustDigest"]
    with pytest.raises(LedgerError):
        from_object(stored)


def test_a_copy_without_signature_does_not_undo_a_valid_one() -> None:
    before = Signatures(TODAY, (GOOD,))
    assert merge_signatures(before, Signatures(TODAY)) == before
    assert merge_signatures(before, Signatures(TODAY, (BAD,))) == before
    assert merge_signatures(before, None) == before
    assert merge_signatures(before, before) == before


def test_a_broken_signature_is_not_kept_and_others_end_somewhere() -> None:
    assert merge_signatures(Signatures(TODAY, (BAD,)), Signatures(TODAY)) == (
        Signatures(TODAY)
    )
    many = [dataclasses.replace(GOOD, path=f"{n}.sig") for n in range(9)]
    merged = merge_signatures(
        Signatures(TODAY, tuple(many)), Signatures(TODAY, (BAD,) * 9)
    )
    assert merged is not None
    assert len(merged.found) == SIGNATURES_MAX
    assert all(item.valid for item in merged.found)


def test_a_broken_signature_of_another_copy_speaks_against_nobody() -> None:
    """Else whoever copies a model could have that of others refused."""
    unsigned, broken = Signatures(TODAY), Signatures(TODAY, (BAD,))
    assert merge_signatures(unsigned, broken) == unsigned
    assert merge_signatures(merge_signatures(broken, unsigned), broken) == unsigned
    assert merge_signatures(broken, broken) == broken
    assert merge_signatures(broken, Signatures(TODAY, (GOOD,))) == (
        Signatures(TODAY, (GOOD,))
    )


def test_another_set_of_signers_undoes_what_was_known() -> None:
    now = Signatures(NO_TRUST, (BAD,))
    assert merge_signatures(Signatures(TODAY, (GOOD,)), now) == now


def test_evidence_with_matches_keeps_them_beside_a_signature() -> None:
    found = dataclasses.replace(
        evidence(*(derived(f"reference-{i}") for i in range(16))),
        signatures=Signatures(TODAY, (GOOD,)),
    )
    assert from_object(to_object(found)) == found
