"""What of a mask hangs together, and the box it is in. On the host, in numpy and scipy, for masks of any rank."""

import numpy as np
from scipy import ndimage

from brainjax.types import ConfigError

# Voxels of a volume touch when they share a face (6), also an edge (18), also a corner (26): the most axes a step
# may go along.
STEPS = {6: 1, 18: 2, 26: 3}

Box = tuple[slice, ...]


def bounding_box(mask: np.ndarray, margin: int = 0) -> Box | None:
    """The smallest box that holds all of `mask`, with a margin as far as the grid goes.

    Args:
        mask: [*spatial] bool.
        margin: voxels on every side.

    Returns:
        One slice an axis, to index the array with; None of an empty mask.
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        # Of what the axes before have left: nearly all of the time is the first pass.
        part = mask[tuple(box)]
        found = np.flatnonzero(part.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(found):
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, size))
        for s, size in zip(box, mask.shape, strict=True)
    )


def crop(mask: np.ndarray, box: Box | None) -> np.ndarray:
    """What of a mask is in a box, laid out anew, which every later pass over it is quicker for; all for None."""
    return mask if box is None else np.ascontiguousarray(mask[box])


def structure(rank: int, connectivity: int) -> np.ndarray:
    """The neighbourhood [3 ...] bool of a voxel, for scipy; in planes 26 and 18 are both 8 neighbours, and 6 is 4.

    Raises:
        ConfigError: another connectivity.
    """
    if connectivity not in STEPS:
        raise ConfigError(f"connectivity must be 6, 18 or 26, got {connectivity}")
    return ndimage.generate_binary_structure(rank, min(STEPS[connectivity], rank))


def label(mask: np.ndarray, connectivity: int = 26) -> tuple[np.ndarray, int]:
    """Numbers the connected components.

    Args:
        mask: [*spatial] bool.
        connectivity: 6, 18 or 26 neighbours.

    Returns:
        Labels [*spatial] int32 from 1, in scan order, with 0 for background; and how many there are.

    Raises:
        ConfigError: another connectivity.
    """
    found, n = ndimage.label(mask, structure(mask.ndim, connectivity))
    return found, int(n)
