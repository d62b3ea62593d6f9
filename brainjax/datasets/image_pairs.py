"""Any folder of volumes with masks: `images/` and `masks/` with files of the same names, or `_mask` beside the image."""

import dataclasses
import pathlib
from typing import ClassVar

import numpy as np

from brainjax.datasets import verify, volumes
from brainjax.datasets.base import DatasetInfo
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
            masks = {
                name.removesuffix(suffix): path
                for name, path in files.items()
                for suffix in _SUFFIXES
                if name.endswith(suffix)
            }
            images = {name: path for name, path in files.items() if not name.endswith(_SUFFIXES)}
        if not images:
            raise DataError(
                f"{root}: holds no volumes ({', '.join(ENDINGS)}); put them into images/ and masks/ there"
            )
        problems = [
            verify.Problem(str(path), "is a mask without an image", "add it, or remove the mask")
            for name, path in masks.items()
            if name not in images
        ]
        cases = []
        for name, path in images.items():
            if name in masks or not self.labelled:
                truth = str(masks[name]) if name in masks else ""
                cases.append(volumes.Case(name, name, (str(path),), truth))
            else:
                where = f"{mask_dir}/{path.name}" if mask_dir else f"{name}_mask.nii.gz beside it"
                problems.append(verify.Problem(str(path), "has no mask", f"add {where}"))
        return cases, problems

    def regions(self, label: np.ndarray) -> np.ndarray:
        """See `VolumeFolder.regions`."""
        if not self.labels:
            return (label > 0.5)[..., None]
        fix = "name all of them in --config.data.labels"
        label = volumes.whole_labels(label, (0, *self.labels), fix)
        return np.stack([label == value for value in self.labels], -1)


def _named(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Path below the folder without its ending -> file, of all volumes in it and its sub-folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = stem(path) if path.is_file() else ""
        if name:
            within = path.parent.relative_to(folder) / name.removesuffix(_CHANNEL)
            found[within.as_posix()] = path
    return found
