"""`normalize.volume_stats` on the device: inside a compiled program, of volumes whose size it does not know yet.

Percentiles are found bit by bit, each bit by counting how many values lie below: no histogram, which a device builds
slowly, and no sorting. They are values of the volume itself, exactly those that the host finds.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from brainjax.preprocess.normalize import (
    AIR_MARGIN,
    CORNER,
    METHODS,
    PERCENTILES,
    PUBLISHED,
    volume_stats,
)
from brainjax.types import ConfigError

_SIGN = np.uint32(1 << 31)


def stats(volume: jax.Array, method: str) -> tuple[jax.Array, jax.Array]:
    """Shift and scale of one patient's volume, per channel (see `brainjax.preprocess.normalize.volume_stats`).

    Args:
        volume: [S H W C] or [1 X Y Z C], uint8 or float, finite; the first axis may be symbolic.
        method: one of `normalize.METHODS`.

    Returns:
        shift [C] float32, scale [C] float32.

    Raises:
        ConfigError: unknown method.
    """
    if method not in METHODS:
        raise ConfigError(f"normalisation {method!r}; choose one of {', '.join(METHODS)}")
    if method == "none" or method in PUBLISHED:
        # Numbers that do not depend on the volume: an empty one will do.
        shift, scale = volume_stats(np.zeros((0, volume.shape[-1]), np.float32), method)
        return jnp.asarray(shift), jnp.asarray(scale)
    x = volume.astype(jnp.float32)
    everywhere = jnp.ones(x.shape, bool)
    if method == "minmax":
        space = tuple(range(x.ndim - 1))
        low, high = x.min(space), x.max(space)
        return low, _inverse(low, high - low)
    low, high = PERCENTILES
    air = _air(x)
    margin = jnp.maximum(AIR_MARGIN * (percentile(x, everywhere, high) - air), 0.0)
    head = jnp.abs(x - air) > margin
    head = jnp.where(_count(head) > 0, head, everywhere)
    if method == "percentile":
        shift = percentile(x, head, low)
        return shift, _inverse(shift, percentile(x, head, high) - shift)
    n = _count(head).astype(jnp.float32)
    shift = _sum(jnp.where(head, x, 0.0)) / n
    spread = jnp.sqrt(_sum(jnp.where(head, (x - shift) ** 2, 0.0)) / n)
    return shift, _inverse(shift, spread)


def percentile(x: jax.Array, among: jax.Array, q: float) -> jax.Array:
    """Smallest value that at least q percent of the chosen samples of each channel do not exceed.

    Args:
        x: [.. C] float32, finite.
        among: [.. C] bool, at least one of each channel.
        q: a whole number, so that the rank is exact, above 0.

    Returns:
        [C] float32.
    """
    n, q = _count(among), int(q)
    # ceil(q n / 100) without the product, which 32 bits do not hold.
    return _ranked(x, among, q * (n // 100) + -(-q * (n % 100) // 100))


def _ranked(x: jax.Array, among: jax.Array, rank: jax.Array) -> jax.Array:
    """The value of rank 1, 2, ... [C] int32 among the chosen ones."""
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    # As unsigned numbers these are in the order of the floats.
    keys = jnp.where(bits >= _SIGN, ~bits, bits | _SIGN)

    def step(i: jax.Array, found: jax.Array) -> jax.Array:
        higher = found | (_SIGN >> i.astype(jnp.uint32))
        return jnp.where(_count(among & (keys < higher)) < rank, higher, found)

    found = lax.fori_loop(0, 32, step, jnp.zeros(x.shape[-1:], jnp.uint32))
    bits = jnp.where(found >= _SIGN, found ^ _SIGN, ~found)
    return lax.bitcast_convert_type(bits, jnp.float32)


def _air(x: jax.Array) -> jax.Array:
    """[C] grey level of air: the darkest of the corners, by their medians."""
    edges = [max(1, n // CORNER) for n in x.shape[1:-1]]
    ends = itertools.product(*((slice(n), slice(-n, None)) for n in edges))
    return jnp.stack([_median(x[:, *corner]) for corner in ends]).min(0)


def _median(x: jax.Array) -> jax.Array:
    everywhere = jnp.ones(x.shape, bool)
    n = _count(everywhere)
    below, above = (_ranked(x, everywhere, rank) for rank in ((n + 1) // 2, n // 2 + 1))
    return (below + above) / 2


def _count(chosen: jax.Array) -> jax.Array:
    return chosen.sum(tuple(range(chosen.ndim - 1)), dtype=jnp.int32)


def _sum(x: jax.Array) -> jax.Array:
    """[.. C] -> [C], in two steps that XLA may not merge: a sum of millions loses digits in float32."""
    parts = lax.optimization_barrier(x.sum(tuple(range(2, x.ndim - 1))))
    return parts.sum((0, 1))


def _inverse(shift: jax.Array, spread: jax.Array) -> jax.Array:
    """1 / spread, and 1 of a constant channel."""
    some = spread > 1e-6 * jnp.maximum(1.0, jnp.abs(shift))
    return jnp.where(some, 1.0 / jnp.where(some, spread, 1.0), 1.0)
