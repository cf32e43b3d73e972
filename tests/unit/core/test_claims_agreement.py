# SPDX-License-Identifier: Apache-2.0
"""Declarations against each other and against weights: unknown is no contradiction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.examine.claims.against_weights import contradictions
from pedigree.examine.claims.agreement import disagreements
from pedigree.examine.claims.classes import CLASSES, FAMILIES
from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.names import repository
from pedigree.fingerprint.families import FAMILIES as KNOWN
from pedigree.tensors.remarks import Declared

CARD, ADAPTER, CONFIG, GGUF = (
    *("README.md", "adapter_config.json", "config.json", "m.gguf"),
)


def told(*items: tuple[str, str, str]) -> list[tuple[str, str]]:
    found = list(disagreements([Declared(*item) for item in items]))
    assert all(
        (r.reason, r.severity) == ("DeclarationsDisagree", "Warning") for r in found
    )
    return [(remark.path, remark.message) for remark in found]


def test_two_licences_are_told_with_both_files_and_values() -> None:
    assert told(("license", "apache-2.0", CARD), ("license", "llama3", GGUF)) == [
        (
            GGUF,
            "'README.md' declares the licence 'apache-2.0', but 'm.gguf' declares "
            "'llama3'; ask the publisher which holds",
        )
    ]


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("apache-2.0", "Apache License 2.0"),
        ("apache-2.0", "other"),
        ("other", "llama3"),
        ("our own terms", "their own terms"),
    ],
)
def test_licences_that_are_one_or_not_known_do_not_disagree(
    here: str, there: str
) -> None:
    assert told(("license", here, CARD), ("license", there, GGUF)) == []


def test_a_list_that_holds_the_other_s_value_agrees() -> None:
    assert (
        told(
            ("license", "mit", CARD),
            ("license", "apache-2.0", CARD),
            ("license", "apache-2.0", "Kitfile"),
        )
        == []
    )


def test_an_adapter_s_base_is_held_against_the_card_s() -> None:
    both = [("baseModel", "org/a", CARD), ("baseModel", "org/b", ADAPTER)]
    ((path, message),) = told(*both)
    assert path == ADAPTER
    assert "declares the base model 'org/a', but" in message
    assert "declares 'org/b'" in message


@pytest.mark.parametrize(
    "base",
    ["https://huggingface.co/Org/A", "hf://org/a@main", "ORG/A", "org/a/tree/main"],
)
def test_one_model_named_in_several_ways_is_one(base: str) -> None:
    assert told(("baseModel", "org/a", CARD), ("baseModel", base, ADAPTER)) == []


@pytest.mark.parametrize(
    "base",
    [
        "./merged/x",
        "/data/x",
        "~/x",
        "C:\\x\\y",
        "Llama 3.1 8B",
        "x",
        "a/b/c",
        "10.5281/zenodo.1",
        "s3://a/b",
    ],
)
def test_a_base_that_is_no_name_of_the_hub_s_form_is_unknown(base: str) -> None:
    assert repository(base) == ""
    assert told(("baseModel", "org/a", CARD), ("baseModel", base, ADAPTER)) == []


def test_an_adapter_beside_the_weights_is_held_against_other_adapters_only() -> None:
    card = ("baseModel", "org/a", CARD)
    first = ("adapterBase", "org/b", "x/" + ADAPTER)
    second = ("adapterBase", "org/c", "y/" + ADAPTER)
    own = ("baseModel", "org/a", ADAPTER)
    assert told(card, first) == []
    assert told(first, ("adapterBase", "hf://Org/B", "z/" + ADAPTER)) == []
    ((path, message),) = told(card, first, second)
    assert path == "y/" + ADAPTER
    assert "'org/b'" in message
    ((path, _),) = told(card, own, first)
    assert path == "x/" + ADAPTER
    ((path, _),) = told(card, ("baseModel", "org/d", ADAPTER), first)
    assert path == ADAPTER


def test_an_adapter_in_a_folder_that_is_the_model_is_held_against_the_card() -> None:
    nested = "x/" + ADAPTER
    ((path, _),) = told(("baseModel", "org/a", CARD), ("baseModel", "org/b", nested))
    assert path == nested


@pytest.mark.parametrize(
    ("relation", "count"), [("quantized", 0), ("", 0), ("finetune", 1), ("merge", 1)]
)
def test_a_quantised_card_names_what_was_converted_and_gguf_its_base(
    relation: str, count: int
) -> None:
    items = [
        ("baseModel", "org/sunny", CARD),
        ("baseModel", "https://huggingface.co/org/base", GGUF),
    ]
    if relation:
        items.append(("relation", relation, CARD))
    assert len(told(*items)) == count


def test_a_class_is_held_against_what_gguf_calls_it() -> None:
    config = ("architecture", "Qwen2ForCausalLM", CONFIG)
    ((path, message),) = told(config, ("architecture", "llama", GGUF))
    assert path == GGUF
    assert "'Qwen2ForCausalLM'" in message
    assert told(config, ("architecture", "qwen2", GGUF)) == []
    assert told(config, ("architecture", "unheard-of", GGUF)) == []
    assert told(("architecture", "New", CONFIG), ("architecture", "llama", GGUF)) == []
    two = ("architecture", "LlamaForCausalLM", CONFIG)
    assert told(config, two, ("architecture", "llama", GGUF)) == []


def test_families_of_the_table_are_those_of_the_role_maps() -> None:
    assert {family.name for family in KNOWN} >= FAMILIES
    assert not {"gguf", "gguf-gpt-oss"} & FAMILIES


def against(
    items: list[tuple[str, str, str]], architecture: str = "llama", size: int = 0
) -> list[str]:
    declared = [Declared(*item) for item in items]
    found = list(contradictions(declared, architecture, size))
    assert all(remark.reason == "DeclarationContradicted" for remark in found)
    return [remark.message for remark in found]


def test_a_class_is_held_against_the_tensors() -> None:
    (message,) = against([("architecture", "GPT2LMHeadModel", CONFIG)])
    assert message == (
        "'config.json' declares the architecture 'GPT2LMHeadModel', but the tensors "
        "are named and shaped as in llama"
    )
    assert against([("architecture", "LlamaForCausalLM", CONFIG)]) == []
    assert against([("architecture", "Qwen2ForCausalLM", CONFIG)]) == []
    assert against([("architecture", "Unheard", CONFIG)]) == []
    for unknown in ("", "gguf", "structural"):
        assert against([("architecture", "GPT2LMHeadModel", CONFIG)], unknown) == []


@pytest.mark.parametrize(
    ("stated", "count", "wrong"),
    [
        ("8B", 8_030_000_000, False),
        ("8b", 70_600_000_000, True),
        ("6.7 B", 6_700_000_000, False),
        ("100m", 8_000_000_000, True),
        ("8B", 0, False),
        ("0b", 5, False),
        ("large", 5, False),
        ("8x7B", 46_000_000_000, False),
        ("1" * 50, 5, False),
    ],
)
def test_a_stated_size_is_held_against_the_weights(
    stated: str, count: int, wrong: bool
) -> None:
    found = against([("parameters", stated, "model-config.json")], size=count)
    assert bool(found) is wrong
    if wrong:
        assert f"'{stated}', but there are {count:,} weights" in found[0]


def test_shards_that_state_one_wrong_size_each_give_one_finding() -> None:
    sizes = [("parameters", f"{i}B", f"{i}.gguf") for i in range(5, 9)]
    assert len(against(sizes, size=1000)) == 1


@given(
    st.lists(
        st.builds(
            Declared,
            st.sampled_from([str(field) for field in Field]),
            st.sampled_from(["org/a", "org/b", "mit", "llama", *CLASSES])
            | st.text(min_size=1, max_size=20),
            st.sampled_from([CARD, ADAPTER, f"x/{ADAPTER}", CONFIG, GGUF, "Kitfile"]),
        ),
        max_size=8,
    )
)
def test_any_declarations_are_judged_and_each_field_once(
    declared: list[Declared],
) -> None:
    assert len(list(disagreements(declared))) <= 3
    assert len(list(contradictions(declared, "llama", 7))) <= 2
    one_file = [Declared(item.field, item.value, CARD) for item in declared]
    assert list(disagreements(one_file)) == []
