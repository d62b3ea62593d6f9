"""What of the skull's base a brain mask passes over: the hollows between the frontal and the temporal lobes.

Masks made by hand, and the smooth ones that many tools give, do not follow the surface of the brain into the sella and
up between the temporal poles; a network that is to agree with them must be taught so.
"""

import numpy as np
from scipy import ndimage

from brainjax.preprocess.box import Box

_BESIDE = 10  # mm behind the front of the brain stem where the region begins
_REACH = 50.0  # mm from the brain stem where it ends


def bridged(brain: np.ndarray, stem: np.ndarray, gap: float) -> np.ndarray:
    """The brain with the hollows in front of its stem closed over.

    Args:
        brain: [X Y Z] bool, in RAS+ at 1 mm.
        stem: [X Y Z] bool, the brain stem; without one nothing is closed.
        gap: mm, half the width of the widest hollow that is closed.

    Returns:
        [X Y Z] bool. Nothing is added above the brain stem, behind its front or more than 50 mm from it.
    """
    if not stem.any():
        return brain
    _, y, z = (np.flatnonzero(stem.any(tuple({0, 1, 2} - {axis}))) for axis in range(3))
    # Room for the closing on every side, and no more of the head above than it can reach.
    margin = int(np.ceil(gap)) + 1
    width, length, height = brain.shape
    stop = (width + margin, length + margin, min(height, int(z[-1]) + 2 * margin) + margin)
    low = Box((-margin,) * 3, stop, brain.shape)
    near = ndimage.distance_transform_edt(~low.cut(brain)) <= gap
    closed = low.paste(ndimage.distance_transform_edt(near) > gap)
    region = ndimage.distance_transform_edt(~stem) <= _REACH
    region[:, : max(0, int(y[-1]) - _BESIDE)] = False
    region[:, :, int(z[-1]) + 1 :] = False
    return brain | (closed & region)
