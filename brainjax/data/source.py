"""Rows of a dataset as raw batches: native uint8 slices, their neighbours, their normalisation."""

import dataclasses
from typing import Any

import numpy as np

from brainjax.datasets.base import ArrayDataset
from brainjax.preprocess.normalize import dataset_stats


@dataclasses.dataclass(frozen=True)
class Input:
    """How slices become network input.

    Attributes:
        size: edge of the square working grid in pixels; images are resampled to it on the device, and
            predictions are brought back to the native grid before they are scored. 0 keeps the native grid.
        context: slices seen at once (odd); neighbours become extra channels (2.5D).
        normalize: per patient volume: 'zscore', 'percentile', 'minmax' or 'none'.
        foreground: share of each training batch drawn from slices with a lesion.
        feed: 'memory' (numpy arrays, no tensorflow), 'device' (the whole set lives on the device) or
            'tfdata' (tf.data pipeline).
    """

    size: int = 128
    context: int = 1
    normalize: str = "zscore"
    foreground: float = 0.5
    feed: str = "memory"


class Source:
    """Gives raw batches of a dataset by row number.

    A raw batch holds, for B rows:
        image  [B H W C*context] as stored (uint8 or float32), the oldest neighbour's channels first
        mask   [B H W K] uint8
        shift, scale  [B C*context] float32: the patient volume's normalisation, (x - shift) * scale
        valid  [B] float32
    """

    def __init__(self, dataset: ArrayDataset, context: int, normalize: str):
        self.dataset = dataset
        self.neighbours = dataset.neighbours(context)
        shift, scale = dataset_stats(dataset, normalize)
        self.shift = np.tile(shift, (1, context)).astype(np.float32)
        self.scale = np.tile(scale, (1, context)).astype(np.float32)

    def foreground(self, rows: np.ndarray) -> np.ndarray:
        """Those of `rows` whose mask is not empty."""
        return rows[self.dataset.mask[rows].any(axis=(1, 2, 3))]

    def gather(self, rows: np.ndarray) -> dict[str, Any]:
        """The raw batch of `rows`; a row of -1 is padding, with valid = 0."""
        valid = rows >= 0
        rows = np.where(valid, rows, 0)
        image = self.dataset.image[self.neighbours[rows]]  # [B context H W C]
        image = np.moveaxis(image, 1, -2)
        group = self.dataset.group[rows]
        return {
            "image": image.reshape(*image.shape[:3], -1),
            "mask": self.dataset.mask[rows],
            "shift": self.shift[group],
            "scale": self.scale[group],
            "valid": valid.astype(np.float32),
        }
