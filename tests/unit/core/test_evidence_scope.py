# SPDX-License-Identifier: Apache-2.0
"""For whom evidence counts, in its stored form."""

from dataclasses import replace

from pedigree.evidence import (
    SCOPE_MAX_CHARS,
    Resolution,
    evidence_name,
    from_object,
    to_object,
)
from worlds.policies import evidence

AT = "2026-11-23T11:00:00Z"
URI = "hf://org/model"


def seen(scope: str) -> Resolution:
    return Resolution(URI, URI, "commit:c", AT, scope)


def test_scopes_and_confinement_are_read_back() -> None:
    scopes = ("", "team-a", "team-a/hub", "n" * 63 + "/" + "s" * 253)
    assert len(scopes[-1]) == SCOPE_MAX_CHARS
    found = replace(
        evidence(), resolutions=tuple(map(seen, scopes)), confined_to="team-a"
    )
    assert from_object(to_object(found)) == found


def test_what_counts_for_everybody_is_stored_as_before() -> None:
    obj = to_object(replace(evidence(), resolutions=(seen(""),)))
    assert "confinedTo" not in obj["spec"]
    assert "scope" not in obj["status"]["resolutions"][0]


def test_a_scope_that_does_not_fit_is_left_out_rather_than_cut() -> None:
    """A cut one could be the scope of somebody else."""
    long = seen("n/" + "s" * SCOPE_MAX_CHARS)
    obj = to_object(replace(evidence(), resolutions=(long, seen("n/s"))))
    assert [one["scope"] for one in obj["status"]["resolutions"]] == ["n/s"]


def test_confined_evidence_has_a_name_of_its_own() -> None:
    found = evidence()
    confined = replace(found, confined_to="team-a")
    assert confined.object_name == f"{found.object_name}.team-a"
    assert evidence_name(found.digest, "team-a") == confined.object_name
