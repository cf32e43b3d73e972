# SPDX-License-Identifier: Apache-2.0
"""Siblings told from parents by their common root, and attempts to pass as one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import made_models as made
from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.classes import LineageClass
from pedigree.lineage.compare import compare
from pedigree.lineage.siblings import Sibling, central, see
from pedigree.lineage.siblings import sibling_of as told
from pedigree.registry.kinship import settle

SALT = b"known to nobody else"
ROOT = made.llama(1, layers=2)
TUNED = made.noise(ROOT, 0.1, seed=2)
Make = Callable[[made.Weights], Fingerprint]


def sibling_of(name: str, *prints: Fingerprint) -> Sibling | None:
    root, reference, model = map(see, prints)
    return told(name, root, reference, model)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Fingerprints of weights, sampled where nobody else can tell."""

    def fingerprint(weights: made.Weights) -> Fingerprint:
        count = len(list(tmp_path.iterdir()))
        return made.fingerprint(made.write(tmp_path / str(count), weights), salt=SALT)

    return fingerprint


def _scaled_against(weights: made.Weights, change: made.Weights) -> made.Weights:
    """Neurons rescaled, up against down, so as to point away from a change."""
    result = dict(weights)
    for name, values in weights.items():
        if "up_proj" not in name:
            continue
        along = np.sign((values * change[name]).sum(axis=1, keepdims=True))
        factor = (1 - 0.3 * along).astype(np.float32)
        down = name.replace("up_proj", "down_proj")
        result[name] = values * factor
        result[down] = weights[down] / factor.T
    return result


def _mixed(a: made.Weights, b: made.Weights, share: float) -> made.Weights:
    return {name: (1 - share) * a[name] + share * b[name] for name in a}


def _layers_of(a: made.Weights, b: made.Weights, layer: int) -> made.Weights:
    return {n: b[n] if f"layers.{layer}." in n else a[n] for n in a}


def test_a_sibling_carries_nothing_of_what_the_other_changed(make: Make) -> None:
    root, other = make(ROOT), make(TUNED)
    found = sibling_of("root", root, other, make(made.noise(ROOT, 0.15, seed=3)))
    assert found is not None
    assert found.counts
    assert abs(found.carried) < 0.1
    assert found.evidence.startswith("both come from root: B carries")


@pytest.mark.parametrize(
    "weights",
    [
        made.noise(TUNED, 0.1, seed=4),
        made.noise(TUNED, 0.5, seed=4),
        made.int8(made.noise(TUNED, 0.05, seed=4)),
        _scaled_against(
            made.noise(TUNED, 0.05, seed=4), {n: TUNED[n] - ROOT[n] for n in ROOT}
        ),
        _mixed(made.noise(ROOT, 0.1, seed=3), TUNED, 0.4),
        _mixed(made.noise(ROOT, 0.1, seed=3), TUNED, 0.25),
        _layers_of(made.noise(ROOT, 0.1, seed=3), TUNED, 1),
    ],
    ids=[
        "tuned",
        "noise",
        "int8",
        "rescaled",
        "merged",
        "a quarter",
        "one layer",
    ],
)
def test_what_descends_is_not_called_a_sibling(
    make: Make, weights: made.Weights
) -> None:
    assert sibling_of("root", make(ROOT), make(TUNED), make(weights)) is None


def test_one_layer_of_many_is_seen_though_the_mean_hardly_moves(make: Make) -> None:
    root = made.llama(1, layers=12)
    tuned = made.noise(root, 0.1, seed=2)
    own = made.noise(root, 0.1, seed=3)
    assert sibling_of("root", make(root), make(tuned), make(own)) is not None
    kept = _layers_of(own, tuned, 5)
    assert sibling_of("root", make(root), make(tuned), make(kept)) is None


def test_a_step_on_the_way_to_the_other_is_not_ruled_out(make: Make) -> None:
    root, step = make(ROOT), make(TUNED)
    near, far = (make(made.noise(TUNED, share, seed=5)) for share in (0.1, 0.4))
    assert sibling_of("root", root, near, step) is None
    found = sibling_of("root", root, far, step)
    assert found is not None
    assert found.evidence.endswith("or A comes from B")


def test_an_unchanged_root_is_not_called_a_sibling(make: Make) -> None:
    assert sibling_of("root", make(ROOT), make(TUNED), make(ROOT)) is None


def test_samples_at_public_places_do_not_count(tmp_path: Path) -> None:
    models = (ROOT, TUNED, made.noise(ROOT, 0.15, seed=3))
    prints = [
        made.fingerprint(made.write(tmp_path / str(i), weights))
        for i, weights in enumerate(models)
    ]
    found = sibling_of("root", *prints)
    assert found is not None
    assert not found.counts


def test_tables_of_all_neurons_tell_whose_samples_were_given_back(
    tmp_path: Path,
) -> None:
    root = made.read(made.EXAMPLES / "llama-a")
    tuned = made.read(made.EXAMPLES / "llama-a.sft")

    def fingerprint(name: str, weights: made.Weights) -> Fingerprint:
        folder = tmp_path / name
        shutil.copytree(made.EXAMPLES / "llama-a", folder)
        return made.fingerprint(made.write(folder, weights))

    a, b = fingerprint("root", root), fingerprint("tuned", tuned)
    apart = fingerprint("apart", made.noise(root, 0.1, seed=1))
    found = sibling_of("llama-a", a, b, apart)
    assert found is not None
    assert found.counts
    child = fingerprint("child", made.noise(tuned, 0.05, seed=1))
    cheat = replace(child, parts={**child.parts, "raw": apart.parts["raw"]})
    assert sibling_of("llama-a", a, b, child) is None
    assert sibling_of("llama-a", a, b, cheat) is None


@pytest.mark.parametrize(
    ("recorded", "lineage"),
    [
        ({"tuned": ["root"]}, LineageClass.COMMON_ANCESTOR),
        ({"root": ["tuned"]}, LineageClass.DERIVED),
        ({}, LineageClass.DERIVED),
    ],
    ids=["known root", "a chain looks the same", "nobody knows"],
)
def test_only_a_root_that_is_known_to_be_older_makes_a_sibling(
    make: Make, recorded: dict[str, list[str]], lineage: LineageClass
) -> None:
    references = {"root": make(ROOT), "tuned": make(TUNED)}
    model = make(made.noise(ROOT, 0.15, seed=3))
    found = settle(
        model,
        {name: compare(x, model, power=False) for name, x in references.items()},
        references.__getitem__,
        lambda name: recorded.get(name, []),
    )
    tuned = found.comparisons["tuned"]
    assert tuned.lineage is lineage
    assert found.comparisons["root"].lineage is LineageClass.DERIVED
    if lineage is LineageClass.COMMON_ANCESTOR:
        assert tuned.statement.startswith(
            "A and B descend from a common ancestor: both come from root"
        )
        assert tuned.statement.count("probability below") == 1


def test_a_remark_leaves_the_class_alone(tmp_path: Path) -> None:
    models = {"root": ROOT, "tuned": TUNED, "own": made.noise(ROOT, 0.15, seed=3)}
    prints = {
        name: made.fingerprint(made.write(tmp_path / name, weights))
        for name, weights in models.items()
    }
    model = prints.pop("own")
    found = settle(
        model,
        {name: compare(x, model, power=False) for name, x in prints.items()},
        prints.__getitem__,
        lambda name: ["root"] if name == "tuned" else [],
    )
    assert found.comparisons["tuned"].lineage is LineageClass.DERIVED
    assert "does not count" in found.comparisons["tuned"].statement
    assert found.siblings["tuned"].root == "root"


def test_a_merge_is_told_with_its_parents(make: Make) -> None:
    second = made.noise(ROOT, 0.12, seed=6)
    references = {"root": make(ROOT), "one": make(TUNED), "two": make(second)}
    model = make(_mixed(TUNED, second, 0.3))
    found = settle(
        model,
        {name: compare(x, model, power=False) for name, x in references.items()},
        references.__getitem__,
        lambda name: ["root"] if name != "root" else [],
    )
    assert found.merge is not None
    shares = {share.name: share.share for share in found.merge.shares}
    assert shares.get("one", 0) == pytest.approx(0.7, abs=0.05)
    assert shares.get("two", 0) == pytest.approx(0.3, abs=0.05)
    for name in ("one", "two"):
        assert found.comparisons[name].relation == "Merged"
        assert found.comparisons[name].lineage is LineageClass.DERIVED


def test_the_root_is_the_central_one_of_three(make: Make) -> None:
    models = {
        "root": see(make(ROOT)),
        "a": see(make(TUNED)),
        "b": see(make(made.noise(ROOT, 0.1, seed=7))),
    }
    assert central(models) == "root"
    assert central({"a": models["a"], "root": models["root"]}) is None
