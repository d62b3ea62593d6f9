"""Geometric augmentation: flips, affine and elastic, composed into one coordinate map.

Every output voxel is read once from the input, so the image is interpolated once however many
operations are on. All functions take ONE example with channels last, in two or three dimensions;
`jax.vmap` gives the batch.

The map from output index `o` to input index `i`, with centre `c` of the grid:

    i = c + M (o + d(o) - c) + t

`M` holds flips, rotation, scale and shear, `d` is a cubic B-spline displacement and `t` a shift.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from brainjax.augment import spline

Params = dict[str, jax.Array]


def matrix(
    angles: jax.Array,
    scale: jax.Array,
    shear: jax.Array,
    flip: jax.Array,
    spacing: tuple[float, ...] = (),
) -> jax.Array:
    """Matrix M from output offsets to input offsets, in voxels.

    Args:
      angles: [N(N-1)/2] radians, one per plane of axes: (0, 1), (0, 2), (1, 2), applied in that order.
      scale: [N] factor per axis; above one the object grows.
      shear: [N N] added to the identity off the diagonal.
      flip: [N] bool, axes to mirror.
      spacing: voxel size per axis in any unit, so that rotation and shear act on real lengths;
        empty for isotropic voxels.

    Returns:
      [N N] float32.
    """
    n = scale.shape[0]
    m = jnp.diag(jnp.where(flip, -1.0, 1.0) / scale)
    off = 1.0 - jnp.eye(n)
    m = (jnp.eye(n) + shear * off) @ m
    for angle, (i, j) in zip(angles, itertools.combinations(range(n), 2), strict=True):
        c, s = jnp.cos(angle), jnp.sin(angle)
        turn = jnp.eye(n).at[i, i].set(c).at[j, j].set(c).at[i, j].set(-s).at[j, i].set(s)
        m = turn @ m
    if spacing:
        size = jnp.asarray(spacing, jnp.float32)
        m = m * size[None, :] / size[:, None]
    return m


def sample(
    key: jax.Array,
    rank: int,
    *,
    rotate: float = 0.0,
    scale: float = 0.0,
    anisotropy: float = 0.0,
    shear: float = 0.0,
    translate: float = 0.0,
    flip: tuple[float, ...] = (),
    elastic: float = 0.0,
    elastic_grid: int = 8,
    p_affine: float = 1.0,
    p_elastic: float = 1.0,
    spacing: tuple[float, ...] = (),
) -> Params:
    """Draws one geometric transform.

    Args:
      key: PRNG key.
      rank: number of spatial axes N, 2 or 3.
      rotate: largest angle in degrees, per plane of axes.
      scale: size changes by a factor between 1 / (1 + scale) and 1 + scale, the same for all axes.
      anisotropy: further factor in the same form, drawn per axis.
      shear: largest off-diagonal element.
      translate: largest shift, as a fraction of the size of the axis.
      flip: probability of a mirror per axis; empty for none.
      elastic: largest displacement of a control point, as a fraction of their distance. Below 0.4
        the deformation cannot fold (Rueckert et al., MICCAI 2006, after Choi and Lee 2000).
      elastic_grid: control points per axis, at least 4; more means finer deformation.
      p_affine: probability of the affine part (flips have their own).
      p_elastic: probability of the elastic part.
      spacing: see `matrix`.

    Returns:
      `matrix` [N N]; `shift` [N] as a fraction of the size; if `elastic`, `control` [g.. N] in units
      of the control point distance; `on`, whether anything moves.
    """
    k_affine, k_elastic = random.split(key)
    planes = rank * (rank - 1) // 2
    # One draw for all numbers: each random call is a loop of its own in the compiled program.
    counts = np.array([2, planes, 1, rank, rank * rank, rank, rank])
    u = random.uniform(k_affine, (counts.sum(),))
    on, angle, size, axis_size, lean, shift, mirror = jnp.split(u, counts.cumsum()[:-1])
    on = on < jnp.array([p_affine, p_elastic])
    mirror = mirror < jnp.array(flip or (0.0,) * rank)

    def symmetric(u, limit):
        return jnp.where(on[0], (2 * u - 1) * limit, 0.0)

    params = {
        "matrix": matrix(
            symmetric(angle, math.radians(rotate)),
            jnp.exp(
                symmetric(size, math.log1p(scale)) + symmetric(axis_size, math.log1p(anisotropy))
            ),
            symmetric(lean, shear).reshape(rank, rank),
            mirror,
            spacing,
        ),
        "shift": symmetric(shift, translate),
        "on": on.any() | mirror.any(),
    }
    if elastic:
        shape = (elastic_grid,) * rank + (rank,)
        control = random.uniform(k_elastic, shape, minval=-elastic, maxval=elastic)
        params["control"] = control * on[1]
    return params


def coordinates(params: Params, shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """Input index of every output voxel, one array of `shape` per axis, for `params` of `sample`."""
    size = np.array(shape, np.float32)
    centre = (size - 1) / 2
    grid = np.meshgrid(*(np.arange(s, dtype=np.float32) for s in shape), indexing="ij", sparse=True)
    offset = [g - c for g, c in zip(grid, centre, strict=True)]
    if "control" in params:
        control = params["control"]
        for axis in range(len(shape)):
            distance = (size[axis] - 1) / (control.shape[axis] - 3)
            offset[axis] = offset[axis] + spline.expand(control[..., axis] * distance, shape)
    return tuple(
        sum(m * o for m, o in zip(row, offset, strict=True)) + (shift * s + c)
        for row, shift, s, c in zip(params["matrix"], params["shift"], size, centre, strict=True)
    )


def resample(x: jax.Array, at: tuple[jax.Array, ...]) -> jax.Array:
    """Linear interpolation with the border repeated outside.

    Repeating the border keeps the background at its own value, whatever the normalisation.

    Args:
      x: [H W C] or [X Y Z C] float32.
      at: input index of each output voxel, one array [*out] per axis.

    Returns:
      [*out C] float32.
    """
    *shape, channels = x.shape
    flat = x.reshape(math.prod(shape), channels)  # -1 would not do: a mask may have no channels
    low, part = [], []
    for c, size in zip(at, shape, strict=True):
        c = jnp.clip(c, 0, size - 1)
        # The last cell closes at both ends, so that `low + 1` never leaves the grid.
        floor = jnp.clip(jnp.floor(c), 0, max(size - 2, 0))
        low.append(floor.astype(jnp.int32))
        part.append((c - floor)[..., None])
    out = 0.0
    for corner in itertools.product((0, 1), repeat=len(shape)):
        index, weight = 0, 1.0
        for bit, size, start, p in zip(corner, shape, low, part, strict=True):
            index = index * size + start + min(bit, size - 1)
            weight = weight * (p if bit else 1 - p)
        # Whole channel vectors, as XLA on CPU pays per index and not per byte.
        out = out + weight * flat.at[index].get(mode="promise_in_bounds")
    return out


def apply(params: Params, image: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Warps an image and its mask by one map.

    Args:
      params: from `sample`.
      image: [H W C] or [X Y Z C] float32.
      mask: [H W K] or [X Y Z K] float32 in {0, 1}.

    Returns:
      image, interpolated linearly, and mask, interpolated linearly and cut at one half, so that it
      stays in {0, 1}.
    """
    return read(coordinates(params, image.shape[:-1]), image, mask)


def read(
    at: tuple[jax.Array, ...], image: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """An image and its mask at the input indices `at` of `resample`, the mask cut at one half."""
    # Two gathers: XLA on CPU fuses a shared one into both of its users and runs ten times slower.
    return resample(image, at), (resample(mask, at) > 0.5).astype(jnp.float32)
