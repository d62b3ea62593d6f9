"""Volumes in three planes, with outlines: for whoever wants to see where the mask runs."""

import os
from collections.abc import Sequence

import numpy as np

from brainjax.io import Volume
from brainjax.report import canvas
from brainjax.report.overlay import BOTH, PREDICTION, TRUTH, overlay
from brainjax.report.pictures import montage

TILE = 240  # pixels of an edge, of 1 mm each
PLANES = ("sagittal", "coronal", "axial")


def planes(scan: Volume, at: Sequence[int], *masks: np.ndarray) -> list[list[np.ndarray]]:
    """The three slices through a voxel, as radiologists hang them: up is up, the patient's right is on the left.

    Args:
        scan: [X Y Z] in RAS+.
        at: the voxel.
        masks: [X Y Z] on the same grid.

    Returns:
        For each of `PLANES` the scan's slice and those of the masks, [TILE TILE] each, 1 mm a pixel, about the voxel.
    """
    found = []
    for axis in range(3):
        across, up = (a for a in range(3) if a != axis)
        offset = np.arange(TILE) - TILE // 2
        columns = np.rint(at[across] + offset / scan.spacing[across]).astype(int)
        rows = np.rint(at[up] - offset / scan.spacing[up]).astype(int)
        if axis != 0:  # x grows towards the patient's right, which is hung on the left
            columns = columns[::-1]
        sizes = scan.data.shape[across], scan.data.shape[up]
        inside = ((rows >= 0) & (rows < sizes[1]))[:, None] & (
            (columns >= 0) & (columns < sizes[0])
        )
        index = np.ix_(np.clip(columns, 0, sizes[0] - 1), np.clip(rows, 0, sizes[1] - 1))
        slices = [np.take(a, at[axis], axis)[index].T for a in (scan.data, *masks)]
        found.append([np.where(inside, s, np.zeros((), s.dtype)) for s in slices])
    return found


def outlines(
    cases: Sequence[tuple[str, Volume, np.ndarray, np.ndarray | None]],
    path: str | os.PathLike | None = None,
) -> np.ndarray:
    """A row of three planes for each head, with the outline of the mask and of a reference.

    Args:
        cases: name, scan [X Y Z] in RAS+, mask [X Y Z] bool, and a reference likewise or None.
        path: a PNG to write, or None.

    Returns:
        [H W 3] uint8.
    """
    panels, labels = [], []
    for name, scan, mask, reference in cases:
        where = np.argwhere(mask if mask.any() else np.ones_like(mask))
        at = np.rint(where.mean(0)).astype(int)
        masks = [mask] if reference is None else [mask, reference]
        for plane in planes(scan, at, *masks):
            truth = plane[2] if reference is not None else None
            panels.append(overlay(plane[0], truth, plane[1]))
        labels += [name, "", ""]
    legend = [("brainjax", PREDICTION)]
    if any(case[3] is not None for case in cases):
        legend += [("reference", TRUTH), ("both", BOTH)]
    picture = montage(panels, columns=3, labels=labels, headers=PLANES, legend=legend)
    return canvas.write(path, picture)
