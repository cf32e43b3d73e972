# SPDX-License-Identifier: Apache-2.0
import json
import math
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pedigree.lineage.nullbank import BETA_MAX, FILE, Law, fit, load, upper_limit


def mass(k: int, n: int, beta: float) -> float:
    """Beta-binomial with parameters 1 and beta."""
    log = (
        math.log(math.comb(n, k))
        + math.lgamma(k + 1)
        + math.lgamma(n - k + beta)
        - math.lgamma(n + 1 + beta)
        + math.log(beta)
    )
    return math.exp(log)


@given(st.integers(1, 60), st.floats(0.5, 60), st.data())
def test_the_tail_is_the_sum_of_its_terms(
    matched: int, beta: float, data: st.DataObject
) -> None:
    agreed = data.draw(st.integers(0, matched))
    total = sum(mass(k, matched, beta) for k in range(agreed, matched + 1))
    found = Law(beta).log10_p(agreed, matched)
    assert found == pytest.approx(math.log10(total), abs=1e-6)


@given(st.integers(1, 3000), st.floats(1, 60))
def test_more_agreements_are_never_less_surprising(matched: int, beta: float) -> None:
    law = Law(beta)
    steps = [law.log10_p(k, matched) for k in range(0, matched + 1, 1 + matched // 50)]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == 0


def test_the_smallest_rate_that_would_be_seen_is_just_that() -> None:
    law = Law(30.0)
    rate = law.smallest_rate(200, -8.0)
    assert rate is not None
    agreed = round(rate * 200)
    assert law.log10_p(agreed, 200) <= -8 < law.log10_p(agreed - 1, 200)
    assert law.smallest_rate(5, -8.0) is None
    assert law.smallest_rate(0, -8.0) is None


def test_the_law_is_what_it_says_of_random_rates() -> None:
    random = np.random.default_rng(1)
    rates = 1 - random.random(200_000) ** (1 / 12.0)  # P(rate > x) = (1 - x)**12
    agreed = random.binomial(80, rates)
    for k in (5, 20, 30):
        share = float((agreed >= k).mean())
        assert math.log10(share) == pytest.approx(Law(12.0).log10_p(k, 80), abs=0.05)


def test_a_fit_never_promises_more_than_was_measured() -> None:
    calm = [[[(0, 50), (1, 60)]]] * 100
    assert fit(calm) == BETA_MAX
    wild = [*calm[:95], *[[[(25, 50)]]] * 5]
    beta = fit(wild)
    assert 0 < beta < 12
    assert 10 ** Law(beta).log10_p(25, 50) >= upper_limit(4, 100)


def test_few_pairs_of_families_allow_less_than_many() -> None:
    units = [[[(10, 40)]], *[[[(0, 40)]]] * 4]
    assert fit(units) < fit([units[0], *units[1:] * 50])


def test_the_upper_limit_is_that_of_clopper_and_pearson() -> None:
    assert upper_limit(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100), rel=1e-6)
    assert upper_limit(3, 20) == pytest.approx(0.3437, abs=1e-3)


def test_the_shipped_bank_says_what_it_rests_on() -> None:
    bank = load()
    assert set(bank.laws) == {"MATCH/whole", "MATCH/sampled", "QF/whole"}
    for law in bank.laws.values():
        assert 0 < law.beta <= BETA_MAX
        assert law.beta <= law.allowed
        assert law.pairs >= 100
        assert 0 <= law.agreed < 0.05 * law.matched
    assert bank.made["date"] in bank.summary()
    assert "MATCH/whole" in bank.summary()


def test_the_shipped_counts_add_up_to_the_shipped_laws() -> None:
    text = resources.files("pedigree.lineage").joinpath("data", FILE).read_text("utf-8")
    stored = json.loads(text)
    for name, law in load().laws.items():
        rows = [row for table in stored["counts"][name].values() for row in table]
        assert sum(cells for _, cells, _ in rows) == law.cells
        assert sum(agreed * cells for agreed, cells, _ in rows) == law.agreed
        assert sum(matched for _, _, matched in rows) == law.matched


def test_no_pair_of_blocks_of_the_bank_would_decide() -> None:
    text = resources.files("pedigree.lineage").joinpath("data", FILE).read_text("utf-8")
    for name, tables in json.loads(text)["counts"].items():
        law = load().laws[name]
        for rows in tables.values():
            agreed, cells, matched = max(rows)
            assert law.log10_p(agreed, max(agreed, matched // cells)) > -6
