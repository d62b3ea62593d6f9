"""Whole-head label maps, the source of synthetic training: a folder of NIfTI files with FreeSurfer's numbers.

What a network trained on them is to find is the brain as skull strippers mean it: all tissue and the fluid around it
up to the dura, the folds of dura between its parts included, and the spinal cord from a little below the cerebellum
on left out.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from brainjax.datasets import skull_base, thin_skull
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.io import Volume, read_volume
from brainjax.io.files import ENDINGS, stem
from brainjax.preprocess.box import Box, bounding_box
from brainjax.preprocess.conform import conform
from brainjax.synth import freesurfer
from brainjax.types import ConfigError, DataError

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
_FURROW = 8.0  # mm, half the width of the widest furrow that the brain's closed surface passes over


@dataclasses.dataclass(frozen=True)
class LabelMaps:
    """Every `*.nii`, `*.nii.gz`, `*.mgz` of a folder, as classes (`brainjax.synth.freesurfer`) and brain mask.

    Attributes:
        dir: the folder.
        below: mm below the lowest voxel of the cerebellum where the brain is said to end.
        closing: gaps of up to twice as many mm between parts of the brain belong to it (falx, tentorium, sinuses).
        fluid: mm of fluid and dura around the brain's closed surface that belong to it; 0 for all there is. The maps have
            up to 5 mm at the vertex, of which other strippers and masks made by hand keep half.
        cisterns: all fluid within as many mm of the brain stem belongs to the brain, whatever `fluid` says: the cisterns
            at the base, which masks made by hand keep.
        bridge: hollows of the skull's base in front of the brain stem of up to twice as many mm belong to the brain, as in
            masks made by hand: the sella, and what lies between the frontal and the temporal lobes; 0 for none.
        thin: each map is given a second time with what lies around the brain this many times thinner; 1 for not at all.
    """

    dir: str = "data/head_label_maps"
    below: float = 2.0
    closing: float = 5.0
    fluid: float = 0.0
    cisterns: float = 0.0
    bridge: float = 0.0
    thin: float = 1.0

    def __post_init__(self) -> None:
        """Raises ConfigError for a field out of range."""
        if not self.thin >= 1:
            raise ConfigError(f"--config.data.thin={self.thin}; use 1.0 or more")
        if not self.fluid >= 0:
            raise ConfigError(f"--config.data.fluid={self.fluid}; use mm, or 0.0 for all of it")
        if not self.cisterns >= 0:
            raise ConfigError(f"--config.data.cisterns={self.cisterns}; use mm, or 0.0 for none")
        if not self.bridge >= 0:
            raise ConfigError(f"--config.data.bridge={self.bridge}; use mm, or 0.0 for none")

    def load(self, progress: Callable[[int, int], None] | None = None) -> ArrayDataset:
        """Reads the maps: about 3 s each, 7 s with `fluid` and `thin`.

        Args:
            progress: called with (maps done, maps in all) after each; without it there is a progress bar.

        Returns:
            image [N *BOX 1] uint8 class indices in RAS+ at 1 mm, mask [N *BOX 1] uint8; with `thin`, both heads of
            a map after one another.

        Raises:
            DataError: there is no map, or there are files that are none; all are named.
        """
        folder = pathlib.Path(self.dir)
        files = sorted(p for p in folder.glob("*") if stem(p))
        if not files:
            raise DataError(
                f"{folder} holds no label map ({', '.join(ENDINGS)}); set --config.data.dir to a folder of them"
            )
        each = 1 if self.thin == 1 else 2
        image = np.zeros((len(files) * each, *BOX, 1), np.uint8)
        mask, bad = np.zeros_like(image), []
        bar = tqdm(files, "reading", unit="map", disable=progress is not None, file=sys.stderr)
        for i, path in enumerate(bar):
            try:
                classes, brain = self._read(path)
                for k, head in enumerate(self.heads(classes, brain)):
                    image[i * each + k, ..., 0], mask[i * each + k, ..., 0] = head
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
            group=np.repeat(np.arange(len(files), dtype=np.int32), each),
            position=np.tile(np.arange(each, dtype=np.int32), len(files)),
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

    def heads(self, classes: np.ndarray, brain: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        """Classes and brain [X Y Z] of the head as it is and, with `thin`, of one with a thinner skull."""
        yield classes, brain
        if self.thin > 1:
            hull = _closed_surface(classes, brain > 0)
            yield tuple(thin_skull.pulled_in((classes, brain), hull, self.thin))

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
        if self.fluid:
            near = box.cut(classes)
            kept = _within(_closed_surface(near, part), self.fluid)
            if self.cisterns:
                kept |= _within(near == freesurfer.BRAINSTEM, self.cisterns)
            part &= kept
        if self.bridge:
            part = skull_base.bridged(part, box.cut(classes) == freesurfer.BRAINSTEM, self.bridge)
        labels, _ = ndimage.label(part)
        return box.paste(labels == 1 + np.bincount(labels.ravel())[1:].argmax())


def _within(mask: np.ndarray, distance: float) -> np.ndarray:
    """[X Y Z] bool: what is at most `distance` voxels from the mask; nothing if that is empty."""
    return mask.any() & (ndimage.distance_transform_edt(~mask) <= distance)


def _closed_surface(classes: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """[X Y Z] bool: the tissue of the brain, its furrows closed over."""
    return thin_skull.brain_hull(freesurfer.IS_TISSUE[classes] & brain, _FURROW)
