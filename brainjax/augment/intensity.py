"""Intensity augmentation: contrast changes, scanner artefacts and missing sequences.

Each operation is a `sample_*(key, ...) -> params`, with `on` for what it changes, and a pure function
of `(params, rows)`, for ONE example seen as rows [.. W*C] (from [H W C] or [X Y Z C]). With G
sequences (T1, FLAIR, ...), channel c belongs to sequence c % G, and so does position r of a row to
sequence r % G: neighbouring slices stacked as channels share everything drawn, as they come from the
same scan. Strengths are relative to the sequence's own mean, spread and range, so they mean the same
for z-scored and for [0, 1] data.

Why rows: XLA vectorises the last axis, and a last axis of three to nine channels would leave CPUs on
scalar code, five to twenty times slower.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import random

from brainjax.augment import spline

Params = dict[str, jax.Array]


def _spread(u: jax.Array, limit: float) -> jax.Array:
    """Uniform numbers in [0, 1) to -limit .. limit."""
    return (2 * u - 1) * limit


def to_rows(x: jax.Array) -> jax.Array:
    """[.. W C] to [.. W*C], without a copy."""
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
    power, flip, on = random.uniform(key, (3, groups))
    power = jnp.exp(_spread(power, math.log1p(strength)))
    return {"power": power, "invert": flip < invert, "on": on < p}


def gamma(params: Params, rows: jax.Array) -> jax.Array:
    """Power law on the sequence's own range, then back to its mean and standard deviation.

    `invert` bends the bright end instead of the dark one (as in nnU-Net, Isensee et al. 2021). A
    sequence of one value everywhere stays as it is.
    """
    groups, invert = params["on"].shape[0], params["invert"]
    low, high = _reduce(jnp.min, rows, groups), _reduce(jnp.max, rows, groups)
    # t runs from 0 to 1 away from the end that is bent; the sign returns it to its direction.
    sign = jnp.where(invert, -1.0, 1.0)
    origin, rate = jnp.where(invert, high, low), sign / jnp.maximum(high - low, 1e-6)
    t = jnp.maximum((rows - _fit(origin, rows)) * _fit(rate, rows), 1e-6)
    t = jnp.exp(_fit(params["power"], rows) * jnp.log(t)) * _fit(sign, rows)
    mean, spread = _moments(rows, groups)
    new_mean, new_spread = _moments(t, groups)
    gain = spread / jnp.maximum(new_spread, 1e-6)
    y = t * _fit(gain, rows) + _fit(mean - new_mean * gain, rows)
    return jnp.where(_fit(params["on"] & (high > low), rows), y, rows)


def sample_linear(
    key: jax.Array, groups: int, contrast: float, brightness: float, p: float
) -> Params:
    """`gain` [G] in 1 / (1 + contrast) .. 1 + contrast and `shift` [G] in standard deviations."""
    gain, shift, gain_on, shift_on = random.uniform(key, (4, groups))
    gain_on, shift_on = gain_on < p, shift_on < p
    return {
        "gain": jnp.where(gain_on, jnp.exp(_spread(gain, math.log1p(contrast))), 1.0),
        "shift": jnp.where(shift_on, _spread(shift, brightness), 0.0),
        "on": gain_on | shift_on,
    }


def linear(params: Params, rows: jax.Array) -> jax.Array:
    """Contrast about the mean of the sequence, then a shift in units of its standard deviation."""
    gain = params["gain"]
    mean, spread = _moments(rows, gain.shape[0])
    offset = mean * (1 - gain) + params["shift"] * spread  # exactly 0 when off
    return rows * _fit(gain, rows) + _fit(offset, rows)


def sample_bias(
    key: jax.Array, rank: int, groups: int, strength: float, grid: int, p: float
) -> Params:
    """`control` [g.. G]: log gain at the control points, normal with deviation `strength`."""
    k_control, k_on = random.split(key)
    on = random.uniform(k_on, (groups,)) < p
    control = strength * random.normal(k_control, (grid,) * rank + (groups,))
    return {"control": control * on, "on": on}


def bias(params: Params, rows: jax.Array, channels: int) -> jax.Array:
    """Smooth multiplicative field, as from a receive coil, on the intensity above the minimum.

    z-scored data have a negative background; a field times that would darken where it should
    brighten, so the field acts on `x - min(x)` and the background stays as it is.
    """
    control = params["control"]
    groups = control.shape[-1]
    low = _fit(_reduce(jnp.min, rows, groups), rows)
    # The last spatial axis and the channels in one matrix, to land on rows directly.
    owner = np.arange(channels)[:, None] % groups == np.arange(groups)
    basis = spline.basis(rows.shape[-1] // channels, control.shape[-2])
    last = np.einsum("wk,cg->wckg", basis, owner).reshape(rows.shape[-1], -1)
    log_gain = spline.along(last, control.reshape(*control.shape[:-2], -1), rows.ndim - 1)
    log_gain = spline.expand(log_gain, rows.shape[:-1])
    return rows + (rows - low) * (jnp.exp(log_gain) - 1)


def sample_sharpness(key: jax.Array, rank: int, blur: float, lowres: float, p: float) -> Params:
    """`sigma` in voxels, 0 .. blur; `factor` [N] per axis, 1 .. lowres; 0 and 1 when off."""
    blur_on, lowres_on, sigma, *factor = random.uniform(key, (3 + rank,))
    blur_on, lowres_on = blur_on < p, lowres_on < p
    factor = 1 + jnp.stack(factor) * max(lowres - 1, 0.0)
    return {
        "sigma": jnp.where(blur_on, sigma * blur, 0.0),
        "factor": jnp.where(lowres_on, factor, 1.0),
        "on": blur_on | lowres_on,
    }


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


def sharpness(params: Params, rows: jax.Array, channels: int) -> jax.Array:
    """Gaussian blur and simulated low resolution, one matrix product per axis."""
    *leading, length = rows.shape
    shape = (*leading, length // channels)
    y = rows.reshape(*shape, channels)
    for axis, size in enumerate(shape):
        y = spline.along(smoothing(size, params["sigma"], params["factor"][axis]), y, axis)
    return jnp.where(params["on"], to_rows(y), rows)


def sample_noise(key: jax.Array, groups: int, strength: float, p: float) -> Params:
    """`std` [G], 0 .. strength in standard deviations of the sequence; `seed` [2] uint32."""
    k_std, k_seed = random.split(key)
    std, on = random.uniform(k_std, (2, groups))
    on = on < p
    return {"std": strength * std * on, "seed": random.bits(k_seed, (2,)), "on": on}


def _mix(x: jax.Array) -> jax.Array:
    """Integer hash of 32 bits with good avalanche ("lowbias32", Wellons 2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def white(seed: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Nearly normal noise of mean 0 and variance 1 from a seed [2] uint32, by hashing the position.

    A sum of eight uniform bytes: excess kurtosis -0.15, nothing beyond 4.9 standard deviations.
    `jax.random.normal` is better than image noise needs, and ten times slower on CPU.
    """
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    word = _mix(_mix(index ^ seed[0]) + seed[1])
    other = _mix(word + seed[0])
    pairs = sum((w >> shift) & 0x00FF00FF for w in (word, other) for shift in (0, 8))
    total = (pairs & 0xFFFF) + (pairs >> 16)
    # A byte has mean 255 / 2 and variance (256^2 - 1) / 12.
    return (total.astype(jnp.int32).astype(jnp.float32) - 1020.0) * (8 * 65535 / 12) ** -0.5


def noise(params: Params, rows: jax.Array) -> jax.Array:
    """Additive Gaussian noise, independent for every voxel and channel."""
    _, spread = _moments(rows, params["std"].shape[0])
    return rows + _fit(params["std"] * spread, rows) * white(params["seed"], rows.shape)


def sample_missing(key: jax.Array, groups: int, source: int, p: float, most: int = 1) -> Params:
    """`on` [G] bool: with probability `p`, 1 to `most` sequences, each number as likely, are lost; never the `source`."""
    on, *score = random.uniform(key, (1 + groups + (most > 1),))
    count = 1 + jnp.floor(score.pop() * most) if most > 1 else 1
    sequence = np.arange(groups)
    score = jnp.where(sequence == source, -1.0, jnp.stack(score))
    rank = (score[None, :] > score[:, None]).sum(1)  # 0 of the highest
    return {"on": (rank < count) & (sequence != source) & (on < p)}


def missing(params: Params, rows: jax.Array, source: int) -> jax.Array:
    """Replaces lost sequences by a copy of sequence `source`, or by zeros if it is -1."""
    r, groups = np.arange(rows.shape[-1]), params["on"].shape[0]
    fill = rows[..., r - r % groups + source] if source >= 0 else 0.0
    return jnp.where(_fit(params["on"], rows), fill, rows)
