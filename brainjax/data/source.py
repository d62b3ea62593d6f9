"""Rows of a dataset as raw batches: native slices or volumes, their neighbours, normalisation and truth.

Batches leave the host as they are stored. A uint8 batch is a quarter of the float32 one, so it is
the cheaper thing to move; normalising and resampling are part of the compiled step
(`brainjax.preprocess.batch`).
"""

import dataclasses
from typing import Any

import numpy as np

from brainjax.datasets import verify
from brainjax.datasets.base import Dataset
from brainjax.preprocess.normalize import dataset_stats


@dataclasses.dataclass(frozen=True)
class Input:
    """How slices become network input.

    Attributes:
        size: edge of the square working grid in pixels; images are resampled to it on the device,
            and predictions are brought back to the native grid before they are scored. 0 keeps the
            native grid, which volumes always do.
        context: slices seen at once (odd); neighbours become extra channels (2.5D).
        normalize: per patient volume or single image: 'zscore', 'percentile', 'minmax' or 'none'; or as published
            weights want it: 'imagenet', 'caffe' or 'symmetric' (see `brainjax.preprocess.normalize`).
        foreground: share of each training batch drawn from slices with a lesion.
        balance: draw those from every patient equally often, however few slices its lesion fills; a
            score per volume counts patients, not slices. Of images with labels, that share is drawn from
            every class equally often.
        feed: 'tfdata' (tf.data pipeline), 'memory' (numpy arrays, no tensorflow), 'device' (the
            whole set lives on the device), or 'auto': tf.data where tensorflow is installed, else
            memory. All give the same batches.
    """

    size: int = 128
    context: int = 1
    normalize: str = "zscore"
    foreground: float = 0.5
    balance: bool = False
    feed: str = "auto"


class Source:
    """Gives raw batches of a dataset by row number.

    A raw batch holds, for B rows:
        image  [B H W context*C] as stored (uint8 or float), the first neighbour's channels first, or [B X Y Z C]
        mask   [B *spatial K] uint8, or label  [B K] uint8, one-hot
        shift, scale  [B context*C] float32: the patient's normalisation, (x - shift) * scale
        valid  [B] float32

    Attributes:
        dataset: the slices; its `image` may also be read from disk (`brainjax.data.records`).
        neighbours: [N context] int32 row numbers of the slices around each slice.
        truth: the masks [N *spatial K], or the labels [N K].
        shift, scale: [V context*C] float32 of each volume; computed here, once.
    """

    def __init__(self, dataset: Dataset, context: int, normalize: str):
        """Checks the dataset and measures every patient's intensities.

        Raises:
            ConfigError: there is no such normalisation.
            DataError: the dataset's arrays do not fit each other, or hold what is not finite.
        """
        verify.check_arrays(dataset)
        self.dataset, self.truth = dataset, dataset.truth
        self.neighbours = dataset.neighbours(context)
        shift, scale = dataset_stats(dataset, normalize)
        self.shift = np.tile(shift, (1, context)).astype(np.float32)
        self.scale = np.tile(scale, (1, context)).astype(np.float32)

    def foreground(self, rows: np.ndarray, *, balance: bool = False) -> np.ndarray:
        """The rows that deserve a share of each batch of their own.

        Those whose mask is not empty, with `balance` repeated to as many of each patient; or, of images with
        labels, with `balance` all rows, repeated to as many of each class, and without it none.
        """
        if self.dataset.target == "label":
            return _level(rows, self.dataset.label[rows]) if balance else rows[:0]
        # Of the whole array, then of the rows: the other way round copies the masks.
        rows = rows[self.truth.any(axis=tuple(range(1, self.truth.ndim)))[rows]]
        return _level(rows, self.dataset.group[rows]) if balance else rows

    def gather(self, rows: np.ndarray) -> dict[str, Any]:
        """The raw batch of `rows` [B], in arrays of its own; a row of -1 is padding, valid = 0."""
        valid = rows >= 0
        rows = np.where(valid, rows, 0)
        volume = self.dataset.volume[rows]
        return {
            "image": self._stack(self.dataset.image[self.neighbours[rows]]),
            self.dataset.target: self.truth[rows],
            "shift": self.shift[volume],
            "scale": self.scale[volume],
            "valid": valid.astype(np.float32),
        }

    @staticmethod
    def _stack(slices: np.ndarray) -> np.ndarray:
        """[B context H W C] -> [B H W context*C], contiguous; of whole volumes the context is 1."""
        if slices.shape[1] == 1:
            return slices[:, 0]
        batch, context, height, width, channels = slices.shape
        # A plane at a time: three times as fast as transposing, which copies pixel by pixel.
        stacked = np.empty((batch, height, width, context * channels), slices.dtype)
        for k in range(context):
            for c in range(channels):
                stacked[..., k * channels + c] = slices[:, k, ..., c]
        return stacked


def _level(rows: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """`rows`, those of each kind repeated to the number of the most frequent one."""
    kinds = [rows[kind == k] for k in np.unique(kind)]
    most = max(map(len, kinds), default=0)
    return np.concatenate([rows[:0], *(np.resize(own, most) for own in kinds)])
