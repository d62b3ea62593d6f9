"""U-Net (Ronneberger et al. 2015, arXiv:1505.04597) for 2D and 3D, and its published shapes.

`UNet()` is the first network of the LGG reference systems: 7,774,049 parameters with the moving statistics. The
rank follows the input: [B H W C] is segmented in 2D, [B X Y Z C] in 3D.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.conv import Conv
from brainjax.models.decoder import Floor, check_upsample, decode
from brainjax.models.layers import check_divisible, depth_to_space, max_pool, space_to_depth
from brainjax.types import ConfigError

# Fields of the BraTS networks of two reference systems, on volumes: the one that learned on TPUs, 1,414,156 parameters on
# four modalities, and the one without normalisation, 5,645,828 on three.
BRATS_NARROW = {
    "num_classes": 4,
    "features": (8, 16, 32, 64, 128),
    "dropout": 0.1,
    "out_kernel": 1,
}
BRATS_PLAIN = {
    "num_classes": 4,
    "features": (16, 32, 64, 128, 256),
    "dropout": 0.1,
    "out_kernel": 1,
    "norm": "none",
    "upsample": "transpose_only",
}


class UNet(nn.Module):
    """U-Net with convolution-norm-activation floors, max-pooling down and skips across.

    Attributes:
        num_classes: output channels K.
        features: channels of each floor, top to bottom.
        convs: convolutions on each floor on the way down: one number, or one per floor.
        up_convs: convolutions on each floor on the way up.
        upsample: 'transpose' (2x2 stride-2 transposed convolution with norm and activation), 'transpose_only'
            (without either), 'resize' (pointwise convolution to the floor's channels, then linear) or 'linear'
            (linear alone).
        attention: gates each skip by the coarser floor (Oktay et al. 2018, arXiv:1804.03999).
        out_kernel: kernel edge of the output convolution.
        patch: edge of the blocks of voxels whose values become the channels of one; 2 makes the network eight times as
            cheap in 3D, four times in 2D, at the resolution of its input.
        detail: channels of two convolutions on the input's own grid, which correct the logits of a network in patches
            voxel by voxel; they begin as no correction at all. 0 for none.
        dropout: rate after the first convolution of each floor.
        norm: 'batch', 'instance', 'group' or 'none'.
        activation: 'relu', 'leaky_relu', 'gelu' or 'silu'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each floor in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    features: tuple[int, ...] = (32, 64, 128, 256, 512)
    convs: int | tuple[int, ...] = 2
    up_convs: int = 2
    upsample: str = "transpose"
    attention: bool = False
    out_kernel: int = 3
    patch: int = 1
    detail: int = 0
    dropout: float = 0.0
    norm: str = "batch"
    activation: str = "relu"
    dtype: str = "float32"
    remat: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Segments x: [B *spatial C] into logits [B *spatial K] float32.

        Raises:
            ConfigError: fields that do not fit each other, or an image size that does not divide by the network's
                total downsampling.
        """
        depth = len(self.features)
        convs = (self.convs,) * depth if isinstance(self.convs, int) else tuple(self.convs)
        if len(convs) != depth:
            raise ConfigError(f"UNet: convs {convs} must be one number or {depth}, one per floor")
        check_upsample(self.upsample, "UNet")
        check_divisible(x, self.patch * 2 ** (depth - 1), "UNet")
        if self.detail and self.patch == 1:
            raise ConfigError(
                "UNet: detail is for a network in patches; set patch to 2 or more, or detail to 0"
            )
        common = {
            "norm": self.norm,
            "activation": self.activation,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }

        rank = x.ndim - 2
        image = x = x.astype(self.dtype)
        skips = []
        if self.patch > 1:
            x = space_to_depth(x, self.patch)
        for i, features in enumerate(self.features):
            if i:
                skips.append(x)
                x = max_pool(x)
            floor = Floor(features, convs[i], self.dropout, common, self.remat, name=f"down{i}")
            x = floor(x, train=train)
        x = decode(
            x,
            skips,
            self.features,
            convs=self.up_convs,
            upsample=self.upsample,
            attention=self.attention,
            dropout=self.dropout,
            common=common,
            remat=self.remat,
            train=train,
        )
        outputs = self.num_classes * self.patch**rank
        logits = Conv(outputs, self.out_kernel, dtype=self.dtype, name="head")(x)
        if self.patch > 1:
            logits = depth_to_space(logits, self.patch)
        if self.detail:
            refine = Detail(self.detail, self.patch, common, self.remat, name="detail")
            logits = logits + refine(image, x, logits, train=train)
        return logits.astype(jnp.float32)


class Detail(nn.Module):
    """What a network in patches could not resolve: a correction of its logits, from the image's own voxels.

    Attributes:
        features: channels of its two convolutions.
        patch: edge of the network's patches.
        common, remat: as in `Floor`.
    """

    features: int
    patch: int
    common: dict[str, Any]
    remat: bool = False

    @nn.compact
    def __call__(
        self, image: jax.Array, patches: jax.Array, logits: jax.Array, *, train: bool
    ) -> jax.Array:
        """Image [B *spatial C], the last floor [B *(spatial / patch) F] and logits [B *spatial K] -> [B *spatial K]."""
        classes, dtype = logits.shape[-1], self.common["dtype"]
        block = self.patch ** (image.ndim - 2)
        # A few numbers for each voxel of a patch, one convolution for all: three of one channel each would be slow.
        told = Conv(2 * block, 1, dtype=dtype, name="told")(patches)
        x = jnp.concatenate([image, depth_to_space(told, self.patch), logits], axis=-1)
        x = Floor(self.features, 2, 0.0, self.common, self.remat, name="floor")(x, train=train)
        zeros = nn.initializers.zeros_init()
        return Conv(classes, 1, kernel_init=zeros, dtype=dtype, name="head")(x)
