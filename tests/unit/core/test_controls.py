# SPDX-License-Identifier: Apache-2.0
"""Every finding has advice and controls, and every control a dated source."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.errors import ConfigError
from pedigree.evidence.controls import FILE, catalogue, guidance, parse
from pedigree.policy.verdict import Reason

CORE = Path(__file__).parents[3] / "src" / "pedigree"
TOKEN = re.compile(r"[A-Z][a-z0-9]+(?:[A-Z][A-Za-z0-9]*)+")
"""How a reason is written."""
NO_EVIDENCE = {"SourceRefused", "SourceUnavailable", "ConfigError", "LedgerError"}
"""Errors that end an examination: what they say never becomes a finding."""
NO_FINDINGS = {
    # remarks on how tensors were understood, kept in fingerprints
    *("StructuralMap", "FusedHeads", "HintIgnored", "NormOffset", "QuantisedStorage"),
    "FewBitStorage",
    "DoraMagnitude",
    # why parts of a fingerprint are not there
    *("QfTooLarge", "TableDownTooLarge"),
    # classes that pickles may name
    *("OrderedDict", "UntypedStorage"),
}
NO_MODULES = {"handed_back.py"}
"""Whose errors are about answers of Jobs, not about models."""


def _words(path: Path) -> Iterator[str]:
    """Constants that look like a reason, wherever code passes or keeps a value."""
    for node in ast.walk(ast.parse(path.read_text())):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else ""
            if name not in NO_EVIDENCE:
                values = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.FunctionDef):
            values = [*node.args.defaults, *node.args.kw_defaults]
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.Return | ast.Yield):
            values = [node.value]
        elif isinstance(node, ast.Tuple):
            values = [*node.elts]
        elif isinstance(node, ast.IfExp):
            values = [node.body, node.orelse]
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def reasons() -> dict[str, str]:
    """Every reason that a finding can have, and a module that gives it."""
    found: dict[str, str] = {}
    for package in ("tensors", "fingerprint", "examine", "evidence"):
        for path in sorted((CORE / package).rglob("*.py")):
            if path.name in NO_MODULES:
                continue
            for word in _words(path):
                if TOKEN.fullmatch(word) and word not in NO_FINDINGS:
                    found.setdefault(word, str(path.relative_to(CORE)))
    return found


def test_every_reason_of_the_code_has_advice_and_controls() -> None:
    missing = {
        reason: path for reason, path in reasons().items() if guidance(reason) is None
    }
    assert missing == {}


def test_every_reason_of_a_verdict_has_advice_and_controls() -> None:
    assert set(catalogue().verdicts) == {reason.value for reason in Reason}
    assert "LineageDenied" in catalogue().evidence_for("Annex IV(2)(a)")


def test_reasons_are_found_in_every_form_that_the_code_gives_them() -> None:
    found = reasons()
    forms = {
        "CodeInModel",  # an argument of Remark
        "HoleInData",  # a member of an enumeration
        "UncomparedWeights",  # a constant
        "AdapterWeights",  # in a tuple
        "MalformedJson",  # a default
        "UnsupportedGgufVersion",  # an argument of a method that refuses
    }
    assert forms <= set(found)


def test_every_framework_that_was_asked_for_is_there_with_its_date() -> None:
    found = catalogue()
    assert {
        *("OWASP-LLM-2026", "OWASP-LLM-2025", "OWASP-AISVS", "MITRE-ATLAS"),
        *("EU-AI-ACT", "NIST-AI-RMF", "NIST-AI-600-1", "ISO-42001"),
    } == set(found.frameworks)
    assert {item.framework for item in found.controls.values()} == set(found.frameworks)
    assert all(item.date <= found.checked for item in found.frameworks.values())
    assert found.controls["LLM04:2026"].framework == "OWASP-LLM-2026"
    assert found.controls["LLM03:2025"].framework == "OWASP-LLM-2025"


def test_what_was_not_read_itself_is_said_to_be_secondary() -> None:
    read = {
        item.id for item in catalogue().frameworks.values() if item.read == "primary"
    }
    assert read == {"OWASP-LLM-2026", "OWASP-AISVS", "MITRE-ATLAS"}


def test_a_control_names_the_findings_that_count_for_it() -> None:
    found = catalogue()
    assert "RemoteCode" in found.evidence_for("AML.T0018.002")
    assert "LicenceDiffersFromBase" not in found.evidence_for("AML.T0018.002")
    assert all(found.evidence_for(control) for control in found.controls)
    assert found.evidence_for("no such control") == ()


def test_licence_findings_say_that_they_are_no_advice() -> None:
    for reason in ("LicenceDiffersFromBase", "NamePrefixMissing", "NoticeMissing"):
        known = guidance(reason)
        assert known is not None
        assert "indicator, not legal advice" in known.advice


def _shipped() -> dict[str, Any]:
    data = pkgutil.get_data("pedigree.evidence", FILE) or b""
    document: dict[str, Any] = json.loads(data)
    return document


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("schema",), "pedigree.dev/controls/v2", "schema"),
        (("checked",), "yesterday", "checked"),
        (("notice",), "", "notice"),
        (("frameworks", 0, "date"), "4 August", "date"),
        (("frameworks", 0, "read"), "heard", "framework"),
        (("frameworks", 0, "url"), "http://x", "framework"),
        (("frameworks", 1, "id"), "OWASP-LLM-2026", "twice"),
        (("frameworks", 0, "more"), "x", "fields"),
        (("controls", 0, "framework"), "NONE", "of no framework"),
        (("controls", 0, "text"), 7, "text"),
        (("groups", "code", "controls"), ["X1"], "unknown"),
        (("groups", "code", "controls"), [], "no control"),
        (("findings", "RemoteCode", "group"), "none", "no group"),
        (("findings", "not a reason"), {"group": "code", "advice": "x"}, "no reason"),
        (("findings", "RemoteCode"), [], "map"),
        (("controls",), {}, "list"),
    ],
)
def test_a_mapping_with_one_fault_is_refused(
    where: tuple[Any, ...], value: object, said: str
) -> None:
    document = _shipped()
    target: Any = document
    for key in where[:-1]:
        target = target[key]
    target[where[-1]] = value
    with pytest.raises(ConfigError, match=said) as refused:
        parse(json.dumps(document).encode())
    assert refused.value.reason == "ControlsInvalid"


def test_a_control_without_findings_and_a_key_told_twice_are_refused() -> None:
    document = _shipped()
    document["controls"].append({"id": "X", "framework": "ISO-42001", "text": "x"})
    with pytest.raises(ConfigError, match="no finding"):
        parse(json.dumps(document).encode())
    with pytest.raises(ConfigError, match="twice"):
        parse(b'{"schema": "a", "schema": "b"}')


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["schema", "findings", "groups", "controls", "x"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(data)


def test_the_page_on_controls_says_what_the_data_say() -> None:
    root = CORE.parents[1]
    made = runpy.run_path(str(root / "tools" / "controls_page.py"))["page"]()
    written = (root / "docs" / "controls.md").read_text()
    assert written == made, "run .venv/bin/python tools/controls_page.py"
