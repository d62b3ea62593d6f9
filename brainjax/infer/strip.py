"""Skull stripping: where the brain is, in a head scan of any contrast.

    strip = Stripper.load()
    mask = strip(read_volume("scan.nii.gz"))  # a Volume on the scan's own grid

The network sees a box of fixed size and voxels, large enough for any brain. The box is placed about the head's upper
part first and then about what was found, until it stays where it is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from brainjax.config import build, from_dict
from brainjax.infer import release, released
from brainjax.io import Volume
from brainjax.models import get as get_model
from brainjax.preprocess.box import Box, bounding_box
from brainjax.preprocess.conform import conform
from brainjax.preprocess.head import likely_centres
from brainjax.preprocess.reach import one_image
from brainjax.preprocess.rescale import rescale
from brainjax.types import CheckpointError, ConfigError

DEFAULT = "strip_unet"
THRESHOLD = 0.5
ROUNDS = 3  # placements of the box at most
SETTLED = 4.0  # mm; a shorter move is not worth another pass
_LEAST = 1.0  # ml; less is not a brain


class Finding(NamedTuple):
    """What the stripper knows of a scan.

    Attributes:
        mask: Volume of uint8, 1 where brain, on the scan's grid and with its header.
        probability: [X Y Z] float32 on the same grid.
        volume_ml: size of the mask.
    """

    mask: Volume
    probability: np.ndarray
    volume_ml: float


class Stripper:
    """A network that tells brain from the rest of the head, with its preprocessing.

    Attributes:
        facts: what is known about the model: data, licence, scores.
        shape, spacing: the network's box in voxels, and its voxel size in mm.
        in_box: compiled; (variables, [*shape] float32 as scanned) -> probability [*shape] float32.
        mirror: average with the left-right mirror image; twice the work in the last pass.
    """

    task = "strip"

    def __init__(self, config: dict[str, Any], facts: dict[str, Any], variables: Any):
        """Builds the network that the training config describes; compiles nothing yet."""
        self.config, self.facts, self.variables = from_dict(config), facts, variables
        self.shape = tuple(self.config.augment.shape)
        self.spacing = float(self.config.augment.spacing)
        self.mirror = False
        model = build(self.config.model, get_model)

        def probability(variables: Any, box: jax.Array) -> jax.Array:
            logits = model.apply(variables, rescale(box)[None, ..., None], train=False)
            return jax.nn.sigmoid(logits[0, ..., 0])

        self.in_box = jax.jit(probability)

    @classmethod
    def load(cls, name: str = DEFAULT) -> "Stripper":
        """Opens a released model: a folder, or the name of one that came with brainjax.

        Raises:
            CheckpointError: it is missing, damaged, or a model for another task.
        """
        stored = release.load(released.find(name))
        if stored.task != cls.task:
            raise CheckpointError(f"{name} is a model for {stored.task}, not for skull stripping")
        return cls(stored.config, stored.facts, stored.variables)

    def __call__(self, volume: Volume, *, border: float = 0.0) -> Volume:
        """The brain mask of a scan: `find(volume, border=border).mask`."""
        return self.find(volume, border=border).mask

    def find(self, volume: Volume, *, border: float = 0.0) -> Finding:
        """Finds the brain.

        Args:
            volume: [X Y Z], or [X Y Z C], of which the mean over C is looked at; what is not finite is taken for 0.
            border: grows the mask by so many mm, or shrinks it where negative.

        Returns:
            The mask, empty where there is no brain, or a negative border leaves nothing of it. Its notes are the scan's,
            and what had to be decided.

        Raises:
            ConfigError: a border that is no number of mm.
            DataError: the scan has so large a field of view that its header cannot be right.
        """
        if not np.isfinite(border):
            raise ConfigError(f"border={border} is no number of mm; use 0 for none")
        scan = one_image(volume)
        coarse, undo = conform(scan, self.spacing, multiple=1)
        found = self._locate(np.asarray(coarse.data, np.float32))
        probability = np.clip(undo(found, order=1), 0.0, 1.0)
        mask = probability >= THRESHOLD
        if border:
            mask = _grown(mask, border, volume.spacing)
        volume_ml = float(mask.sum()) * volume.grid.voxel_ml
        return Finding(scan.with_data(mask.astype(np.uint8)), probability, volume_ml)

    def _locate(self, image: np.ndarray) -> np.ndarray:
        """[X Y Z] float32 in RAS+ at the network's voxel size -> probability on the same grid."""
        nothing = np.zeros(image.shape, np.float32)
        low, high = float(image.min()), float(image.max())
        if not high > low:
            return nothing
        for centre in likely_centres(image, self.spacing):
            box = found = None
            for _ in range(ROUNDS):
                box = _about(centre, self.shape, image.shape)
                # Beyond the scan there is air, whatever number that is in this scan.
                window = jnp.asarray(box.cut(image, fill=low))
                found = _main_part(np.asarray(self.in_box(self.variables, window)))
                weight = found.sum()
                if weight * self.spacing**3 < 1000 * _LEAST:
                    found = None
                    break
                middle = np.array(ndimage.center_of_mass(found)) + box.start
                moved, centre = np.abs(middle - centre).max() * self.spacing, middle
                if moved < SETTLED:
                    break
            if found is not None:
                break
        if found is None:
            return nothing
        if self.mirror:
            other = np.asarray(self.in_box(self.variables, window[::-1]))[::-1]
            found = _main_part((found + other) / 2)
        return box.paste(found)


def _about(centre: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """The box of `size` voxels about a place in a scan of `shape`, within it or not."""
    start = tuple(round(float(c) - (n - 1) / 2) for c, n in zip(centre, size, strict=True))
    return Box(start, tuple(a + n for a, n in zip(start, size, strict=True)), shape)


def _main_part(probability: np.ndarray) -> np.ndarray:
    """Drops what is not connected to the largest part, and fills the holes in it."""
    labels, count = ndimage.label(probability >= THRESHOLD)
    if not count:
        return np.zeros_like(probability)
    main = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    filled = ndimage.binary_fill_holes(main)
    # A rim of lower probabilities stays, so that interpolation finds the surface between voxels.
    near = ndimage.binary_dilation(filled, iterations=2)
    other = (labels > 0) & ~main
    probability = np.where(near & ~other, probability, 0.0)
    return np.where(filled & ~main, 1.0, probability).astype(np.float32)


def _grown(mask: np.ndarray, border: float, spacing: tuple[float, ...]) -> np.ndarray:
    """The mask grown by `border` mm, or shrunk."""
    if not mask.any():
        return mask
    reach = tuple(
        int(min(n, np.ceil(abs(border) / s) + 1)) for n, s in zip(mask.shape, spacing, strict=True)
    )
    box = bounding_box(mask, margin=reach)
    part = box.cut(mask)
    if border > 0:
        part = ndimage.distance_transform_edt(~part, sampling=spacing) <= border
    else:
        part = ndimage.distance_transform_edt(part, sampling=spacing) > -border
    return box.paste(part)
