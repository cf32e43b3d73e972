# SPDX-License-Identifier: Apache-2.0
"""What licences of bases ask of derivatives, and silence where nothing is known."""

from __future__ import annotations

import json
import pkgutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.errors import ConfigError
from pedigree.evidence import Claim, Severity
from pedigree.evidence.licences import (
    FILE,
    Base,
    Propagation,
    known_licence,
    licence_indicators,
    licences,
    parse,
)

LLAMA = Base("llama-3-1-8b", "llama3.1", "FineTuned")
WHOLE = ("LICENSE", "NOTICE", "model.safetensors")


def declares(value: str, field: str = "license") -> Claim:
    return Claim(field, value, "README.md")


def told(*claims: Claim, base: Base = LLAMA, **more: Any) -> list[tuple[str, str]]:
    found = licence_indicators(claims, [base], more.get("files"), more.get("names", ()))
    assert all("indicator, not legal advice" in item.message for item in found)
    assert all(item.severity is not Severity.ERROR for item in found)
    return [(item.reason, str(item.severity)) for item in found]


def test_a_declared_licence_that_is_not_the_base_s_is_told_with_both() -> None:
    claims = [declares("Apache-2.0")]
    (found,) = licence_indicators(claims, [LLAMA], None)
    assert (found.reason, found.severity, found.path) == (
        "LicenceDiffersFromBase",
        Severity.WARNING,
        "README.md",
    )
    assert "'README.md' declares the licence 'Apache-2.0'" in found.message
    assert "its base 'llama-3-1-8b' is under Llama 3.1 Community" in found.message


@pytest.mark.parametrize("value", ["llama3.1", "LLAMA3.1", "llama-3.1"])
def test_the_licence_of_the_base_in_any_spelling_is_no_difference(value: str) -> None:
    assert told(declares(value)) == []


def test_a_licence_that_is_not_known_here_gives_no_finding() -> None:
    assert told(declares("other")) == []
    assert told(declares("apache-2.0"), base=Base("x", "our own terms")) == []
    assert told(declares("apache-2.0"), base=Base("x", "")) == []
    assert told(declares("other"), declares("qwen-research", "licenseName")) == [
        ("LicenceDiffersFromBase", "Warning")
    ]


def test_other_terms_on_a_permissive_base_are_worth_no_more_than_a_note() -> None:
    assert told(declares("mit"), base=Base("x", "apache-2.0")) == [
        ("LicenceDiffersFromBase", "Info")
    ]


def test_a_verified_base_overrides_the_declared_one() -> None:
    claimed = Base("gemma", "gemma", verified=False)
    found = licence_indicators([declares("mit")], [claimed, LLAMA], None)
    assert [item.reason for item in found] == ["LicenceDiffersFromBase"]
    assert "its base 'llama-3-1-8b'" in found[0].message
    found = licence_indicators(
        [declares("mit")], [Base("l", "llama4", "", False)], None
    )
    assert "the base that it declares 'l'" in found[0].message


def test_several_relatives_under_one_licence_are_told_once() -> None:
    bases = [LLAMA, Base("llama-3-1-8b-instruct", "llama3.1")]
    assert len(licence_indicators([declares("mit")], bases, None)) == 1


@pytest.mark.parametrize(
    ("base", "name", "missing"),
    [
        ("llama3.1", "Llama-Guard-X", False),
        ("llama3.1", "llama3-x", False),
        ("llama3.1", "Sunny-8B", True),
        ("llama3", "Llama-3-Sunny", False),
        ("llama3", "Llama-Sunny", True),  # the older text says "Llama 3"
        ("llama2", "Sunny", False),
        ("apache-2.0", "Sunny", False),
    ],
)
def test_the_name_rule_is_that_of_the_licence(
    base: str, name: str, missing: bool
) -> None:
    found = told(base=Base("b", base, "FineTuned"), names=[name])
    assert found == ([("NamePrefixMissing", "Warning")] if missing else [])


def test_nothing_is_said_of_a_name_that_is_not_known_or_of_one_among_several() -> None:
    assert told(names=[]) == []
    assert told(names=["--"]) == []
    assert told(names=["Sunny", "Llama-Sunny"]) == []


def test_a_base_in_another_storage_is_only_noted_for_its_name() -> None:
    quantised = Base("b", "llama3.1", "Quantised")
    assert told(base=quantised, names=["Sunny"]) == [("NamePrefixMissing", "Info")]


@pytest.mark.parametrize(
    ("files", "base", "expected"),
    [
        (WHOLE, "llama3.1", []),
        (("LICENCE.txt", "docs/Notice.md"), "gemma", []),
        (("COPYING",), "llama3.1", [("NoticeMissing", "Warning")]),
        (("NOTICE",), "llama3.1", [("NoticeMissing", "Warning")]),
        ((), "llama3.1", [("NoticeMissing", "Warning")]),
        ((), "apache-2.0", [("NoticeMissing", "Info")]),
        ((), "cc-by-4.0", []),
        (None, "llama3.1", []),
    ],
)
def test_files_that_must_go_along_are_looked_for_by_name(
    files: tuple[str, ...] | None, base: str, expected: list[tuple[str, str]]
) -> None:
    assert told(base=Base("b", base), files=files) == expected


def test_what_is_missing_is_named() -> None:
    (found,) = licence_indicators([], [LLAMA], ["LICENSE"])
    assert "no notice file that says 'Llama 3.1 is licensed under" in found.message
    assert "text of the licence" not in found.message


def test_every_common_licence_is_there_with_a_dated_source() -> None:
    wanted = {
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma"),
        *("qwen-research", "mrl", "deepseek", "apache-2.0", "mit", "cc-by-nc-4.0"),
        *("openrail", "creativeml-openrail-m", "falcon-llm-license"),
    }
    assert wanted <= set(licences())
    restricted = known_licence("bigscience-openrail-m")
    assert restricted is not None
    assert restricted.propagation is Propagation.RESTRICTIONS
    read = {item.id for item in licences().values() if item.read == "primary"}
    assert read == {"llama3.1", "llama3.2", "llama3.3", "llama4", "deepseek"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("propagation", "viral"),
        ("read", "heard"),
        ("date", "long ago"),
        ("url", "http://x"),
        ("aliases", "mit"),
        ("aliases", [7]),
        ("aliases", ["mit"]),
        ("aliases", ["Upper Case"]),
        ("licenceFile", "yes"),
        ("notice", None),
        ("more", ""),
    ],
)
def test_terms_with_one_fault_are_refused(field: str, value: object) -> None:
    document = json.loads(pkgutil.get_data("pedigree.evidence", FILE) or b"")
    document["licences"][0][field] = value
    with pytest.raises(ConfigError) as refused:
        parse(json.dumps(document).encode())
    assert refused.value.reason == "LicencesInvalid"


@given(st.binary(max_size=40))
def test_anything_else_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ConfigError):
        parse(data)


@given(
    st.lists(st.sampled_from([*sorted(licences()), "other", "x"]), max_size=4),
    st.lists(st.sampled_from([*sorted(licences()), "other"]), max_size=4),
    st.none() | st.lists(st.text(max_size=12), max_size=4),
    st.lists(st.text(max_size=12), max_size=3),
)
def test_any_model_gets_indicators_of_at_most_a_warning(
    declared: list[str], bases: list[str], files: list[str] | None, names: list[str]
) -> None:
    claims = [declares(value) for value in declared]
    found = licence_indicators(claims, [Base("b", x) for x in bases], files, names)
    assert all(item.severity in (Severity.INFO, Severity.WARNING) for item in found)
