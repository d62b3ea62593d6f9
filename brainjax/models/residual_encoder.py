"""U-Net with a residual encoder, the modern baseline for volumes: `ResidualEncoderUNet`.

The network that nnU-Net plans (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z; its residual encoders:
Isensee et al. 2024, arXiv:2404.09556): instance norm, leaky ReLU, strided convolutions down, transposed ones up, a
heavy encoder and a light decoder. Stages, strides and kernels are fields, so that a plan can set them by axis.
The default is their 6-stage one, 102,348,961 parameters on volumes of one channel.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.conv import Conv, UpConv, per_axis
from brainjax.models.layers import (
    ConvNormAct,
    Norm,
    activate,
    check_divisible,
    mean_pool,
    normalized,
)
from brainjax.types import ConfigError

Sizes = tuple[int | tuple[int, ...], ...]


class ResidualEncoderUNet(nn.Module):
    """Residual encoder, one convolution a floor on the way up, logits at one or several resolutions.

    Attributes:
        num_classes: output channels K.
        features: channels of each stage, finest first.
        blocks: residual blocks of each stage of the encoder.
        strides: of each stage's first block; each one number, or one per axis. The first is 1.
        kernels: kernel edges; one number, or for each stage one number or one per axis.
        up_convs: convolutions on each floor of the decoder.
        deep_supervision: resolutions that get logits of their own in training; 0 and 1 mean the finest alone.
        norm: 'batch', 'instance', 'group' or 'none'.
        activation: 'relu', 'leaky_relu', 'gelu' or 'silu'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    features: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    blocks: tuple[int, ...] = (1, 3, 4, 6, 6, 6)
    strides: Sizes = (1, 2, 2, 2, 2, 2)
    kernels: int | Sizes = 3
    up_convs: int = 1
    deep_supervision: int = 0
    norm: str = "instance"
    activation: str = "leaky_relu"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array | tuple[jax.Array, ...]:
        """Segments x: [B *spatial C] into logits [B *spatial K] float32.

        With `train` and `deep_supervision` above 1, a tuple: those, then the coarser floors' logits
        [B *(spatial / strides) K].

        Raises:
            ConfigError: fields that do not fit each other or the input's rank, or an image size that does not divide
                by the network's total downsampling.
        """
        rank = x.ndim - 2
        strides, kernels = self._plan(rank)
        total = tuple(math.prod(axis) for axis in zip(*strides, strict=True))
        check_divisible(x, total, "ResidualEncoderUNet")
        common = {
            "norm": self.norm,
            "activation": self.activation,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }

        def down(module: nn.Module, x: jax.Array, stage: int, i: int) -> jax.Array:
            step = strides[stage] if i == 0 else (1,) * rank
            block = ResidualBlock(
                self.features[stage], kernels[stage], step, common, name=f"stage{stage}_block{i}"
            )
            return block(x, train=train)

        def up(module: nn.Module, x: jax.Array, skip: jax.Array, stage: int) -> jax.Array:
            inputs = (x, skip)
            for i in range(self.up_convs):
                conv = ConvNormAct(
                    self.features[stage], kernels[stage], **common, name=f"up{stage}_block{i}"
                )
                inputs = (conv(*inputs, train=train),)
            return inputs[0]

        if self.remat:
            down = nn.remat(down, static_argnums=(2, 3))
            up = nn.remat(up, static_argnums=(3,))

        stem = ConvNormAct(self.features[0], kernels[0], **common, name="stem")
        x, skips = stem(x.astype(self.dtype), train=train), []
        for stage, blocks in enumerate(self.blocks):
            for i in range(blocks):
                x = down(self, x, stage, i)
            skips.append(x)
        # Heads that only training asks for exist from the start: their parameters must.
        levels = self.deep_supervision if train or self.is_initializing() else 1
        logits = []
        for stage in reversed(range(len(skips) - 1)):
            x = UpConv(
                self.features[stage],
                strides[stage + 1],
                dtype=self.dtype,
                name=f"up{stage}_conv",
            )(x)
            x = up(self, x, skips[stage], stage)
            if stage < max(levels, 1):
                head = Conv(self.num_classes, 1, dtype=self.dtype, name=f"head{stage}")
                logits.insert(0, head(x).astype(jnp.float32))
        return tuple(logits) if train and levels > 1 else logits[0]

    def _plan(self, rank: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Strides and kernels of each stage, by axis."""
        count = len(self.features)
        kernels = (self.kernels,) * count if isinstance(self.kernels, int) else self.kernels
        for field, values in (
            ("blocks", self.blocks),
            ("strides", self.strides),
            ("kernels", kernels),
        ):
            if len(values) != count:
                raise ConfigError(
                    f"ResidualEncoderUNet: {field} {tuple(values)} must be {count} entries, one per "
                    f"stage of features {tuple(self.features)}"
                )
        strides, kernels = (
            [per_axis(v, rank) for v in values] for values in (self.strides, kernels)
        )
        for entry in (*strides, *kernels):
            if len(entry) != rank:
                raise ConfigError(
                    f"ResidualEncoderUNet: {entry} must be {rank} numbers, one per axis of the image"
                )
        if any(s != 1 for s in strides[0]):
            raise ConfigError(
                f"ResidualEncoderUNet: the first of strides is {self.strides[0]} and must be 1, the image's own grid"
            )
        if not 0 <= self.deep_supervision < count:
            raise ConfigError(
                f"ResidualEncoderUNet: deep_supervision is {self.deep_supervision}; choose 0 to {count - 1}, the "
                "floors of the decoder"
            )
        return strides, kernels


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which averages where the block is strided and mixes channels where they change."""

    features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    common: dict[str, Any]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B *spatial C] -> [B *(spatial / strides) features]."""
        activation, dtype = self.common["activation"], self.common["dtype"]

        def conv_norm(x: jax.Array, i: int, kernel_size: Any, strides: Any = 1) -> jax.Array:
            conv = Conv(self.features, kernel_size, strides, dtype=dtype, name=f"conv{i}")
            norm = Norm(self.common["norm"], self.common["axis_name"], dtype=dtype, name=f"norm{i}")
            return normalized(conv, norm, x, train=train)

        y = activate(conv_norm(x, 1, self.kernel_size, self.strides), activation)
        y = conv_norm(y, 2, self.kernel_size)
        x = mean_pool(x, self.strides)
        if x.shape[-1] != self.features:
            x = conv_norm(x, 3, 1)
        return activate(x + y, activation)
