"""The embedded default in 3D: whole synthetic heads in T1, T1ce, T2 and FLAIR, with the three regions of BraTS.

The same generator as `Synthetic`; here the slices are many, cover the whole head, and stay one volume. A model trained
on it alone is not fit for patients.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import numpy as np

from brainjax.datasets import synthetic
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.datasets.regions import ENHANCING, NECROSIS, OEDEMA, REGIONS, to_regions
from brainjax.synth import contrast, deform, generate, tumour
from brainjax.types import ConfigError

INFO = dataclasses.replace(synthetic.INFO, name="synthetic3d", classes=REGIONS)
_FEWEST = 32  # voxels along an axis; fewer could step over a small tumour


@dataclasses.dataclass(frozen=True)
class SyntheticVolumes:
    """Synthetic patients: one volume each, RAS+.

    Patient `i` depends on `seed`, `slices`, `size`, `healthy` and `i` alone.

    Attributes:
        subjects: how many patients.
        slices: Z in voxels, over some 145 mm.
        size: X and Y in voxels, over 240 mm.
        seed: of everything random; disjoint sets for training and testing take different seeds.
        healthy: how many of the patients have no tumour, 0 to 1, on average.
    """

    subjects: int = 48
    slices: int = 64
    size: int = 96
    seed: int = 0
    healthy: float = 0.0

    info: ClassVar[DatasetInfo] = INFO

    def load(self, progress: Callable[[int, int], None] | None = None) -> ArrayDataset:
        """Generates the patients.

        Args:
            progress: called with (patients done, patients in all) after each.

        Returns:
            Images [N X Y Z 4] uint8, each channel scaled over its volume, and masks [N X Y Z 3] uint8: whole tumour
            (all of it), core (necrosis and rim) and enhancing tumour (the rim, where it takes up contrast agent).

        Raises:
            ConfigError: a field has an impossible value.
        """
        self._validate()
        scan = generate.scanner(slices=self.slices, size=self.size, band=deform.WHOLE)
        key = jax.random.key(self.seed)
        shape = (self.subjects, self.size, self.size, self.slices)
        image = np.empty((*shape, len(INFO.channels)), np.uint8)
        mask = np.empty((*shape, len(REGIONS)), np.uint8)
        steps = []
        for subject in range(self.subjects):
            made = scan(jax.random.fold_in(key, subject), self.healthy)
            image[subject] = to_ras(np.asarray(made.image))
            labels = brats_labels(np.asarray(made.labels), enhancing=bool(made.enhancing))
            mask[subject] = to_regions(to_ras(labels), ENHANCING[-1])
            steps.append(float(made.step))
            if progress is not None:
                progress(subject + 1, self.subjects)
        voxel = deform.FIELD_OF_VIEW / self.size
        return ArrayDataset(
            info=dataclasses.replace(INFO, spacing_mm=(voxel, voxel, float(np.mean(steps)))),
            image=image,
            mask=mask,
            group=np.arange(self.subjects, dtype=np.int32),
            position=np.zeros(self.subjects, np.int32),
            groups=tuple(f"synthetic_{subject:04d}" for subject in range(self.subjects)),
        )

    def _validate(self) -> None:
        for name, least in (("subjects", 1), ("slices", _FEWEST), ("size", _FEWEST)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is too few: use {least} or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is out of range: use 0 to 2^32 - 1")
        if not 0 <= self.healthy <= 1:
            raise ConfigError(f"healthy={self.healthy} is no fraction: use 0 to 1")


def to_ras(scan: np.ndarray) -> np.ndarray:
    """[S H W ...], upwards, from front to back and from right to left -> [X Y Z ...] RAS+, a view."""
    return scan.transpose(2, 1, 0, *range(3, scan.ndim))[::-1, ::-1]


def brats_labels(labels: np.ndarray, *, enhancing: bool) -> np.ndarray:
    """`contrast.CLASSES` -> the labels of BraTS to 2021, uint8 of the same shape.

    Args:
        labels: of any shape.
        enhancing: whether the rim takes up contrast agent; else it is core alone, as label 1 is.
    """
    parts = {
        "necrosis": NECROSIS,
        "rim": ENHANCING[-1] if enhancing else NECROSIS,
        "oedema": OEDEMA,
    }
    table = np.zeros(len(contrast.CLASSES), np.uint8)
    for name in tumour.PARTS:
        table[contrast.CLASSES.index(name)] = parts[name]
    return table[labels]
