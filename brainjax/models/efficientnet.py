"""EfficientNet (Tan & Le 2019, arXiv:1905.11946), for 2D and 3D: B0 has 5,288,548 parameters at 1000 classes.

Its authors' EfficientNet-Lite (2020, for phones) has no gates, ReLU6 for SiLU, and a stem and a last convolution of one
width: Lite0 has 4,652,008 parameters.

It takes normalised input like every network here. Keras's own rescales to [0, 1] and normalises inside the
network: images scaled beforehand reach it nearly constant, and it does not learn.
"""

import math

import flax.linen as nn
import jax

from brainjax.models.conv import Conv
from brainjax.models.heads import head_of
from brainjax.models.inverted import InvertedResidual, flavour, round_channels
from brainjax.models.layers import Norm, activate
from brainjax.types import ConfigError

# Table 1 of the paper: expansion, channels, blocks, stride of the first, kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_PAPER = {"activation": "silu", "squeeze": 0.25}
_TENSORFLOW = {"padding": "SAME", "epsilon": 1e-3, "momentum": 0.99}
VARIANTS = {
    "torchvision": {"padding": "symmetric", "epsilon": 1e-5, "momentum": 0.9, **_PAPER},
    "keras": {**_TENSORFLOW, **_PAPER},
    "lite": {**_TENSORFLOW, "activation": "relu6", "squeeze": 0.0},
}


class EfficientNet(nn.Module):
    """EfficientNet classifier; the default is B0, width 1.0 and depth 1.1 is B1, 1.1 and 1.2 is B2, of Lite likewise.

    Parameters are named `stem_conv`, `stem_norm`,
    `stage{i}_block{j}/{expand,depthwise,project}_{conv,norm}, squeeze_excite`, both counted from 1, `last_conv`,
    `last_norm` and `head`.

    Attributes:
        num_classes: logits K.
        head, hidden, dropout: see `Head`; the paper's is linear with dropout 0.2.
        width, depth: multiply the channels of every layer, and the blocks of every stage.
        stages: how many of the paper's seven; fewer make a smaller classifier that still takes published weights.
        last: whether a pointwise convolution widens the last stage's output fourfold, as in the paper.
        drop_path: stochastic depth of the last block; it grows from 0 at the first.
        variant: 'torchvision' or 'keras', for the padding and the norms of their weights, or 'lite', with Keras's. Weights
            of the package efficientnet-pytorch want 'keras', those of efficientnet-lite-pytorch 'lite'.
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
    stages: int = len(_STAGES)
    last: bool = True
    drop_path: float = 0.2
    variant: str = "torchvision"
    norm: str = "batch"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    def blocks(self) -> list[int]:
        """Blocks of each stage; Lite repeats those of the first and the last no more often than B0.

        Raises:
            ConfigError: `stages` is not 1 to 7.
        """
        if not 1 <= self.stages <= len(_STAGES):
            raise ConfigError(f"EfficientNet has 1 to {len(_STAGES)} stages, got {self.stages}")
        counts = [math.ceil(self.depth * count) for _, _, count, _, _ in _STAGES]
        if self.variant == "lite":
            counts[0], counts[-1] = _STAGES[0][2], _STAGES[-1][2]
        return counts[: self.stages]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32."""
        options = dict(flavour(self.variant, VARIANTS))
        padding, activation, squeeze = map(options.pop, ("padding", "activation", "squeeze"))
        ends = 1.0 if self.variant == "lite" else self.width
        norm = {"kind": self.norm, "axis_name": self.axis_name, **options}

        def conv_norm(x: jax.Array, name: str, features: int, size: int, strides: int) -> jax.Array:
            pad = size // 2 if padding == "symmetric" else padding
            conv = Conv(
                features, size, strides, pad, use_bias=False, dtype=self.dtype, name=f"{name}_conv"
            )
            x = Norm(dtype=self.dtype, name=f"{name}_norm", **norm)(conv(x), train=train)
            return activate(x, activation)

        def block(module: nn.Module, x: jax.Array, name: str, *fields: float) -> jax.Array:
            features, t, size, strides, drop = fields
            unit = InvertedResidual(
                features, t, size, strides, activation, squeeze, drop, name=name, **common
            )
            return unit(x, train=train)

        common = {"padding": padding, "norm": norm, "dtype": self.dtype}
        if self.remat:
            block = nn.remat(block, static_argnums=tuple(range(2, 8)))
        blocks = self.blocks()
        x = conv_norm(x.astype(self.dtype), "stem", round_channels(32 * ends), 3, 2)
        done = 0
        for i, (expansion, channels, _, first_stride, size) in enumerate(_STAGES[: self.stages]):
            for j in range(blocks[i]):
                features = round_channels(channels * self.width)
                strides = first_stride if j == 0 else 1
                drop = self.drop_path * done / sum(blocks)
                name = f"stage{i + 1}_block{j + 1}"
                x = block(self, x, name, features, expansion, size, strides, drop)
                done += 1
        if self.last:
            wide = 4 * round_channels(_STAGES[self.stages - 1][1] * ends)
            x = conv_norm(x, "last", wide, 1, 1)
        return head_of(self)(x, train=train)
