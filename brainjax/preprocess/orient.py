"""Turning volumes to face another way by flips and permutations of axes: exact, and without a copy."""

import dataclasses

import nibabel
import numpy as np

from brainjax.io.volume import Grid, Volume
from brainjax.types import ConfigError


@dataclasses.dataclass(frozen=True)
class Turn:
    """A permutation of the axes X Y Z, then flips.

    Attributes:
        axes: for each new axis the old one.
        flips: for each new axis whether it runs the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """[X Y Z ...] -> a view of it with new axes; those after the third stay."""
        return np.flip(
            array.transpose(*self.axes, *range(3, array.ndim)), np.flatnonzero(self.flips)
        )

    def invert(self, array: np.ndarray) -> np.ndarray:
        """What `apply` was given, as a view."""
        array = np.flip(array, np.flatnonzero(self.flips))
        return array.transpose(*np.argsort(self.axes), *range(3, array.ndim))

    def grid(self, grid: Grid) -> Grid:
        """The same voxels, counted along the new axes."""
        shape = [grid.shape[axis] for axis in self.axes]
        old_index = np.zeros((4, 4))  # from the new one
        old_index[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            old_index[old, new] = -1 if flip else 1
            old_index[old, 3] = shape[new] - 1 if flip else 0
        return Grid(tuple(shape), grid.affine @ old_index)


def turn_to(grid: Grid, codes: str = "RAS") -> Turn:
    """The turn after which each axis is the one nearest to an anatomical direction.

    Args:
        grid: where the voxels are.
        codes: the directions wanted, such as 'RAS': towards right, anterior, superior.

    Raises:
        ConfigError: `codes` are not three directions, one each of LR, AP and IS.
    """
    codes = codes.upper()
    if len(codes) != 3 or any(len(set(pair) & set(codes)) != 1 for pair in ("LR", "AP", "IS")):
        raise ConfigError(
            f"orientation {codes!r} is not one each of L or R, A or P, I or S; try RAS"
        )
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(grid.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    axes = np.argsort(change[:, 0])
    return Turn(tuple(axes.tolist()), tuple((change[axes, 1] == -1).tolist()))


def reorient(volume: Volume, codes: str = "RAS") -> Volume:
    """A volume with its axes turned to `codes`; its data is a view, its header kept.

    Raises:
        ConfigError: as `turn_to`.
    """
    turn = turn_to(volume.grid, codes)
    return dataclasses.replace(
        volume, data=turn.apply(volume.data), affine=turn.grid(volume.grid).affine
    )
