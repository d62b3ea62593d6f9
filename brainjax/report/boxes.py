"""Box plots of a sweep: the main metric by each thing that was varied, every trial a point over its box."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from brainjax.report import canvas
from brainjax.report.canvas import BLUE, GREY, ORANGE, VERMILION
from brainjax.report.sweep import Results, label
from brainjax.report.words import plain
from brainjax.types import DataError

_COLUMNS = 3
_BOXES = 8  # a number with more values than these is an axis, not a row of boxes


def boxes(path: str | os.PathLike | None, results: Results, *, title: str = "") -> np.ndarray:
    """One panel a varied field; box: quartiles and median, whiskers to 1.5 interquartile ranges.

    Args:
        path: PNG to write, or None.
        results: of a sweep.
        title: above all.

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no trial has a score.
    """
    if not results.values(results.trials):
        raise DataError(f"no trial has {results.metric} to plot")
    fields = results.independent or results.fields[:1] or [""]
    columns = min(len(fields), _COLUMNS)
    rows = -(-len(fields) // columns)
    width, height = max(430 * columns, 560) + 40, 400 * rows + 40
    figure = canvas.figure(width, height)
    cells = figure.add_gridspec(
        rows,
        columns,
        left=76 / width,
        right=1 - 20 / width,
        top=1 - 66 / height,
        bottom=78 / height,
        wspace=0.14,
        hspace=0.42,
    )
    first = None
    for i, field in enumerate(fields):
        axes = figure.add_subplot(cells[divmod(i, columns)], sharey=first)
        first = first or axes
        _panel(axes, results, field)
        if i % columns == 0:
            axes.set_ylabel(canvas.literal(plain(results.metric)), fontsize=9)
        else:
            axes.tick_params(labelleft=False)
    heading = canvas.literal(title)
    figure.text(14 / width, 1 - 10 / height, heading, fontsize=12, va="top", fontweight="bold")
    note = "points: trials; line: median; diamond: mean"
    figure.text(1 - 20 / width, 1 - 12 / height, note, fontsize=8, va="top", ha="right", color=GREY)
    return canvas.write(path, canvas.pixels(figure))


def _panel(axes: Axes, results: Results, field: str) -> None:
    groups = {key[0]: trials for key, trials in results.by([field]).items()}
    canvas.plain(axes, f"by {label(field)}" if field else "all trials", "")
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in groups)
    if numeric and len(groups) > _BOXES:
        _scatter(axes, results, groups)
        return
    axes.grid(False, axis="x")
    if numeric:
        groups = dict(sorted(groups.items()))
    ticks = []
    for place, (value, trials) in enumerate(groups.items()):
        scores = np.array(results.values(trials))
        bad = sum(t["status"] == "diverged" for t in trials)
        ticks.append(f"{_name(value)}\nn = {len(scores)}" + (f"\n{bad} diverged" if bad else ""))
        if not len(scores):
            continue
        line = {"color": GREY, "linewidth": 1.2}
        axes.boxplot(
            scores,
            positions=[place],
            widths=0.6,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": "#dbe9f4", "edgecolor": GREY},
            medianprops={"color": VERMILION, "linewidth": 2},
            whiskerprops=line,
            capprops=line,
        )
        spread = place + 0.6 * canvas.spread(scores)
        axes.scatter(spread, scores, s=22, color=BLUE, alpha=0.75, linewidths=0, zorder=3)
        axes.scatter(
            place, scores.mean(), s=46, marker="D", color=ORANGE, edgecolors="white", zorder=4
        )
    axes.set_xlim(-0.6, len(groups) - 0.4)
    slanted = max((len(line) for t in ticks for line in t.split("\n")), default=0) * len(ticks) > 58
    style: dict[str, Any] = {"rotation": 25, "ha": "right"} if slanted else {}
    axes.set_xticks(range(len(ticks)), map(canvas.literal, ticks), fontsize=8, **style)


def _scatter(axes: Axes, results: Results, groups: dict[float, Sequence[Any]]) -> None:
    """A field with many numbers, such as rates drawn at random, along an axis of its own."""
    pairs = [(v, score) for v, trials in groups.items() for score in results.values(trials)]
    x, y = np.array(sorted(pairs)).T
    axes.scatter(x, y, s=22, color=BLUE, alpha=0.75, linewidths=0)
    if 0 < x.min() < x.max() / 20:
        axes.set_xscale("log")


def _name(value: Any) -> str:
    if value is None:
        return "default"
    return f"{value:g}" if isinstance(value, float) else plain(str(value))
