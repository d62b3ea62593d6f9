"""What every dataset hands on: `DatasetInfo` (what the labels mean) and `ArrayDataset` (the slices)."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Facts about a dataset that the rest of the code must never guess.

    Attributes:
        name: short name, as printed in `result.json`.
        channels: what each image channel is, in storage order.
        classes: what each mask channel is.
        licence: licence of the data, copied into the model card of anything trained on it.
        citation: the paper or page to cite.
        spacing_mm: in-plane pixel size in mm, or None where the files do not tell.
    """

    name: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str
    spacing_mm: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class ArrayDataset:
    """A whole dataset of 2D slices in memory, on its native grid.

    Rows are ordered by (group, position), so that a patient's rows are one contiguous volume.

    Attributes:
        info: facts about the channels and classes.
        image: [N H W C] uint8 or float32.
        mask: [N H W K] uint8 in {0, 1}.
        group: [N] int32, index into `groups`: the patient of each slice.
        position: [N] int32, place of the slice within the patient's volume.
        groups: patient names.
    """

    info: DatasetInfo
    image: np.ndarray
    mask: np.ndarray
    group: np.ndarray
    position: np.ndarray
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.group)

    def neighbours(self, context: int) -> np.ndarray:
        """Row numbers of the slices around each slice, for 2.5D input.

        Args:
            context: odd number of slices to see: 1 is the slice alone, 3 adds one on either side.

        Returns:
            [N context] int32; the first and last slice of a volume repeat themselves at its ends.

        Raises:
            ValueError: `context` is even or below 1.
        """
        if context < 1 or context % 2 == 0:
            raise ValueError(f"context must be an odd number of slices, got {context}")
        rows = np.arange(len(self), dtype=np.int32)
        first = np.searchsorted(self.group, self.group, side="left")
        last = np.searchsorted(self.group, self.group, side="right") - 1
        reach = np.arange(context) - context // 2
        return np.clip(rows[:, None] + reach, first[:, None], last[:, None]).astype(np.int32)
