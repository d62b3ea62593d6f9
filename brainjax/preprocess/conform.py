"""Any scan to the grid a network was made for, and what the network says back to the scan's own grid."""

import dataclasses
import math
from typing import Any

import numpy as np

from brainjax.io.nifti import MAX_VALUES
from brainjax.io.volume import Grid, Volume
from brainjax.preprocess.grid import resample
from brainjax.preprocess.orient import turn_to
from brainjax.types import ConfigError, DataError

_PART = 1e-3  # of a voxel that is not worth one more


@dataclasses.dataclass(frozen=True, eq=False)
class Undo:
    """The way back from a conformed grid.

    Attributes:
        native: the scan's own grid.
        working: the conformed one.
        header: the scan's, for results.
        notes: the scan's.
    """

    native: Grid
    working: Grid
    header: Any | None = None
    notes: tuple[str, ...] = ()

    def __call__(self, array: np.ndarray, order: int = 1) -> np.ndarray:
        """What lies at the centre of each voxel of the scan.

        Args:
            array: [x y z] or [x y z K] on the working grid, such as probabilities or a mask.
            order: 1, linear: a mask becomes a share, to be cut at 0.5; 0, the nearest voxel, for labels.

        Returns:
            [X Y Z] or [X Y Z K] on the native grid, float32 or with order 0 the array's type.

        Raises:
            DataError: `array` is not on the working grid.
        """
        return self.volume(array, order).data

    def volume(self, array: np.ndarray, order: int = 1) -> Volume:
        """As a call, with the scan's affine and header."""
        if array.shape[:3] != self.working.shape:
            raise DataError(
                f"an array {array.shape} does not lie on the conformed grid {self.working.shape}"
            )
        # At the centre, without averaging: thick slices would blur into one another.
        volume = resample(
            Volume(array, self.working.affine), self.native, order=order, antialias=False
        )
        return Volume(volume.data, self.native.affine, self.header, self.notes)


def conform(
    volume: Volume,
    spacing: float | tuple[float, float, float] | None = 1.0,
    multiple: int | tuple[int, int, int] = 16,
    *,
    order: int = 1,
    fill: float = 0.0,
) -> tuple[Volume, Undo]:
    """Turns a scan to RAS+, resamples it and pads it until a network's poolings divide its axes.

    The grid keeps the scan's own axes, also where they are oblique to the scanner's, as nnU-Net and HD-BET do it: so
    nothing is interpolated that need not be, and the way back is exact where only the orientation changes. Nothing
    of the field of view is lost.

    Args:
        volume: [X Y Z] or [X Y Z C].
        spacing: mm along each axis of the result, one for all or three; None keeps the scan's.
        multiple: what each axis of the result is a multiple of.
        order: 1, linear and antialiased; 0, the nearest voxel, for labels.
        fill: value of what is padded.

    Returns:
        The conformed volume, float32 or with order 0 the volume's type; and the way back.

    Raises:
        ConfigError: a spacing or multiple that is not above 0, or not one number or three.
        DataError: the scan has so large a field of view that its header cannot be right.
    """
    working = conformed_grid(volume.grid, spacing, multiple)
    undo = Undo(volume.grid, working, volume.header, volume.notes)
    return resample(volume, working, order=order, fill=fill), undo


def conformed_grid(
    grid: Grid,
    spacing: float | tuple[float, float, float] | None = 1.0,
    multiple: int | tuple[int, int, int] = 16,
) -> Grid:
    """The grid that `conform` takes a scan to.

    Raises:
        ConfigError, DataError: as `conform`.
    """
    turned = turn_to(grid).grid(grid)
    old = np.array(turned.spacing)
    new = np.array(old if spacing is None else spacing, np.float64)
    if new.shape not in ((), (1,), (3,)):
        raise ConfigError(f"spacing {spacing} must be one number of mm, or three")
    new = np.broadcast_to(new, 3)
    blocks = np.broadcast_to(multiple, 3)
    if not (np.isfinite(new) & (new > 0)).all() or (blocks < 1).any():
        raise ConfigError(
            f"spacing {spacing} mm and multiple {multiple} must be above 0; try 1.0 and 16"
        )
    covered = np.ceil(np.array(turned.shape) * old / new - _PART).clip(1)
    if math.prod(covered + blocks) > MAX_VALUES:
        size = " x ".join(f"{n * s:.4g}" for n, s in zip(turned.shape, old, strict=True))
        raise DataError(
            f"a field of view of {size} mm is too large to resample to {new.min():g} mm; "
            "repair the voxel size in the header, or crop it"
        )
    shape = np.ceil(covered / blocks).astype(np.int64) * blocks
    # Whole voxels are put before the scan's first edge, so that at the same spacing voxels coincide.
    before = (shape - covered.astype(np.int64)) // 2
    affine = turned.affine.copy()
    affine[:3, :3] *= new / old
    corner = turned.affine[:3, 3] - turned.affine[:3, :3].sum(axis=1) / 2
    affine[:3, 3] = corner + affine[:3, :3] @ (0.5 - before)
    return Grid(tuple(shape.tolist()), affine)
