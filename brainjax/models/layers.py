"""Small parts that the networks share: normalisation, pooling, resizing, the conv-norm-activation block."""

import functools
import itertools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from brainjax.models.conv import Conv, per_axis
from brainjax.types import ConfigError

NORMS = ("batch", "instance", "group", "none")


class Norm(nn.Module):
    """Normalisation by name, over channels-last input of any rank.

    Attributes:
        kind: 'batch', 'instance', 'group' or 'none'.
        axis_name: the mapped axis that 'batch' averages its statistics over; without it, each device of a
            pmap would normalise by its own share of the batch.
        momentum: share of the old moving statistics kept at each step ('batch' only).
        epsilon: added to the variance.
        dtype: compute dtype; statistics are always float32.
        groups: wanted number of groups ('group' only); the largest divisor of the channels up to it is used.
    """

    kind: str = "batch"
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str = "float32"
    groups: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, offset: jax.Array | None = None) -> jax.Array:
        """Normalises x, or x + offset: [B *spatial C] and [C]; with `train`, 'batch' uses and records this batch's statistics."""
        common = {"epsilon": self.epsilon, "dtype": self.dtype, "name": "norm"}
        if self.kind == "batch":
            return BatchNorm(self.momentum, self.axis_name, **common)(x, offset, train=train)
        if self.kind == "instance":
            return GroupNorm(**common)(x, offset)
        if self.kind == "group":
            groups = max(g for g in range(1, self.groups + 1) if x.shape[-1] % g == 0)
            return GroupNorm(groups, **common)(x, offset)
        if self.kind == "none":
            return x if offset is None else x + offset.astype(x.dtype)
        raise ConfigError(f"unknown norm {self.kind!r}; choose one of {', '.join(NORMS)}")


class BatchNorm(nn.Module):
    """Each channel to zero mean and unit variance over the batch, then `scale` and `bias`, [C] each.

    Ioffe & Szegedy 2015 (arXiv:1502.03167). The same as `nn.BatchNorm` with the same variables, but the gradient keeps
    `x` alone, which the convolution before it holds anyway, and not `x` less its mean too: a third of a training
    step's memory.

    Attributes:
        momentum: share of the old moving statistics kept at each step.
        axis_name: the mapped axis over which the statistics are averaged.
        epsilon: added to the variance.
        dtype: of the result; statistics are always float32.
    """

    momentum: float = 0.9
    axis_name: str | None = None
    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, offset: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Normalises x, or x + offset: [B *spatial C] and [C]; with `train` by this batch's statistics, which move the averages."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
        moving = [
            self.variable("batch_stats", name, fill, shape, jnp.float32)
            for name, fill in (("mean", jnp.zeros), ("var", jnp.ones))
        ]
        x = x.astype(jnp.float32)
        offset = jnp.zeros(shape, jnp.float32) if offset is None else offset
        if train:
            all_but_last = tuple(range(x.ndim - 1))
            # One pass over x, as in `GroupNorm`.
            means = jnp.stack([x.mean(all_but_last), (x * x).mean(all_but_last)])
            if self.axis_name is not None and not self.is_initializing():
                means = lax.pmean(means, self.axis_name)
            mean, variance = means[0], jnp.maximum(means[1] - means[0] ** 2, 0.0)
            if not self.is_initializing():
                for average, now in zip(moving, (mean + offset, variance), strict=True):
                    average.value = self.momentum * average.value + (1 - self.momentum) * now
        else:
            mean, variance = moving[0].value - offset, moving[1].value
        factor = scale * lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


class GroupNorm(nn.Module):
    """The channels of each group of each example to zero mean and unit variance, then `scale` and `bias`, [C] each.

    Wu & He 2018 (arXiv:1803.08494); with a group for every channel instance norm, Ulyanov et al. 2016
    (arXiv:1607.08022). The same as `nn.GroupNorm`, but `x` is never reshaped into groups: its channels' sums are. On a
    CPU the gradient then takes half the time.

    Attributes:
        groups: G, which divides the channels; 0 for a group for every channel.
        epsilon: added to the variance.
        dtype: of the result; statistics are always float32.
    """

    groups: int = 0
    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, offset: jax.Array | None = None) -> jax.Array:
        """Normalises x, or x + offset: [B *spatial C] and [C]."""
        scale = self.param("scale", nn.initializers.ones_init(), x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:], jnp.float32)
        x, space = x.astype(jnp.float32), tuple(range(1, x.ndim - 1))
        # One pass over x; rounding may leave the difference below a little below 0.
        mean, square = x.mean(space, keepdims=True), (x * x).mean(space, keepdims=True)
        # A channel that is alone in its group is not moved by an offset.
        if offset is None or not self.groups:
            offset = jnp.zeros_like(bias)
        square = self._over_groups(square + 2 * mean * offset + offset * offset)
        mean = self._over_groups(mean + offset)
        variance = jnp.maximum(square - mean * mean, 0.0)
        factor = scale * lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias + (offset - mean) * factor)).astype(self.dtype)

    def _over_groups(self, means: jax.Array) -> jax.Array:
        """Means of channels [B *1 C] -> of the groups they are in, likewise."""
        if not self.groups:
            return means
        grouped = means.reshape(*means.shape[:-1], self.groups, -1)
        return jnp.broadcast_to(grouped.mean(-1, keepdims=True), grouped.shape).reshape(means.shape)


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks belong to the examples of the global batch.

    `nn.Dropout` draws one mask for all that it is given. Under pmap that is a device's share, so that the masks
    would depend on the number of devices; here example i of the batch draws the same wherever it is computed.

    Attributes:
        rate: probability that an activation is set to 0, in [0, 1); the others are scaled up.
        axis_name: the mapped axis that divides the batch, under pmap.

    Raises:
        ConfigError: a rate out of range.
    """

    rate: float
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B ..] -> [B ..]; the identity unless `train`."""
        if not 0 <= self.rate < 1:
            raise ConfigError(f"dropout is {self.rate}; choose 0.0 or more, and less than 1.0")
        if not train or not self.rate:
            return x
        first = 0 if self.axis_name is None else lax.axis_index(self.axis_name) * len(x)
        key = self.make_rng("dropout")
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(len(x)))
        keep = jax.vmap(lambda k: jax.random.bernoulli(k, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0).astype(x.dtype)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "leaky_relu": nn.leaky_relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
}


def activate(x: jax.Array, name: str) -> jax.Array:
    """Applies the activation called `name` to x of any shape; ConfigError if there is none."""
    if name not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {name!r}; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name](x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, factor: int = 2) -> jax.Array:
    """Non-overlapping max pooling: [B *spatial C] -> [B *(spatial/factor) C], spatial sizes divisible by it.

    The maximum of strided slices: deterministic on every platform and quick both ways, unlike XLA's
    select-and-scatter. Where several positions share the maximum, they share the gradient.
    """
    return functools.reduce(jnp.maximum, _phases(x, factor))


def _phases(x: jax.Array, factor: int) -> list[jax.Array]:
    """The positions of every window at one place each: factor^rank arrays [B *(spatial/factor) C]."""
    places = itertools.product(*(range(factor) for _ in x.shape[1:-1]))
    return [x[(slice(None), *(slice(i, None, factor) for i in place))] for place in places]


def _max_pool_forward(x: jax.Array, factor: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    y = max_pool(x, factor)
    return y, (x, y)


def _max_pool_backward(
    factor: int, residual: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array]:
    x, y = residual
    share = g / sum((part == y).astype(g.dtype) for part in _phases(x, factor))
    split, once = [x.shape[0]], [x.shape[0]]  # [B s/f f .. C] and [B s/f 1 .. C]
    for n in y.shape[1:-1]:
        split += [n, factor]
        once += [n, 1]
    parts, y, share = (
        a.reshape(*shape, x.shape[-1]) for a, shape in ((x, split), (y, once), (share, once))
    )
    return (jnp.where(parts == y, share, 0).reshape(x.shape),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def mean_pool(x: jax.Array, factors: Sequence[int]) -> jax.Array:
    """Non-overlapping mean pooling: [B *spatial C] -> [B *(spatial/factors) C], one factor per axis."""
    for axis, factor in enumerate(factors, start=1):
        if factor > 1:
            n = x.shape[axis] // factor
            x = x.reshape(*x.shape[:axis], n, factor, *x.shape[axis + 1 :]).mean(axis + 1)
    return x


def max_pool_3(x: jax.Array, padding: str | int) -> jax.Array:
    """Max pooling by windows of 3 with stride 2, the one of ResNet's stem: [B *spatial C], half as fine.

    One axis after another, as the maximum of three strided slices: deterministic like `max_pool`.

    Args:
        x: [B *spatial C].
        padding: 'SAME' (TensorFlow's rule) or a number of positions on either side; filled with -inf.
    """
    for a in range(1, x.ndim - 1):
        pads = (padding, padding)
        if isinstance(padding, str):
            (pads,) = lax.padtype_to_pads((x.shape[a],), (3,), (2,), padding)
        widths = [(0, 0)] * x.ndim
        widths[a] = pads
        padded = jnp.pad(x, widths, constant_values=-jnp.inf)
        last = (padded.shape[a] - 3) // 2 * 2 + 1
        parts = [lax.slice_in_dim(padded, i, i + last, 2, a) for i in range(3)]
        x = functools.reduce(jnp.maximum, parts)
    return x


def resize(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Linear interpolation to `size`, pixel centres aligned at half-pixels, no antialiasing."""
    if all(n == 2 * m for n, m in zip(size, x.shape[1:-1], strict=True)):
        for axis in reversed(range(1, x.ndim - 1)):
            x = _double(x, axis)
        return x
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, method="linear", antialias=False)


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
    """Each `factor`^rank block of positions to one position's channels: [B *spatial C] -> [B *(spatial/f) f^r*C].

    Exact and reversible (`depth_to_space`): a network between the two works on the coarse grid, where convolutions
    are cheap, and still sees and gives every voxel of the fine one (Shi et al. 2016, arXiv:1609.05158).
    """
    batch, *space, channels = x.shape
    rank = len(space)
    split = [n for s in space for n in (s // factor, factor)]
    order = [0, *(1 + 2 * i for i in range(rank)), *(2 + 2 * i for i in range(rank)), 1 + 2 * rank]
    x = x.reshape(batch, *split, channels).transpose(order)
    return x.reshape(batch, *(s // factor for s in space), factor**rank * channels)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
    """The inverse of `space_to_depth`: [B *spatial f^r*C] -> [B *(f spatial) C]."""
    batch, *space, channels = x.shape
    rank = len(space)
    x = x.reshape(batch, *space, *(factor,) * rank, channels // factor**rank)
    order = [0, *(a for i in range(rank) for a in (1 + i, 1 + rank + i)), 1 + 2 * rank]
    return x.transpose(order).reshape(batch, *(s * factor for s in space), -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _double(x: jax.Array, axis: int) -> jax.Array:
    """Linear interpolation to twice as many positions along one axis.

    Each new position takes 3/4 of the nearest and 1/4 of the next nearest, the edges repeated: the same as
    `jax.image.resize`, which multiplies by a matrix and takes two to three times as long on CPU.
    """
    n = x.shape[axis]
    first, last = lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, n - 1, n, axis=axis)
    before = jnp.concatenate([first, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    after = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), last], axis)
    y = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    # Fused with the next axis's, the three would be evaluated anew for every output.
    return lax.optimization_barrier(y.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :]))


def _double_backward(axis: int, _: None, g: jax.Array) -> tuple[jax.Array]:
    n = g.shape[axis]
    even, odd = (lax.slice_in_dim(g, i, n, 2, axis) for i in (0, 1))
    first, last = lax.slice_in_dim(g, 0, 1, axis=axis), lax.slice_in_dim(g, n - 1, n, axis=axis)
    before = jnp.concatenate([first, lax.slice_in_dim(g, 1, n - 1, 2, axis)], axis)
    after = jnp.concatenate([lax.slice_in_dim(g, 2, n, 2, axis), last], axis)
    return (lax.optimization_barrier(0.75 * (even + odd) + 0.25 * (before + after)),)


_double.defvjp(lambda x, axis: (_double(x, axis), None), _double_backward)


def check_divisible(x: jax.Array, factor: int | Sequence[int], model: str) -> None:
    """Raises ConfigError unless every spatial size divides by `factor`: one number, or one per axis."""
    space = x.shape[1:-1]
    factors = per_axis(factor, len(space))
    if any(s % f for s, f in zip(space, factors, strict=True)):
        wanted = " x ".join(str(-(-s // f) * f) for s, f in zip(space, factors, strict=True))
        by = " x ".join(map(str, factors if len(set(factors)) > 1 else factors[:1]))
        raise ConfigError(
            f"{model}: image size {' x '.join(map(str, space))} must divide by {by} "
            f"(its total downsampling); resize or pad to {wanted}"
        )


def normalized(conv: Conv, norm: Norm, *inputs: jax.Array, train: bool) -> jax.Array:
    """`norm(conv(*inputs))`, with the convolution's bias added to numbers of the normalisation and not to the image.

    That leaves one array less in memory. While a batch or an instance is normalised by itself, the bias is of no
    effect, and its gradient here exactly 0.
    """
    x, bias = conv(*inputs, apart=True)
    return norm(x, train=train, offset=bias)


class ConvNormAct(nn.Module):
    """Convolution, normalisation, activation. Several inputs act as their concatenation."""

    features: int
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: str | int = "SAME"
    use_bias: bool = True
    norm: str = "batch"
    activation: str = "relu"
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool) -> jax.Array:
        """Inputs [B *spatial C_i] to [B *out features]."""
        conv = Conv(
            self.features,
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=self.use_bias,
            dtype=self.dtype,
            name="conv",
        )
        norm = Norm(self.norm, self.axis_name, dtype=self.dtype, name="norm")
        return activate(normalized(conv, norm, *inputs, train=train), self.activation)
