"""Synthetic heads with one kind of tumour each: whole volumes to tell apart, without a download.

The classes are those of the public pictures (`TumorImages`), in their order, and the sequence is the one that most of
those show, T1 after contrast agent; heads are whole, not stripped, as there. So a classifier of pictures and one of
volumes can look at the same scan. A model trained on it alone is not fit for patients.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import ClassVar

import jax
import numpy as np

from brainjax.datasets import synthetic
from brainjax.datasets.base import DatasetInfo, LabelledDataset
from brainjax.datasets.synthetic_volumes import FEWEST, to_ras
from brainjax.io.volume import Volume
from brainjax.preprocess.head import head_box
from brainjax.synth import contrast, deform, generate, masses
from brainjax.types import ConfigError

# Class of `TumorImages`, in its order -> kind of the generator.
_KIND = {
    "glioma_tumor": "glioma",
    "meningioma_tumor": "meningioma",
    "no_tumor": "none",
    "pituitary_tumor": "pituitary",
}


@dataclasses.dataclass(frozen=True)
class SyntheticTumors:
    """Heads with a glioma, a meningioma, a pituitary adenoma or none, as many of each.

    Head `i` depends on `seed`, the scan's options and `i` alone; its class is `i` modulo 4.

    Attributes:
        subjects: how many heads.
        seed: of everything random; disjoint sets for training and testing take different seeds.
        channel: the sequence, 't1', 't1ce', 't2' or 'flair'.
        size, slices: X and Y, and Z, of the scans in voxels, over 240 and some 145 mm.
        shape: of the boxes that `load` makes of the scans, in voxels.
        spacing: of these boxes, in mm.
    """

    subjects: int = 1200
    seed: int = 0
    channel: str = "t1ce"
    size: int = 64
    slices: int = 48
    shape: tuple[int, int, int] = (48, 64, 48)
    spacing: float = 3.75

    info: ClassVar[DatasetInfo] = dataclasses.replace(
        synthetic.INFO,
        name="synthetic_tumors",
        channels=("t1ce",),
        classes=tuple(_KIND),
        spacing_mm=None,
    )

    def scans(self) -> Iterator[tuple[Volume, int]]:
        """Yields each head as a scan [X Y Z] uint8 in RAS+, and its class.

        Raises:
            ConfigError: a field has an impossible value.
        """
        self._validate()
        scan = generate.kind_scanner(slices=self.slices, size=self.size)
        key, channel = jax.random.key(self.seed), contrast.CHANNELS.index(self.channel)
        for subject in range(self.subjects):
            label = subject % len(self.info.classes)
            kind = masses.KINDS.index(_KIND[self.info.classes[label]])
            made = scan(jax.random.fold_in(key, subject), kind)
            pixel = deform.FIELD_OF_VIEW / self.size
            affine = np.diag([pixel, pixel, float(made.step), 1.0])
            image = to_ras(np.asarray(made.image[..., channel]))
            affine[:3, 3] = -affine[:3, :3] @ (np.array(image.shape) - 1) / 2
            yield Volume(np.ascontiguousarray(image), affine), label

    def load(self, progress: Callable[[int, int], None] | None = None) -> LabelledDataset:
        """Generates the heads: 0.4 s each on two busy cores at the default size, after some seconds to compile.

        Args:
            progress: called with (heads done, heads in all) after each.

        Returns:
            Boxes [N X Y Z 1] uint8 as from `brainjax.preprocess.head.head_box`; each head is a group of its own.

        Raises:
            ConfigError: a field has an impossible value.
        """
        self._validate()
        image = np.empty((self.subjects, *self.shape, 1), np.uint8)
        label = np.empty(self.subjects, np.int32)
        for row, (volume, kind) in enumerate(self.scans()):
            image[row, ..., 0] = head_box(volume, tuple(self.shape), self.spacing)
            label[row] = kind
            if progress is not None:
                progress(row + 1, self.subjects)
        names = tuple(f"synthetic_{self.seed}_{row:05d}" for row in range(self.subjects))
        return LabelledDataset(
            info=dataclasses.replace(
                self.info, channels=(self.channel,), spacing_mm=(self.spacing,) * 3
            ),
            image=image,
            label=label,
            group=np.arange(self.subjects, dtype=np.int32),
            groups=names,
            name=names,
            part=("",) * self.subjects,
            content=tuple(hashlib.sha256(one.tobytes()).hexdigest()[:16] for one in image),
        )

    def _validate(self) -> None:
        for name, least in (("subjects", 1), ("slices", FEWEST), ("size", FEWEST)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is too few: use {least} or more")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} is out of range: use 0 to 2^32 - 1")
        if self.channel not in contrast.CHANNELS:
            raise ConfigError(
                f"channel={self.channel!r}; choose one of {', '.join(contrast.CHANNELS)}"
            )
        if len(self.shape) != 3 or min(self.shape) < 1 or not self.spacing > 0:
            raise ConfigError(
                f"shape={self.shape} at spacing={self.spacing} mm is no box: use three sizes and a spacing above 0"
            )
