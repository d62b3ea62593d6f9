"""A box of voxels: cut out of a volume, and put back where it was."""

import dataclasses

import numpy as np

from brainjax.io.volume import Grid
from brainjax.types import ConfigError, check_shape


@dataclasses.dataclass(frozen=True)
class Box:
    """Part of an array, or more than it: what lies outside is padding.

    Attributes:
        start, stop: voxels along each axis, half open; below 0 and above `shape` too.
        shape: of the whole array.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels of the box along each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    def cut(self, array: np.ndarray, fill: float = 0) -> np.ndarray:
        """[X Y Z ...] -> [x y z ...]: a view where nothing is padded, else a copy."""
        check_shape("array", array, (*self.shape, *[None] * (array.ndim - 3)))
        within, place = self._overlap()
        if within == self._whole(self.size):
            return array[place]
        out = np.full((*self.size, *array.shape[3:]), fill, array.dtype)
        out[within] = array[place]
        return out

    def paste(self, part: np.ndarray, fill: float = 0) -> np.ndarray:
        """[x y z ...] -> [X Y Z ...], `fill` around it; what was padded is dropped."""
        check_shape("part", part, (*self.size, *[None] * (part.ndim - 3)))
        within, place = self._overlap()
        out = np.full((*self.shape, *part.shape[3:]), fill, part.dtype)
        out[place] = part[within]
        return out

    def grid(self, grid: Grid) -> Grid:
        """Where the voxels of the box are, given where those of the whole are."""
        affine = grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ self.start
        return Grid(self.size, affine)

    def _overlap(self) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """What the box and the array share, counted in the box and in the array."""
        spans = [
            (max(a, 0), max(min(b, n), max(a, 0)), a)
            for a, b, n in zip(self.start, self.stop, self.shape, strict=True)
        ]
        within = tuple(slice(low - a, high - a) for low, high, a in spans)
        return within, tuple(slice(low, high) for low, high, _ in spans)

    @staticmethod
    def _whole(shape: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(0, n) for n in shape)


def bounding_box(
    mask: np.ndarray, margin: int | tuple[int, int, int] = 0, multiple: int = 1
) -> Box:
    """The smallest box around all that is set.

    Args:
        mask: [X Y Z], set where not 0.
        margin: voxels added on every side, as far as the array goes.
        multiple: of which each edge is to be one; the box grows on both sides, beyond the array where it must.

    Returns:
        The box; around an empty mask, one around the whole array.

    Raises:
        ConfigError: a margin below 0 or a multiple below 1.
    """
    check_shape("mask", mask, (None, None, None))
    margins = np.broadcast_to(margin, 3)
    if margins.min() < 0 or multiple < 1:
        raise ConfigError(
            f"margin {margin} must be 0 or more, multiple {multiple} 1 or more; try 0 and 1"
        )
    start, stop = [], []
    for axis, n in enumerate(mask.shape):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(mask.any(axis=others))
        low, high = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, n)
        low, high = max(0, low - int(margins[axis])), min(n, high + int(margins[axis]))
        size = -(-(high - low) // multiple) * multiple
        low -= (size - (high - low)) // 2
        low = min(max(low, 0), n - size) if size <= n else (n - size) // 2
        start.append(low)
        stop.append(low + size)
    return Box(tuple(start), tuple(stop), mask.shape)
