"""A dataset whose images stay on disk: prepared records, read at random as batches ask for them.

    dataset = from_records(lgg_builder.data_source('~/prepared'), lgg.INFO)

For sets that do not fit in memory. The result is an `ArrayDataset` like any other, so the split,
the feeds, the normalisation and the evaluation work on it unchanged.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.types import ConfigError, DataError


class RecordImages:
    """[N *spatial C] images that are read when they are indexed, and not kept.

    Stands in for `ArrayDataset.image` wherever it is indexed along N, by a row number, a slice or
    an array of row numbers. As safe to use from several threads as `records` is; the ArrayRecord
    source of TFDS is.

    Attributes:
        records: random access to dicts that hold an image [*spatial channels] under 'image'.
        channels: which of the stored channels to give, in this order.
        shape: (N, *spatial, C).
        dtype: of the images.
    """

    def __init__(self, records: Sequence[dict[str, Any]], channels: Sequence[int]):
        self.records, self.channels = records, list(channels)
        first = records[0]["image"]
        self.shape = (len(records), *first.shape[:-1], len(self.channels))
        self.dtype = first.dtype

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, rows: int | slice | np.ndarray) -> np.ndarray:
        """[*rows.shape *spatial C]; a row that is asked for twice is read once."""
        rows = np.arange(len(self))[rows]
        unique, place = np.unique(rows, return_inverse=True)
        images = np.empty((len(unique), *self.shape[1:]), self.dtype)
        for image, row in zip(images, unique.tolist(), strict=True):
            image[...] = self.records[row]["image"][..., self.channels]
        return images[place.reshape(rows.shape)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in memory after all: what the device feed needs."""
        return np.asarray(self[:], dtype)


def from_records(
    records: Sequence[dict[str, Any]], info: DatasetInfo, channels: Sequence[str] | None = None
) -> ArrayDataset:
    """Opens prepared records; reads each once, to take in masks and patients.

    Args:
        records: random access to dicts of image [*spatial C], mask [*spatial K] uint8, patient (text) and
            position, ordered by (patient, position).
        info: what the stored channels and the classes are.
        channels: names of the channels to use; all if None.

    Returns:
        The dataset: its masks in memory, its images a `RecordImages`.

    Raises:
        ConfigError: there is no such channel.
        DataError: there are no records, or those of a patient are not next to each other.
    """
    names = tuple(info.channels if channels is None else channels)
    if not names or not set(names) <= set(info.channels):
        known = ", ".join(info.channels)
        raise ConfigError(f"{info.name} has no channels {names}; choose from {known}")
    if not len(records):
        raise DataError(f"{info.name}: there are no records; prepare the dataset again")
    image = RecordImages(records, [info.channels.index(name) for name in names])
    mask = np.empty((*image.shape[:-1], len(info.classes)), np.uint8)
    position = np.empty(len(records), np.int32)
    patients = []
    for row in range(len(records)):
        record = records[row]
        mask[row], position[row] = record["mask"], record["position"]
        patient = record["patient"]
        patients.append(patient.decode() if isinstance(patient, bytes) else str(patient))
    groups, group = np.unique(patients, return_inverse=True)
    if (np.lexsort((position, group)) != np.arange(len(records))).any():
        raise DataError(
            f"{info.name}: records are not ordered by patient and position, so a slice's "
            "neighbours are unknown; prepare the dataset again, without shuffling"
        )
    return ArrayDataset(
        info=dataclasses.replace(info, channels=names),
        image=image,
        mask=mask,
        group=group.astype(np.int32),
        position=position,
        groups=tuple(groups.tolist()),
    )
