"""How wide a lesion is on axial slices: the two diameters at right angles that RANO asks for, in mm.

The longest diameter on any axial slice, and the longest one at right angles to it on the same slice (Wen et al. 2010,
doi:10.1200/JCO.2009.26.3541; measured from edge to edge). Both are of the convex hull of one connected piece of the
slice, found exactly: the longest diameter joins two of the hull's corners, and the width of a convex shape along one
direction is greatest at a corner. The edge runs midway between voxels inside and outside.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from brainjax.io import Grid
from brainjax.metrics.components import bounding_box
from brainjax.preprocess.orient import turn_to
from brainjax.types import check_shape

Point = tuple[float, float, float]
Segment = tuple[Point, Point]

_HALF = 0.5  # voxels from a centre to the edge
# A slice's neighbours above and below are no part of its pieces: pixels touch at edges and corners.
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[:, :, 1] = True


@dataclasses.dataclass(frozen=True)
class Diameters:
    """Two diameters at right angles on one axial slice.

    Attributes:
        longest_mm: the longest diameter on any axial slice.
        perpendicular_mm: the longest one at right angles to it on the same slice.
        axis: of the array, the one nearest to the patient's long axis: slices across it are axial.
        slice: index along that axis.
        longest, perpendicular: the ends of both, voxels of the array (fractions are between voxels).
        longest_world, perpendicular_world: the same in RAS+ mm.
    """

    longest_mm: float
    perpendicular_mm: float
    axis: int
    slice: int
    longest: Segment
    perpendicular: Segment
    longest_world: Segment
    perpendicular_world: Segment

    @property
    def product_mm2(self) -> float:
        """Of both diameters: the size that RANO compares between visits."""
        return self.longest_mm * self.perpendicular_mm

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**dataclasses.asdict(self), "product_mm2": self.product_mm2}


def bidirectional(mask: np.ndarray, affine: np.ndarray) -> Diameters | None:
    """The two diameters of a region.

    Args:
        mask: [X Y Z] bool, in any orientation.
        affine: [4 4], voxel -> RAS+ mm; anisotropic, oblique and sheared grids are measured right, on the slices
            across the axis nearest to the patient's long axis.

    Returns:
        The diameters; None of an empty mask.
    """
    check_shape("mask", mask, (None, None, None))
    grid = Grid(mask.shape, affine)
    turn = turn_to(grid, "RAS")
    turned, to_world = turn.apply(mask), turn.grid(grid).affine
    box = bounding_box(turned)
    if box is None:
        return None
    plane = np.linalg.qr(to_world[:3, :2])[1]  # [2 2], steps along the slice's axes -> mm within it
    best = (0.0, 0.0, 0)
    for reach, z, pixels in sorted(_pieces(turned[box], box, plane), key=lambda p: -p[0]):
        if reach < best[0]:
            break  # no piece that is left can hold a longer one
        corners, longest, perpendicular = _caliper(_edge(pixels), plane)
        # Of equally long ones the wider, and the larger.
        size = (round(longest, 6), round(perpendicular, 6), len(pixels))
        if size > best:
            best, lengths, ends, level = size, (longest, perpendicular), corners, z
    at_world = np.concatenate([ends, np.full((4, 1), level), np.ones((4, 1))], axis=1) @ to_world.T
    voxels = (at_world @ np.linalg.inv(grid.affine).T)[:, :3]
    axis = turn.axes[2]
    return Diameters(
        *lengths,
        axis,
        mask.shape[axis] - 1 - level if turn.flips[2] else level,
        _segment(voxels[:2]),
        _segment(voxels[2:]),
        _segment(at_world[:2, :3]),
        _segment(at_world[2:, :3]),
    )


def _pieces(mask: np.ndarray, box: tuple[slice, ...], plane: np.ndarray) -> list[tuple]:
    """Of each connected piece of each slice: more mm than its diameter, the slice, and its pixels [n 2]."""
    found, _ = ndimage.label(mask, _IN_PLANE)
    pieces = []
    for number, place in enumerate(ndimage.find_objects(found), 1):
        x, y, z = (s.start for s in place)
        pixels = np.argwhere(found[place][:, :, 0] == number)
        width, height = pixels.max(0) + 1
        reach = np.linalg.norm(plane @ [[width, width], [height, -height]], axis=0).max()
        shift = x + box[0].start, y + box[1].start
        pieces.append((reach, z + box[2].start, pixels + shift))
    return pieces


def _edge(pixels: np.ndarray) -> np.ndarray:
    """[n 2] pixels of a piece -> [m 2], the points midway to what is outside that its hull can have as corners."""
    points = []
    for axis in (0, 1):
        # Of each row its two ends: what lies between is inside the hull.
        row, along = pixels[:, 1 - axis], pixels[:, axis]
        for sign in (1, -1):
            order = np.lexsort((sign * along, row))
            first = order[np.r_[True, np.diff(row[order]) > 0]]
            end = pixels[first].astype(float)
            end[:, axis] -= sign * _HALF
            points.append(end)
    return np.concatenate(points)


def _caliper(points: np.ndarray, plane: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Ends [4 2] of the longest diameter and of the longest across it, pixels; and the length of both, mm."""
    corners = points[ConvexHull(points).vertices]  # in order around the hull
    place = corners @ plane.T  # mm
    apart = squareform(pdist(place))
    a, b = np.unravel_index(apart.argmax(), apart.shape)
    along = (place[b] - place[a]) / apart[a, b]
    across = np.array([-along[1], along[0]])
    t, s = place @ along, place @ across
    # The hull's two sides as functions of t; their distance is greatest at a corner of either.
    below, above = _side(t, s, int(t.argmin()), int(t.argmax()))
    low, high = np.interp(t, *below), np.interp(t, *above)
    widest = int(abs(high - low).argmax())
    ends = np.stack(
        [t[widest] * along + low[widest] * across, t[widest] * along + high[widest] * across]
    )
    ends = np.concatenate([corners[[a, b]], np.linalg.solve(plane, ends.T).T])
    return ends, float(apart[a, b]), float(abs(high - low)[widest])


def _side(
    t: np.ndarray, s: np.ndarray, first: int, last: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Corners (t, s) of a hull in order around it -> its two chains from `first` to `last`, t ascending."""
    n = len(t)
    forward = [(first + i) % n for i in range((last - first) % n + 1)]
    backward = [(first - i) % n for i in range((first - last) % n + 1)]
    return [(t[chain], s[chain]) for chain in (forward, backward)]


def _segment(points: np.ndarray) -> Segment:
    return tuple(tuple(float(x) for x in point) for point in points)
