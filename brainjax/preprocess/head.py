"""The head in a scan: where its brain's middle may be, and the box about it that a classifier of whole heads sees."""

import numpy as np
from scipy import ndimage

from brainjax.io.volume import Volume
from brainjax.preprocess.box import Box
from brainjax.preprocess.conform import Undo, conform
from brainjax.preprocess.reach import within_reach
from brainjax.types import DataError

UPPER = 130.0  # mm from the top of the head that are head and not neck
HEIGHT = 75.0  # mm from the top of the head to the brain's middle, in adults
_LOOK = 3.0  # mm between the voxels looked at for it
AIR, BRIGHT = 2.0, 98.0  # percentiles: the level of air, and one that few voxels exceed
HEAD = 0.15  # of the way from one to the other; above is head
LOW, HIGH = 0.2, 99.5  # percentiles of a box that become black and white


def likely_centres(
    image: np.ndarray, spacing: float, threshold: float | None = None, step: int = 2
) -> list[np.ndarray]:
    """Where a brain's middle may be, likeliest first, in voxels of an RAS+ image.

    Args:
        image: [X Y Z] float32.
        spacing: mm, of all axes.
        threshold: above it is head; None for Otsu's.
        step: every so many voxels are looked at.
    """
    small = image[::step, ::step, ::step]
    level = _otsu(small) if threshold is None else threshold
    head = ndimage.binary_opening(small > level, iterations=1)
    middle = (np.array(image.shape) - 1) / 2
    if not head.any():
        return [middle]
    height = np.flatnonzero(head.sum((0, 1)) > 0.1 * head.sum((0, 1)).max())
    top = float(step) * height[-1]
    upper = head[:, :, max(0, int(height[-1] - UPPER / (step * spacing))) :]
    across = float(step) * np.array(ndimage.center_of_mass(upper)[:2])
    centres = [np.array([*across, top - drop / spacing]) for drop in (HEIGHT, 45.0, 110.0)]
    return [*centres, middle]


def head_box(volume: Volume, shape: tuple[int, int, int], spacing: float) -> np.ndarray:
    """`cut_head` without the way back: [*shape] uint8."""
    return cut_head(volume, shape, spacing)[0]


def cut_head(
    volume: Volume, shape: tuple[int, int, int], spacing: float
) -> tuple[np.ndarray, Box, Undo]:
    """What a classifier of whole heads sees of a scan, in training and after.

    The scan is turned to RAS+ and resampled; a box is cut out about the brain's likely middle, with air around where
    the scan ends; and its intensities go from black to white between two percentiles of the box.

    Args:
        volume: [X Y Z] of any orientation and voxel size.
        shape: of the box, in voxels.
        spacing: of the box, in mm.

    Returns:
        [*shape] uint8; the box in the resampled scan; and the way from there to the scan's own grid.

    Raises:
        DataError: there is nothing in the scan, or not only numbers, or more than three axes.
    """
    conformed, undo = conform(checked(volume), spacing, multiple=1)
    image = np.asarray(conformed.data, np.float32)
    centre = middle(image, spacing)
    start = tuple(round(float(c) - (n - 1) / 2) for c, n in zip(centre, shape, strict=True))
    box = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)), image.shape)
    return windowed(box.cut(image, fill=float(image.min()))), box, undo


def middle(image: np.ndarray, spacing: float) -> np.ndarray:
    """[3] voxel nearest to the brain's middle, in a scan with a head in it, or a part of one.

    Args:
        image: [X Y Z] float32, RAS+.
        spacing: mm, of all axes.
    """
    # Otsu's threshold may lie above the brain where a tumour is much brighter than that.
    air, bright = np.percentile(image, (AIR, BRIGHT))
    step = max(1, round(_LOOK / spacing))
    centre = likely_centres(image, spacing, float(air + HEAD * (bright - air)), step)[0]
    # A scan that ends within the head has its middle nowhere else than in itself.
    return np.clip(centre, 0, np.array(image.shape) - 1)


def windowed(image: np.ndarray) -> np.ndarray:
    """[...] float to uint8, black to white between the percentiles `LOW` and `HIGH`; all black where constant."""
    low, high = np.percentile(image, (LOW, HIGH))
    scaled = (image - low) * (255.0 / max(float(high - low), 1e-20))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def checked(volume: Volume) -> Volume:
    """The scan as float32 within reach (`brainjax.preprocess.reach`), if there is something in it.

    Raises:
        DataError: values that are not finite, or all the same; or more than three axes.
    """
    data = volume.data
    if data.ndim != 3:
        raise DataError(f"the scan has shape {data.shape}; give one sequence, [X Y Z]")
    if not np.isfinite(data).all():
        raise DataError("the scan holds NaN or infinite values; replace them first")
    if data.min() == data.max():
        raise DataError(f"every voxel of the scan is {data.min():g}; check the file")
    return volume.with_data(within_reach(data))


def _otsu(image: np.ndarray) -> float:
    """The threshold that parts two classes best (Otsu 1979, IEEE Trans. SMC 9:62-66)."""
    image = image.astype(np.float64)  # in float32 the range itself may be infinite
    low, high = float(image.min()), float(np.percentile(image, 99.5))
    if not high > low:  # nearly all is air: whatever is above it is head
        return low
    counts, edges = np.histogram(image, 128, (low, high))
    middle = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    moment = np.cumsum(counts * middle)
    above = total - below
    weight = below * above
    # A split with nothing on one side parts nothing; rounding must not divide what is left there by 0.
    spread = (moment[-1] * below / total - moment) ** 2
    between = np.divide(spread, weight, out=np.zeros_like(spread), where=weight > 0)
    return float(edges[1 + between.argmax()])
