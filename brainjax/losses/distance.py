"""Regression of the signed distance to the mask's surface, instead of a class per voxel.

A distance says of every voxel how far the surface is, so that a mask can be drawn in or let out by
millimetres afterwards, and neighbouring voxels have to agree on where it runs. It is positive inside:
`sigmoid(logits) >= 0.5` is the mask for a network trained this way too.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from brainjax.losses.common import flat
from brainjax.types import ConfigError


def signed_distance(
    logits: jax.Array,
    target: jax.Array,
    *,
    radius: float = 5.0,
    spacing: float | tuple[float, ...] = 1.0,
) -> jax.Array:
    """Squared error in mm^2 of the network's output, taken for a distance to the surface in mm.

    After Hoopes et al. 2022, "SynthStrip" (https://doi.org/10.1016/j.neuroimage.2022.119474). Both
    distances are truncated: where the target is at its limit the output may lie beyond it, for what
    is far from the surface need not know how far.

    Args:
        logits: [B *spatial C], distances in mm, positive inside.
        target: [B *spatial C] in {0, 1}: masks, whose distances are computed here, on device.
        radius: mm, beyond which distances are all the same.
        spacing: mm per voxel, of all axes or of each.

    Returns:
        [B] float32, averaged over space and channels.

    Raises:
        ConfigError: as `distance_map`.
    """
    goal = jax.lax.stop_gradient(distance_map(target, radius=radius, spacing=spacing))
    x, d = flat(logits, goal)  # [B N C]
    error = x - d
    error = jnp.where(d >= radius, jnp.minimum(error, 0.0), error)
    error = jnp.where(d <= -radius, jnp.maximum(error, 0.0), error)
    return jnp.square(error).mean(axis=(1, 2))


def distance_map(
    mask: jax.Array, *, radius: float = 5.0, spacing: float | Sequence[float] = 1.0
) -> jax.Array:
    """Distance from each voxel's centre to the surface of the mask, positive inside, truncated.

    The surface lies half a voxel (of the finest axis) before the nearest centre on its other side, so
    the voxels that touch it have +-0.5 times the spacing, and the distance grows by the spacing from
    one to the next across it too. Exact within `radius`, which makes it cheap: the squared distance
    transform is separable (Felzenszwalb and Huttenlocher 2012,
    https://doi.org/10.4086/toc.2012.v008a019), and no axis need be searched further than `radius`.

    Args:
        mask: [B *spatial C], above 0.5 inside.
        radius: mm.
        spacing: mm per voxel, of all axes or of each.

    Returns:
        [B *spatial C] float32 in [-radius, radius]; there is no surface at the edge of the grid, and
        with an empty (full) mask all is -radius (radius).

    Raises:
        ConfigError: a radius or spacing that is not above 0, or not one spacing an axis.
    """
    axes = range(1, mask.ndim - 1)
    steps = [
        float(s) for s in (spacing if isinstance(spacing, Sequence) else [spacing] * len(axes))
    ]
    if len(steps) != len(axes):
        raise ConfigError(
            f"spacing={spacing!r} for {len(axes)} axes: give one number, or one an axis."
        )
    if not all(0 < s < math.inf for s in (radius, *steps)):
        raise ConfigError(f"radius={radius!r}, spacing={spacing!r}: give mm above 0.")
    half = 0.5 * min(steps, default=0.0)
    limit = radius + half
    inside = mask > 0.5
    nearest = jnp.where(jnp.stack([~inside, inside]), 0.0, limit**2)  # [2 B *spatial C]
    for axis, step in zip(axes, steps, strict=True):
        nearest = _spread(nearest, axis + 1, step, math.floor(limit / step))
    to_outside, to_inside = jnp.minimum(jnp.sqrt(nearest) - half, radius)
    return jnp.where(inside, to_outside, -to_inside)


def _spread(squared: jax.Array, axis: int, step: float, reach: int) -> jax.Array:
    """min over |i| <= reach of squared(x + i) + (i step)^2 along one axis; nothing is beyond its ends."""
    size = squared.shape[axis]
    reach = min(reach, size - 1)
    far = [(0, 0)] * squared.ndim
    far[axis] = (reach, reach)
    padded = jnp.pad(squared, far, constant_values=jnp.inf)
    shifted = (
        jax.lax.slice_in_dim(padded, i, i + size, axis=axis) + ((i - reach) * step) ** 2
        for i in range(2 * reach + 1)
    )
    return functools.reduce(jnp.minimum, shifted)
