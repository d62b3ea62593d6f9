"""The augmentation of a training step: one dataclass whose fields are its configuration."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
from jax import random

from brainjax.augment import intensity, spatial
from brainjax.types import ConfigError

Params = dict[str, spatial.Params]


@dataclasses.dataclass(frozen=True)
class Augment:
    """Random geometry, contrast and artefacts for an image and its mask, on the device.

    A strength of 0 removes an operation from the compiled program. Each draw belongs to one key, so
    an example is augmented the same whatever its place in the batch or the number of devices.

    Geometry (see `spatial.sample`):
      rotate: degrees. scale, anisotropy: relative size. shear: tangent. translate: fraction of size.
      elastic: fraction of the control point distance, safe from folding below 0.4.
      elastic_grid: control points per axis. flip: probability per spatial axis.
      p_affine, p_elastic: probability of either part.
      spacing: voxel size per axis for anisotropic grids; empty for isotropic.

    Intensity (see `intensity`), drawn per sequence with probability `p_intensity` each:
      gamma: relative exponent; gamma_invert: probability that the bright end is bent instead.
      contrast: relative gain about the mean. brightness: shift in standard deviations.
      bias: standard deviation of the log gain field; bias_grid: its control points per axis.

    Degradation, with probability `p_degrade` each:
      blur: largest sigma in voxels. lowres: largest voxel size in voxels (below or at 1 for none).
      noise: largest standard deviation, relative to that of the sequence.

    Sequences:
      missing: probability that sequences are lost, and replaced by copies of sequence
        `missing_source` (-1: by zeros). missing_most: how many at most; fewer are as likely.
      groups: number of sequences G; channel c belongs to sequence c % G, so that neighbouring slices
        stacked as channels share their draws. 0: every channel is a sequence of its own.
    """

    rotate: float = 15.0
    scale: float = 0.15
    anisotropy: float = 0.05
    shear: float = 0.05
    translate: float = 0.05
    elastic: float = 0.25
    elastic_grid: int = 8
    flip: tuple[float, ...] = (0.0, 0.5)
    p_affine: float = 0.8
    p_elastic: float = 0.3
    spacing: tuple[float, ...] = ()

    gamma: float = 0.3
    gamma_invert: float = 0.25
    contrast: float = 0.2
    brightness: float = 0.2
    bias: float = 0.3
    bias_grid: int = 5
    p_intensity: float = 0.3

    blur: float = 1.0
    lowres: float = 2.0
    noise: float = 0.1
    p_degrade: float = 0.2

    missing: float = 0.0
    missing_source: int = -1
    missing_most: int = 1
    groups: int = 0

    def __post_init__(self) -> None:
        """Refuses values that cannot work, where they are written and not inside jit."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            elif isinstance(value, (int, float)) and field.name != "missing_source" and value < 0:
                raise ConfigError(f"Augment.{field.name} is {value}; use 0 to switch it off.")
        for name in (
            "p_affine",
            "p_elastic",
            "p_intensity",
            "p_degrade",
            "missing",
            "gamma_invert",
        ):
            if getattr(self, name) > 1:
                raise ConfigError(f"Augment.{name} is a probability; {getattr(self, name)} > 1.")
        if not all(0 <= p <= 1 for p in self.flip):
            raise ConfigError(f"Augment.flip={self.flip} needs a probability per axis.")
        if not all(0 < size < math.inf for size in self.spacing):
            raise ConfigError(f"Augment.spacing={self.spacing} needs sizes above 0, one per axis.")
        for name in ("elastic_grid", "bias_grid"):
            if getattr(self, name) < 4:
                raise ConfigError(f"Augment.{name} must be 4 or more: the spline is cubic.")

    @property
    def moves(self) -> bool:
        """Whether any geometric operation is on."""
        affine = self.rotate or self.scale or self.anisotropy or self.shear or self.translate
        return bool(
            (affine and self.p_affine) or (self.elastic and self.p_elastic) or any(self.flip)
        )

    def sample(self, key: jax.Array, shape: tuple[int, ...]) -> Params:
        """Draws the parameters of every operation that is on, for one image of `shape` [.. C]."""
        rank = len(shape) - 1
        groups = self._groups(shape[-1])
        # One key per operation, so that switching one off leaves the draws of the others alone.
        names = ("spatial", *self._intensity(shape[-1]))
        k = dict(zip(names, random.split(key, len(names)), strict=True))
        params = {}
        if self.moves:
            params["spatial"] = spatial.sample(
                k["spatial"],
                rank,
                rotate=self.rotate,
                scale=self.scale,
                anisotropy=self.anisotropy,
                shear=self.shear,
                translate=self.translate,
                flip=self._per_axis("flip", rank),
                elastic=self.elastic if self.p_elastic else 0.0,
                elastic_grid=self.elastic_grid,
                p_affine=self.p_affine,
                p_elastic=self.p_elastic,
                spacing=self._per_axis("spacing", rank),
            )
        p = self.p_intensity
        if self.bias and p:
            params["bias"] = intensity.sample_bias(
                k["bias"], rank, groups, self.bias, self.bias_grid, p
            )
        if self.gamma and p:
            params["gamma"] = intensity.sample_gamma(
                k["gamma"], groups, self.gamma, self.gamma_invert, p
            )
        if (self.contrast or self.brightness) and p:
            params["linear"] = intensity.sample_linear(
                k["linear"], groups, self.contrast, self.brightness, p
            )
        if (self.blur or self.lowres > 1) and self.p_degrade:
            params["sharpness"] = intensity.sample_sharpness(
                k["sharpness"], rank, self.blur, self.lowres, self.p_degrade
            )
        if self.noise and self.p_degrade:
            params["noise"] = intensity.sample_noise(k["noise"], groups, self.noise, self.p_degrade)
        if self.missing:
            params["missing"] = intensity.sample_missing(
                k["missing"], groups, self.missing_source, self.missing, self.missing_most
            )
        return params

    def apply(
        self, params: Params, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Applies drawn `params` to one example: image [H W C], mask [H W K] (or [X Y Z ..])."""
        if "spatial" in params:
            image, mask = spatial.apply(params["spatial"], image, mask)
        rows = intensity.to_rows(image)
        for name, function in self._intensity(image.shape[-1]).items():
            if name in params:
                rows = function(params[name], rows)
        return rows.reshape(image.shape), mask

    def __call__(
        self, key: jax.Array, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Augments one example.

        Args:
          key: PRNG key of this example.
          image: [H W C] (or [X Y Z C]) float32.
          mask: [H W K] (or [X Y Z K]) float32 in {0, 1}.

        Returns:
          image and mask of the same shapes; the mask stays in {0, 1}.

        Raises:
          ConfigError: `flip` or `spacing` do not fit the rank, or `groups` does not divide C.
        """
        return self.apply(self.sample(key, image.shape), image, mask)

    def batch(
        self, keys: jax.Array, image: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Augments a batch, each example by its own key; the same as `__call__` under `jax.vmap`.

        An operation that no example drew is skipped. The conditional also keeps XLA on CPU from fusing
        one operation into the next, which would run it again for each of its uses (the gather of the
        warp four times in `gamma`).

        Args:
          keys: [B] PRNG keys.
          image: [B H W C] (or [B X Y Z C]) float32.
          mask: [B H W K] (or [B X Y Z K]) float32 in {0, 1}.

        Returns:
          image and mask of the same shapes.
        """
        params = jax.vmap(lambda key: self.sample(key, image.shape[1:]))(keys)
        image, mask = _stage(params, "spatial", spatial.apply, image, mask)
        return self.intensities(params, image), mask

    def intensities(self, params: Params, image: jax.Array) -> jax.Array:
        """All but the geometry, of a batch [B *spatial C] with the draws of each example stacked."""
        rows = jax.vmap(intensity.to_rows)(image)
        for name, function in self._intensity(image.shape[-1]).items():
            (rows,) = _stage(params, name, lambda p, r, f=function: (f(p, r),), rows)
        return rows.reshape(image.shape)

    def preview(
        self, key: jax.Array, image: jax.Array, mask: jax.Array, count: int
    ) -> tuple[jax.Array, jax.Array]:
        """`count` augmentations of one example, for a look at a setting: [count H W C], [count H W K]."""
        return jax.vmap(self, (0, None, None))(random.split(key, count), image, mask)

    def _intensity(
        self, channels: int
    ) -> dict[str, Callable[[spatial.Params, jax.Array], jax.Array]]:
        """Operations on rows in the order of their origin: tissue, coil, scan, receiver, archive."""
        return {
            "gamma": intensity.gamma,
            "linear": intensity.linear,
            "bias": functools.partial(intensity.bias, channels=channels),
            "sharpness": functools.partial(intensity.sharpness, channels=channels),
            "noise": intensity.noise,
            "missing": functools.partial(intensity.missing, source=self.missing_source),
        }

    def _groups(self, channels: int) -> int:
        groups = self.groups or channels
        if channels % groups:
            raise ConfigError(f"Augment.groups={groups} does not divide {channels} channels.")
        if self.missing and self.missing_source >= groups:
            raise ConfigError(
                f"Augment.missing_source={self.missing_source}: there are {groups} sequences."
            )
        if self.missing and not 1 <= self.missing_most < max(groups, 2):
            raise ConfigError(
                f"Augment.missing_most={self.missing_most}: of {groups} sequences use 1 to {max(groups - 1, 1)}."
            )
        return groups

    def _per_axis(self, name: str, rank: int) -> tuple[float, ...]:
        value = getattr(self, name)
        if value and len(value) != rank:
            raise ConfigError(f"Augment.{name}={value} needs one value per axis, {rank} in all.")
        return value


def _stage(
    params: Params, name: str, function: Callable[..., Any], *arrays: jax.Array
) -> tuple[jax.Array, ...]:
    """`function(drawn, *arrays)` over a batch where any example drew the operation `name`, else the arrays."""
    if name not in params:
        return arrays
    drawn = params[name]
    return jax.lax.cond(drawn["on"].any(), jax.vmap(function), lambda _, *x: x, drawn, *arrays)
