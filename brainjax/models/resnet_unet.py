"""U-Net on a ResNet encoder, with or without attention gates on its skips.

The encoder is the classifier's (`ResNet`), under the same parameter names, so that its weights move over as they
are. The decoder is the U-Net's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.conv import Conv
from brainjax.models.decoder import Floor, check_upsample, decode
from brainjax.models.layers import check_divisible
from brainjax.models.resnet import ResNetEncoder
from brainjax.types import ConfigError


class ResNetUNet(nn.Module):
    """ResNet encoder, U-Net decoder with skips at every scale. The default encoder is ResNet-50.

    Attributes:
        num_classes: output channels K.
        stages, width, variant: of the encoder, as in `ResNetEncoder`.
        features: channels of the decoder's floors, top to bottom: one at full resolution, one per scale of the
            encoder but its coarsest.
        convs: convolutions on each floor on the way up.
        full_skip: convolves the image once at full resolution and hands it to the top floor, which
            otherwise has only what passed through stride 2.
        upsample: 'transpose', 'resize' or 'linear', as in `UNet`.
        attention: gates each skip by the coarser floor (Oktay et al. 2018, arXiv:1804.03999).
        out_kernel: kernel edge of the output convolution.
        dropout: rate after the first convolution of each floor on the way up.
        norm: 'batch', 'instance', 'group' or 'none'.
        activation: of the decoder: 'relu', 'leaky_relu', 'gelu' or 'silu'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each block and floor in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    variant: str = "v1.5"
    features: tuple[int, ...] = (32, 64, 128, 256, 512)
    convs: int = 2
    full_skip: bool = True
    upsample: str = "transpose"
    attention: bool = False
    out_kernel: int = 1
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
        scales = len(self.stages) + 1
        if len(self.features) != scales:
            raise ConfigError(
                f"ResNetUNet: features {tuple(self.features)} must be {scales} numbers, one more "
                f"than stages {tuple(self.stages)}"
            )
        check_upsample(self.upsample, "ResNetUNet")
        check_divisible(x, 2**scales, "ResNetUNet")
        common = {
            "norm": self.norm,
            "activation": self.activation,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }
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
        *skips, bottom = encoder(x, train=train)
        full = None
        if self.full_skip:
            floor = Floor(self.features[0], 1, 0.0, common, self.remat, name="full")
            full = floor(x.astype(self.dtype), train=train)
        x = decode(
            bottom,
            [full, *skips],
            self.features,
            convs=self.convs,
            upsample=self.upsample,
            attention=self.attention,
            dropout=self.dropout,
            common=common,
            remat=self.remat,
            train=train,
        )
        x = Conv(self.num_classes, self.out_kernel, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)
