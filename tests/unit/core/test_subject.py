# SPDX-License-Identifier: Apache-2.0
"""How a ModelDeployment becomes what policies look at."""

from typing import Any

import pytest

from pedigree.policy.subject import (
    is_pinned,
    model_fields,
    subject_from_model_deployment,
)
from pedigree.refs import parse
from worlds.policies import COMMIT, deployment, model, subject


def test_the_parts_a_policy_looks_at_are_read() -> None:
    obj = deployment(
        model(
            role="Adapter",
            source={"huggingFace": {"repo": "org/m", "revision": COMMIT}},
            expectedDigest="sha256:" + "1" * 64,
            claims={"baseModel": "org/base"},
        ),
        labels={"tier": "x"},
    )
    read = subject_from_model_deployment(obj, {"team": "a"})
    assert (read.kind, read.namespace, read.name) == (
        "ModelDeployment",
        "team-a",
        "support",
    )
    assert (read.namespace_labels, read.labels) == ({"team": "a"}, {"tier": "x"})
    (only,) = read.models
    assert only.uri == f"hf://org/m@{COMMIT}"
    assert only.ref == parse(only.uri)
    assert only.expected_digest is not None
    assert only.expected_digest.hex == "1" * 64
    assert (only.role, only.field_path) == ("Adapter", "spec.models[0]")
    assert only.claims == {"baseModel": "org/base"}
    assert not only.problem
    assert not read.problem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {}}, "spec.models[0].source has neither"),
        (
            {"source": {"uri": "file:///m", "huggingFace": {"repo": "o/m"}}},
            "has uri and huggingFace, wanted exactly one",
        ),
        ({"source": {"uri": "models/m"}}, "names no scheme"),
        ({"source": {"uri": 3}}, "has the uri 3, wanted a string"),
        ({"source": {"huggingFace": {}}}, "has a huggingFace without repo"),
        ({"expectedDigest": "md5:1"}, "spec.models[0].expectedDigest: digest is"),
        ({"role": ["Base"]}, "spec.models[0].role is ['Base'], known are Base"),
        ({"name": ""}, "spec.models[0].name is missing"),
    ],
)
def test_what_the_crd_would_refuse_becomes_a_problem(
    changes: dict[str, Any], message: str
) -> None:
    (only,) = subject(model(**changes)).models
    assert message in only.problem


def test_two_models_of_one_name_are_a_problem_of_the_object() -> None:
    assert "has the name 'base' twice" in subject(model(), model()).problem


def test_an_object_without_models_or_with_too_many_is_a_problem() -> None:
    assert "names no model" in subject_from_model_deployment({}, {}).problem
    many = subject(*(model(f"m{i}") for i in range(17)))
    assert many.problem == "spec.models has 17 models, allowed are 16"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"metadata": {"labels": {"a": "b"}, "name": "other"}}, True),
        ({"spec": {"workload": {"ref": {"name": "x"}}}}, True),
        ({"spec": {"revalidation": {"interval": "1h"}}}, True),
    ],
)
def test_only_the_models_say_which_models_run(
    change: dict[str, dict[str, Any]], same: bool
) -> None:
    before, after = deployment(model()), deployment(model())
    for part, fields in change.items():
        after[part] = {**after[part], **fields}
    assert (model_fields(before) == model_fields(after)) is same


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"uri": "file:///other"}},
        {"role": "Adapter"},
        {"expectedDigest": "sha256:" + "1" * 64},
        {"claims": {"baseModel": "x"}},
        {"name": "other"},
    ],
)
def test_a_change_of_a_model_is_seen(changes: dict[str, Any]) -> None:
    before = deployment(model(), model("second"))
    after = deployment(model(**changes), model("second"))
    assert model_fields(before) != model_fields(after)


def test_order_and_the_default_role_are_no_change() -> None:
    one = deployment(model(), model("second"))
    other = deployment(model("second", role="Base"), model())
    assert model_fields(one) == model_fields(other)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"uri": f"hf://org/m@{COMMIT}"}, True),
        ({"uri": "hf://org/m@main"}, False),
        ({"uri": "file:///models/m"}, False),
    ],
)
def test_a_commit_pins_and_a_path_does_not(
    source: dict[str, Any], expected: bool
) -> None:
    (only,) = subject(model(source=source)).models
    assert is_pinned(only) is expected
