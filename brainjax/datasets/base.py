"""What every dataset hands on: `DatasetInfo` (what the labels mean) and an `ArrayDataset` or a `LabelledDataset`."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from brainjax.types import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Facts about a dataset that the rest of the code must never guess.

    Attributes:
        name: short name, as printed in `result.json`.
        channels: what each image channel is, in storage order.
        classes: what each mask channel is, or each label.
        licence: licence of the data, copied into the model card of anything trained on it.
        citation: the paper or page to cite.
        spacing_mm: pixel size in mm of slices, voxel size of volumes, or None where the files do not tell.
        task: what a model trained on it is for, where that is not simply to segment or to classify: 'strip'.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str
    spacing_mm: tuple[float, ...] | None = None
    task: str = ""


@dataclasses.dataclass(frozen=True)
class ArrayDataset:
    """A whole dataset of slices, or of volumes, with masks in memory, on its native grid: for segmentation.

    Rows are ordered by (group, position). A patient's slices are one contiguous volume; where a row is a whole
    volume, a patient may have several, one a session.

    Attributes:
        info: facts about the channels and classes.
        image: [N H W C] of slices or [N X Y Z C] of volumes; uint8, float16 or float32.
        mask: [N H W K] or [N X Y Z K], uint8 in {0, 1}.
        group: [N] int32, index into `groups`: the patient of each row.
        position: [N] int32, place of the slice within the patient's volume, or of the volume among the patient's.
        groups: patient names.
    """

    info: DatasetInfo
    image: np.ndarray
    mask: np.ndarray
    group: np.ndarray
    position: np.ndarray
    groups: tuple[str, ...]

    target = "mask"  # the key of the truth in a batch

    @property
    def task(self) -> str:
        """What a model trained on it is for."""
        return self.info.task or "segmentation"

    def __len__(self) -> int:
        return len(self.group)

    @property
    def rank(self) -> int:
        """Spatial axes of a row: 2 of slices, 3 of volumes."""
        return len(self.image.shape) - 2

    @property
    def truth(self) -> np.ndarray:
        """[N *spatial K] uint8: what a network is to give for each row."""
        return self.mask

    @property
    def volume(self) -> np.ndarray:
        """[N] int32, ascending: rows of one number are normalised together, as one scan."""
        return self.group if self.rank == 2 else np.arange(len(self), dtype=np.int32)

    def name(self, row: int) -> str:
        """The patient of a row; of several volumes, with a number."""
        patient = self.groups[self.group[row]]
        several = self.rank == 3 and np.count_nonzero(self.group == self.group[row]) > 1
        return f"{patient}_{self.position[row]}" if several else patient

    def identity(self, rows: np.ndarray) -> list[str]:
        """Names, sorted, of what a network has seen when it was trained on `rows`: patients."""
        return sorted({self.groups[g] for g in self.group[rows]})

    def without(self, channels: Sequence[str]) -> "ArrayDataset":
        """The same dataset as if nobody had been scanned with `channels`: they are black.

        Raises:
            ConfigError: there is no such channel, or none is left.
        """
        unknown = sorted(set(channels) - set(self.info.channels))
        if unknown or set(channels) == set(self.info.channels):
            raise ConfigError(
                f"without {', '.join(unknown or channels)}: leave out some of {', '.join(self.info.channels)}"
            )
        image = np.array(self.image[:])  # in memory, wherever it was
        image[..., [self.info.channels.index(name) for name in channels]] = 0
        return dataclasses.replace(self, image=image)

    def neighbours(self, context: int) -> np.ndarray:
        """Row numbers of the slices around each slice, for 2.5D input.

        Args:
            context: odd number of slices to see: 1 is the slice alone, 3 adds one on either side.

        Returns:
            [N context] int32; the first and last slice of a volume repeat themselves at its ends.

        Raises:
            ValueError: `context` is even or below 1.
            ConfigError: rows are whole volumes, and `context` is not 1.
        """
        if context < 1 or context % 2 == 0:
            raise ValueError(f"context must be an odd number of slices, got {context}")
        if self.rank == 3 and context > 1:
            raise ConfigError(
                f"--config.input.context={context}: whole volumes have no neighbouring slices; set it to 1"
            )
        rows = np.arange(len(self), dtype=np.int32)
        first = np.searchsorted(self.volume, self.volume, side="left")
        last = np.searchsorted(self.volume, self.volume, side="right") - 1
        reach = np.arange(context) - context // 2
        return np.clip(rows[:, None] + reach, first[:, None], last[:, None]).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class LabelledDataset:
    """A whole dataset of single images, or volumes, with a class each, in memory, all of one size: for classification.

    Rows are ordered by (group, name). A group is a set of images that must not be on two sides of a split: the
    same picture again, or one so alike that it is likely the same head.

    Attributes:
        info: facts about the channels and classes.
        image: [N H W C] of images or [N X Y Z C] of volumes, uint8.
        label: [N] int32, index into `info.classes`.
        group: [N] int32, index into `groups`, ascending.
        groups: a name for each group: that of its first image.
        name: N paths relative to the dataset's folder, with forward slashes.
        part: N names of the part that an image was shipped in, such as 'Training'; '' where there are none.
        content: N hashes of the pixels as they are in the file.
        duplicates: what makes a group, as of `duplicates.components`: 'near', 'exact', or 'none'.
    """

    info: DatasetInfo
    image: np.ndarray
    label: np.ndarray
    group: np.ndarray
    groups: tuple[str, ...]
    name: tuple[str, ...]
    part: tuple[str, ...]
    content: tuple[str, ...]
    duplicates: str = "near"

    target = "label"
    task = "classification"

    def __len__(self) -> int:
        return len(self.label)

    @property
    def rank(self) -> int:
        """Spatial axes of a row: 2 of images, 3 of volumes."""
        return len(self.image.shape) - 2

    @property
    def truth(self) -> np.ndarray:
        """[N K] uint8, one-hot: what a network is to give for each row."""
        return np.eye(len(self.info.classes), dtype=np.uint8)[self.label]

    @property
    def volume(self) -> np.ndarray:
        """[N] int32: every image is normalised by itself."""
        return np.arange(len(self), dtype=np.int32)

    def with_classes(self, classes: Sequence[str]) -> "LabelledDataset":
        """The same images, their labels numbered as a network numbers its classes; some of these may have no image.

        Args:
            classes: of the network, in its order; upper and lower case are alike.

        Raises:
            DataError: a class with images is none of the network's.
        """
        if tuple(classes) == self.info.classes:
            return self
        place = {name.casefold(): k for k, name in enumerate(classes)}
        own = [place.get(name.casefold(), -1) for name in self.info.classes]
        label = np.array(own, np.int32)[self.label]
        if (label < 0).any():
            raise DataError(
                f"{self.info.name} has images of {', '.join(self.info.classes)}, and the model knows "
                f"{', '.join(classes)}: give the folders of its classes these names"
            )
        info = dataclasses.replace(self.info, classes=tuple(classes))
        return dataclasses.replace(self, info=info, label=label)

    def identity(self, rows: np.ndarray) -> list[str]:
        """Hashes, sorted, of the images that a network has seen when it was trained on `rows`."""
        return sorted({self.content[row] for row in rows})

    def neighbours(self, context: int) -> np.ndarray:
        """[N 1] int32: an image has no neighbours.

        Raises:
            ValueError: `context` is not 1.
        """
        if context != 1:
            raise ValueError(f"single images have no neighbours: context must be 1, got {context}")
        return self.volume[:, None]


Dataset = ArrayDataset | LabelledDataset
