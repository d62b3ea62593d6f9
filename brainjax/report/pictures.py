"""Pictures of slices: panels in a grid on a dark ground, each pixel of a slice a whole number of screen pixels."""

import math
import os
from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects

from brainjax.report import canvas
from brainjax.report.overlay import BOTH, PREDICTION, TRUTH, enlarge, grey, overlay
from brainjax.types import check_shape

PANEL = 300  # screen pixels that a small slice is enlarged to, about
_GAP, _HEADER, _FOOTER = 4, 26, 26  # pixels

Legend = Sequence[tuple[str, tuple[int, int, int]]]


def montage(
    panels: Sequence[np.ndarray] | np.ndarray,
    *,
    columns: int | None = None,
    labels: Sequence[str] = (),
    headers: Sequence[str] = (),
    legend: Legend = (),
    title: str = "",
) -> np.ndarray:
    """Panels in reading order, in a grid.

    Args:
        panels: n of [H W] or [H W 3] uint8, all of one size; drawn as they are.
        columns: panels in a row; None for about a square.
        labels: one text a panel, in its upper left corner.
        headers: one text a column, above it.
        legend: (text, colour) pairs, in a line below.
        title: in the same line, to the right.

    Returns:
        [h w 3] uint8, slices enlarged by a whole number to about `PANEL` pixels.
    """
    if not len(panels):
        raise ValueError("a montage needs at least one panel")
    columns = min(columns or math.ceil(math.sqrt(len(panels))), len(panels))
    rows = math.ceil(len(panels) / columns)
    height, width = panels[0].shape[:2]
    zoom = max(1, round(PANEL / max(height, width)))
    h, w = height * zoom, width * zoom
    top, bottom = _HEADER if headers else _GAP, _FOOTER if legend or title else _GAP
    total_w = columns * (w + _GAP) + _GAP
    total_h = top + rows * (h + _GAP) - _GAP + bottom

    # The panels are pasted, not resampled by the renderer: what is seen is what was computed.
    paper = np.empty((total_h, total_w, 3), np.uint8)
    paper[:] = [int(canvas.DARK[i : i + 2], 16) for i in (1, 3, 5)]
    corners = [
        (top + i // columns * (h + _GAP), _GAP + i % columns * (w + _GAP))
        for i in range(len(panels))
    ]
    for panel, (y, x) in zip(panels, corners, strict=True):
        panel = panel if panel.ndim == 3 else panel[..., None]
        check_shape("panel", panel, (height, width, None))
        paper[y : y + h, x : x + w] = enlarge(panel, zoom)

    figure = canvas.figure(total_w, total_h, canvas.DARK)
    figure.figimage(paper)

    def write(x: float, y: float, text: str, size: float = 9.0, **style) -> None:
        outline = patheffects.withStroke(linewidth=2.5, foreground=canvas.DARK)
        style = {"color": canvas.LIGHT, "va": "top", **style}
        figure.text(
            x / total_w,
            1 - y / total_h,
            canvas.literal(text),
            fontsize=size,
            path_effects=[outline],
            **style,
        )

    for text, (y, x) in zip(labels, corners, strict=False):
        write(x + 5, y + 5, text)
    for column, text in enumerate(headers[:columns]):
        write(_GAP + column * (w + _GAP) + w / 2, 5, text, 10, ha="center", fontweight="bold")
    x = 8.0
    for text, colour in legend:
        write(x, total_h - 20, text, 10, color=[c / 255 for c in colour], fontweight="bold")
        x += 9.0 * len(text) + 18
    write(total_w - 8, total_h - 20, title, ha="right")
    return canvas.pixels(figure)


def samples(
    images: np.ndarray,
    truths: np.ndarray,
    predictions: np.ndarray,
    names: Sequence[str],
    channels: Sequence[str],
    *,
    ground: str | None = None,
    title: str = "",
) -> np.ndarray:
    """Examples of what a model does: channels, truth, prediction with its Dice, and a close-up, a row each.

    Args:
        images: [n H W C] on the native grid, of any scale.
        truths: [n H W 1] in {0, 1}.
        predictions: [n H W 1] in {0, 1}.
        names: n texts, such as 'patient, slice 12'.
        channels: C names.
        ground: channel under the contours; None for FLAIR where there is one, else the first.
        title: the run, say; a split that leaks must be named here.

    Returns:
        [h w 3] uint8.
    """
    n, height, width, c = images.shape
    check_shape("truths", truths, (n, height, width, 1))
    check_shape("predictions", predictions, (n, height, width, 1))
    if len(names) != n or len(channels) != c:
        raise ValueError(f"{n} x {c} images with {len(names)} names and {len(channels)} channels")
    under = ground_channel(channels) if ground is None else list(channels).index(ground)
    panels, labels = [], []
    for image, truth, predicted, name in zip(images, truths, predictions, names, strict=True):
        drawn = image[..., under], truth[..., 0] > 0.5, predicted[..., 0] > 0.5
        panels += [grey(image[..., i]) for i in range(c)]
        panels += [overlay(*drawn[:2]), overlay(*drawn), _close_up(*drawn)]
        labels += [name, *[""] * c, _verdict(*drawn[1:]), ""]
    headers = [*(name.replace("_", " ") for name in channels), "truth", "prediction", "close-up"]
    return montage(
        panels, columns=c + 3, labels=labels, headers=headers, legend=_LEGEND, title=title
    )


def save_samples(path: str | os.PathLike, *args, **options) -> np.ndarray:
    """Writes the picture of `samples(...)`, same arguments, to a PNG and returns it."""
    return canvas.write(path, samples(*args, **options))


def batch(
    path: str | os.PathLike | None,
    images: np.ndarray,
    masks: np.ndarray,
    *,
    channel: int | None = None,
    names: Sequence[str] = (),
    title: str = "",
    limit: int = 16,
) -> np.ndarray:
    """A training batch as the network sees it, with the contours of its masks.

    Args:
        path: PNG to write, or None.
        images: [B H W C], augmented and normalised.
        masks: [B H W 1].
        channel: which to show; None for the middle one, which for stacked neighbours is the slice itself.
        names: texts, one an example.
        title: in the line below.
        limit: most examples shown.

    Returns:
        [h w 3] uint8.
    """
    check_shape("masks", masks, (*images.shape[:3], 1))
    channel = images.shape[-1] // 2 if channel is None else channel
    panels = [
        overlay(image[..., channel], mask[..., 0])
        for image, mask in zip(images[:limit], masks[:limit], strict=True)
    ]
    legend = [("mask", TRUTH)] if np.any(masks) else ()
    return canvas.write(path, montage(panels, labels=names, legend=legend, title=title))


_LEGEND: Legend = (
    ("truth", TRUTH),
    ("prediction", PREDICTION),
    ("both", BOTH),
    ("filled: only one of them", (150, 150, 155)),
)


def ground_channel(channels: Sequence[str]) -> int:
    """Index of the channel to draw under contours: FLAIR where there is one, else the first."""
    return next((i for i, name in enumerate(channels) if "flair" in name.lower()), 0)


def _close_up(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Half the slice's height and width around the lesion, at twice the size, as one panel [H W 3]."""
    shape = np.array(image.shape)
    half = (shape + 1) // 2
    shown = next((m for m in (truth, predicted) if m.any()), np.ones_like(truth))
    where = np.argwhere(shown)
    start = np.clip((where.min(0) + where.max(0) + 1 - half) // 2, 0, shape - half)
    part = tuple(slice(s, s + n) for s, n in zip(start, half, strict=True))
    return overlay(image[part], truth[part], predicted[part], scale=2)[: shape[0], : shape[1]]


def _verdict(truth: np.ndarray, predicted: np.ndarray) -> str:
    """'Dice 0.913' of a slice; where a Dice says little, what happened instead."""
    if not truth.any():
        return "Dice 0: false alarm" if predicted.any() else "no tumour, none found"
    if not predicted.any():
        return "Dice 0: missed"
    return f"Dice {2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()):.3f}"
