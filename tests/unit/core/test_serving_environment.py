# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from pedigree.errors import ConfigError
from pedigree.serving.environment import Environment


@pytest.mark.parametrize("values", [{}, {"X": ""}, {"X": "  "}])
def test_what_is_unset_empty_or_blank_keeps_its_default(
    values: dict[str, str],
) -> None:
    env = Environment(values)
    assert env.text("X", "d") == "d"
    assert env.path("X") is None
    assert env.choice("X", "a", ("a", "b")) == "a"
    assert env.whole("X", 5, least=0, most=9) == 5
    assert env.port("X", 80) == 80
    assert env.seconds("X", 1.5, least=0, most=9) == 1.5
    with pytest.raises(ConfigError, match="X is not set, wanted a path"):
        env.needed_path("X")


def test_white_space_around_a_value_does_not_count() -> None:
    assert Environment({"X": " /a\n"}).needed_path("X") == Path("/a")
    assert Environment({"X": " 7 "}).whole("X", 1, least=0, most=9) == 7


@pytest.mark.parametrize(
    "text", ["-1", "10", "1.0", "1_0", "0x1", "\u0669", "\u00b2", "9" * 5000, "nine"]
)
def test_what_is_no_whole_number_in_bounds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"X is .*, wanted a whole number from 0 to"):
        Environment({"X": text}).whole("X", 1, least=0, most=9)


@pytest.mark.parametrize("text", ["0", "-1", "9.1", "nan", "inf", "-inf", "2m"])
def test_what_is_no_finite_time_in_bounds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"X is .*, wanted seconds from 0\.5 to 9"):
        Environment({"X": text}).seconds("X", 1.0, least=0.5, most=9)


def test_a_word_is_taken_as_it_is_written_unless_case_makes_no_difference() -> None:
    env = Environment({"X": "Deny"})
    assert env.choice("X", "Allow", ("Allow", "Deny")) == "Deny"
    assert env.choice("X", "allow", ("allow", "deny"), any_case=True) == "deny"
    with pytest.raises(ConfigError, match="X is 'Deny', wanted one of allow, deny"):
        env.choice("X", "allow", ("allow", "deny"))


def test_a_hostile_value_is_not_shown_whole() -> None:
    with pytest.raises(ConfigError) as refused:
        Environment({"X": "x" * 10_000}).choice("X", "a", ("a",))
    assert len(str(refused.value)) < 400


def test_the_own_kubeconfig_comes_before_the_common_one() -> None:
    assert Environment({}).kubeconfig() is None
    common = {"KUBECONFIG": "/common"}
    assert Environment(common).kubeconfig() == Path("/common")
    own = {**common, "PEDIGREE_KUBECONFIG": "/own"}
    assert Environment(own).kubeconfig() == Path("/own")
