# SPDX-License-Identifier: Apache-2.0
"""Evidence as a stored object: exact within its bounds, honest beyond them."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pedigree.digests import sha256
from pedigree.errors import LedgerError
from pedigree.evidence import (
    FINDINGS_MAX,
    MATCHES_MAX,
    OBJECT_MAX_BYTES,
    Evidence,
    Finding,
    Resolution,
    Severity,
    from_object,
    stored_bytes,
    to_object,
    to_spec,
    to_status,
)
from worlds.evidences import TIME, digests, evidences, maximal_evidence
from worlds.policies import derived, evidence

SMALL = st.text(max_size=5)
"""At most 30 bytes as stored; formats have room for 32."""
ANY = st.text(st.characters(exclude_categories=()), max_size=700)


def any_evidence(texts: st.SearchStrategy[str], most: int) -> st.SearchStrategy[Any]:
    return evidences(
        texts=texts, names=texts, registries=digests(), formats=texts, most=most
    )


@settings(deadline=None, max_examples=60)
@given(any_evidence(SMALL, 4))
def test_what_is_stored_is_what_is_read(found: Evidence) -> None:
    assert from_object(json.loads(json.dumps(to_object(found)))) == found


@settings(deadline=None, max_examples=40)
@given(any_evidence(ANY, 40))
def test_no_artifact_pushes_an_object_over_its_bound(found: Evidence) -> None:
    stored = to_object(found)
    assert stored_bytes(stored) <= OBJECT_MAX_BYTES
    again = from_object(stored)
    assert to_object(again) == stored
    if found.findings:
        assert again.findings[0].severity is found.findings[0].severity


def test_the_largest_evidence_keeps_what_matters_most() -> None:
    found = maximal_evidence()
    stored = from_object(to_object(found))
    assert stored_bytes(to_object(found)) <= OBJECT_MAX_BYTES
    assert stored.findings[0].severity is Severity.ERROR
    assert stored.findings[-1].reason == "FindingsOmitted"
    assert stored.lineage is not None
    assert found.lineage is not None
    kept = len(stored.lineage.matches)
    assert 0 < kept <= MATCHES_MAX
    assert kept + stored.lineage.omitted == len(found.lineage.matches)
    assert stored.resolutions[:1] == found.resolutions[:1]


def test_ordinary_evidence_has_room_for_every_match_and_many_sources() -> None:
    found = dataclasses.replace(
        evidence(*(derived(f"reference-{i}") for i in range(MATCHES_MAX))),
        resolutions=tuple(
            Resolution(f"hf://org/m@v{i}", f"hf://org/m@{'0' * 40}", f"c{i}", TIME)
            for i in range(8)
        ),
    )
    assert from_object(to_object(found)) == found


def test_findings_are_kept_by_severity_and_the_rest_is_counted() -> None:
    infos = tuple(Finding("Note", Severity.INFO, "", "m") for _ in range(40))
    error = Finding("HeaderTooLarge", Severity.ERROR, "a", "b")
    stored = to_spec(evidence(findings=(*infos, error)))["findings"]
    assert len(stored) <= FINDINGS_MAX
    assert stored[0]["reason"] == "HeaderTooLarge"
    left = 41 - (len(stored) - 1)
    assert stored[-1]["message"] == f"{left} further findings were left out"


def test_a_reference_that_does_not_fit_is_left_out_rather_than_cut() -> None:
    long = Resolution("file:///" + "x" * 600, "file:///x", "i", TIME)
    short = Resolution("file:///x", "file:///x", "i", TIME)
    found = dataclasses.replace(evidence(), resolutions=(long, short))
    assert [item["uri"] for item in to_status(found)["resolutions"]] == ["file:///x"]


def test_a_half_character_in_a_file_name_does_not_stop_storing() -> None:
    finding = Finding("Odd", Severity.WARNING, "a\udcffb", "c")
    stored = to_spec(evidence(findings=(finding,)))["findings"][0]
    assert stored["path"] == "a?b"
    json.dumps(stored).encode()


def broken_objects() -> dict[str, Any]:
    whole = to_object(evidence(derived("good")))

    def without(part: str, field: str) -> dict[str, Any]:
        rest = {key: value for key, value in whole[part].items() if key != field}
        return {**whole, part: rest}

    def having(part: str, **fields: Any) -> dict[str, Any]:
        return {**whole, part: {**whole[part], **fields}}

    return {
        "no spec": {"metadata": {"name": "x"}},
        "no digest": without("spec", "digest"),
        "a bad digest": having("spec", digest="sha256:1"),
        "an unknown severity": having(
            "spec", findings=[{"reason": "A", "severity": "Odd", "message": "m"}]
        ),
        "a status that is a list": {**whole, "status": [1]},
        "a lineage of another kind": having("status", lineage={"matches": 3}),
        "an unknown class": having(
            "status",
            lineage={
                **whole["status"]["lineage"],
                "matches": [{"reference": "x", "lineage": "Cousin"}],
            },
        ),
    }


@pytest.mark.parametrize("case", broken_objects())
def test_an_object_that_cannot_be_read_whole_is_not_read_at_all(case: str) -> None:
    with pytest.raises(LedgerError, match="cannot be read") as caught:
        from_object(broken_objects()[case])
    assert caught.value.reason == "EvidenceUnreadable"


def test_evidence_is_named_after_its_digest() -> None:
    found = evidence()
    name = to_object(found)["metadata"]["name"]
    assert name == f"sha256-{sha256(b'model').hex}" == found.object_name
