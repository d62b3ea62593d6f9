"""What float16 keeps of a scan: all that counts, once the scan's unit is chosen for it."""

import numpy as np

LARGEST = 3e4  # stored; beyond it float16 is near its end
LEVELS = 256  # that are to lie between the dark and the bright end of what is in a scan, at least
FAINT = 2.0**-10  # a range below it is brought up: float16's numbers end at 2**-24
ENDS = 0.5, 99.5  # percentiles between which that range lies
_STRIDE = 2  # they are taken from every second voxel along each axis: sorting all is slow


def storable(data: np.ndarray) -> np.ndarray:
    """A scan that float16 holds, in its own unit if it can.

    Beyond the range of float16 it is halved until it fits. Where float16 is too coarse for what is in the scan, because
    that lies far from 0 or has a very small range, it is shifted, and doubled or halved. Normalisations that measure the
    scan (`brainjax.preprocess.normalize`) make the same of it; no number in it has a meaning of its own.

    Args:
        data: [X Y Z] real numbers, finite.

    Returns:
        [X Y Z] float32, at most `LARGEST` from 0.
    """
    data = data.astype(np.float32)
    scale = min(1.0, _fitting(data))
    low, high = _ends(data)
    width = (high - low) * scale
    step = float(np.spacing(np.float16(max(abs(low), abs(high)) * scale)))
    if width == 0 or (width >= FAINT and step * LEVELS <= width):
        return data if scale == 1 else data * np.float32(scale)
    moved = data.astype(np.float64) - low
    return (moved * _fitting(moved)).astype(np.float32)


def _fitting(data: np.ndarray) -> float:
    """The greatest power of two that leaves the data within `LARGEST`; 1 of nothing but 0."""
    largest = max(float(data.max(initial=0)), -float(data.min(initial=0)))
    return float(2.0 ** np.floor(np.log2(LARGEST / largest))) if largest else 1.0


def _ends(data: np.ndarray) -> tuple[float, float]:
    """Where what is in the scan begins and ends; what has the value of the first voxel is around it."""
    for some in (data[::_STRIDE, ::_STRIDE, ::_STRIDE], data):
        inside = some[some != data[0, 0, 0]]
        if inside.size:
            low, high = np.percentile(inside.astype(np.float64), ENDS)
            if high > low:
                return float(low), float(high)
    return float(data.min()), float(data.max())
