"""Where the lesions are, as one PNG: each in three planes, outlined, with its two diameters."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from brainjax.infer.analysis import Analysis
from brainjax.infer.localize import Lesion, contours
from brainjax.report import canvas
from brainjax.report.hanging import PLANES, Hanging, Segment
from brainjax.report.overlay import BRAIN, COLOURS
from brainjax.report.pictures import montage
from brainjax.report.words import REGION_NAMES, level, mm

_ZOOM = 2.0  # screen pixels a mm
_FINER = 2  # times that lines are drawn larger and then reduced, so that they are smooth
_LESIONS = 3
_WHITE = (255, 255, 255)


def overlay(
    path: str | os.PathLike | None, analysis: Analysis, *, contrast: str | None = None
) -> np.ndarray:
    """A row of axial, coronal and sagittal for each of the largest lesions; without any, through the middle.

    Args:
        path: PNG to write, or None.
        analysis: a scan with masks.
        contrast: under the outlines; None for FLAIR, or what there is.

    Returns:
        [h w 3] uint8.
    """
    hanging = Hanging.of(analysis)
    contrast = contrast or analysis.scan.prefer("flair", "t1ce")[0]
    axes = hanging.planes or (2,)
    side = max(
        round(_ZOOM * n * s)
        for axis in axes
        for n, s in zip(hanging.size(axis), hanging.pixel(axis), strict=True)
    )
    panels, labels = [], []
    for lesion in analysis.lesions[:_LESIONS] or (None,):
        for axis in axes:
            index, lines = _where(hanging, axis, lesion)
            panels.append(_panel(hanging, contrast, axis, index, lines, side))
            name = f"lesion {lesion.index}, " if lesion and axis == axes[0] else ""
            labels.append(f"{name}{level(axis, hanging.level(axis, index))}" + _size(lesion, lines))
    legend = [] if hanging.brain is None else [("brain", BRAIN)]
    paints = zip(hanging.regions, COLOURS, strict=False)
    legend += [(REGION_NAMES.get(name, name), colour) for name, colour in paints]
    picture = montage(
        panels,
        columns=len(axes),
        labels=labels,
        headers=[PLANES[axis] for axis in axes],
        legend=legend,
        title="research use only",
    )
    return canvas.write(path, picture)


def _where(hanging: Hanging, axis: int, lesion: Lesion | None) -> tuple[int, list[Segment]]:
    """The slice to show, and the lines to draw on it."""
    if lesion is not None:
        return hanging.showing(lesion, axis)
    if hanging.brain is None or not hanging.brain.any():
        return hanging.grid.shape[axis] // 2, []
    found = np.flatnonzero(hanging.brain.any(axis=tuple(a for a in range(3) if a != axis)))
    return int(found[len(found) // 2]), []


def _panel(
    hanging: Hanging,
    contrast: str,
    axis: int,
    index: int,
    lines: Sequence[Segment],
    side: int,
) -> np.ndarray:
    """[side side 3] uint8: a slice in the middle of a square."""
    pixel = np.array(hanging.pixel(axis)) * _ZOOM * _FINER
    grey = Image.fromarray(hanging.picture(contrast, axis, index))
    height, width = (max(1, round(n * p)) for n, p in zip(hanging.size(axis), pixel, strict=True))
    picture = grey.resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
    brush = ImageDraw.Draw(picture)

    def draw(line: np.ndarray | Segment, colour: tuple[int, int, int]) -> None:
        at = (np.asarray(line) + 0.5) * pixel  # pixel i is drawn from i to i + 1
        brush.line([(x, y) for y, x in at], fill=colour, width=2 * _FINER, joint="curve")

    masks = [] if hanging.brain is None else [(hanging.brain, BRAIN)]
    masks += zip(hanging.regions.values(), COLOURS, strict=False)
    for mask, colour in masks:
        for line in contours(hanging.slice(mask, axis, index)):
            draw(line, colour)
    for line in lines:
        draw(line, _WHITE)
    picture = picture.reduce(_FINER)
    out = np.zeros((side, side, 3), np.uint8)
    part = np.asarray(picture)[:side, :side]
    top, left = (side - part.shape[0]) // 2, (side - part.shape[1]) // 2
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
    return out


def _size(lesion: Lesion | None, lines: Sequence[Segment]) -> str:
    if lesion is None or not lines:
        return ""
    found = lesion.diameters
    return f", {mm(found.longest_mm)} x {mm(found.perpendicular_mm)} mm"
