"""Depthwise convolution on CPU: a multiply-add for every tap of the kernel, and its gradients likewise.

XLA:CPU's grouped convolution is many times slower. `conv.py` chooses this file where a program is lowered for CPU.
"""

import functools
import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], ...]


def _padded(x: jax.Array, padding: Pads) -> jax.Array:
    """Zeros around; what is negative is cut off."""
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)))


def _windows(x: jax.Array, size: tuple[int, ...], strides: tuple[int, ...]) -> Iterator[jax.Array]:
    """What each tap of the kernel sees of padded x: [B *out C] each, in the order of the kernel's places."""
    space = zip(x.shape[1:-1], size, strides, strict=True)
    out = [(n - k) // s + 1 for n, k, s in space]
    for tap in itertools.product(*map(range, size)):
        stops = [i + (n - 1) * s + 1 for i, n, s in zip(tap, out, strides, strict=True)]
        yield lax.slice(x, (0, *tap, 0), (len(x), *stops, x.shape[-1]), (1, *strides, 1))


def _taps(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pads) -> jax.Array:
    windows = _windows(_padded(x, padding), kernel.shape[:-2], strides)
    taps = kernel.reshape(-1, kernel.shape[-1])
    return sum(window * tap for window, tap in zip(windows, taps, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: Pads
) -> jax.Array:
    """[B *spatial C], [*k 1 C] -> [B *out C]: XLA fuses the taps into one pass over the output."""
    return _taps(x, kernel, strides, padding)


def _forward(x, kernel, strides, padding):
    return depthwise(x, kernel, strides, padding), (x, kernel)


def _backward(strides, padding, kept, g):
    x, kernel = kept
    size = kernel.shape[:-2]
    if all(s == 1 for s in strides):
        # A convolution of the gradient with the kernel turned around.
        around = tuple(
            (k - 1 - low, k - 1 - high) for k, (low, high) in zip(size, padding, strict=True)
        )
        dx = depthwise(g, jnp.flip(kernel, tuple(range(len(size)))), strides, around)
    else:
        _, transposed = jax.vjp(lambda x: _taps(x, kernel, strides, padding), x)
        (dx,) = transposed(g)

    def add(total: jax.Array, example: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        # Of one example, whose windows stay in cache from tap to tap.
        x, g = (a[None] for a in example)
        sums = [
            (window * g).sum(range(g.ndim - 1), dtype=jnp.float32)
            for window in _windows(x, size, strides)
        ]
        return total + jnp.stack(sums), None

    # The padding is written once: within the sums it would be decided on for every tap again.
    x = lax.optimization_barrier(_padded(x, padding))
    nothing = jnp.zeros((kernel[..., 0, 0].size, x.shape[-1]), jnp.float32)
    total, _ = lax.scan(add, nothing, (x, g))
    return dx, total.reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_forward, _backward)
