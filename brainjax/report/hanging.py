"""How the slices of an analysis are hung: turned to RAS+, cropped to what matters, up is up, the right on the left."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from brainjax.infer.analysis import Analysis
from brainjax.infer.localize import Lesion, volumes_ml
from brainjax.io import Grid, Volume
from brainjax.preprocess.box import Box, bounding_box
from brainjax.preprocess.orient import Turn, turn_to
from brainjax.report.overlay import grey, window

Segment = Sequence[tuple[float, float]]  # (row, column) of both ends
PLANES = ("sagittal", "coronal", "axial")  # by the axis of RAS+ that they are across
_MARGIN = 15  # mm around the brain: the skull is seen, the face mostly not
_WORTH = 0.1  # of the largest slice of the brain
_ABOVE = 0.12  # of the window, left for what is brighter than nearly all of the brain: fluid, what enhances
_LEAST = 8  # voxels along both edges of a slice that is worth a look


@dataclasses.dataclass(frozen=True, eq=False)
class Hanging:
    """The part of a scan that is shown, in RAS+.

    Attributes:
        turn, box: from the scan's grid to here.
        grid: of the part, [x y z].
        images: contrast -> [x y z], of any scale.
        brain: [x y z] bool, or None.
        regions: name -> [x y z] bool, outer ones first.
        limits: contrast -> the intensities shown black and white, the same in every slice of the part.
    """

    turn: Turn
    box: Box
    grid: Grid
    images: dict[str, np.ndarray]
    brain: np.ndarray | None
    regions: dict[str, np.ndarray]
    limits: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, analysis: Analysis) -> "Hanging":
        """Crops to the brain, and the tumour, with a margin; without a brain nothing is cropped."""
        scan = analysis.scan
        turn = turn_to(scan.grid, "RAS")
        turned = turn.grid(scan.grid)
        found = [v.data > 0 for v in (analysis.brain, analysis.tumour) if v is not None]
        margin = tuple(int(np.ceil(_MARGIN / s)) for s in turned.spacing)
        box = Box((0, 0, 0), turned.shape, turned.shape)
        if analysis.brain is not None and analysis.brain.data.any():
            box = bounding_box(turn.apply(np.logical_or.reduce(found)), margin)
        grid = box.grid(turned)

        def bring(volume: Volume) -> Volume:
            # Laid out anew: of a view with axes of its own every slice is slow.
            return Volume(np.ascontiguousarray(box.cut(turn.apply(volume.data))), grid.affine)

        images = {name: bring(v).data for name, v in scan.volumes.items()}
        brain = None if analysis.brain is None else bring(analysis.brain).data > 0
        if analysis.tumour is not None:
            analysis = dataclasses.replace(analysis, tumour=bring(analysis.tumour))
        within = brain if brain is not None and brain.any() else None
        return cls(
            turn=turn,
            box=box,
            grid=grid,
            images=images,
            brain=brain,
            regions=analysis.regions,
            limits={name: _limits(image, within) for name, image in images.items()},
        )

    def bring(self, array: np.ndarray) -> np.ndarray:
        """[X Y Z] on the scan's grid -> [x y z]."""
        return self.box.cut(self.turn.apply(array))

    def slice(self, array: np.ndarray, axis: int, index: int) -> np.ndarray:
        """[x y z] -> [H W]: one slice, hung."""
        plane = np.moveaxis(array, axis, 0)[index].T[::-1]
        return plane if axis == 0 else plane[:, ::-1]

    def picture(self, contrast: str, axis: int, index: int) -> np.ndarray:
        """[H W] uint8: a slice of one contrast in grey."""
        return grey(self.slice(self.images[contrast], axis, index), self.limits[contrast])

    def pixel(self, axis: int) -> tuple[float, float]:
        """Height and width of a slice's pixel, mm."""
        across, up = (a for a in range(3) if a != axis)
        return self.grid.spacing[up], self.grid.spacing[across]

    @property
    def sizes_ml(self) -> dict[str, float]:
        """The volume of the brain, where it is known, and of each region."""
        masks = {} if self.brain is None else {"brain": self.brain}
        return volumes_ml(masks | self.regions, self.grid.affine)

    def size(self, axis: int) -> tuple[int, int]:
        """Rows and columns of a slice."""
        across, up = (a for a in range(3) if a != axis)
        return self.grid.shape[up], self.grid.shape[across]

    def voxel(self, world: Sequence[float]) -> np.ndarray:
        """RAS+ mm -> [3] voxel here, with fractions."""
        return (np.linalg.inv(self.grid.affine) @ [*world, 1.0])[:3]

    def nearest(self, world: Sequence[float]) -> tuple[int, int, int]:
        """RAS+ mm -> the voxel here that is nearest."""
        at = np.rint(self.voxel(world)).astype(int)
        return tuple(np.clip(at, 0, np.array(self.grid.shape) - 1).tolist())

    def place(self, world: Sequence[float], axis: int) -> tuple[float, float]:
        """RAS+ mm -> (row, column) on a slice across `axis`, pixel centres being whole numbers."""
        at = self.voxel(world)
        across, up = (a for a in range(3) if a != axis)
        rows, columns = self.size(axis)
        return rows - 1 - at[up], at[across] if axis == 0 else columns - 1 - at[across]

    def level(self, axis: int, index: int) -> float:
        """Where the middle of a slice is along its axis of the world, mm."""
        middle = [(n - 1) / 2 for n in self.grid.shape]
        middle[axis] = index
        return float((self.grid.affine @ [*middle, 1.0])[axis])

    @functools.cached_property
    def planes(self) -> tuple[int, ...]:
        """The axes with slices worth a look: of a picture [X Y 1] one only. Axial first."""
        return tuple(axis for axis in (2, 1, 0) if min(self.size(axis)) >= _LEAST)

    def spread(self, axis: int, count: int) -> list[int]:
        """Slices evenly spread over the brain, or the tumour, or all there is; from high to low, front to back."""
        masks = [m for m in (self.brain, *self.regions.values()) if m is not None and m.any()]
        low, high = 0, self.grid.shape[axis]
        if masks:
            area = np.count_nonzero(masks[0], axis=tuple(a for a in range(3) if a != axis))
            worth = np.flatnonzero(area > _WORTH * area.max())
            low, high = worth[0], worth[-1] + 1
        chosen = middles(low, high, count)
        return chosen[::-1] if axis == 0 else chosen

    def showing(self, lesion: Lesion, axis: int) -> tuple[int, list[Segment]]:
        """The slice that shows a lesion; if it is axial the one that the diameters are of, and these to draw on it."""
        found = lesion.diameters
        if axis != 2 or found is None:
            return self.nearest(lesion.centroid_mm)[axis], []
        pairs = found.longest_world, found.perpendicular_world
        lines = [tuple(self.place(end, axis) for end in pair) for pair in pairs]
        return self.nearest(found.longest_world[0])[axis], lines


def middles(low: int, high: int, count: int) -> list[int]:
    """The middles of so many equal parts of the slices from low up to high, the highest first: the ends show little."""
    edges = np.linspace(low, high, count + 1)
    return np.unique(((edges[:-1] + edges[1:]) / 2).astype(int))[::-1].tolist()


def _limits(image: np.ndarray, brain: np.ndarray | None) -> tuple[float, float]:
    """Black as in all of the part [x y z], white as in the brain: fat outside of it is brighter."""
    # Every third voxel along each axis tells the same at a fraction of the time.
    low, high = window(image[::3, ::3, ::3])
    if brain is not None:
        inside = image[::2, ::2, ::2][brain[::2, ::2, ::2]]
        high = window(inside)[1] if inside.size else high
        high += _ABOVE * (high - low)
    return (low, high) if high > low else window(image)
