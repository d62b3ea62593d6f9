"""The way up, shared by every U-shaped network: upsample, gate the skip, join, convolve."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

from brainjax.models.attention import AttentionGate
from brainjax.models.conv import Conv, UpConv
from brainjax.models.layers import ConvNormAct, Dropout, Norm, activate, resize
from brainjax.types import ConfigError

UPSAMPLES = ("transpose", "transpose_only", "resize", "linear")


class Floor(nn.Module):
    """One floor of the U: a stack of conv-norm-activation blocks, the first of which may take a skip.

    Attributes:
        features: channels of every convolution.
        convs: their number.
        dropout: rate after the first of them.
        common: what every `ConvNormAct` of the network shares: norm, activation, axis_name, dtype.
        remat: recompute the stack's activations in the backward pass instead of keeping them.
    """

    features: int
    convs: int
    dropout: float
    common: dict[str, Any]
    remat: bool = False

    @nn.compact
    def __call__(self, *inputs: jax.Array, train: bool) -> jax.Array:
        """Inputs [B *spatial C_i], as their concatenation, to [B *spatial features]."""

        def stack(module: nn.Module, *inputs: jax.Array) -> jax.Array:
            for i in range(module.convs):
                block = ConvNormAct(module.features, name=f"block{i}", **module.common)
                inputs = (block(*inputs, train=train),)
                if module.dropout and i == 0:
                    drop = Dropout(module.dropout, module.common["axis_name"])
                    inputs = (drop(inputs[0], train=train),)
            return inputs[0]

        return (nn.remat(stack) if self.remat else stack)(self, *inputs)


def check_upsample(name: str, model: str) -> None:
    """Raises ConfigError unless `name` is a way to upsample."""
    if name not in UPSAMPLES:
        raise ConfigError(
            f"{model}: unknown upsample {name!r}; choose one of {', '.join(UPSAMPLES)}"
        )


def decode(
    x: jax.Array,
    skips: Sequence[jax.Array | None],
    features: Sequence[int],
    *,
    convs: int,
    upsample: str,
    attention: bool,
    dropout: float,
    common: dict[str, Any],
    remat: bool,
    train: bool,
) -> jax.Array:
    """Climbs from the bottom of the U, doubling the grid once per skip; call it inside a compact `__call__`.

    Its modules become children of the caller, named by floor with 0 at the top: `gate{i}`, `up{i}_conv`,
    `up{i}_norm`, `up{i}`.

    Args:
        x: [B *spatial C], the bottom of the U.
        skips: per floor, finest first; None where a floor has none.
        features: channels per floor, finest first.
        convs: convolutions on each floor.
        upsample: 'transpose' (kernel-2 stride-2 transposed convolution with norm and activation),
            'transpose_only' (without either), 'resize' (pointwise convolution to the floor's channels, then
            linear) or 'linear' (linear alone).
        attention: gate each skip by the coarser floor (Oktay et al. 2018, arXiv:1804.03999).
        dropout, common, remat: as in `Floor`.
        train: batch statistics and dropout are those of training.

    Returns:
        [B *(2^len(skips) spatial) features[0]].
    """
    for i in reversed(range(len(skips))):
        width, skip = features[i], skips[i]
        if attention and skip is not None:
            gate = AttentionGate(max(width // 2, 1), **common, name=f"gate{i}")
            skip = gate(skip, x, train=train)
        if upsample.startswith("transpose"):
            x = UpConv(width, dtype=common["dtype"], name=f"up{i}_conv")(x)
            if upsample == "transpose":
                norm = Norm(
                    common["norm"], common["axis_name"], dtype=common["dtype"], name=f"up{i}_norm"
                )
                x = activate(norm(x, train=train), common["activation"])
        else:
            if upsample == "resize":
                x = Conv(width, 1, dtype=common["dtype"], name=f"up{i}_conv")(x)
            x = resize(x, tuple(2 * s for s in x.shape[1:-1]))
        joined = (x,) if skip is None else (x, skip)
        floor = Floor(width, convs, dropout, common, remat, name=f"up{i}")
        x = floor(*joined, train=train)
    return x
