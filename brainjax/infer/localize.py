"""Where the lesions are and how large: what hangs together in the masks, measured in mm and ml, and its outlines."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.feature import canny
from skimage.measure import find_contours

from brainjax.infer.diameters import Diameters, Point, bidirectional
from brainjax.io import Grid
from brainjax.metrics.components import bounding_box, label
from brainjax.types import check_shape

_FRAME = 3  # pixels of background around a mask, so that its edge is seen at the picture's edge too


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One connected piece of all regions together.

    Attributes:
        index: 1, 2, ..., the largest first.
        volume_ml: of all its voxels.
        centroid_mm: the mean of its voxels, RAS+ mm. It can lie outside of a lesion that is bent.
        box: voxels, the first and one past the last along each axis.
        box_mm: the 8 corners of that box, RAS+ mm, the last axis fastest; edges of voxels, not their centres.
        regions_ml: region -> what of it is in this lesion.
        diameters: of the whole lesion, on axial slices.
        region_diameters: region -> the same; regions that are not in this lesion are left out.
    """

    index: int
    volume_ml: float
    centroid_mm: Point
    box: tuple[tuple[int, int, int], tuple[int, int, int]]
    box_mm: tuple[Point, ...]
    regions_ml: dict[str, float]
    diameters: Diameters | None
    region_diameters: dict[str, Diameters] = dataclasses.field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **dataclasses.asdict(self),
            "diameters": self.diameters and self.diameters.facts(),
            "region_diameters": {k: d.facts() for k, d in self.region_diameters.items()},
        }


def measure(
    regions: Mapping[str, np.ndarray], affine: np.ndarray, *, least_ml: float = 0.05
) -> tuple[Lesion, ...]:
    """The lesions in the masks of one scan.

    Args:
        regions: name -> [X Y Z] bool, such as 'WT', 'TC' and 'ET'; they may overlap.
        affine: [4 4], voxel -> RAS+ mm.
        least_ml: connected pieces smaller than this are not reported.

    Returns:
        Connected pieces (by faces, edges or corners) of all regions together, the largest first.

    Raises:
        ValueError: no region, or masks of different shapes.
    """
    if not regions:
        raise ValueError("lesions are measured in one region at least")
    masks = {name: np.asarray(mask, bool) for name, mask in regions.items()}
    shape = next(iter(masks.values())).shape
    for name, mask in masks.items():
        check_shape(name, mask, shape)
    grid = Grid(shape, affine)
    together = np.logical_or.reduce(list(masks.values()))
    box = bounding_box(together)
    if box is None:
        return ()
    pieces, count = label(together[box])
    ml = grid.voxel_ml
    voxels = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    places = ndimage.find_objects(pieces)
    kept = [k for k in np.argsort(-voxels, kind="stable") if voxels[k] * ml >= least_ml]
    lesions = []
    for index, k in enumerate(kept, 1):
        place = tuple(
            slice(s.start + b.start, s.stop + b.start) for s, b in zip(places[k], box, strict=True)
        )
        piece = pieces[places[k]] == k + 1
        inside = {name: mask[place] & piece for name, mask in masks.items()}
        lesions.append(_lesion(index, piece, inside, place, grid))
    return tuple(lesions)


def volumes_ml(regions: Mapping[str, np.ndarray], affine: np.ndarray) -> dict[str, float]:
    """Region -> the volume of all of its voxels, specks included."""
    return {
        name: int(np.count_nonzero(mask)) * Grid(mask.shape, affine).voxel_ml
        for name, mask in regions.items()
    }


def rows(lesions: Sequence[Lesion]) -> list[dict[str, Any]]:
    """A flat row of numbers for each lesion, all with the same columns, for a table."""
    names = list(dict.fromkeys(name for lesion in lesions for name in lesion.regions_ml))
    return [_row(lesion, names) for lesion in lesions]


def contours(mask: np.ndarray) -> list[np.ndarray]:
    """The outlines of a mask, outer ones and those of holes: Canny's edges, then contour lines along them.

    Args:
        mask: [H W] bool.

    Returns:
        Closed lines, [n 2] each, (row, column) in pixels whose centres are whole numbers, the last point equal to the
        first. They run midway between pixels inside and outside (at the picture's edge half a pixel beyond it).
    """
    check_shape("mask", mask, (None, None))
    box = bounding_box(np.asarray(mask, bool))
    if box is None:
        return []
    part = np.pad(mask[box].astype(np.float32), _FRAME)
    # Unsmoothed, for a mask's edge is sharp: every step from 0 to 1 is above the upper threshold.
    edges = canny(part, sigma=0, low_threshold=0.01, high_threshold=0.02)
    # Canny marks one side of the edge, and at a corner the pixel after the next.
    near = ndimage.binary_dilation(edges, np.ones((3, 3), bool), iterations=2)
    corner = np.array([s.start for s in box]) - _FRAME
    return [line + corner for line in find_contours(part, 0.5, mask=near)]


def _lesion(
    index: int,
    piece: np.ndarray,
    inside: Mapping[str, np.ndarray],
    place: tuple[slice, ...],
    grid: Grid,
) -> Lesion:
    """One piece [x y z] and what of each region is in it, cut out at `place` of the grid."""
    start, stop = ([getattr(s, end) for s in place] for end in ("start", "stop"))
    to_world, ml = grid.affine, grid.voxel_ml
    centre = np.argwhere(piece).mean(0) + start
    edges = [(a - 0.5, b - 0.5) for a, b in zip(start, stop, strict=True)]
    found = {name: mask for name, mask in inside.items() if mask.any()}
    whole = _diameters(piece, place, grid)
    return Lesion(
        index=index,
        volume_ml=float(np.count_nonzero(piece) * ml),
        centroid_mm=_world(to_world, centre),
        box=(tuple(start), tuple(stop)),
        box_mm=tuple(_world(to_world, corner) for corner in itertools.product(*edges)),
        regions_ml={name: float(np.count_nonzero(mask) * ml) for name, mask in inside.items()},
        diameters=whole,
        region_diameters={
            # One of the regions is mostly all of the lesion.
            name: whole if np.array_equal(mask, piece) else _diameters(mask, place, grid)
            for name, mask in found.items()
        },
    )


def _diameters(part: np.ndarray, place: tuple[slice, ...], grid: Grid) -> Diameters | None:
    """Of a part of the grid, told in the voxels of all of it."""
    start = np.array([s.start for s in place])
    affine = grid.affine.copy()
    affine[:3, 3] = _world(affine, start)
    found = bidirectional(part, affine)
    if found is None:
        return None

    def moved(ends: Any) -> Any:
        return tuple(tuple((np.array(end) + start).tolist()) for end in ends)

    return dataclasses.replace(
        found,
        slice=found.slice + int(start[found.axis]),
        longest=moved(found.longest),
        perpendicular=moved(found.perpendicular),
    )


def _world(affine: np.ndarray, voxel: Any) -> Point:
    return tuple((affine[:3, :3] @ np.asarray(voxel, float) + affine[:3, 3]).tolist())


def _row(lesion: Lesion, names: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"lesion": lesion.index, "volume_ml": lesion.volume_ml}
    row |= {f"centroid_{axis}_mm": x for axis, x in zip("ras", lesion.centroid_mm, strict=True)}
    for end, corner in zip(("first", "stop"), lesion.box, strict=True):
        row |= {f"box_{end}_{axis}": n for axis, n in zip("ijk", corner, strict=True)}
    row |= _lengths("", lesion.diameters)
    for name in names:
        row[f"{name}_ml"] = lesion.regions_ml.get(name, 0.0)
        row |= _lengths(f"{name}_", lesion.region_diameters.get(name))
    return row


def _lengths(prefix: str, found: Diameters | None) -> dict[str, Any]:
    """Columns of one pair of diameters; None where there are none."""
    return {
        f"{prefix}longest_mm": found and found.longest_mm,
        f"{prefix}perpendicular_mm": found and found.perpendicular_mm,
        f"{prefix}product_mm2": found and found.product_mm2,
        f"{prefix}slice": found and found.slice,
    }
