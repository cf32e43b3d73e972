# SPDX-License-Identifier: Apache-2.0
"""A field of a policy that must be there and is not: the answer says what to write."""

from __future__ import annotations

from typing import Any

import pytest

from pedigree.policy.rules import BrokenPolicy, load_policy

MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "signature": (
        {"signers": ["acme"]},
        "signature.required: is missing, wanted Always or WhereSigned",
    ),
    "pinned": ({}, "pinned.required: is missing, wanted Always or ExceptFiles"),
    "chatTemplate": (
        {},
        "chatTemplate.differsFromAncestor: is missing, wanted Deny or Warn",
    ),
}


def _problems(spec: dict[str, Any]) -> str:
    found = load_policy(
        {
            "apiVersion": "pedigree.dev/v1alpha1",
            "kind": "ClusterLineagePolicy",
            "metadata": {"name": "p"},
            "spec": spec,
        }
    )
    assert isinstance(found, BrokenPolicy)
    return "\n".join(f"{item.field}: {item.message}" for item in found.problems)


@pytest.mark.parametrize("member", [*MISSING])
def test_a_rule_without_its_word_is_told_which_words_there_are(member: str) -> None:
    body, said = MISSING[member]
    assert said in _problems({"rules": [{"name": "r", member: body}]})


def test_a_selector_without_its_operator_is_told_which_there_are() -> None:
    match = {"objectSelector": {"matchExpressions": [{"key": "a"}]}}
    rules = [{"name": "r", "formats": {"allowed": ["gguf"]}}]
    said = _problems({"match": match, "rules": rules})
    assert "operator: is missing, wanted one of In, NotIn, Exists" in said
