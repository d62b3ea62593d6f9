"""Intensities that float32 can be computed with: a scan's unit is of no matter, and some programs choose odd ones."""

import dataclasses

import numpy as np

from brainjax.io.volume import Volume, finite

SMALLEST, LARGEST = (
    1e-6,
    1e9,
)  # of a scan's largest value; sums and squares within stay within float32


def within_reach(data: np.ndarray) -> np.ndarray:
    """The same numbers as float32, times a power of two where the largest is out of reach.

    Args:
        data: real numbers of any shape and type, finite.

    Returns:
        float32 of the same shape; the numbers themselves where the largest lies between `SMALLEST` and `LARGEST`.
    """
    largest = max(abs(float(data.max(initial=0))), abs(float(data.min(initial=0))))
    if largest == 0 or SMALLEST <= largest <= LARGEST:
        return np.asarray(data, np.float32)
    # Exact, but for what is too small beside the largest to count.
    exponent = -int(np.frexp(largest)[1])
    return np.ldexp(data.astype(np.float64), exponent).astype(np.float32)


def one_image(volume: Volume) -> Volume:
    """A scan as one image to look for a head in.

    Args:
        volume: [X Y Z], or [X Y Z C], of which the mean over C is taken.

    Returns:
        [X Y Z] float32 within reach, 0 where it was not finite; its notes say so.
    """
    data, notes = volume.data, ()
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        data, notes = finite(data.copy())
    if data.ndim == 4:
        data = within_reach(data).mean(-1, dtype=np.float64)
    return dataclasses.replace(volume, data=within_reach(data), notes=(*volume.notes, *notes))
