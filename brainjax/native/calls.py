"""The extension's three functions on JAX arrays; signatures and results are those of `models/conv_cpu.py`.

A kernel [*k 1 C] of an input of C > 1 channels convolves each of them alone.
"""

import os

import jax
import numpy as np

from brainjax import native
from brainjax.types import ConfigError

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


def can(*arrays: jax.Array, padding: Pads) -> bool:
    """Whether the extension can do a convolution of these arrays, where there is one: all but negative padding and
    other dtypes than float32 and, on some processors, bfloat16."""
    dtypes = {str(a.dtype) for a in arrays}
    if any(min(p) < 0 for p in padding) or not all(a.size for a in arrays):
        return False
    return dtypes == {"float32"} or (dtypes == {"bfloat16"} and native.halves())


def forward(
    x: jax.Array, kernel: jax.Array, strides: Ints, padding: Pads, dilation: Ints
) -> jax.Array:
    """Convolution: x [B *space C], kernel [*k C F] or [*k 1 F] where F is C -> [B *out F].

    Raises:
        ValueError: the shapes do not fit.
    """
    out = _out(x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation)
    if x.shape[-1] not in (kernel.shape[-2], _alone(kernel)):
        raise ValueError(f"input {x.shape} does not fit kernel {kernel.shape} [*k C F]")
    shape = (len(x), *out, kernel.shape[-1])
    return _call("forward", x, kernel, shape, strides, padding, dilation)


def input_gradient(
    g: jax.Array,
    kernel: jax.Array,
    space: Ints,
    strides: Ints,
    padding: Pads,
    dilation: Ints,
    depthwise: bool = False,
) -> jax.Array:
    """Gradient of a convolution's input of size `space`: g [B *out F] -> [B *space C]; C is F where `depthwise`.

    Raises:
        ValueError: the shapes do not fit.
    """
    out = _out(space, kernel.shape[:-2], strides, padding, dilation)
    if g.shape[1:] != (*out, kernel.shape[-1]):
        raise ValueError(f"gradient {g.shape} is not [B, {out}, {kernel.shape[-1]}]")
    shape = (len(g), *space, kernel.shape[-1 if depthwise else -2])
    return _call("input_gradient", g, kernel, shape, strides, padding, dilation)


def kernel_gradient(
    x: jax.Array,
    g: jax.Array,
    size: Ints,
    strides: Ints,
    padding: Pads,
    dilation: Ints,
    depthwise: bool = False,
) -> jax.Array:
    """Gradient of a kernel of `size` taps: x [B *space C], g [B *out F] -> [*k C F], or [*k 1 F] where `depthwise`.

    Raises:
        ValueError: the shapes do not fit.
    """
    out = _out(x.shape[1:-1], size, strides, padding, dilation)
    if g.shape[:-1] != (len(x), *out):
        raise ValueError(f"gradient {g.shape} is not [{len(x)}, {out}, F]")
    shape = (*size, 1 if depthwise else x.shape[-1], g.shape[-1])
    return _call("kernel_gradient", x, g, shape, strides, padding, dilation)


def winograd() -> bool:
    """Whether 3 x 3 taps may be computed by Winograd's algorithm: yes, unless BRAINJAX_WINOGRAD=0.

    Raises:
        ConfigError: BRAINJAX_WINOGRAD is neither 0 nor 1.
    """
    wish = os.environ.get("BRAINJAX_WINOGRAD", "1")
    if wish not in ("0", "1"):
        raise ConfigError(f"BRAINJAX_WINOGRAD={wish} is neither 0 nor 1")
    return wish == "1"


def out_size(space: Ints, size: Ints, strides: Ints, padding: Pads, dilation: Ints) -> Ints:
    """Positions of a convolution's output along each axis; below 1 where the kernel does not fit."""
    axes = zip(space, size, strides, padding, dilation, strict=True)
    return tuple((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in axes)


def _alone(kernel: jax.Array) -> int:
    """Channels that the kernel convolves each by itself; 0 if it does not."""
    return kernel.shape[-1] if kernel.shape[-2] == 1 else 0


def _out(space: Ints, size: Ints, strides: Ints, padding: Pads, dilation: Ints) -> Ints:
    if not 1 <= len(space) <= 3:
        raise ValueError(f"{len(space)} spatial axes: 1, 2 or 3 are possible")
    out = out_size(space, size, strides, padding, dilation)
    if min(out) < 1:
        raise ValueError(f"a kernel of {size} does not fit into {space}")
    return out


def _call(
    name: str,
    first: jax.Array,
    second: jax.Array,
    shape: Ints,
    strides: Ints,
    padding: Pads,
    dilation: Ints,
) -> jax.Array:
    low, high = zip(*padding, strict=True)
    axes = {"strides": strides, "low": low, "high": high, "dilation": dilation}
    # Under vmap one after another: oneDNN knows one kernel at a time, and fills the machine with it.
    call = jax.ffi.ffi_call(
        f"brainjax_{name}", jax.ShapeDtypeStruct(shape, first.dtype), vmap_method="sequential"
    )
    options = {k: np.asarray(v, np.int64) for k, v in axes.items()}
    return call(first, second, **options, winograd=np.int64(winograd()))
