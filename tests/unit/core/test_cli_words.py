# SPDX-License-Identifier: Apache-2.0
"""Words and pictures: explanations, the shaded layer map, the plot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pedigree.cli import main, plain_words, signature_words
from pedigree.cli.explain_command import topics
from pedigree.cli.heatmap import COLUMNS_MAX, ROWS_MAX, SHADES, heatmap, shade
from pedigree.cli.plotting import check_target, draw
from pedigree.cli.table import lay_out
from pedigree.errors import ConfigError
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.lineage.context.features import COSTS
from pedigree.lineage.findings import LayerMap, Relation
from pedigree.lineage.results import TESTS, Comparison, NotRun, TestResult
from pedigree.signatures.verdict import SignatureReason


def layers(count_a: int, count_b: int, *, experts: int = 1) -> LayerMap:
    """A diagonal map; layer i of B comes from layer i of A."""
    labels_a = tuple(str(i) for i in range(count_a))
    labels_b = tuple(
        f"{i}/{e}" if experts > 1 else str(i)
        for i in range(count_b)
        for e in range(experts)
    )
    scores = tuple(
        tuple(50.0 if label.split("/")[0] == a else -1.0 for label in labels_b)
        for a in labels_a
    )
    return LayerMap("TSP", labels_a, labels_b, scores, (), ("a remark",))


def comparison(found: LayerMap | None) -> Comparison:
    tests = tuple(
        TestResult(name=name, effect=0.9, z=30.0, log10_p=-200.0)
        if name != "QF"
        else TestResult(name=name, reason=NotRun.NEEDS_DEEP)
        for name in TESTS
    )
    return Comparison(
        lineage=LineageClass.DERIVED,
        relation="FineTuned",
        direction=Direction.UNDIRECTED,
        direction_evidence="",
        reason="",
        statement="",
        log10_p=-199.0,
        deciding=tests[0],
        tests=tests,
        family_size=1,
        layer_map=found,
    )


def test_every_test_class_and_signal_has_plain_words() -> None:
    assert tuple(plain_words.TESTS) == TESTS
    assert set(plain_words.CLASSES) == set(LineageClass)
    assert set(plain_words.RELATIONS) == set(Relation)
    assert tuple(plain_words.SIGNALS) == tuple(COSTS)
    assert set(signature_words.SIGNATURES) == set(SignatureReason)
    kinds = [topic.kind for topic in topics().values()]
    assert kinds.count("signature") == len(SignatureReason)


@pytest.mark.parametrize("name", sorted(topics()))
def test_everything_that_is_listed_is_explained(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == name
    assert len(found["plain"]) > 30
    if found["kind"] == "test" and found["text"]:
        for section in ("Definition", "Survives", "Null", "Assumes", "Source"):
            assert f"\n{section}\n" in found["text"]


def test_explain_without_a_name_lists_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["explain"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in topics())


def test_the_map_has_rows_of_b_and_columns_of_a() -> None:
    lines = heatmap(layers(3, 2))
    assert lines[1:] == ["B \\ A 0 1 2", "    0 ██    ", "    1   ██  ", "a remark"]


def test_experts_have_a_row_each() -> None:
    lines = heatmap(layers(2, 2, experts=2))
    assert [line.split()[0] for line in lines[2:6]] == ["0/0", "0/1", "1/0", "1/1"]


@pytest.mark.parametrize("count", [33, 80, 200, 513])
def test_a_large_map_still_fits_a_page_and_keeps_its_diagonal(count: int) -> None:
    lines = heatmap(layers(count, count))
    picture = lines[2:-1]
    assert len(picture) <= ROWS_MAX
    assert all(SHADES[-1] in line for line in picture)
    assert max(map(len, lines[1:-1])) <= COLUMNS_MAX + 12


@pytest.mark.parametrize(
    ("score", "best", "expected"),
    [(-3, 10, " "), (0, 10, " "), (10, 10, "█"), (5, 10, "▒"), (1, 0, " ")],
)
def test_a_shade_is_a_share_of_the_best(
    score: float, best: float, expected: str
) -> None:
    assert shade(score, best) == expected


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize("found", [None, layers(4, 3), layers(90, 90)])
def test_a_picture_is_drawn_and_equal_comparisons_give_equal_files(
    tmp_path: Path, suffix: str, found: LayerMap | None
) -> None:
    paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for path in paths:
        draw(comparison(found), path, names=("a\x1b", "b" * 300))
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    if suffix == "svg":
        assert b"not run: NeedsDeep" in first or b"NeedsDeep" in first


def test_a_picture_of_another_kind_is_refused_before_any_reading(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", "/no/a", "/no/b", "--plot", "x.gif"]) == 2
    assert "wanted a name that ends in .png or .svg" in capsys.readouterr().err


def test_without_the_extra_the_way_to_get_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError) as refused:
        check_target(Path("x.png"))
    assert refused.value.reason == "ExtraMissing"
    assert "pedigree-gate[plot]" in str(refused.value.hint)


def test_a_picture_that_cannot_be_written_is_an_error_not_a_traceback(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError) as refused:
        draw(comparison(None), tmp_path / "no" / "x.png", names=("a", "b"))
    assert refused.value.reason == "OutputFailed"


def test_a_table_fits_its_width_and_never_cuts_a_number() -> None:
    rows = [("name", "-123456.7", "words " * 40), ("x" * 30, "1", "")]
    lines = lay_out(("a", "b", "c"), rows, width=60, right={1})
    assert max(map(len, lines)) <= 60
    assert any("-123456.7" in line for line in lines)
    assert lines[1] == "─" * len(lines[1])
    assert " ".join(lines).count("words") == 40
