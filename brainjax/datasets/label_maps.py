"""Whole-head label maps, the source of synthetic training: a folder of NIfTI files with FreeSurfer's numbers.

What a network trained on them is to find is the brain as skull strippers mean it: all tissue and the fluid around it
up to the dura, the folds of dura between its parts included, and the spinal cord from a little below the cerebellum
on left out.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.io import Volume, read_volume
from brainjax.io.files import ENDINGS, stem
from brainjax.preprocess.box import Box, bounding_box
from brainjax.preprocess.conform import conform
from brainjax.synth import freesurfer
from brainjax.types import DataError

INFO = DatasetInfo(
    name="label_maps",
    channels=("class",),
    classes=("brain",),
    licence="of the label maps; those that come with SynthSeg are under the Apache License 2.0",
    citation=(
        "Billot et al., SynthSeg: segmentation of brain MRI scans of any contrast and resolution without retraining, "
        "Medical Image Analysis 86 (2023) 102789"
    ),
    spacing_mm=(1.0, 1.0, 1.0),
    task="strip",
)
BOX = (192, 240, 240)  # voxels of 1 mm about the brain's middle: a head to the chin
_LEAST = 100.0  # ml of brain; less is no map of a head


@dataclasses.dataclass(frozen=True)
class LabelMaps:
    """Every `*.nii`, `*.nii.gz`, `*.mgz` of a folder, as classes (`brainjax.synth.freesurfer`) and brain mask.

    Attributes:
        dir: the folder.
        below: mm below the lowest voxel of the cerebellum where the brain is said to end.
        closing: gaps of up to twice as many mm between parts of the brain belong to it (falx, tentorium, sinuses).
    """

    dir: str = "data/head_label_maps"
    below: float = 2.0
    closing: float = 5.0

    def load(self, progress: Callable[[int, int], None] | None = None) -> ArrayDataset:
        """Reads the maps: about 3 s each.

        Args:
            progress: called with (maps done, maps in all) after each; without it there is a progress bar.

        Returns:
            image [N *BOX 1] uint8 class indices in RAS+ at 1 mm, mask [N *BOX 1] uint8.

        Raises:
            DataError: there is no map, or there are files that are none; all are named.
        """
        folder = pathlib.Path(self.dir)
        files = sorted(p for p in folder.glob("*") if stem(p))
        if not files:
            raise DataError(
                f"{folder} holds no label map ({', '.join(ENDINGS)}); set --config.data.dir to a folder of them"
            )
        image = np.zeros((len(files), *BOX, 1), np.uint8)
        mask, bad = np.zeros_like(image), []
        bar = tqdm(files, "reading", unit="map", disable=progress is not None, file=sys.stderr)
        for i, path in enumerate(bar):
            try:
                classes, brain = self._read(path)
                image[i, ..., 0], mask[i, ..., 0] = classes, brain
            except DataError as error:
                bad.append(str(error))
            if progress is not None:
                progress(i + 1, len(files))
        if bad:
            raise DataError("; ".join(bad))
        return ArrayDataset(
            info=INFO,
            image=image,
            mask=mask,
            group=np.arange(len(files), dtype=np.int32),
            position=np.zeros(len(files), np.int32),
            groups=tuple(map(stem, files)),
        )

    def _read(self, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
        """Classes and brain [*BOX] uint8 of one file."""
        volume = read_volume(path)
        if volume.data.ndim != 3:
            raise DataError(f"{path} has {volume.data.ndim} axes; a label map has three")
        classes = volume.with_data(freesurfer.to_classes(volume.data))
        classes, _ = conform(classes, 1.0, multiple=1, order=0)
        return self.centred(classes, str(path))

    def centred(self, classes: Volume, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Classes and brain, the brain's middle in the middle of `BOX`.

        Args:
            classes: [X Y Z] uint8 in RAS+ at 1 mm.
            name: for the error.

        Raises:
            DataError: there is no brain in it.
        """
        found = self.brain(classes.data)
        if found.sum() < 1000 * _LEAST:
            raise DataError(
                f"{name} has {found.sum() / 1000:.0f} ml of brain by FreeSurfer's numbers; it is no label map of a head"
            )
        middle = ndimage.center_of_mass(found)
        start = tuple(round(m - (n - 1) / 2) for m, n in zip(middle, BOX, strict=True))
        stop = tuple(a + n for a, n in zip(start, BOX, strict=True))
        window = Box(start, stop, found.shape)
        return window.cut(classes.data), window.cut(found.astype(np.uint8))

    def brain(self, classes: np.ndarray) -> np.ndarray:
        """[X Y Z] bool, in RAS+ at 1 mm: what a skull stripper is to keep."""
        brain = freesurfer.IN_BRAIN[classes]
        cerebellum = np.flatnonzero(np.isin(classes, freesurfer.CEREBELLUM).any((0, 1)))
        if len(cerebellum):
            brain[:, :, : max(0, int(cerebellum[0] - self.below))] = False
        if not brain.any():
            return brain
        box = bounding_box(brain, margin=int(np.ceil(self.closing)) + 2)
        part = box.cut(brain)
        # Closing: what is nearer to the brain than `closing`, but for what is as near to the outside of that.
        part = ndimage.distance_transform_edt(~part) <= self.closing
        part = ndimage.distance_transform_edt(part) > self.closing
        part = ndimage.binary_fill_holes(part)
        labels, _ = ndimage.label(part)
        return box.paste(labels == 1 + np.bincount(labels.ravel())[1:].argmax())
