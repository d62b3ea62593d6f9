"""Intensity augmentation: contrast changes, scanner artefacts and missing sequences.

Each operation is a `sample_*(key, ...) -> params` and a pure function of `(params, x)`, for ONE example
x [H W C] or [X Y Z C]. With G sequences (T1, FLAIR, ...), channel c belongs to sequence c % G:
neighbouring slices stacked as channels share everything drawn, as they come from the same scan.
Strengths are relative to the sequence's own mean, spread and range, so they mean the same for
z-scored and for [0, 1] data.

The arithmetic runs on rows [.. W*C], where position r still belongs to sequence r % G: XLA vectorises
the last axis, and a last axis of three to nine channels would leave CPUs on scalar code.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from brainjax.augment import spline

Params = dict[str, jax.Array]


def _chance(key: jax.Array, p: float, shape: tuple[int, ...] = ()) -> jax.Array:
    return random.uniform(key, shape) < p


def _rows(x: jax.Array) -> jax.Array:
    """[.. W C] to [.. W*C]."""
    return x.reshape(*x.shape[:-2], -1)


def _fit(value: jax.Array, rows: jax.Array) -> jax.Array:
    """A value per sequence [G], repeated along the rows: [W*C]."""
    return jnp.tile(value, rows.shape[-1] // value.shape[0])


def _reduce(function, rows: jax.Array, groups: int) -> jax.Array:
    """`function` (jnp.mean, jnp.min, ...) of each sequence: [G]."""
    over_rows = function(rows, axis=tuple(range(rows.ndim - 1)))  # [W*C]
    return function(over_rows.reshape(-1, groups), axis=0)


def _moments(rows: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each sequence, both [G]."""
    mean = _reduce(jnp.mean, rows, groups)
    square = jnp.square(rows - _fit(mean, rows))
    return mean, jnp.sqrt(_reduce(jnp.mean, square, groups))


def sample_gamma(key: jax.Array, groups: int, strength: float, invert: float, p: float) -> Params:
    """`power` [G] in 1 / (1 + strength) .. 1 + strength, and `invert` [G], `on` [G] bool."""
    k_power, k_invert, k_on = random.split(key, 3)
    limit = jnp.log1p(strength)
    return {
        'power': jnp.exp(random.uniform(k_power, (groups,), minval=-limit, maxval=limit)),
        'invert': _chance(k_invert, invert, (groups,)),
        'on': _chance(k_on, p, (groups,)),
    }


def gamma(params: Params, x: jax.Array) -> jax.Array:
    """Power law on the sequence's own range, then back to its mean and standard deviation.

    `invert` bends the bright end instead of the dark one (as in nnU-Net, Isensee et al. 2021). A
    sequence of one value everywhere stays as it is.
    """
    rows, groups, invert = _rows(x), params['on'].shape[0], params['invert']
    low, high = _reduce(jnp.min, rows, groups), _reduce(jnp.max, rows, groups)
    # t runs from 0 to 1 away from the end that is bent; the sign returns it to its direction.
    sign = jnp.where(invert, -1.0, 1.0)
    origin, rate = jnp.where(invert, high, low), sign / jnp.maximum(high - low, 1e-6)
    t = jnp.maximum((rows - _fit(origin, rows)) * _fit(rate, rows), 1e-6)
    t = jnp.exp(_fit(params['power'], rows) * jnp.log(t)) * _fit(sign, rows)
    mean, spread = _moments(rows, groups)
    new_mean, new_spread = _moments(t, groups)
    gain = spread / jnp.maximum(new_spread, 1e-6)
    y = t * _fit(gain, rows) + _fit(mean - new_mean * gain, rows)
    return jnp.where(_fit(params['on'] & (high > low), rows), y, rows).reshape(x.shape)


def sample_linear(
    key: jax.Array, groups: int, contrast: float, brightness: float, p: float
) -> Params:
    """`gain` [G] in 1 / (1 + contrast) .. 1 + contrast and `shift` [G] in standard deviations."""
    k_gain, k_shift, k_on = random.split(key, 3)
    on = _chance(k_on, p, (2, groups))
    limit = jnp.log1p(contrast)
    gain = jnp.exp(random.uniform(k_gain, (groups,), minval=-limit, maxval=limit))
    shift = random.uniform(k_shift, (groups,), minval=-brightness, maxval=brightness)
    return {'gain': jnp.where(on[0], gain, 1.0), 'shift': jnp.where(on[1], shift, 0.0)}


def linear(params: Params, x: jax.Array) -> jax.Array:
    """Contrast about the mean of the sequence, then a shift in units of its standard deviation."""
    rows, gain = _rows(x), params['gain']
    mean, spread = _moments(rows, gain.shape[0])
    offset = mean * (1 - gain) + params['shift'] * spread
    on = (gain != 1) | (params['shift'] != 0)  # rounding must not touch what is off
    y = rows * _fit(gain, rows) + _fit(offset, rows)
    return jnp.where(_fit(on, rows), y, rows).reshape(x.shape)


def sample_bias(
    key: jax.Array, rank: int, groups: int, strength: float, grid: int, p: float
) -> Params:
    """`control` [g.. G]: log gain at the control points, normal with deviation `strength`."""
    k_control, k_on = random.split(key)
    control = strength * random.normal(k_control, (grid,) * rank + (groups,))
    return {'control': control * _chance(k_on, p, (groups,))}


def bias(params: Params, x: jax.Array) -> jax.Array:
    """Smooth multiplicative field, as from a receive coil, on the intensity above the minimum.

    z-scored data have a negative background; a field times that would darken where it should
    brighten, so the field acts on `x - min(x)` and the background stays as it is.
    """
    rows, control = _rows(x), params['control']
    groups = control.shape[-1]
    low = _fit(_reduce(jnp.min, rows, groups), rows)
    *leading, width, channels = x.shape
    # The last spatial axis and the channels in one matrix, to land on rows directly.
    last = np.einsum(
        'wk,cg->wckg', spline.basis(width, control.shape[-2]), np.arange(channels)[:, None] % groups
        == np.arange(groups)
    ).reshape(width * channels, -1)
    log_gain = spline.along(last, control.reshape(*control.shape[:-2], -1), control.ndim - 2)
    log_gain = spline.expand(log_gain, tuple(leading))
    return (rows + (rows - low) * (jnp.exp(log_gain) - 1)).reshape(x.shape)


def sample_sharpness(key: jax.Array, rank: int, blur: float, lowres: float, p: float) -> Params:
    """`sigma` in voxels, 0 .. blur; `factor` [N] per axis, 1 .. lowres; 0 and 1 when off."""
    k_sigma, k_factor, k_on = random.split(key, 3)
    on = _chance(k_on, p, (2,))
    sigma = random.uniform(k_sigma, (), maxval=blur)
    factor = random.uniform(k_factor, (rank,), minval=1.0, maxval=max(lowres, 1.0))
    return {'sigma': jnp.where(on[0], sigma, 0.0), 'factor': jnp.where(on[1], factor, 1.0)}


def _normalise(weight: jax.Array) -> jax.Array:
    return weight / jnp.maximum(weight.sum(1, keepdims=True), 1e-6)


def smoothing(size: int, sigma: jax.Array, factor: jax.Array) -> jax.Array:
    """[size size] matrix: Gaussian blur, then averaging into voxels `factor` wide and back.

    Both are linear and separable, so one matrix per axis does them together. The coarse grid has
    `size` slots of which about `size / factor` are in use, which keeps the shapes fixed under jit.
    """
    i = jnp.arange(size, dtype=jnp.float32)
    d = i[:, None] - i[None, :]
    gauss = _normalise(jnp.exp(-0.5 * jnp.square(d / jnp.maximum(sigma, 1e-3))))
    # Coarse voxel k is centred at (k + 0.5) * factor - 0.5 and sees a triangle (linear down-sampling
    # with anti-aliasing); the way back is linear interpolation between coarse centres.
    centre = (i + 0.5) * factor - 0.5
    used = centre <= size - 1 + factor / 2
    down = _normalise(jnp.maximum(0, 1 - jnp.abs(centre[:, None] - i[None, :]) / factor))
    up = _normalise(jnp.maximum(0, 1 - jnp.abs(centre[None, :] - i[:, None]) / factor) * used)
    hi = jax.lax.Precision.HIGHEST
    return jnp.matmul(jnp.matmul(up, down, precision=hi), gauss, precision=hi)


def sharpness(params: Params, x: jax.Array) -> jax.Array:
    """Gaussian blur and simulated low resolution, one matrix product per axis."""
    y = x
    for axis, size in enumerate(x.shape[:-1]):
        y = spline.along(smoothing(size, params['sigma'], params['factor'][axis]), y, axis)
    on = (params['sigma'] > 0) | (params['factor'] > 1).any()
    return jnp.where(on, y, x)


def sample_noise(key: jax.Array, groups: int, strength: float, p: float) -> Params:
    """`std` [G], 0 .. strength in standard deviations of the sequence; `seed` [2] uint32."""
    k_std, k_on, k_seed = random.split(key, 3)
    std = random.uniform(k_std, (groups,), maxval=strength)
    return {'std': std * _chance(k_on, p, (groups,)), 'seed': random.bits(k_seed, (2,))}


def _mix(x: jax.Array) -> jax.Array:
    """Integer hash of 32 bits with good avalanche ("lowbias32", Wellons 2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def white(seed: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal noise from a seed [2] uint32, by hashing the position.

    `jax.random.normal` is stronger than image noise needs and was the slowest operation on CPU by
    far; two rounds of a hash take a sixth of its time and vectorise.
    """
    index = jax.lax.iota(jnp.uint32, int(np.prod(shape))).reshape(shape)
    bits = _mix(_mix(index ^ seed[0]) + seed[1])
    # 23 bits and the middle of the interval: symmetric, and never -1 or 1.
    u = (bits >> 9).astype(jnp.int32).astype(jnp.float32) * 2.0**-22 + (2.0**-23 - 1)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(u)


def noise(params: Params, x: jax.Array) -> jax.Array:
    """Additive Gaussian noise, independent for every voxel and channel."""
    rows, std = _rows(x), params['std']
    _, spread = _moments(rows, std.shape[0])
    return (rows + _fit(std * spread, rows) * white(params['seed'], rows.shape)).reshape(x.shape)


def sample_missing(key: jax.Array, groups: int, source: int, p: float) -> Params:
    """`drop` [G] bool: with probability `p` one sequence, never the `source`, is lost."""
    k_which, k_on = random.split(key)
    allowed = jnp.arange(groups) != source
    score = jnp.where(allowed, random.uniform(k_which, (groups,)), -1.0)
    drop = (jnp.arange(groups) == score.argmax()) & allowed
    return {'drop': drop & _chance(k_on, p)}


def missing(params: Params, x: jax.Array, source: int) -> jax.Array:
    """Replaces lost sequences by a copy of sequence `source`, or by zeros if it is -1."""
    y = x.reshape(*x.shape[:-1], -1, params['drop'].shape[0])  # [H W S G]
    fill = y[..., source : source + 1] if source >= 0 else 0.0
    return jnp.where(params['drop'], fill, y).reshape(x.shape)
