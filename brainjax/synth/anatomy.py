"""The packaged head: a label map of the MNI152 template, and how to look tissue up in it.

The map stores one label a voxel. Looked up between voxels, it gives the fraction of each tissue rather than the
nearest label, so that pictures finer than the map have smooth, partial-volume edges.
"""

import dataclasses
import functools
import importlib.resources
import pathlib

import jax.numpy as jnp
import numpy as np
from jax import Array

from brainjax.types import DataError

TISSUES = (
    "air",
    "scalp",
    "skull",
    "csf",
    "grey",
    "white",
    "marrow",
    "muscle",
    "eye",
    "deep_grey",
    "vein",
)
AIR, SCALP, SKULL, CSF, GREY, WHITE, MARROW, MUSCLE, EYE, DEEP_GREY, VEIN = range(len(TISSUES))
BRAIN = (GREY, WHITE, DEEP_GREY)  # parenchyma

MAP_PATH = pathlib.Path(str(importlib.resources.files("brainjax.synth") / "mni152_labels.npz"))

_BITS = 4  # a label fits in four bits, so the 2^3 corners of a cell fit in one uint32


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """A labelled head.

    Attributes:
        labels: [X Y Z] uint8, indices into `TISSUES`, in RAS+ order.
        affine: [4 4] float64, voxel index to world mm.
        sites: [N 4] float32, places in the white matter where a tumour may start: x, y, z in world mm and the
            distance from there to the skull in mm.
    """

    labels: np.ndarray
    affine: np.ndarray
    sites: np.ndarray


@functools.cache
def load_anatomy() -> Anatomy:
    """Reads the packaged map; `experiments/make_label_map.py` says how it was made.

    Raises:
        DataError: the file is not in the installation.
    """
    try:
        with np.load(MAP_PATH, allow_pickle=False) as file:
            return Anatomy(
                file["labels"], file["affine"].astype(np.float64), file["sites"].astype(np.float32)
            )
    except FileNotFoundError as error:
        raise DataError(
            f"{MAP_PATH} is missing: reinstall brainjax, or run experiments/make_label_map.py"
        ) from error


def pack_corners(labels: np.ndarray) -> np.ndarray:
    """Packs the labels at the corners of each cell into one number, so that a lookup is one gather.

    Args:
        labels: [...] integers below 16, of rank 1 to 3.

    Returns:
        [...] uint32 of the same shape; bits 4k to 4k+3 of cell `i` hold the label at corner `k`, whose bit `a`
        says whether it lies one step along axis `a`. Beyond the last voxel the corner is air.
    """
    if labels.max(initial=0) >= 1 << _BITS or labels.ndim > 3:
        raise ValueError("labels must be below 16 and of rank 3 at most to fit in 32 bits")
    padded = np.pad(labels, [(0, 1)] * labels.ndim).astype(np.uint32)
    packed = np.zeros(labels.shape, np.uint32)
    for corner in range(1 << labels.ndim):
        steps = [(corner >> axis) & 1 for axis in range(labels.ndim)]
        window = tuple(slice(s, s + n) for s, n in zip(steps, labels.shape, strict=True))
        packed |= padded[window] << np.uint32(_BITS * corner)
    return packed


def tissue_fractions(packed: Array, points: Array, *, tissues: int = len(TISSUES)) -> Array:
    """Looks up how much of each tissue there is at points between the voxels: linear interpolation of one-hot labels.

    Args:
        packed: [...] uint32 of rank R, from `pack_corners`.
        points: [R *shape] float32 voxel coordinates; beyond the map is air.
        tissues: how many labels to tell apart.

    Returns:
        [tissues *shape] float32, summing to 1 over the first axis.
    """
    rank = packed.ndim
    low = jnp.floor(points)
    part = points - low
    sizes = jnp.array(packed.shape).reshape((rank,) + (1,) * (points.ndim - 1))
    inside = jnp.all((low >= 0) & (low < sizes), axis=0)
    index = jnp.clip(low.astype(jnp.int32), 0, sizes - 1)
    flat = index[0]
    for axis in range(1, rank):
        flat = flat * packed.shape[axis] + index[axis]
    cell = jnp.where(inside, packed.reshape(-1)[flat], 0)

    total = [jnp.zeros(points.shape[1:], jnp.float32) for _ in range(tissues)]
    for corner in range(1 << rank):
        weight = 1.0
        for axis in range(rank):
            weight = weight * (part[axis] if (corner >> axis) & 1 else 1 - part[axis])
        label = (cell >> (_BITS * corner)) & (2**_BITS - 1)
        total = [t + jnp.where(label == k, weight, 0.0) for k, t in enumerate(total)]
    return jnp.stack(total)  # [tissues *shape]
