"""The embedded default dataset: procedural head MRI with gliomas, generated in seconds, no download.

Anatomy comes from a label map of the MNI152 template (see NOTICE); all else is drawn from the seed. It has what makes
real sets hard - several contrasts, tumours of any size, healthy patients, shading, noise - and no patient in it. A
model trained on it alone is not fit for patients.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.synth import contrast, deform, generate
from brainjax.types import ConfigError

INFO = DatasetInfo(
    name="synthetic",
    channels=contrast.CHANNELS,
    classes=("tumour",),
    licence=(
        "derived from the ICBM 152 template, (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal"
        " Neurological Institute, McGill University; use, copying, modification and distribution permitted with"
        " this notice"
    ),
    citation=(
        "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011) 313-327;"
        " generator: brainjax.synth"
    ),
    spacing_mm=(deform.FIELD_OF_VIEW / 128, deform.FIELD_OF_VIEW / 128),
)

_FEWEST_SLICES = 8  # fewer could step over a small tumour
_SMALLEST = 32  # pixels; below, the folds' control points are finer than the pixels


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Synthetic patients: axial slices of T1, T1ce, T2 and FLAIR, whole-tumour masks.

    Patient `i` depends on `seed`, `slices`, `size`, `healthy` and `i` alone: more subjects leave the first unchanged.

    Attributes:
        subjects: how many patients.
        slices: axial slices of each, from the skull base to the vertex.
        size: height and width in pixels, over 240 mm.
        seed: of everything random; disjoint sets for training and testing take different seeds.
        healthy: how many of the patients have no tumour, 0 to 1, on average.
    """

    subjects: int = 40
    slices: int = 16
    size: int = 128
    seed: int = 0
    healthy: float = 0.1

    def load(self, progress: Callable[[int, int], None] | None = None) -> ArrayDataset:
        """Generates the patients: 0.1 to 0.2 s each on two cores at the default size, after some seconds to compile.

        Args:
            progress: called with (patients done, patients in all) after each.

        Returns:
            Images [N H W 4] uint8, each channel scaled over its volume, and masks [N H W 1] uint8, where
            N = subjects x slices; H from front to back, W from the patient's right to left, slices upwards.

        Raises:
            ConfigError: a field has an impossible value.
        """
        self._validate()
        scan = generate.scanner(slices=self.slices, size=self.size)
        key = jax.random.key(self.seed)
        total = self.subjects * self.slices
        image = np.empty((total, self.size, self.size, len(INFO.channels)), np.uint8)
        mask = np.empty((total, self.size, self.size, 1), np.uint8)
        for subject in range(self.subjects):
            made = scan(jax.random.fold_in(key, subject), self.healthy)
            rows = slice(subject * self.slices, (subject + 1) * self.slices)
            image[rows], mask[rows] = np.asarray(made.image), np.asarray(made.mask)
            if progress is not None:
                progress(subject + 1, self.subjects)
        pixel = deform.FIELD_OF_VIEW / self.size
        return ArrayDataset(
            info=dataclasses.replace(INFO, spacing_mm=(pixel, pixel)),
            image=image,
            mask=mask,
            group=np.repeat(np.arange(self.subjects, dtype=np.int32), self.slices),
            position=np.tile(np.arange(self.slices, dtype=np.int32), self.subjects),
            groups=tuple(f"synthetic_{subject:04d}" for subject in range(self.subjects)),
        )

    def _validate(self) -> None:
        for name, least in (("subjects", 1), ("slices", _FEWEST_SLICES), ("size", _SMALLEST)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is too few: use {least} or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is out of range: use 0 to 2^32 - 1")
        if not 0 <= self.healthy <= 1:
            raise ConfigError(f"healthy={self.healthy} is no fraction: use 0 to 1")
