"""Residual networks (He et al. 2016, arXiv:1512.03385) for 2D and 3D: encoder and classifier.

`ResNet()` is ResNet-50 in its v1.5 form, where the 3x3 convolution of a block carries the stride, as
torchvision's weights have it: 25,557,032 parameters at 1000 classes. Parameters are named
`stem_conv`, `stem_norm` and `stage{i}_block{j}/{conv,norm}{1,2,3}, proj_conv, proj_norm`, both counted from 1,
so that stage i is torchvision's `layer{i}`, Keras's `conv{i+1}` and the `block{i}` of the R50+ViT release.
"""

from typing import Any

import flax.linen as nn
import jax

from brainjax.models.conv import Conv
from brainjax.models.heads import head_of
from brainjax.models.layers import Norm, max_pool_3
from brainjax.types import ConfigError

VARIANTS = ("v1.5", "v1", "hybrid")


class Bottleneck(nn.Module):
    """Pointwise, 3x3 and pointwise convolution around a shortcut; the output has four times `features`.

    Attributes:
        features: channels of the 3x3 convolution.
        strides: of the shortcut, and of the 3x3 convolution or, with `early`, of the first.
        padding: of the 3x3 convolution.
        conv: fields that all convolutions share.
        norm: fields that all norms share.
        early: stride where the paper has it, before the 3x3 convolution.
    """

    features: int
    strides: int
    padding: str | int
    conv: dict[str, Any]
    norm: dict[str, Any]
    early: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B *spatial C] -> [B *(spatial / strides) 4F]."""

        def conv(x: jax.Array, name: str, features: int, size: int = 1, strides: int = 1):
            padding = self.padding if size > 1 else 0
            return Conv(features, size, strides, padding, name=name, **self.conv)(x)

        def norm(x: jax.Array, name: str):
            return Norm(name=name, **self.norm)(x, train=train)

        out = 4 * self.features
        first, second = (self.strides, 1) if self.early else (1, self.strides)
        y = nn.relu(norm(conv(x, "conv1", self.features, 1, first), "norm1"))
        y = nn.relu(norm(conv(y, "conv2", self.features, 3, second), "norm2"))
        y = norm(conv(y, "conv3", out), "norm3")
        if self.strides > 1 or x.shape[-1] != out:
            x = norm(conv(x, "proj_conv", out, 1, self.strides), "proj_norm")
        return nn.relu(x + y)


class ResNetEncoder(nn.Module):
    """The convolutional part of a ResNet: a pyramid of features at strides 2, 4, 8, ...

    Attributes:
        stages: blocks per stage; (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101.
        width: channels of the stem W; stage i puts out 2^(i+1) W channels.
        variant: 'v1.5' (`norm`, PyTorch's symmetric padding); 'v1', the paper's as Keras has it (strides in the first
            convolution of a block, biases); or 'hybrid', the stem of R50+ViT (Dosovitskiy et
            al. 2021, arXiv:2010.11929, section 3.2): weight-standardised convolutions, 32-group
            norm whatever `norm` says, TensorFlow's padding.
        norm: 'batch', 'instance', 'group' or 'none'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    variant: str = "v1.5"
    norm: str = "batch"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Encodes x: [B *spatial C] into 1 + len(stages) arrays [B *(spatial / 2^i) features]."""
        if self.variant not in VARIANTS:
            raise ConfigError(
                f"ResNet: unknown variant {self.variant!r}; choose one of {', '.join(VARIANTS)}"
            )
        hybrid = self.variant == "hybrid"
        early = self.variant == "v1"
        conv = {"use_bias": early, "standardize": hybrid, "dtype": self.dtype}
        norm = {"kind": self.norm, "axis_name": self.axis_name, "dtype": self.dtype}
        if early:
            norm.update(epsilon=1.001e-5, momentum=0.99)
        if hybrid:
            norm.update(kind="group", groups=32, epsilon=1e-6)

        def stem(module: nn.Module, x: jax.Array) -> jax.Array:
            padding = "SAME" if hybrid else 3
            x = Conv(self.width, 7, 2, padding, name="stem_conv", **conv)(x)
            return nn.relu(Norm(name="stem_norm", **norm)(x, train=train))

        def block(module: nn.Module, x: jax.Array, name: str, features: int, strides: int):
            padding = "SAME" if hybrid else 1
            unit = Bottleneck(features, strides, padding, conv, norm, early, name=name)
            return unit(x, train=train)

        if self.remat:
            stem, block = nn.remat(stem), nn.remat(block, static_argnums=(2, 3, 4))
        pyramid = [stem(self, x.astype(self.dtype))]
        x = max_pool_3(pyramid[0], "SAME" if hybrid else 1)
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                strides = 2 if i and j == 0 else 1
                x = block(self, x, f"stage{i + 1}_block{j + 1}", self.width * 2**i, strides)
            pyramid.append(x)
        return tuple(pyramid)


class ResNet(nn.Module):
    """ResNet classifier. The default is ResNet-50 with a linear head.

    Attributes:
        num_classes: logits K.
        head, hidden, dropout: see `Head`.
        stages, width, variant, norm, dtype, remat, axis_name: as in `ResNetEncoder`, whose parameters are
            under `encoder` here as in `ResNetUNet`.
    """

    num_classes: int = 1
    head: str = "linear"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    variant: str = "v1.5"
    norm: str = "batch"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Classifies x: [B *spatial C] into logits [B K] float32."""
        encoder = ResNetEncoder(
            tuple(self.stages),
            self.width,
            self.variant,
            self.norm,
            self.dtype,
            self.remat,
            self.axis_name,
            name="encoder",
        )
        x = encoder(x, train=train)[-1]
        return head_of(self)(x, train=train)
