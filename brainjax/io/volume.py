"""A volume and the grid it lives on: an array that cannot lose its place in the world."""

import dataclasses
from typing import Any

import nibabel
import numpy as np

from brainjax.types import DataError

FARTHEST, NEAREST = 1e9, 1e-9  # mm, from the origin and between voxels
SKEW = 1e-3  # volume of the voxel over that of the box with its edges; below, the axes lie in one plane


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels are.

    Attributes:
        shape: voxels along each axis.
        affine: [4 4] float64, voxel index -> world in mm, RAS+.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        """Raises DataError for axes without voxels or an affine that cannot be inverted."""
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise DataError(f"shape {self.shape} is not one of three axes with a voxel at least")
        check_affine(self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm from voxel to voxel along each axis."""
        return tuple(np.linalg.norm(self.affine[:3, :3], axis=0).tolist())

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml; of sheared ones too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    @property
    def orientation(self) -> str:
        """The anatomical direction nearest to each axis, such as 'RAS' or 'LIA'."""
        return "".join(nibabel.aff2axcodes(self.affine))

    def matches(self, other: "Grid", tolerance: float = 1e-2) -> bool:
        """Whether the same index is the same place: no corner is further off than `tolerance` voxels."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1)
        corners = np.concatenate([corners, np.ones((1, 8))])
        away = np.linalg.norm(((self.affine - other.affine) @ corners)[:3], axis=0)
        return bool(away.max() <= tolerance * min(self.spacing))


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """A scan, a mask or a stack of either, in the file's own axis order.

    Attributes:
        data: [X Y Z] or [X Y Z C], real numbers.
        affine: [4 4] float64, voxel index -> world in mm, RAS+.
        header: nibabel's header of the file it came from, which goes back out with results; None if there was none.
        notes: what the reader had to decide, such as which of two affines to believe.
    """

    data: np.ndarray
    affine: np.ndarray
    header: Any | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises DataError for an array that is no volume or an affine that cannot be inverted."""
        if self.data.ndim not in (3, 4) or self.data.dtype.kind not in "biuf":
            raise DataError(
                f"an array {self.data.shape} of {self.data.dtype} is no volume; "
                "give real numbers with axes X Y Z or X Y Z C"
            )
        object.__setattr__(self, "affine", self.grid.affine)

    @property
    def grid(self) -> Grid:
        """Where the voxels are, channels left out."""
        return Grid(self.data.shape[:3], self.affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm from voxel to voxel along each axis."""
        return self.grid.spacing

    @property
    def orientation(self) -> str:
        """The anatomical direction nearest to each axis, such as 'RAS' or 'LIA'."""
        return self.grid.orientation

    def with_data(self, data: np.ndarray) -> "Volume":
        """Other numbers at the same places, with the same header.

        Args:
            data: [X Y Z] or [X Y Z K].

        Raises:
            DataError: `data` has other X Y Z.
        """
        if data.shape[:3] != self.data.shape[:3]:
            raise DataError(
                f"an array {data.shape} does not lie on the grid {self.data.shape[:3]}; resample it"
            )
        return dataclasses.replace(self, data=data)


def check_affine(affine: np.ndarray) -> None:
    """Raises DataError unless `affine` [4 4] maps indices to the world one to one."""
    if affine.shape != (4, 4) or not (np.abs(affine) < FARTHEST).all():  # nor is NaN
        raise DataError("its affine is not a 4 x 4 matrix of sane numbers; repair the header")
    if not np.array_equal(affine[3], (0, 0, 0, 1)):
        raise DataError("the last row of its affine is not 0 0 0 1; repair the header")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if spacing.min() < NEAREST or abs(np.linalg.det(affine[:3, :3] / spacing)) < SKEW:
        raise DataError("its affine is singular: two axes point the same way; repair the header")


def finite(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Floats with 0 in the place of NaN and infinity, in place, and a note if there were any."""
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if not count:
        return values, ()
    values[bad] = 0
    return values, (f"{count} values are not finite (NaN, infinite): they were set to 0",)
