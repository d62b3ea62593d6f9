"""Whole heads of any contrast from label maps: the training source of the skull stripper.

A network that saw every contrast a scanner could give, and many that none gives, needs no contrast to be known
(SynthSeg, Billot et al. 2023, arXiv:2107.09559; SynthStrip, Hoopes et al. 2022, arXiv:2203.09974). A label map is
posed, warped and cut to a box; each class gets an intensity, at random or as the physics of T1, T1ce, T2 and FLAIR
has it; then follow lesions, coil shading, a field of view that ends too early, thick slices and noise.

The geometry is `sample_pose` and `sample_labels`, the imaging `brainjax.synth.imaging`.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from brainjax.synth import deform, imaging
from brainjax.types import ConfigError

_BRAIN_BIT = 128  # of a packed voxel: the class in the low bits, whether it is brain in the highest
_COARSE, _FINE = (4, 5, 4), (9, 11, 9)  # control points of the warp


class HeadPose(NamedTuple):
    """Where the voxels of the box lie in the label map.

    Attributes:
        matrix: [3 3] from mm of the box to mm of the map.
        shift: [3] mm of the box, where the brain's middle lies.
        coarse, fine: [3 ...] control displacements in mm of the map.
    """

    matrix: Array
    shift: Array
    coarse: Array
    fine: Array


@dataclasses.dataclass(frozen=True)
class HeadSynthesis:
    """Draws a new head from each label map, inside the training step; stands where augmentation does.

    Attributes:
        shape: the box in voxels, RAS+; every axis divides by what the network asks.
        spacing: its voxel size in mm.
        map_spacing: voxel size of the label maps in mm.
        rotate: largest tilt about each axis in degrees.
        scale: smallest and largest size of a head, as a factor. Adults lie in 0.9 to 1.12, newborns near 0.65.
        p_small: how often a size is drawn from the whole range and not from the adults'.
        shift, far: largest distance of the brain's middle from the box's, in mm; `far` applies with `p_far`. The one is
            a box placed about a brain, the other one placed about a head whose brain is not known yet.
        warp: largest displacement in mm of control points that lie 42 to 48 mm apart in the default box; finer ones, 19
            to 21 mm apart, move by a quarter of it.
        realistic: how often the contrast is that of a real sequence and not random.
        lesions: how often there are lesions.
        cut: how often the field of view ends within the box below the brain; above it half as often, to the left and
            behind a quarter, to the right and in front an eighth. In all 0.35 cuts 59 % of heads.
        thick: how often slices along one axis are 2 to 7 mm thick.
        stripped: how often there is nothing but the brain: a scan that somebody has stripped before.
    """

    shape: tuple[int, int, int] = (112, 144, 128)
    spacing: float = 1.5
    map_spacing: float = 1.0
    rotate: float = 20.0
    scale: tuple[float, float] = (0.6, 1.15)
    p_small: float = 0.35
    shift: float = 9.0
    far: float = 36.0
    p_far: float = 0.4
    warp: float = 10.0
    realistic: float = 0.5
    lesions: float = 0.3
    cut: float = 0.35
    thick: float = 0.4
    stripped: float = 0.04

    def __post_init__(self) -> None:
        """Raises ConfigError for a field out of range."""
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "scale", tuple(self.scale))
        if len(self.shape) != 3 or min(self.shape) < 8:
            raise ConfigError(
                f"--config.augment.shape={self.shape}: give three sizes of 8 or more voxels"
            )
        for name in ("spacing", "map_spacing"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(
                    f"--config.augment.{name}={getattr(self, name)}; use a size above 0, in mm"
                )
        for name in ("rotate", "shift", "far", "warp"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"--config.augment.{name}={getattr(self, name)}; use 0 to switch it off, or more"
                )
        low, high = self.scale if len(self.scale) == 2 else (0, 0)
        if not 0 < low <= 0.9 or not 1.0 <= high < math.inf:
            raise ConfigError(
                f"--config.augment.scale={self.scale}: give a range that holds 0.9 to 1.0"
            )
        for name in ("p_small", "p_far", "realistic", "lesions", "cut", "thick", "stripped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"--config.augment.{name}={getattr(self, name)}; use 0.0 to 1.0")

    def batch(self, keys: Array, image: Array, mask: Array) -> tuple[Array, Array]:
        """Synthesises an example from each label map.

        Args:
            keys: [B] PRNG keys.
            image: [B X Y Z 1] class indices (`brainjax.synth.freesurfer.NAMES`), the brain's middle in the middle.
            mask: [B X Y Z 1], 1 where brain.

        Returns:
            image [B *shape 1] float32, scaled as `brainjax.preprocess.rescale` does, and mask [B *shape 1] float32.
        """
        packed = image.astype(jnp.uint8) + _BRAIN_BIT * mask.astype(jnp.uint8)
        # One after another: the fields of one head fit in cache no more than those of all fit in memory.
        return jax.lax.map(lambda each: self.one(*each), (keys, packed[..., 0]))

    def one(self, key: Array, packed: Array) -> tuple[Array, Array]:
        """One example [*shape 1] and its mask, from [X Y Z] uint8: class, and brain in the highest bit."""
        pose_key, image_key = jax.random.split(key)
        found = sample_labels(self.sample_pose(pose_key), packed, self)
        classes, brain = found % _BRAIN_BIT, (found >= _BRAIN_BIT).astype(jnp.float32)
        options = {
            name: getattr(self, name)
            for name in ("realistic", "lesions", "cut", "thick", "stripped")
        }
        image, seen = imaging.image_of(image_key, classes, brain, spacing=self.spacing, **options)
        return image[..., None], (brain * seen)[..., None]

    def sample_pose(self, key: Array) -> HeadPose:
        """Draws pose, size and shape of a head."""
        coarse, fine = math.prod(_COARSE), math.prod(_FINE)
        keys = jax.random.split(key, 2)
        u = jax.random.uniform(keys[0], (24,))
        signed = 2 * u - 1
        size = jnp.where(
            u[0] < self.p_small,
            jnp.exp(jnp.log(self.scale[0]) + u[1] * jnp.log(self.scale[1] / self.scale[0])),
            0.9 + 0.22 * u[1],
        )
        stretch = size * jnp.exp(0.08 * signed[2:5])
        shear = 0.06 * jnp.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]]) * signed[5]
        turn = deform.rotation(jnp.radians(self.rotate) * signed[6:9])
        mirror = jnp.where(u[9] < 0.5, 1.0, -1.0)
        matrix = (jnp.eye(3) + shear) @ turn / stretch[:, None]
        matrix = (
            matrix * jnp.array([1.0, 0.0, 0.0])[:, None] * mirror
            + matrix * jnp.array([0.0, 1.0, 1.0])[:, None]
        )
        reach = jnp.where(u[10] < self.p_far, self.far, self.shift)
        warp = 2 * jax.random.uniform(keys[1], (3, coarse + fine)) - 1
        strength = self.warp * u[11]
        return HeadPose(
            matrix=matrix,
            shift=reach * signed[12:15],
            coarse=strength * warp[:, :coarse].reshape(3, *_COARSE),
            fine=0.25 * self.warp * u[15] * warp[:, coarse:].reshape(3, *_FINE),
        )


def sample_labels(pose: HeadPose, packed: Array, options: HeadSynthesis) -> Array:
    """Looks the map up at the voxels of the box.

    Args:
        pose: of the head.
        packed: [X Y Z] uint8.
        options: of which the box and the spacings are used.

    Returns:
        [*shape] uint8: the nearest voxel's value, 0 beyond the map.
    """
    shape = options.shape
    warp = deform.smooth_field(pose.coarse, shape) + deform.smooth_field(pose.fine, shape)
    axes = [
        (jnp.arange(n) - (n - 1) / 2) * options.spacing - pose.shift[a] for a, n in enumerate(shape)
    ]
    flat, inside = 0, True
    for row, size in enumerate(packed.shape):
        # An outer sum instead of a matrix product over voxels: a third of the memory traffic.
        terms = [
            (pose.matrix[row, a] * axes[a]).reshape([-1 if b == a else 1 for b in range(3)])
            for a in range(3)
        ]
        mm = functools.reduce(jnp.add, terms) + warp[row]
        voxel = jnp.round(mm / options.map_spacing + (size - 1) / 2).astype(jnp.int32)
        inside = inside & (voxel >= 0) & (voxel < size)
        flat = flat * size + jnp.clip(voxel, 0, size - 1)
    return jnp.where(inside, packed.reshape(-1)[flat], 0)
