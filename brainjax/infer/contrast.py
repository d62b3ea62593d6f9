"""A guess at the contrast of a scan whose name does not tell it: from where in the brain it is bright.

In T2 the grey matter and the fluid near the surface are brighter than the white matter further in; in T1 they are
darker. FLAIR lies between the two, so T1 and FLAIR are not told apart: a guess of T1 may be a FLAIR.
"""

import numpy as np
from scipy import ndimage

from brainjax.io import Volume
from brainjax.preprocess.conform import conform

_SPACING = 2.0  # mm; enough to know the surface from the middle
_SHELL, _MIDDLE = (3.0, 12.0), (12.0, 22.0)  # mm below the brain's surface
_T2 = 1.12  # shell to middle; the T2 of seven real and synthetic heads had 1.25 and more, T1 and FLAIR 1.10 and less


def guess(volume: Volume, brain: np.ndarray) -> str:
    """'t2', or 't1' for everything else.

    Args:
        volume: [X Y Z].
        brain: [X Y Z] bool.
    """
    image, _ = conform(volume.with_data(volume.data.astype(np.float32)), _SPACING, multiple=1)
    mask, _ = conform(volume.with_data(brain.astype(np.float32)), _SPACING, multiple=1)
    inside = mask.data >= 0.5
    if not inside.any():
        return "t1"
    depth = ndimage.distance_transform_edt(inside, sampling=_SPACING)
    low, high = np.percentile(image.data[inside], (1, 99))
    if not high > low:
        return "t1"
    bright = np.clip((image.data - low) / (high - low), 0.0, 1.0)
    means = [
        float(bright[(depth > near) & (depth <= far)].mean())
        if ((depth > near) & (depth <= far)).any()
        else 0.0
        for near, far in (_SHELL, _MIDDLE)
    ]
    return "t2" if means[0] > _T2 * means[1] > 0 else "t1"
