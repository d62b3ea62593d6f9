"""Distances between the surfaces of two masks in mm: HD95 and the normalised surface Dice. On the host.

A mask's surface is its voxels with a face on the outside; what is beyond the grid is outside. A distance is from
the centre of a surface voxel to the nearest such centre of the other mask, and every surface voxel counts the same.
(Tools that weigh them by the area they stand for, as DeepMind's surface-distance does, give slightly other numbers.)

What a metric is worth where a mask is empty follows `overlap`; for a distance, which has no upper end, `worst` says
what a missed structure costs:

    prediction  truth      HD95: 'one'   'zero'  'skip'        surface Dice: 'one'   'zero'  'skip'
    empty       empty      0             worst   not counted                 1       0       not counted
    one of the two empty   worst         worst   worst                       0       0       0
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage, spatial

from brainjax.metrics.components import bounding_box, crop
from brainjax.metrics.overlap import check_rule

# The diagonal of BraTS's grid of 240 x 240 x 155 mm, which it charges for a missed or an invented tumour.
WORST_MM = 373.1287

# Nearest voxels are looked up in a tree, which is quick where the surfaces are near one another and may have to visit
# every voxel where they are not; the transform of the whole box costs the same always. Measured in its cost per voxel,
# 0.1 to 0.2 us:
_POINT = 10  # to enter a voxel into the tree, or to look near it
_PAIR = 0.1  # to visit one voxel in search of another's nearest
_NEAR = 8  # voxels; how far away "near" is


class Distances(NamedTuple):
    """From each surface voxel of one mask to the surface of the other, mm; infinite where that is empty.

    Attributes:
        to_truth: [n] float64, of the prediction's surface.
        to_prediction: [m] float64, of the truth's.
    """

    to_truth: np.ndarray
    to_prediction: np.ndarray


def surface(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask that have a face on the outside, [*spatial] bool -> [*spatial] bool."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        voxel, near = (np.moveaxis(m, axis, 0) for m in (inner, mask))  # views
        voxel[1:] &= near[:-1]
        voxel[:-1] &= near[1:]
        voxel[[0, -1]] = False
    return mask & ~inner


def surface_distances(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None = None
) -> Distances:
    """Distances both ways between the surfaces of two masks, exactly.

    Args:
        pred: [*spatial], bool or {0, 1} (cut at 0.5).
        truth: [*spatial], likewise.
        spacing: mm between voxels along each axis; None for 1 mm.

    Raises:
        ValueError: the shapes differ, or `spacing` is not a number above 0 for each axis.
    """
    pred, truth, steps = checked(pred, truth, spacing)
    box = bounding_box(pred | truth)
    if box is None:
        return Distances(np.empty(0), np.empty(0))
    one, other = (surface(crop(m, box)) for m in (pred, truth))
    return Distances(_nearest(one, other, steps), _nearest(other, one, steps))


def hd95(
    distances: Distances,
    *,
    percentile: float = 95.0,
    pooled: bool = False,
    empty: str = "one",
    worst: float | None = WORST_MM,
) -> float | None:
    """Hausdorff distance that leaves out the worst 5 %, mm: the larger of the percentiles of either way.

    Args:
        distances: from `surface_distances`.
        percentile: 100 for the Hausdorff distance itself. Between two distances it is interpolated.
        pooled: the percentile of both ways' distances together, as medpy and panoptica have it.
        empty: 'one', 'zero' or 'skip', see the top of this file.
        worst: mm where one mask is empty; None where that is not to be counted.

    Returns:
        mm, or None where not counted.

    Raises:
        ConfigError: unknown `empty`.
    """
    check_rule(empty)
    n, m = map(len, distances)
    if not n and not m:
        return {"one": 0.0, "zero": worst, "skip": None}[empty]
    if not n or not m:
        return worst
    if pooled:
        return float(np.percentile(np.concatenate(distances), percentile))
    return max(float(np.percentile(d, percentile)) for d in distances)


def surface_dice(
    distances: Distances, *, tolerance: float = 1.0, empty: str = "one"
) -> float | None:
    """Normalised surface Dice: the share of both surfaces that lies within `tolerance` of the other.

    Nikolov et al. 2021 (https://doi.org/10.2196/26151).

    Args:
        distances: from `surface_distances`.
        tolerance: mm, what two experts may differ by.
        empty: 'one', 'zero' or 'skip', see the top of this file.

    Returns:
        In [0, 1], or None where not counted.

    Raises:
        ConfigError: unknown `empty`.
    """
    check_rule(empty)
    n = sum(map(len, distances))
    if not n:
        return {"one": 1.0, "zero": 0.0, "skip": None}[empty]
    return sum(int((d <= tolerance).sum()) for d in distances) / n


def checked(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both masks as bool, and the spacing [rank] in mm.

    Raises:
        ValueError: as `surface_distances`.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.shape != truth.shape:
        raise ValueError(f"pred {pred.shape} and truth {truth.shape} must be on one grid")
    steps = np.ones(pred.ndim) if spacing is None else np.asarray(spacing, np.float64)
    if steps.shape != (pred.ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise ValueError(f"spacing {spacing} must be {pred.ndim} numbers of mm above 0")
    return (*(m if m.dtype == bool else m > 0.5 for m in (pred, truth)), steps)


def _nearest(one: np.ndarray, other: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """From each voxel of `one` to the nearest of `other`, mm: [n] float64, in scan order."""
    here, there = (np.argwhere(m) * steps for m in (one, other))
    if not len(here) or not len(there):
        return np.full(len(here), np.inf)
    if _POINT * (len(here) + len(there)) > one.size:
        return _transform(one, other, steps)
    tree = spatial.cKDTree(there)
    found = tree.query(here, distance_upper_bound=_NEAR * steps.max())[0]
    far = np.isinf(found)
    if _PAIR * far.sum() * len(there) > one.size:
        found[far] = _transform(one, other, steps)[far]
    elif far.any():
        found[far] = tree.query(here[far])[0]
    return found


def _transform(one: np.ndarray, other: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The same by a distance transform, of which only what is asked for becomes distances: half of the time."""
    nearest = ndimage.distance_transform_edt(
        ~other, sampling=steps, return_distances=False, return_indices=True
    )
    apart = [
        (n[one] - i) * step for n, i, step in zip(nearest, np.nonzero(one), steps, strict=True)
    ]
    return np.sqrt(sum(np.square(a) for a in apart))
