"""The one convolution of the package: every model convolves through `conv` (or the module `Conv`).

On GPU and TPU it is `lax.conv_general_dilated` and its own derivatives. XLA:CPU is up to a hundred times slower than
the machine at some of them (3D, kernel gradients, strided input gradients), so there oneDNN computes them, where the
extension `brainjax.native` is at hand, and otherwise `conv_cpu.py` writes the same sums as 2D convolutions and matmuls.
The choice is made here and nowhere else, when a program is traced and lowered; results are equal to float32 rounding,
or to some 1e-5 of their spread where the extension takes Winograd's algorithm (`tests/test_conv.py`, `tests/test_native.py`).

A convolution of a concatenation is the sum of two convolutions; `Conv` takes several inputs and adds,
so that decoders never materialise `concat(up, skip)`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from brainjax import native
from brainjax.models import conv_cpu
from brainjax.models.depthwise_cpu import depthwise
from brainjax.native import calls

_LETTERS = {1: "W", 2: "HW", 3: "XYZ"}


def _forward_xla(x, kernel, strides, padding, dilation):
    axes = _LETTERS[kernel.ndim - 2]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


def _input_gradient_xla(g, kernel, space, strides, padding, dilation):
    x = jax.ShapeDtypeStruct((g.shape[0], *space, kernel.shape[-2]), g.dtype)
    return jax.linear_transpose(lambda x: _forward_xla(x, kernel, strides, padding, dilation), x)(
        g
    )[0]


def _kernel_gradient_xla(x, g, size, strides, padding, dilation):
    kernel = jax.ShapeDtypeStruct((*size, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda k: _forward_xla(x, k, strides, padding, dilation), kernel)(
        g
    )[0]


def _can_onednn(x, kernel, padding=()):
    return calls.can(x, kernel, padding=padding) and native.ready()


def _choose(name, onednn, *arrays, **how):
    """Calls the function of that name: on CPU oneDNN's or `conv_cpu`'s, elsewhere XLA's."""
    cpu, xla = getattr(calls if onednn else conv_cpu, name), globals()[f"_{name}_xla"]
    return lax.platform_dependent(
        *arrays, cpu=functools.partial(cpu, **how), default=functools.partial(xla, **how)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv(x, kernel, strides, padding, dilation, onednn):
    how = {"strides": strides, "padding": padding, "dilation": dilation}
    if kernel.ndim < 5 and not onednn:  # XLA's own is quick enough below three spatial axes
        return _forward_xla(x, kernel, **how)
    return _choose("forward", onednn, x, kernel, **how)


def _conv_forward(x, kernel, strides, padding, dilation, onednn):
    return _conv(x, kernel, strides, padding, dilation, onednn), (x, kernel)


def _conv_backward(strides, padding, dilation, onednn, residual, g):
    x, kernel = residual
    how = {"strides": strides, "padding": padding, "dilation": dilation}
    space, size = x.shape[1:-1], kernel.shape[:-2]
    if kernel.ndim < 5 and all(s == 1 for s in strides) and not onednn:
        to_x = _input_gradient_xla(g, kernel, space, **how)
    else:
        to_x = _choose("input_gradient", onednn, g, kernel, space=space, **how)
    return to_x, _choose("kernel_gradient", onednn, x, g, size=size, **how)


_conv.defvjp(_conv_forward, _conv_backward)


def per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One number per spatial axis, of one number or of a sequence of them."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def explicit_padding(
    padding: str | Sequence[tuple[int, int]],
    size: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Pads per axis: 'SAME' and 'VALID' as TensorFlow defines them, or the pairs given."""
    if not isinstance(padding, str):
        return tuple((int(a), int(b)) for a, b in padding)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return tuple((int(a), int(b)) for a, b in lax.padtype_to_pads(size, extent, strides, padding))


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Convolves channels-last `x` with `kernel`.

    Args:
        x: [B *spatial C], with one, two or three spatial axes.
        kernel: [*k C F], of x's dtype.
        strides: one number, or one per axis.
        padding: 'SAME', 'VALID' or (low, high) per axis.
        dilation: of the kernel; one number, or one per axis.

    Returns:
        [B *out F], of x's dtype. The gradient rule is this file's own, for reverse mode only: `jax.jvp` and
        `jax.jacfwd` raise TypeError where the kernel is larger than one position.
    """
    rank = kernel.ndim - 2
    if x.ndim != rank + 2 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(f"conv: input {x.shape} does not fit kernel {kernel.shape} [*k C F]")
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    size = kernel.shape[:-2]
    padding = explicit_padding(padding, x.shape[1:-1], size, strides, dilation)
    if all(k == 1 for k in size) and not any(sum(p) for p in padding):
        # A pointwise convolution is a matmul; a strided one reads only the positions it keeps.
        x = x[(slice(None), *(slice(None, None, s) for s in strides))]
        if _can_onednn(x, kernel, padding):
            one = (1,) * rank
            return _conv(x, kernel, one, padding, one, True)
        return jnp.dot(x, kernel.reshape(kernel.shape[-2:]))
    how = {"strides": strides, "padding": padding, "dilation": dilation}
    out = calls.out_size(x.shape[1:-1], size, **how)
    if min(out) > 0 and _can_onednn(x, kernel, padding):
        return _conv(x, kernel, strides, padding, dilation, True)
    if math.prod(out[-2:]) <= math.prod(size[-2:]):
        # XLA:CPU swaps image and kernel once the kernel is the larger, and then runs at 2 GF/s.
        return lax.platform_dependent(
            x,
            kernel,
            cpu=functools.partial(conv_cpu.patches, **how),
            default=functools.partial(_forward_xla, **how),
        )
    if not conv_cpu.regular(size, **how):
        return _forward_xla(x, kernel, **how)
    return _conv(x, kernel, strides, padding, dilation, False)


@jax.custom_vjp
def computed_once(x: jax.Array) -> jax.Array:
    """x, which on a CPU is written to memory: XLA would keep what it is the sum of for every later use of it."""
    return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


computed_once.defvjp(lambda x: (computed_once(x), None), lambda _, g: (g,))


def _product(x, kernel, dimension_numbers, precision=None, **options):
    """`lax.dot_general` as `nn.Dense` calls it: on CPU a pointwise convolution, which may be oneDNN's."""
    of_dense = (((x.ndim - 1,), (0,)), ((), ()))
    if dimension_numbers != of_dense or not 3 <= x.ndim <= 5 or not native.ready():
        return lax.dot_general(x, kernel, dimension_numbers, precision, **options)
    return conv(x, kernel[(None,) * (x.ndim - 2)])


# `nn.Dense`, for inputs [B *spatial C].
Dense = functools.partial(nn.Dense, dot_general=_product)


class Conv(nn.Module):
    """A convolution with its parameters `kernel` [*k C F] and `bias` [F].

    The rank follows the input: [B H W C] convolves in 2D, [B X Y Z C] in 3D. Several inputs act as
    their concatenation on channels, without making it.

    Attributes:
        features: output channels F.
        kernel_size: edge of the kernel; one number, or one per axis.
        strides: one number, or one per axis.
        padding: 'SAME' (TensorFlow's rule), 'VALID', or a number of voxels on either side (PyTorch's rule).
        dilation: of the kernel.
        use_bias: adds `bias`.
        standardize: gives the kernel of each output feature zero mean and unit variance before it is used (weight
            standardisation, Qiao et al. 2019, arXiv:1903.10520), in float32.
        dtype: compute dtype; parameters stay float32.
        kernel_init, bias_init: initialisers; He normal, as every network here ends its convolutions in a ReLU.
    """

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: str | int = "SAME"
    dilation: int = 1
    use_bias: bool = True
    standardize: bool = False
    dtype: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, *inputs: jax.Array, apart: bool = False) -> Any:
        """Convolves inputs: [B *spatial C_i], kernel [*k sum(C_i) F], into [B *out F] of `dtype`.

        Args:
            inputs: one or more arrays.
            apart: give the result without `bias`, and the bias [F] or None beside it, for a normalisation that takes it
                into its own.
        """
        rank = inputs[0].ndim - 2
        channels = [x.shape[-1] for x in inputs]
        shape = (*per_axis(self.kernel_size, rank), sum(channels), self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if self.standardize:
            taps = tuple(range(rank + 1))
            kernel = kernel - kernel.mean(taps)
            kernel = kernel / (kernel.std(taps) + 1e-5)
        kernel = kernel.astype(self.dtype)
        padding = self.padding
        if isinstance(padding, int):
            padding = ((padding, padding),) * rank
        y, first = None, 0
        for x, c in zip(inputs, channels, strict=True):
            part = conv(
                x.astype(self.dtype),
                kernel[..., first : first + c, :],
                strides=self.strides,
                padding=padding,
                dilation=self.dilation,
            )
            y, first = part if y is None else computed_once(y + part), first + c
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        if apart:
            return y, bias
        return y if bias is None else y + bias.astype(self.dtype)


def _depthwise_xla(x, kernel, strides, padding):
    axes = _LETTERS[kernel.ndim - 2]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=x.shape[-1]
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_onednn(x, kernel, strides, padding):
    return calls.forward(x, kernel, strides, padding, (1,) * len(strides))


def _depthwise_forward(x, kernel, strides, padding):
    return _depthwise_onednn(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, kept, g):
    x, kernel = kept
    how = {"strides": strides, "padding": padding, "dilation": (1,) * len(strides)}
    to_x = calls.input_gradient(g, kernel, x.shape[1:-1], **how, depthwise=True)
    return to_x, calls.kernel_gradient(x, g, kernel.shape[:-2], **how, depthwise=True)


_depthwise_onednn.defvjp(_depthwise_forward, _depthwise_backward)


class DepthwiseConv(nn.Module):
    """A convolution of each channel alone, without bias: parameter `kernel` [*k 1 C].

    Attributes:
        kernel_size: edge of the kernel, the same on every axis.
        strides: the same on every axis.
        padding: 'SAME' (TensorFlow's rule), 'VALID', or a number of voxels on either side (PyTorch's rule).
        dtype: compute dtype; parameters stay float32.
    """

    kernel_size: int = 3
    strides: int = 1
    padding: str | int = "SAME"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B *spatial C] -> [B *out C] of `dtype`."""
        rank = x.ndim - 2
        size, strides = (self.kernel_size,) * rank, (self.strides,) * rank
        init = nn.initializers.he_normal()
        kernel = self.param("kernel", init, (*size, 1, x.shape[-1]), jnp.float32)
        padding = self.padding
        if isinstance(padding, int):
            padding = ((padding, padding),) * rank
        padding = explicit_padding(padding, x.shape[1:-1], size, strides, (1,) * rank)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        on_cpu = _depthwise_onednn if _can_onednn(x, kernel, padding) else depthwise
        arguments = {"strides": strides, "padding": padding}
        return lax.platform_dependent(
            x,
            kernel,
            cpu=functools.partial(on_cpu, **arguments),
            default=functools.partial(_depthwise_xla, **arguments),
        )


def _up(x, kernel, bias):
    """[B *spatial C], [*f C F], [F] -> [B *(f spatial) F]: every input position becomes a block of its own."""
    batch, *space, channels = x.shape
    *factors, _, features = kernel.shape
    rank = len(space)
    # [*f C F] -> [C *f F], so that one matmul gives every position of the fine grid.
    flat = jnp.moveaxis(kernel, -2, 0).reshape(channels, -1)
    y = jnp.dot(x, flat).reshape((batch, *space, *factors, features)) + bias
    # Interleave: [B s1..sr f1..fr F] -> [B s1 f1 .. sr fr F].
    order = [0, *(a for i in range(rank) for a in (1 + i, 1 + rank + i)), 1 + 2 * rank]
    fine = (s * f for s, f in zip(space, factors, strict=True))
    return y.transpose(order).reshape((batch, *fine, features))


@jax.custom_vjp
def _up_onednn(x, kernel, bias):
    """The same, as the input's gradient of the convolution that leads back."""
    factors = kernel.shape[:-2]
    fine = tuple(s * f for s, f in zip(x.shape[1:-1], factors, strict=True))
    return calls.input_gradient(x, kernel.swapaxes(-1, -2), fine, *_blocks(factors)) + bias


def _up_forward(x, kernel, bias):
    return _up_onednn(x, kernel, bias), (x, kernel)


def _up_backward(kept, g):
    x, kernel = kept
    factors = kernel.shape[:-2]
    to_x = calls.forward(g, kernel.swapaxes(-1, -2), *_blocks(factors))
    to_kernel = calls.kernel_gradient(g, x, factors, *_blocks(factors)).swapaxes(-1, -2)
    to_bias = g.sum(range(g.ndim - 1), dtype=jnp.float32).astype(g.dtype)
    return to_x, to_kernel, to_bias


_up_onednn.defvjp(_up_forward, _up_backward)


def _blocks(factors):
    """Strides, padding and dilation of a convolution of blocks that do not overlap."""
    rank = len(factors)
    return factors, ((0, 0),) * rank, (1,) * rank


class UpConv(nn.Module):
    """Transposed convolution whose kernel equals its stride, as one matmul and a reshape.

    Outputs do not overlap, so this is exact; XLA's transposed convolution would be many times slower in 3D.
    Equal to Keras's `Conv2DTranspose(features, factor, strides=factor)` with the kernel's
    last two axes swapped.

    Attributes:
        features: output channels F.
        factor: kernel edge and stride; one number, or one per axis.
        dtype: compute dtype; parameters stay float32.
    """

    features: int
    factor: int | tuple[int, ...] = 2
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B *spatial C] -> [B *(factor spatial) F] of `dtype`."""
        factor = per_axis(self.factor, x.ndim - 2)
        shape = (*factor, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        on_cpu = functools.partial(conv_cpu.by_slabs, _up, factor=factor[0])
        if _can_onednn(x, kernel):
            on_cpu = _up_onednn
        return lax.platform_dependent(x, kernel, bias, cpu=on_cpu, default=_up)
