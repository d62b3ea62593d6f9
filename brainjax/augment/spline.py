"""Smooth random fields from coarse grids: one small matrix product per axis, no convolution."""

import jax
import jax.numpy as jnp
import numpy as np


def basis(size: int, grid: int) -> np.ndarray:
    """Uniform cubic B-spline basis that spreads `grid` control points over `size` samples.

    The first and last sample sit on the first and last knot, so there are `grid - 3` intervals. Rows
    sum to one: a constant grid gives that constant.

    Args:
      size: samples along the axis.
      grid: control points along the axis, at least 4.

    Returns:
      [size grid] float32.
    """
    t = np.linspace(0.0, grid - 3, size)
    first = np.minimum(t.astype(int), grid - 4)
    u = t - first
    weights = np.stack(
        [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1
    )
    out = np.zeros((size, grid))
    out[np.arange(size)[:, None], first[:, None] + np.arange(4)] = weights / 6
    return out.astype(np.float32)


def along(matrix: jax.Array, x: jax.Array, axis: int) -> jax.Array:
    """`matrix` [M L] times the axis of length L of `x`, in place: that axis becomes M long.

    Full precision, since coordinates and intensities pass through here and the default on GPU and TPU
    is about three decimal digits.
    """
    y = jnp.tensordot(matrix, x, axes=(1, axis), precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(y, 0, axis)


def expand(control: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Control points [g.. *rest] to a twice differentiable field [*shape *rest]."""
    for axis, size in enumerate(shape):
        control = along(basis(size, control.shape[axis]), control, axis)
    return control
