"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), for 2D and 3D: 3,504,872 parameters at 1000 classes."""

import math

import flax.linen as nn
import jax

from brainjax.models.conv import Conv
from brainjax.models.heads import head_of
from brainjax.models.inverted import InvertedResidual, flavour, round_channels
from brainjax.models.layers import Norm

# Table 2 of the paper: expansion, channels, blocks, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
VARIANTS = {
    "torchvision": {"padding": "symmetric", "epsilon": 1e-5, "momentum": 0.9},
    "keras": {"padding": "SAME", "epsilon": 1e-3, "momentum": 0.999},
}


class MobileNetV2(nn.Module):
    """MobileNetV2 classifier.

    Parameters are named `stem_conv`, `stem_norm`, `block{i}/{expand,depthwise,project}_{conv,norm}` with i counted from
    0 through all stages, as in Keras, `last_conv`, `last_norm` and `head`.

    Attributes:
        num_classes: logits K.
        head, hidden, dropout: see `Head`; the paper's is linear with dropout 0.2.
        width, depth: multiply the channels of every layer, and the blocks of every stage.
        variant: 'torchvision' or 'keras', for the padding and the norms of their weights.
        norm: 'batch', 'instance', 'group' or 'none'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    head: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.2
    width: float = 1.0
    depth: float = 1.0
    variant: str = "torchvision"
    norm: str = "batch"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32."""
        options = dict(flavour(self.variant, VARIANTS))
        padding = options.pop("padding")
        norm = {"kind": self.norm, "axis_name": self.axis_name, **options}

        def conv_norm(x: jax.Array, name: str, features: int, size: int, strides: int) -> jax.Array:
            pad = size // 2 if padding == "symmetric" else padding
            conv = Conv(
                features, size, strides, pad, use_bias=False, dtype=self.dtype, name=f"{name}_conv"
            )
            x = Norm(dtype=self.dtype, name=f"{name}_norm", **norm)(conv(x), train=train)
            return nn.relu6(x)

        def block(module: nn.Module, x: jax.Array, name: str, features: int, t: int, strides: int):
            unit = InvertedResidual(features, t, 3, strides, "relu6", 0.0, 0.0, name=name, **common)
            return unit(x, train=train)

        common = {"padding": padding, "norm": norm, "dtype": self.dtype}
        if self.remat:
            block = nn.remat(block, static_argnums=(2, 3, 4, 5))
        x = conv_norm(x.astype(self.dtype), "stem", round_channels(32 * self.width), 3, 2)
        i = 0
        for expansion, channels, blocks, first_stride in _STAGES:
            for j in range(math.ceil(self.depth * blocks)):
                features = round_channels(channels * self.width)
                strides = first_stride if j == 0 else 1
                x = block(self, x, f"block{i}", features, expansion, strides)
                i += 1
        x = conv_norm(x, "last", round_channels(1280 * max(1.0, self.width)), 1, 1)
        return head_of(self)(x, train=train)
