"""The embedded defaults in 3D: whole synthetic heads with the three regions of BraTS, or with the brain as their mask.

The same generator as `Synthetic`; here the slices are many, cover the whole head, and stay one volume. A model trained
on it alone is not fit for patients.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import jax
import numpy as np
from scipy import ndimage

from brainjax.datasets import synthetic
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.datasets.regions import ENHANCING, NECROSIS, OEDEMA, REGIONS, to_regions
from brainjax.synth import anatomy, contrast, deform, generate, tumour, vessels
from brainjax.types import ConfigError

_INSIDE = [
    contrast.CLASSES.index(name) for name in ("csf", "grey", "white", "deep_grey", *tumour.PARTS)
]
FEWEST = 32  # voxels along an axis; fewer could step over a small tumour


@dataclasses.dataclass(frozen=True)
class _Heads:
    """Synthetic patients: one volume each, RAS+.

    Patient `i` depends on `seed`, its options and `i` alone.

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

    info: ClassVar[DatasetInfo]

    @property
    def _vessels(self) -> bool:
        """Whether the heads have veins and choroid plexus."""
        return False

    def load(self, progress: Callable[[int, int], None] | None = None) -> ArrayDataset:
        """Generates the patients.

        Args:
            progress: called with (patients done, patients in all) after each.

        Returns:
            Images [N X Y Z C] uint8, each channel scaled over its volume, and masks [N X Y Z K] uint8.

        Raises:
            ConfigError: a field has an impossible value.
        """
        self._validate()
        scan = generate.scanner(
            slices=self.slices, size=self.size, band=deform.WHOLE, vessels=self._vessels
        )
        key = jax.random.key(self.seed)
        shape = (self.subjects, self.size, self.size, self.slices)
        image = np.empty((*shape, len(self.info.channels)), np.uint8)
        mask = np.empty((*shape, len(self.info.classes)), np.uint8)
        steps = []
        for subject in range(self.subjects):
            made = scan(jax.random.fold_in(key, subject), self.healthy)
            image[subject], mask[subject] = self._taken(
                to_ras(np.asarray(made.image)),
                to_ras(np.asarray(made.labels)),
                bool(made.enhancing),
            )
            steps.append(float(made.step))
            if progress is not None:
                progress(subject + 1, self.subjects)
        voxel = deform.FIELD_OF_VIEW / self.size
        return ArrayDataset(
            info=dataclasses.replace(self.info, spacing_mm=(voxel, voxel, float(np.mean(steps)))),
            image=image,
            mask=mask,
            group=np.arange(self.subjects, dtype=np.int32),
            position=np.zeros(self.subjects, np.int32),
            groups=tuple(f"synthetic_{subject:04d}" for subject in range(self.subjects)),
        )

    def _taken(
        self, image: np.ndarray, tissue: np.ndarray, enhancing: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image [X Y Z C] and mask [X Y Z K] from a scan [X Y Z 4] and its tissues [X Y Z]."""
        raise NotImplementedError

    def _validate(self) -> None:
        for name, least in (("subjects", 1), ("slices", FEWEST), ("size", FEWEST)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is too few: use {least} or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is out of range: use 0 to 2^32 - 1")
        if not 0 <= self.healthy <= 1:
            raise ConfigError(f"healthy={self.healthy} is no fraction: use 0 to 1")


@dataclasses.dataclass(frozen=True)
class SyntheticVolumes(_Heads):
    """Tumours in four sequences, as masks of whole tumour, core (necrosis and rim) and enhancing tumour.

    Beside the options of all synthetic heads (`subjects`, `slices`, `size`, `seed`, `healthy`):

    Attributes:
        stripped: all but the brain and the fluid around it is black, as in BraTS.
        vessels: veins and choroid plexus take up contrast agent, and sinuses beside the brain stay in stripped scans.
    """

    stripped: bool = True
    vessels: bool = False

    info: ClassVar[DatasetInfo] = dataclasses.replace(
        synthetic.INFO, name="synthetic3d", classes=REGIONS
    )

    @property
    def _vessels(self) -> bool:
        return self.vessels

    def _taken(
        self, image: np.ndarray, tissue: np.ndarray, enhancing: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.stripped:
            inside = np.isin(tissue, _INSIDE)
            if self.vessels:
                steps = max(1, round(vessels.KEPT * self.size / deform.FIELD_OF_VIEW))
                near = ndimage.binary_dilation(inside, iterations=steps)
                inside |= near & (tissue == anatomy.VEIN)
            image = image * inside[..., None]
        return image, to_regions(brats_labels(tissue, enhancing=enhancing), ENHANCING[-1])


@dataclasses.dataclass(frozen=True)
class SyntheticHeads(_Heads):
    """Healthy heads in T1 with masks of the brain and the fluid around it: skull stripping without a download.

    The options are those of all synthetic heads: `subjects`, `slices`, `size`, `seed`, `healthy`.
    """

    healthy: float = 1.0

    info: ClassVar[DatasetInfo] = dataclasses.replace(
        synthetic.INFO, name="synthetic_heads", channels=("t1",), classes=("brain",)
    )

    def _taken(
        self, image: np.ndarray, tissue: np.ndarray, enhancing: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        return image[..., :1], np.isin(tissue, _INSIDE)[..., None]


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
