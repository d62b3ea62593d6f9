"""Residual U-Net for skull stripping, in both versions of the reference system; 3D by design, 2D as well.

A U-Net whose floors are residual blocks in pre-activation order, with instance norm and leaky ReLU; max-pooling down,
linear interpolation up. `ResidualUNet()` is the second version, 35,504,451 parameters on volumes of one channel;
`ResidualUNet(variant="first")` is the first, 23,780,291.

The reference gives features, norm, slope, the order within a block, the shortcut, trilinear upsampling and concatenation.
It does not say how it goes down, nor whether a decoder's block brings the features to its floor's: max-pooling and yes are
what is assumed here, so the parameter counts are this network's, not published ones.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.conv import Conv
from brainjax.models.layers import Dropout, Norm, check_divisible, max_pool, resize
from brainjax.types import ConfigError

VARIANTS = ("first", "second")


class ResidualUNet(nn.Module):
    """Residual U-Net, features doubling downwards, skips across.

    A block of the first version is norm-act-conv-norm-act-conv-norm-act, one of the second three times norm-act-conv
    with dropout between; either adds a pointwise convolution of its input.

    Attributes:
        num_classes: output channels K.
        features: channels of each floor, top to bottom.
        variant: 'first' or 'second', as above.
        dropout: rate after the first convolution of a block, half of it after the second; 'second' only.
        slope: of the leaky ReLU below 0.
        norm: 'batch', 'instance', 'group' or 'none'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis that divides the batch.
    """

    num_classes: int = 1
    features: tuple[int, ...] = (64, 128, 256, 512)
    variant: str = "second"
    dropout: float = 0.2
    slope: float = 0.2
    norm: str = "instance"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Segments x: [B *spatial C] into logits [B *spatial K] float32.

        Raises:
            ConfigError: an unknown variant, or an image size that does not divide by the network's total
                downsampling.
        """
        if self.variant not in VARIANTS:
            raise ConfigError(
                f"ResidualUNet: unknown variant {self.variant!r}; choose one of {', '.join(VARIANTS)}"
            )
        check_divisible(x, 2 ** (len(self.features) - 1), "ResidualUNet")

        fields = (self.variant, self.dropout, self.slope, self.norm, self.dtype, self.axis_name)

        def block(features: int, name: str, *inputs: jax.Array) -> jax.Array:
            def run(module: nn.Module, *inputs: jax.Array) -> jax.Array:
                return _Block(features, *fields, name=name)(*inputs, train=train)

            return (nn.remat(run) if self.remat else run)(self, *inputs)

        x, skips = x.astype(self.dtype), []
        for i, features in enumerate(self.features):
            if i:
                skips.append(x)
                x = max_pool(x)
            x = block(features, f"down{i}", x)
        for i, skip in reversed(list(enumerate(skips))):
            x = resize(x, skip.shape[1:-1])
            x = block(self.features[i], f"up{i}", x, skip)
        x = Conv(self.num_classes, 1, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)


class _Block(nn.Module):
    """A residual block; several inputs act as their concatenation."""

    features: int
    variant: str
    dropout: float
    slope: float
    norm: str
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool) -> jax.Array:
        """Inputs [B *spatial C_i] to [B *spatial features]."""

        def norm_act(x: jax.Array, name: str) -> jax.Array:
            norm = Norm(self.norm, self.axis_name, dtype=self.dtype, name=name)
            return nn.leaky_relu(norm(x, train=train), self.slope)

        shortcut = Conv(self.features, 1, dtype=self.dtype, name="shortcut")(*inputs)
        # Each input is normalised on its own, as its channels would be within the concatenation.
        parts = tuple(norm_act(x, f"norm1_{i}") for i, x in enumerate(inputs))
        second = self.variant == "second"
        convs = 3 if second else 2
        for i in range(1, convs + 1):
            x = Conv(self.features, dtype=self.dtype, name=f"conv{i}")(*parts)
            if second and i < convs:
                x = Dropout(self.dropout / i, self.axis_name)(x, train=train)
            if not second or i < convs:
                x = norm_act(x, f"norm{i + 1}")
            parts = (x,)
        return x + shortcut
