"""Intensity normalisation per patient volume and channel: `x_norm = (x - shift) * scale`.

MRI has no absolute unit, so a volume is scaled by statistics of its own. They are taken over the
head alone: how much air surrounds it differs from scan to scan. Some exports put the air at a grey
level well above 0, so it is measured in the corners instead of assumed.
"""

import itertools
from typing import Protocol

import numpy as np

from brainjax.types import ConfigError

# What the authors of published weights did to an image in 0 to 255, whatever is on it: mean and standard deviation
# of each colour. torchvision, and Keras's EfficientNet inside its network; Keras's VGG and ResNet, whose colours are
# blue, green, red, as Caffe's were; Keras's MobileNetV2.
PUBLISHED = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "symmetric": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}
METHODS = ("zscore", "percentile", "minmax", "none", *PUBLISHED)
PERCENTILES = (1.0, 99.0)
AIR_MARGIN = 0.1  # of the way from air to the brightest percent; noise and ringing stay below it
CORNER = 16  # corners of H / 16 x W / 16 pixels, or X / 16 x Y / 16 x Z / 16 voxels


class Volumes(Protocol):
    """What is needed of a dataset: rows ordered by the volume they belong to."""

    image: np.ndarray  # [N *spatial C]
    volume: np.ndarray  # [N], ascending from 0


def volume_stats(volume: np.ndarray, method: str = "zscore") -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of one patient's volume.

    - zscore: the head has mean 0 and standard deviation 1.
    - percentile: percentiles 1 and 99 of the head go to 0 and 1; values outside are not clipped.
    - minmax: the extremes of the whole volume, air included, go to 0 and 1.
    - none: the values stay as they are.
    - imagenet, caffe, symmetric: fixed numbers, those of published weights (`PUBLISHED`); for images in 0 to 255 with
      three channels, or with any other number, which all get the mean of the three.

    Args:
        volume: [S H W C], all slices of one patient, or [1 X Y Z C]; uint8 or float.
        method: one of `METHODS`.

    Returns:
        shift [C] float32, scale [C] float32; both finite, also for a constant or an empty volume.

    Raises:
        ConfigError: unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"normalisation {method!r}; choose one of {', '.join(METHODS)}")
    channels = volume.shape[-1]
    shift, scale = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    if method in PUBLISHED:
        mean, std = (np.array(colours, np.float32) for colours in PUBLISHED[method])
        if channels != 3:
            mean, std = (np.full(channels, colours.mean(), np.float32) for colours in (mean, std))
        return mean, 1.0 / std
    if method == "none" or volume.size == 0:
        return shift, scale
    for c in range(channels):
        values, counts = _histogram(volume[..., c])
        if method != "minmax":
            values, counts = _foreground(values, counts, _air(volume[..., c]))
        if not len(values):
            continue  # nothing finite
        if method == "zscore":
            centre = np.average(values, weights=counts)
            spread = np.sqrt(np.average((values - centre) ** 2, weights=counts))
        else:
            ends = PERCENTILES if method == "percentile" else (0.0, 100.0)
            centre, high = (_percentile(values, counts, q) for q in ends)
            spread = high - centre
        shift[c] = centre
        # A constant channel carries nothing: it becomes 0, whatever the scale.
        scale[c] = 1.0 / spread if spread > 1e-6 * max(1.0, abs(centre)) else 1.0
    return shift, scale


def dataset_stats(dataset: Volumes, method: str = "zscore") -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of every volume.

    Args:
        dataset: rows ordered by volume.
        method: as for `volume_stats`.

    Returns:
        shift [V C] float32, scale [V C] float32.

    Raises:
        ConfigError: unknown method.
    """
    volumes = int(dataset.volume[-1]) + 1 if len(dataset.volume) else 0
    ends = np.searchsorted(dataset.volume, np.arange(volumes + 1))
    stats = [
        volume_stats(dataset.image[start:stop], method)
        for start, stop in zip(ends[:-1], ends[1:], strict=True)
    ]
    return np.stack([s[0] for s in stats]), np.stack([s[1] for s in stats])


def _histogram(channel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different finite values, ascending, and how often each occurs."""
    if channel.dtype in (np.uint8, np.uint16):
        counts = np.bincount(channel.ravel())
        values = np.flatnonzero(counts)
        return values.astype(np.float64), counts[values]
    if (
        channel.dtype == np.float16
    ):  # counted by their bits: sorting a volume's millions takes a second
        bits = np.flatnonzero(
            counts := np.bincount(np.ascontiguousarray(channel).view(np.uint16).ravel())
        )
        values, counts = bits.astype(np.uint16).view(np.float16).astype(np.float64), counts[bits]
        order = np.argsort(values)
        order = order[np.isfinite(values[order])]
        return values[order], counts[order]
    values, counts = np.unique(channel[np.isfinite(channel)], return_counts=True)
    return values.astype(np.float64), counts


def _air(channel: np.ndarray) -> float:
    """Grey level of air in [S H W] or [1 X Y Z]: the darkest of the four or eight corners, by their medians.

    Of a tight crop at least one corner usually still is air; the median ignores text and noise.
    """
    edges = [max(1, n // CORNER) for n in channel.shape[1:]]
    ends = itertools.product(*((slice(n), slice(-n, None)) for n in edges))
    corners = [channel[:, *corner] for corner in ends]
    finite = [corner[np.isfinite(corner)] for corner in corners]
    return min((float(np.median(corner)) for corner in finite if corner.size), default=0.0)


def _foreground(
    values: np.ndarray, counts: np.ndarray, air: float
) -> tuple[np.ndarray, np.ndarray]:
    """Drops the histogram's entries around the level of air; keeps all if that leaves nothing."""
    if not len(values):
        return values, counts
    margin = AIR_MARGIN * (_percentile(values, counts, PERCENTILES[1]) - air)
    head = np.abs(values - air) > max(margin, 0.0)
    return (values[head], counts[head]) if head.any() else (values, counts)


def _percentile(values: np.ndarray, counts: np.ndarray, q: float) -> float:
    """Smallest value that at least q percent of the counted samples do not exceed."""
    cumulative = np.cumsum(counts)
    return float(values[np.searchsorted(cumulative, q / 100.0 * cumulative[-1])])
