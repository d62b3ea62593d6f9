"""Any folder of volumes with masks: `images/` and `masks/` with files of the same names, or `_mask` beside the image."""

import collections
import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from brainjax.datasets import verify, volumes
from brainjax.datasets.base import DatasetInfo
from brainjax.files import files_below
from brainjax.io.files import ENDINGS, stem
from brainjax.types import DataError

_IMAGES, _MASKS = ("images", "imagesTr"), ("masks", "labels", "labelsTr")
_SUFFIXES = ("_mask", "_seg", "_label")
_CHANNEL = "_0000"  # what nnU-Net's files of a single channel end with


@dataclasses.dataclass(frozen=True)
class ImagePairs(volumes.VolumeFolder):
    """Volumes of one channel, each with a mask; every volume is a patient of its own.

        dir/images/anna.nii.gz  dir/masks/anna.nii.gz        (or imagesTr, labelsTr, anna_0000.nii.gz as in nnU-Net)
        dir/anna.nii.gz         dir/anna_mask.nii.gz         (or _seg, _label; in any sub-folders)

    One file a name: `anna.nii` beside `anna.nii.gz` makes none of the two a case.

    Attributes:
        labels: values in the masks, each of which is a class; () for one class, whatever is above 0.5.
    """

    labels: tuple[int, ...] = ()

    INFO: ClassVar[DatasetInfo] = DatasetInfo(
        name="pairs",
        channels=("image",),
        classes=("mask",),
        licence="unknown: that of the volumes",
        citation="none",
    )

    @property
    def info(self) -> DatasetInfo:
        """With a class for each label."""
        classes = tuple(f"label {value}" for value in self.labels)
        return dataclasses.replace(self.INFO, classes=classes or self.INFO.classes)

    def find(self) -> tuple[list[volumes.Case], list[verify.Problem]]:
        """See `VolumeFolder.find`."""
        root = volumes.existing(self.dir)
        inside = {path.name: path for path in root.iterdir() if path.is_dir()}
        image_dir = next((inside[name] for name in _IMAGES if name in inside), None)
        mask_dir = next((inside[name] for name in _MASKS if name in inside), None)
        if image_dir:
            images = _named(image_dir)
            masks = _named(mask_dir) if mask_dir else {}
        else:
            files = _named(root)
            images = {name: found for name, found in files.items() if not name.endswith(_SUFFIXES)}
            masks = collections.defaultdict(list)
            for name, found in files.items():
                for suffix in filter(name.endswith, _SUFFIXES):
                    masks[name.removesuffix(suffix)] += found
        if not images:
            raise DataError(
                f"{root}: holds no volumes ({', '.join(ENDINGS)}); put them into images/ and masks/ there"
            )
        problems = [
            verify.Problem(str(path), "is a mask without an image", "add it, or remove the mask")
            for name, paths in masks.items()
            if name not in images
            for path in paths
        ]
        cases = []
        for name, paths in images.items():
            path, truth = paths[0], masks.get(name, [])
            found = [
                verify.Problem(str(second), f"is a second {kind} of {name}", "keep one of the two")
                for kind, several in (("image", paths), ("mask", truth))
                for second in several[1:]
            ]
            if not truth and self.labelled:
                where = f"{mask_dir}/{path.name}" if mask_dir else f"{name}_mask.nii.gz beside it"
                found.append(verify.Problem(str(path), "has no mask", f"add {where}"))
            problems += found
            if not found:
                cases.append(volumes.Case(name, name, (str(path),), str(next(iter(truth), ""))))
        return cases, problems

    def regions(self, label: np.ndarray) -> np.ndarray:
        """See `VolumeFolder.regions`."""
        if not self.labels:
            return (label > 0.5)[..., None]
        fix = "name all of them in --config.data.labels"
        label = volumes.whole_labels(label, (0, *self.labels), fix)
        return np.stack([label == value for value in self.labels], -1)


def _named(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Path below the folder without its ending -> files, of all volumes in it and its sub-folders; best one a name."""
    found = collections.defaultdict(list)
    for path in files_below(folder):
        name = stem(path)
        if name:
            within = path.parent.relative_to(folder) / name.removesuffix(_CHANNEL)
            found[within.as_posix()].append(path)
    return found
