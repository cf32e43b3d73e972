# SPDX-License-Identifier: Apache-2.0
"""A comparison as a picture: the layer map, and the evidence of each test.

The only place that knows matplotlib, which comes with the extra ``plot``.  Draws with
its own canvas: no window system is asked for and no global state is touched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.render import visible
from pedigree.errors import ConfigError, quote

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pedigree.lineage.findings import LayerMap
    from pedigree.lineage.results import Comparison, TestResult

SUFFIXES = (".png", ".svg")
_TICKS_MAX = 16
"""Labels along one side of the layer map."""
_NAME_MAX_CHARS = 48
_PLACES = (0, 2, 5, 10, 30, 100, 300, 1000, 3000, 10_000)
"""Of ticks along the axis of p-values."""
_ENOUGH, _TOO_LITTLE = "#2f6f9f", "#a9c6da"
_NOT_RUN, _THRESHOLD = "#8a8a8a", "#b3402a"


def check_target(path: Path) -> None:
    """Refuse early what could not be drawn in the end.

    Raises:
        ConfigError: The name has another suffix (``UsageInvalid``), or matplotlib is
            not there (``ExtraMissing``).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--plot is {quote(str(path))}, wanted a name that ends in "
            f"{' or '.join(SUFFIXES)}",
            reason="UsageInvalid",
        )
    _figure()


def draw(found: Comparison, path: Path, *, names: tuple[str, str]) -> None:
    """Draw one comparison into a file.

    Args:
        found: The comparison.
        path: Ends in one of :data:`SUFFIXES`.
        names: Of A and B.

    Raises:
        ConfigError: As for :func:`check_target`, or the file cannot be written
            (``OutputFailed``).
    """
    figure = _figure()
    layers = found.layer_map
    if layers is None:
        evidence = figure.subplots()
    else:
        left, evidence = figure.subplots(1, 2, width_ratios=(1, 1.25))
        _draw_layers(left, layers)
    _draw_evidence(evidence, found)
    figure.suptitle(_title(found, names), fontsize=11, x=0.01, ha="left")
    try:
        # A fixed salt and no date: equal comparisons give equal files.
        figure.savefig(path, metadata={_DATE[path.suffix.lower()]: None})
    except OSError as error:
        raise ConfigError(
            f"picture {quote(str(path))} cannot be written: {error.strerror}",
            reason="OutputFailed",
        ) from error


_DATE = {".png": "Creation Time", ".svg": "Date"}


def _figure() -> Figure:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "--plot needs matplotlib, which is not installed",
            reason="ExtraMissing",
            hint="pip install 'pedigree-gate[plot]'",
        ) from error
    mpl.rcParams["svg.hashsalt"] = "pedigree"
    return Figure(figsize=(12, 5.4), dpi=120, layout="constrained")


def _title(found: Comparison, names: tuple[str, str]) -> str:
    a, b = (_short(visible(name)) for name in names)
    told = found.relation not in ("", str(found.lineage))
    relation = f" ({found.relation}, {found.direction})" if told else ""
    return f"{found.lineage}{relation}, log10 p {found.log10_p:.0f}\nA {a}    B {b}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_MAX_CHARS else "…" + name[-_NAME_MAX_CHARS + 1 :]


def _draw_layers(axes: Axes, layers: LayerMap) -> None:
    across = [list(column) for column in zip(*layers.scores, strict=True)]  # B by A
    image = axes.imshow(across, cmap="Blues", vmin=0, aspect="auto")
    axes.set_title(f"layers alike ({layers.test})", fontsize=10)
    axes.set_xlabel("layer of A")
    axes.set_ylabel("layer of B")
    axes.set_xticks(*_ticks(layers.labels_a))
    axes.set_yticks(*_ticks(layers.labels_b))
    figure: Any = axes.figure
    figure.colorbar(image, ax=axes, label="score", shrink=0.9)


def _ticks(labels: tuple[str, ...]) -> tuple[list[int], list[str]]:
    step = -(-len(labels) // _TICKS_MAX)
    places = list(range(0, len(labels), step))
    return places, [labels[place] for place in places]


def _draw_evidence(axes: Axes, found: Comparison) -> None:
    tests = found.tests[::-1]  # the first at the top
    heights = [max(0.0, -test.log10_p) for test in tests]
    needed = threshold(found)
    colours = [_ENOUGH if height >= needed else _TOO_LITTLE for height in heights]
    axes.barh([test.name for test in tests], heights, color=colours)
    axes.set_xscale("symlog", linthresh=10)
    most = max(20.0, *heights) * 6
    axes.set_xlim(0, most)
    axes.set_xticks(places := [place for place in _PLACES if place <= most])
    axes.set_xticklabels([str(place) for place in places])
    axes.set_title("evidence of each test", fontsize=10)
    axes.set_xlabel("-log10 p, corrected for its own cells (linear up to 10)")
    axes.axvline(needed, color=_THRESHOLD, linestyle="--", linewidth=1)
    axes.text(
        needed, len(tests) - 0.4, " needed", color=_THRESHOLD, fontsize=8, va="bottom"
    )
    for place, (test, height) in enumerate(zip(tests, heights, strict=True)):
        colour = "black" if test.ran else _NOT_RUN
        axes.text(
            height, place, " " + _said(test), va="center", fontsize=8, color=colour
        )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def threshold(found: Comparison) -> float:
    """What -log10 p of one test must reach."""
    from pedigree.lineage.decide import threshold_log10

    return -threshold_log10(found.family_size)


def _said(test: TestResult) -> str:
    if test.reason is not None:
        return f"not run: {test.reason}"
    z = f", Z {test.z:.1f}" if test.z else ""
    return f"effect {test.effect:.2f}{z}"
