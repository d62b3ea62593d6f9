"""From what a dataset looks like to every number that has to be chosen for it, each with its reason.

The rules are nnU-Net's (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z, supplementary note 2): the
voxel size from the median, the patch as large as the memory allows in the shape of the volumes, as many poolings as
the patch has room for, the batch from what memory is left.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from brainjax.files import write_text
from brainjax.types import ConfigError, DataError

FILE = "plan.json"
_ANISOTROPIC = 3.0  # voxels so much longer than wide, in volumes so much shorter, are resampled finer along that axis
_SMALLEST = 4  # voxels along an axis at the bottom of the network
_CUBE = 256  # edge of the patch that is shrunk until it fits, were voxels cubes
_FIRST, _MOST = 32, 320  # features at the top, and at most
_CONVS = 2  # a floor, down and up alike
_BLOCKS = (1, 3, 4, 6)  # residual blocks of each floor, the last number of all that follow
_SHARE = 0.05  # of the voxels of the whole set that a batch may hold at most
_MAX_BATCH = 16
# float32 numbers kept for the backward pass by each convolution, its norm and its activation, measured in outputs
# of the convolution; and the gradients that are alive beside them.
_KEPT = 3.0


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """What matters of a dataset of volumes.

    Attributes:
        shapes: [N][3] voxels of each volume, cropped to the head.
        spacings: [N][3] mm.
        channels, classes: how many.
    """

    shapes: Sequence[Sequence[int]]
    spacings: Sequence[Sequence[float]]
    channels: int
    classes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers that follow from a fingerprint and a memory budget.

    Attributes:
        spacing: mm, of the voxels that are trained on.
        shape: median of the volumes at that spacing.
        patch: voxels that the network sees in training and inference.
        batch_size: patches a step.
        strides: of each floor's first convolution, or the pooling above it; the top floor's are 1.
        features: channels of each floor.
        normalize: of the intensities.
        memory_gb: estimated, of a training step.
        reasons: field -> why.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    patch: tuple[int, int, int]
    batch_size: int
    strides: tuple[tuple[int, int, int], ...]
    features: tuple[int, ...]
    normalize: str
    memory_gb: float
    reasons: dict[str, str]

    def save(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes `plan.json` and returns its path."""
        path = pathlib.Path(folder) / FILE
        write_text(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")
        return path

    def changes(self, config: Any) -> dict[str, str]:
        """The plan as changes of a config, field -> text; what the config has no option for is left out.

        Args:
            config: with sections as of `experiments.train`.
        """
        numbers = {
            "data.spacing": self.spacing[0] if len(set(self.spacing)) == 1 else self.spacing,
            "augment.patch": self.patch,
            "train.batch_size": self.batch_size,
            "model.features": self.features,
            "model.strides": tuple(s[0] if len(set(s)) == 1 else s for s in self.strides),
            "model.blocks": (_BLOCKS + _BLOCKS[-1:] * len(self.features))[: len(self.features)],
            "input.normalize": self.normalize,
        }
        wanted = config.get("model", {}).get("deep_supervision", 0)
        # The decoder has a floor less than the network, and a small volume few of them.
        numbers["model.deep_supervision"] = min(wanted, len(self.features) - 1)
        return {
            key: str(value)
            for key, value in numbers.items()
            if key.split(".")[1] in config.get(key.split(".")[0], {})
        }


def load(path: str | pathlib.Path) -> Plan:
    """Reads a `plan.json`, or the one in a folder.

    Raises:
        DataError: it is not there, or no plan.
    """
    path = pathlib.Path(path)
    path = path / FILE if path.is_dir() else path
    try:
        stored = json.loads(path.read_text())
        tuples = {k: _tuples(v) for k, v in stored.items() if k != "reasons"}
        return Plan(**tuples, reasons=stored["reasons"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read as a plan ({type(error).__name__}); make it with experiments.prepare --plan"
        ) from error


def make_plan(
    fingerprint: Fingerprint, *, memory_gb: float = 8.0, spacing: Sequence[float] | None = None
) -> Plan:
    """Derives every number.

    Args:
        fingerprint: of the dataset.
        memory_gb: that a training step may take.
        spacing: mm, where it is chosen already.

    Raises:
        ConfigError: no volumes, or a memory that no patch fits into.
    """
    if not len(fingerprint.shapes) or not memory_gb > 0:
        raise ConfigError("a plan needs volumes and a memory above 0 GB")
    reasons: dict[str, str] = {}
    shapes, spacings = (
        np.asarray(x, np.float64) for x in (fingerprint.shapes, fingerprint.spacings)
    )
    goal = _spacing(shapes, spacings, reasons) if spacing is None else np.asarray(spacing, float)
    reasons.setdefault("spacing", "chosen")
    resampled = shapes * spacings / goal
    median = np.maximum(np.median(resampled, axis=0).round(), 1).astype(int)
    reasons["shape"] = f"median of {len(shapes)} volumes, cropped and resampled"

    cube = 1 / goal
    cube = np.round(cube * (_CUBE**3 / cube.prod()) ** (1 / 3))
    patch, begun = np.minimum(cube, median).astype(int), None
    while True:
        strides, patch = _topology(patch, goal, median)
        begun = patch if begun is None else begun
        features = tuple(min(_FIRST << i, _MOST) for i in range(len(strides)))
        one = _memory(patch, strides, features, fingerprint)
        if 2 * one <= memory_gb:
            break
        # The axis that sees the largest part of the volumes gives first.
        divisor = np.prod(strides, axis=0)
        for axis in np.argsort(-patch / median, kind="stable"):
            if patch[axis] - divisor[axis] >= 2 * _SMALLEST:
                patch = patch.copy()
                patch[axis] -= divisor[axis]
                break
        else:
            raise ConfigError(
                f"{memory_gb:g} GB hold no two patches, the smallest of {' x '.join(map(str, patch))}; give more memory"
            )
    reasons["patch"] = (
        f"from {' x '.join(map(str, begun))}, the shape of the volumes, shrunk until a batch of 2 takes "
        f"{2 * one:.2f} of {memory_gb:g} GB"
    )
    reasons["strides"] = (
        f"an axis is halved while it keeps {_SMALLEST} voxels, and while its voxels are not over twice as long as the "
        "shortest"
    )
    reasons["features"] = f"{_FIRST}, doubled on every floor, {_MOST} at most"
    most = _SHARE * len(shapes) * np.prod(median, dtype=float) / np.prod(patch, dtype=float)
    batch = int(np.clip(min(memory_gb // one, most), 2, _MAX_BATCH))
    reasons["batch_size"] = (
        f"what {memory_gb:g} GB hold, no more than {_SHARE:.0%} of all voxels, 2 at least, {_MAX_BATCH} at most"
    )
    reasons["normalize"] = "MRI has no unit: every volume by its own mean and deviation"
    reasons["memory_gb"] = "estimated from the outputs of all convolutions; a step will tell"
    return Plan(
        spacing=tuple(goal.round(4).tolist()),
        shape=tuple(median.tolist()),
        patch=tuple(patch.tolist()),
        batch_size=batch,
        strides=strides,
        features=features,
        normalize="zscore",
        memory_gb=round(batch * one, 3),
        reasons=reasons,
    )


def _spacing(shapes: np.ndarray, spacings: np.ndarray, reasons: dict[str, str]) -> np.ndarray:
    """[3] mm: the median of each axis; of thick slices the finest tenth, which interpolates few and blurs few."""
    goal, size = np.median(spacings, axis=0), np.median(shapes, axis=0)
    reasons["spacing"] = "median of the files"
    worst = int(goal.argmax())
    others = [axis for axis in range(3) if axis != worst]
    thick = goal[worst] > _ANISOTROPIC * goal[others].max()
    if thick and size[worst] * _ANISOTROPIC < size[others].min():
        fine = float(np.percentile(spacings[:, worst], 10))
        goal[worst] = max(fine, goal[others].max())
        reasons["spacing"] = "median of the files; of the thick slices the finest tenth"
    return goal


def _topology(
    patch: np.ndarray, spacing: np.ndarray, median: np.ndarray
) -> tuple[tuple[tuple[int, int, int], ...], np.ndarray]:
    """Strides of every floor, and the patch made divisible by them."""
    size, voxel = patch.astype(float), spacing.astype(float)
    strides = [(1, 1, 1)]
    while True:
        roomy = size >= 2 * _SMALLEST
        alike = voxel <= 2 * voxel[roomy].min() if roomy.any() else roomy
        halved = roomy & alike
        if not halved.any():
            break
        stride = np.where(halved, 2, 1)
        size, voxel = np.floor(size / stride), voxel * stride
        strides.append(tuple(stride.tolist()))
    divisor = np.prod(strides, axis=0)
    # Up where the volumes have the room for it, which the patch then pads least.
    up, down = -(-patch // divisor) * divisor, patch // divisor * divisor
    fitted = np.where((up <= median) | (down < _SMALLEST), up, down)
    return tuple(strides), np.minimum(fitted, -(-median // divisor) * divisor)


def _memory(
    patch: np.ndarray,
    strides: Sequence[Sequence[int]],
    features: Sequence[int],
    fingerprint: Fingerprint,
) -> float:
    """GB of a training step on one patch: outputs of the convolutions of a U-Net, down and up."""
    size, total = (
        patch.astype(float),
        math.prod(patch) * (fingerprint.channels + fingerprint.classes),
    )
    for floor, (stride, width) in enumerate(zip(strides, features, strict=True)):
        size = size / stride
        ways = 1 if floor == len(features) - 1 else 2
        total += _KEPT * ways * _CONVS * size.prod() * width
    return float(total) * 4 / 1e9


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
