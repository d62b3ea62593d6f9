"""Heads with less between brain and air than the label maps of adults have: an infant's skull is 2 mm thick.

A head that is only made smaller keeps an adult's proportions, and a network that knew no other takes a thin skull's
marrow for fluid and the rim of the brain for bone.
"""

import numpy as np
from scipy import ndimage


def brain_hull(tissue: np.ndarray, gap: float) -> np.ndarray:
    """[X Y Z] bool: `tissue` with its furrows of up to twice `gap` voxels closed over."""
    near = ndimage.distance_transform_edt(~tissue) <= gap
    return tissue | (ndimage.distance_transform_edt(near) > gap)


def pulled_in(volumes: tuple[np.ndarray, ...], hull: np.ndarray, factor: float) -> list[np.ndarray]:
    """Brings all that lies around the hull nearer to it.

    What is found at a distance d from the hull afterwards was at `factor` times d before; the hull stays as it is.

    Args:
        volumes: each [X Y Z].
        hull: [X Y Z] bool.
        factor: 1 or more.

    Returns:
        The volumes, [X Y Z] each; the edge is repeated where something from beyond it would be needed.
    """
    nearest = ndimage.distance_transform_edt(~hull, return_distances=False, return_indices=True)
    source = []
    for axis, size in enumerate(hull.shape):
        here = np.arange(size, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        far = nearest[axis] + factor * (here - nearest[axis])
        source.append(np.clip(np.rint(far), 0, size - 1).astype(np.int16))
    return [volume[tuple(source)] for volume in volumes]
