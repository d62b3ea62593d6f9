"""The inverted residual block of MobileNetV2 and EfficientNet: widen, convolve each channel alone, narrow."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.lookup import lookup
from brainjax.models.conv import Conv, DepthwiseConv
from brainjax.models.layers import Dropout, Norm, activate

# The two libraries whose weights these networks take differ in the padding of strided convolutions, in
# the epsilon of the norms and in the momentum of their statistics, per network.
Flavour = dict[str, float | str]


def flavour(name: str, table: dict[str, Flavour]) -> Flavour:
    """The entry of `table` called `name`; ConfigError names the nearest."""
    return lookup(name, table, "variant")


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8 that is not below nine tenths of `channels`, and at least 8."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class SqueezeExcite(nn.Module):
    """Channel gates from global averages (Hu et al. 2018, arXiv:1709.01507).

    Attributes:
        squeezed: channels between the two pointwise convolutions.
        dtype: compute dtype.
    """

    squeezed: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B *spatial C] -> the same shape."""
        axes = tuple(range(1, x.ndim - 1))
        gate = x.astype(jnp.float32).mean(axes, keepdims=True).astype(self.dtype)
        gate = nn.silu(Conv(self.squeezed, 1, padding=0, dtype=self.dtype, name="reduce")(gate))
        gate = Conv(x.shape[-1], 1, padding=0, dtype=self.dtype, name="expand")(gate)
        return x * nn.sigmoid(gate)


class InvertedResidual(nn.Module):
    """Sandler et al. 2018, arXiv:1801.04381, section 3.3; as MBConv with gates: Tan & Le 2019, arXiv:1905.11946.

    Attributes:
        features: output channels F.
        expansion: channels of the depthwise convolution, relative to the input's; 1 leaves the first convolution out.
        kernel_size, strides: of the depthwise convolution.
        activation: 'relu6' or 'silu'.
        squeeze: channels of the gates relative to the input's; 0 for no gates.
        drop_path: probability that a training example skips the block's residual branch (stochastic depth,
            Huang et al. 2016, arXiv:1603.09382).
        padding: 'SAME' or 'symmetric'.
        norm: fields that all norms share.
    """

    features: int
    expansion: int
    kernel_size: int
    strides: int
    activation: str
    squeeze: float
    drop_path: float
    padding: str
    norm: dict
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B *spatial C] -> [B *(spatial / strides) F]."""
        channels, y = x.shape[-1], x
        pointwise = {"kernel_size": 1, "padding": 0, "use_bias": False, "dtype": self.dtype}

        def norm(y: jax.Array, name: str) -> jax.Array:
            return Norm(dtype=self.dtype, name=name, **self.norm)(y, train=train)

        if self.expansion != 1:
            y = Conv(channels * self.expansion, name="expand_conv", **pointwise)(y)
            y = activate(norm(y, "expand_norm"), self.activation)
        padding = self.kernel_size // 2 if self.padding == "symmetric" else self.padding
        y = DepthwiseConv(
            self.kernel_size, self.strides, padding, dtype=self.dtype, name="depthwise_conv"
        )(y)
        y = activate(norm(y, "depthwise_norm"), self.activation)
        if self.squeeze:
            squeezed = max(1, int(channels * self.squeeze))
            y = SqueezeExcite(squeezed, self.dtype, name="squeeze_excite")(y)
        y = norm(Conv(self.features, name="project_conv", **pointwise)(y), "project_norm")
        if self.strides > 1 or channels != self.features:
            return y
        return x + self._kept(y, train)

    def _kept(self, y: jax.Array, train: bool) -> jax.Array:
        """The branch y [B *spatial F], or 0 for the examples that skip it."""
        examples = jnp.ones((len(y),) + (1,) * (y.ndim - 1), y.dtype)
        drop = Dropout(self.drop_path, self.norm["axis_name"], name="drop_path")
        return y * drop(examples, train=train)
