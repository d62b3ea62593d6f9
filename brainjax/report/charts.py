"""Charts of numbers: a run's learning curves, patients of one run, runs side by side."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from brainjax.report import canvas
from brainjax.report.canvas import BLUE, GREEN, GREY, ORANGE, VERMILION
from brainjax.types import DataError

_ROW = 19  # pixels a patient takes
_VAL = (  # key, label, colour
    ("dice_slice_mean", "mean over slices", ORANGE),
    ("dice_foreground_slice_mean", "mean over slices with tumour", GREEN),
    ("dice_volume_mean", "mean over patients", BLUE),
    ("balanced_accuracy", "mean over classes", GREEN),
    ("accuracy", "mean over images", BLUE),
)
_SMALL = (  # key, title, logarithmic
    ("learning_rate", "learning rate", False),
    ("grad_norm", "gradient norm", True),
    ("examples_per_second", "examples per second", False),
)


def learning_curves(
    path: str | os.PathLike | None,
    lines: Sequence[Mapping[str, Any]],
    *,
    monitor: str = "dice_volume_mean",
    title: str = "",
) -> np.ndarray:
    """Loss, validation Dice or accuracy, and what else a run logged.

    Args:
        path: PNG to write, or None.
        lines: of `metrics.jsonl`: dicts with `step` and `kind`, 'train' or 'val'. Numbers that are
            missing or None leave gaps; without 'val' lines there is no panel of scores.
        monitor: the validation metric whose best value is marked.
        title: above all.

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no lines.
    """
    if not lines:
        raise DataError("no learning curves: metrics.jsonl holds no lines; train past log_every")
    series = {kind: _series(lines, kind) for kind in ("train", "val")}
    train, val = series["train"], series["val"]
    scores = [row for row in _VAL if row[0] in val]
    if monitor in val and monitor not in {row[0] for row in scores}:
        scores.append((monitor, monitor.replace("_", " "), VERMILION))
    small = [row for row in _SMALL if row[0] in train]

    figure = canvas.figure(1200 if scores else 760, 380 + 190 * bool(small))
    rows = figure.add_gridspec(
        1 + bool(small),
        1,
        height_ratios=[2.2, 1][: 1 + bool(small)],
        left=0.62 / figure.get_figwidth(),
        right=1 - 0.2 / figure.get_figwidth(),
        top=1 - (0.62 if title else 0.35) / figure.get_figheight(),
        bottom=0.5 / figure.get_figheight(),
        hspace=0.42,
    )
    big = rows[0].subgridspec(1, 1 + bool(scores), wspace=0.16)
    _loss(figure.add_subplot(big[0]), train, val)
    if scores:
        _scores(figure.add_subplot(big[1]), val, scores, monitor)
    cells = rows[-1].subgridspec(1, max(len(small), 1), wspace=0.28)
    for column, (key, name, logarithmic) in enumerate(small):
        axes = figure.add_subplot(cells[column])
        steps, values = train[key]
        axes.plot(steps, values, color=GREY, linewidth=0.9, marker=_marker(steps), markersize=3)
        if logarithmic:
            _logarithmic_if_wide(axes, values, 10)
        canvas.plain(axes, name, "step")
    if title:
        figure.text(
            0.15 / figure.get_figwidth(), 0.985, canvas.literal(title), fontsize=11, va="top"
        )
    return canvas.write(path, canvas.pixels(figure))


def volumes(
    path: str | os.PathLike | None,
    per_volume: Sequence[Mapping[str, Any]],
    *,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """Dice of each patient, sorted, with mean and median; hollow where it was before 3D clean-up.

    Args:
        path: PNG to write, or None.
        per_volume: dicts with `group` and `dice`, and `dice_post` after clean-up where there is one;
            patients whose Dice is None are left out.
        title: the run, say.
        warning: printed in red, for a split that leaks (`tables.protocol`).

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no patient has a Dice.
    """
    kept = [v for v in per_volume if v.get("dice") is not None]
    if not kept:
        raise DataError("no patient has a Dice to plot; evaluate on patients with a mask")
    after = all(v.get("dice_post") is not None for v in kept)
    after = after and any(v["dice_post"] != v["dice"] for v in kept)
    key = "dice_post" if after else "dice"
    kept = sorted(kept, key=lambda v: (v[key], v["group"]))
    values = np.array([v[key] for v in kept])
    place = np.arange(len(kept))

    axes = _list_axes([str(v["group"]) for v in kept])
    axes.hlines(place, 0, values, color="#d4dbe2", linewidth=1)
    if after:
        before = np.array([v["dice"] for v in kept])
        axes.hlines(place, np.minimum(before, values), np.maximum(before, values), color=BLUE)
        hollow = {"facecolors": "white", "edgecolors": BLUE, "zorder": 3}
        axes.scatter(before, place, s=26, label="before 3D clean-up", **hollow)
    name = "after 3D clean-up" if after else "patient"
    axes.scatter(values, place, s=26, color=BLUE, zorder=4, label=name)
    for value, label, style in (
        (values.mean(), "mean", {"color": VERMILION, "linestyle": "-"}),
        (np.median(values), "median", {"color": GREEN, "linestyle": "--"}),
    ):
        axes.axvline(value, linewidth=1.4, label=f"{label} {value:.4f}", zorder=2, **style)
    _finish_list(axes, title or f"Dice of {len(kept)} patients", warning)
    return canvas.write(path, canvas.pixels(axes.figure))


def runs(
    path: str | os.PathLike | None,
    results: Sequence[tuple[str, Sequence[Mapping[str, Any]], bool]],
    *,
    key: str = "dice",
) -> np.ndarray:
    """Per-patient Dice of several runs, one row a run, with mean and median.

    Args:
        path: PNG to write, or None.
        results: (run name, `per_volume` as in `volumes`, whether its split leaks) per run; a run that
            leaks is red and labelled so.
        key: 'dice', or 'dice_post'.

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no run has a patient with a Dice.
    """
    scored = []
    for name, per_volume, leaks in results:
        values = np.array([v[key] for v in per_volume if v.get(key) is not None])
        if len(values):
            scored.append((f"{name}\nLEAKS" if leaks else name, values, leaks))
    if not scored:
        raise DataError("no run has a Dice per patient to plot")
    scored.reverse()  # the first run on top

    axes = _list_axes([name for name, _, _ in scored], 56)
    for place, (_, values, leaks) in enumerate(scored):
        colour = VERMILION if leaks else BLUE
        axes.scatter(
            values, place + canvas.spread(values), s=20, color=colour, alpha=0.55, linewidths=0
        )
        first = place == 0
        for value, label, style in (
            (values.mean(), "mean", {"color": "black", "linestyle": "-"}),
            (np.median(values), "median", {"color": "black", "linestyle": ":"}),
        ):
            ends = place - 0.36, place + 0.36
            axes.vlines(value, *ends, linewidth=1.6, label=label if first else None, **style)
    _finish_list(axes, "Dice per patient" + (" after 3D clean-up" if key == "dice_post" else ""))
    return canvas.write(path, canvas.pixels(axes.figure))


def _loss(axes: Axes, train: Mapping[str, Any], val: Mapping[str, Any]) -> None:
    if "loss" in train:
        steps, values = train["loss"]
        width = len(steps) // 40 | 1  # odd
        raw = {"color": BLUE, "linewidth": 0.8, "marker": _marker(steps), "markersize": 3}
        axes.plot(steps, values, alpha=0.35 if width > 1 else 1, label="training", **raw)
        if width > 1:
            smooth = _running_mean(values, width)
            axes.plot(steps, smooth, color=BLUE, linewidth=1.8, label=f"mean of {width} points")
        _logarithmic_if_wide(axes, values, 100)
    if "loss" in val:
        axes.plot(*val["loss"], color=VERMILION, linewidth=1.4, marker="o", markersize=3)
        axes.lines[-1].set_label("validation")
    skipped = train["skipped"][1][-1] if "skipped" in train else 0
    note = f", {skipped:.0f} steps skipped: not finite" if skipped > 0 else ""
    canvas.plain(axes, f"loss{note}", "step")
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)


def _scores(axes: Axes, val: Mapping[str, Any], scores: Sequence[Any], monitor: str) -> None:
    for key, label, colour in scores:
        steps, values = val[key]
        axes.plot(steps, values, color=colour, linewidth=1.5, marker=_marker(steps), markersize=3.5)
        axes.lines[-1].set_label(canvas.literal(label))
    steps, values = val.get(monitor, ((), np.zeros(0)))
    if np.isfinite(values).any():
        best = int(np.nanargmax(values))
        axes.plot(steps[best], values[best], "*", color=VERMILION, markersize=14, zorder=5)
        axes.lines[-1].set_label(f"best {values[best]:.4f} at step {steps[best]:,.0f}")
    name = "accuracy" if "accuracy" in val else "Dice"
    canvas.plain(axes, f"validation {name}", "step")
    axes.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none", loc="best")


def _series(
    lines: Sequence[Mapping[str, Any]], kind: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Key -> (steps [n], values [n] with NaN for None), over the lines of one kind."""
    own = sorted((line for line in lines if line.get("kind") == kind), key=lambda x: x["step"])
    found = {}
    for key in {key for line in own for key in line} - {"step", "kind"}:
        pairs = [(line["step"], line.get(key)) for line in own]
        values = np.array([v if isinstance(v, int | float) else math.nan for _, v in pairs], float)
        if np.isfinite(values).any():
            found[key] = np.array([step for step, _ in pairs], float), values
    return found


def _logarithmic_if_wide(axes: Axes, values: np.ndarray, ratio: float) -> None:
    """A logarithmic axis for positive values whose extremes are more than `ratio` apart."""
    if 0 < np.nanmin(values) < np.nanmax(values) / ratio:
        axes.set_yscale("log")
        # Decades alone are labelled: the numbers between them would overlap in a small panel.
        axes.yaxis.set_minor_formatter(NullFormatter())


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean of `width` (odd) points, fewer at the ends; gaps are left out of it."""
    known = np.isfinite(values)
    window = np.ones(width)
    total = np.convolve(np.where(known, values, 0), window)
    count = np.convolve(known.astype(float), window)
    margin = width // 2
    total, count = (x[margin : margin + len(values)] for x in (total, count))
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)


def _marker(steps: Sequence[float]) -> str:
    return "o" if len(steps) <= 40 else ""


def _list_axes(names: Sequence[str], row: int = _ROW) -> Axes:
    """Axes with one line a name, room for the names on the left, and Dice 0 to 1."""
    longest = max(len(part) for name in names for part in name.split("\n"))
    left, right, top, bottom = 22 + 7.3 * longest, 20, 48, 74
    width, height = left + 640 + right, top + row * max(len(names), 3) + bottom
    figure = canvas.figure(width, height)
    axes = figure.add_axes(
        (left / width, bottom / height, 640 / width, 1 - (top + bottom) / height)
    )
    axes.set_yticks(range(len(names)), map(canvas.literal, names))
    axes.set_ylim(-0.7, max(len(names), 1) - 0.3)
    axes.set_xlim(-0.02, 1.02)
    return axes


def _finish_list(axes: Axes, title: str, warning: str = "") -> None:
    canvas.plain(axes, title, "Dice")
    axes.grid(False, axis="y")
    if warning:
        box = {"va": "bottom", "ha": "right", "fontsize": 9, "fontweight": "bold"}
        axes.text(
            1, 1.01, canvas.literal(warning), transform=axes.transAxes, color=VERMILION, **box
        )
    height = axes.figure.get_figheight()
    axes.figure.legend(
        *axes.get_legend_handles_labels(),
        ncols=4,
        fontsize=8,
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.02 / height),
    )
