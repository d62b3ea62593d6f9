"""Charts of a classifier: what it takes for what, whether its probabilities hold, what each cut lets through."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from brainjax.report import canvas
from brainjax.report.canvas import BLUE, GREEN, GREY, ORANGE, VERMILION
from brainjax.report.words import plain
from brainjax.types import DataError, check_shape

_CELL = 92  # pixels a pair of classes takes in the confusion matrix
_WRAP = 12  # characters in a line of a class's name
_LINE = 14  # pixels of a line of small text
_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, "#56B4E9", "#CC79A7", GREY)  # Okabe & Ito, see `canvas`


def confusion(
    path: str | os.PathLike | None,
    matrix: Sequence[Sequence[int]] | np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """Which class was taken for which: counts, and per cent of the true class's images.

    Args:
        path: PNG to write, or None.
        matrix: [K K] counts, true class by predicted class.
        classes: K names.
        title: the run, say.
        warning: printed in red, for a protocol that leaks (`tables.protocol`).

    Returns:
        [h w 3] uint8.
    """
    matrix = np.asarray(matrix)
    k = len(classes)
    check_shape("matrix", matrix, (k, k))
    total = matrix.sum(1)
    share = matrix / np.maximum(total, 1)[:, None]
    names = [_wrapped(name) for name in classes]
    rows = [f"{name}\nn = {n:,}" for name, n in zip(names, total, strict=True)]

    size = _CELL * k
    left = 44 + 7 * max(len(line) for row in rows for line in row.split("\n"))
    bottom = 38 + _LINE * max(name.count("\n") + 1 for name in names)
    axes = _square(left, bottom, size, title or "Confusion matrix", warning)
    axes.imshow(
        share, cmap="Blues", vmin=0, vmax=1.15
    )  # short of the map's darkest: text is legible
    for i, j in np.ndindex(k, k):
        style = {"ha": "center", "color": "white" if share[i, j] > 0.6 else "#222222"}
        percent = f"{100 * share[i, j]:.1f} %" if total[i] else "-"
        bold = "bold" if i == j else "normal"
        axes.text(j, i - 0.02, f"{matrix[i, j]:,}", fontsize=13, va="bottom", weight=bold, **style)
        axes.text(j, i + 0.08, percent, fontsize=8.5, va="top", **style)
    axes.set_xticks(range(k), map(canvas.literal, names))
    axes.set_yticks(range(k), map(canvas.literal, rows))
    axes.set_xlabel("predicted class", fontsize=9)
    axes.set_ylabel("true class", fontsize=9)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    for place in np.arange(k - 1) + 0.5:  # white gaps between the cells
        axes.axhline(place, color="white", linewidth=2)
        axes.axvline(place, color="white", linewidth=2)
    return canvas.write(path, canvas.pixels(axes.figure))


def reliability(
    path: str | os.PathLike | None,
    curves: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """Accuracy by confidence: on the diagonal, probabilities mean what they say; below, they promise too much.

    Args:
        path: PNG to write, or None.
        curves: label -> what `brainjax.metrics.calibration.reliability` gives; such as before and after a
            temperature, of the same images. The bars below count the images of each bin.
        title: the run, say.
        warning: as in `confusion`.

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no curve, or one of no images.
    """
    if not curves or any(curve["ece"] is None for curve in curves.values()):
        raise DataError("no reliability diagram: there are no scored images")
    size, below = 400, 90
    axes = _square(
        64, 58 + below + 34, size, title or "Reliability", warning, 17 * (len(curves) + 1) + 6
    )
    figure = axes.figure
    box = axes.get_position()
    pixel = 1 / (figure.get_figheight() * canvas.DPI)
    counts = figure.add_axes((box.x0, 50 * pixel, box.width, below * pixel))

    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="calibrated")
    for i, (label, curve) in enumerate(curves.items()):
        colour = (VERMILION, BLUE, GREEN, ORANGE)[i % 4]
        bins = [b for b in curve["bins"] if b["n"]]
        confidence, accuracy, n = (
            np.array([b[key] for b in bins], float) for key in ("confidence", "accuracy", "n")
        )
        # A point of few images says little: its area grows with their number, and the line is faint.
        axes.plot(confidence, accuracy, color=colour, linewidth=1.2, alpha=0.4, zorder=3)
        style = {"color": colour, "zorder": 4 + i, "linewidths": 0, "clip_on": False}
        axes.scatter(confidence, accuracy, s=10 + 90 * n / n.max(), **style)
        axes.plot(
            [], [], "o", color=colour, label=f"{canvas.literal(label)}: ECE {curve['ece']:.3f}"
        )
        low, high = (np.array([b[key] for b in bins]) for key in ("low", "high"))
        width = (high - low) / len(curves)
        counts.bar(low + i * width, n, width * 0.9, align="edge", color=colour)
    canvas.plain(axes, "", "", "share that is right")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    canvas.plain(counts, "", "confidence (probability of the predicted class)", "images")
    counts.set_xlim(0, 1.01)
    counts.locator_params(axis="y", nbins=3, integer=True)
    return canvas.write(path, canvas.pixels(axes.figure))


def roc(
    path: str | os.PathLike | None,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    *,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """The receiver operating characteristic of each class against the rest.

    Args:
        path: PNG to write, or None.
        curves: class -> (false positive rates, true positive rates, AUROC), see
            `brainjax.metrics.classification.roc`; without the classes that have none.
        title: the run, say.
        warning: as in `confusion`.

    Returns:
        [h w 3] uint8.

    Raises:
        DataError: no curves.
    """
    if not curves:
        raise DataError("no ROC: it needs images of at least two classes")
    axes = _square(64, 52, 440, title or "ROC, each class against the rest", warning)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="chance: 0.500")
    for i, (name, (x, y, area)) in enumerate(curves.items()):
        style = {"color": _COLOURS[i % 7], "linestyle": ("-", "--", ":")[i // 7 % 3]}
        label = f"{canvas.literal(plain(name))}: {area:.3f}"
        axes.plot(x, y, linewidth=1.6, label=label, **style)
    canvas.plain(axes, "", "false positive rate", "true positive rate")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.legend(fontsize=8, frameon=True, framealpha=0.8, edgecolor="none", loc="lower right")
    return canvas.write(path, canvas.pixels(axes.figure))


def _wrapped(name: str) -> str:
    """A class's name in lines that fit a cell; a word too long for one is cut at its end."""
    return "\n".join(textwrap.wrap(plain(name), _WRAP) or [""])


def _square(left: int, bottom: int, size: int, title: str, warning: str, legend: int = 0) -> Axes:
    """Square axes of `size` pixels, with room for labels, for the texts above them and a legend between."""
    above = canvas.wrapped((left + size) // 8, (title, "black"), (warning, VERMILION))
    top = 18 + canvas.HEADING * len(above) + legend
    width, height = left + size + 24, bottom + size + top
    figure = canvas.figure(width, height)
    canvas.heading(figure, above, 12)
    return figure.add_axes((left / width, bottom / height, size / width, size / height))
