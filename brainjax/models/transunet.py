"""TransUNet (Chen et al. 2021, arXiv:2102.04306): a U-Net whose bottom is a vision transformer.

Convolutions find local structure and keep the skips; the transformer at the bottom lets every position see every
other; the decoder is the paper's cascaded upsampler. The defaults are small enough to train on a CPU; the two large
published shapes are named here: `TransUNet(**R50_VIT_B16)` and `TransUNet(**CONV_VIT_B)`.

The parameters of R50_VIT_B16 are the paper's to the number; interpolation is not: it aligns pixel centres here, corners in
the authors' code, so that weights trained there would need a short fine-tuning.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from brainjax.models.conv import Conv
from brainjax.models.decoder import Floor, decode
from brainjax.models.layers import ConvNormAct, check_divisible, max_pool, resize
from brainjax.models.resnet import ResNetEncoder
from brainjax.models.vit import Transformer
from brainjax.types import ConfigError

# The paper's R50-ViT-B/16 at 224 x 224 x 3: 105,276,066 parameters at 2 classes.
R50_VIT_B16 = {
    "encoder": "resnet",
    "stages": (3, 4, 9),
    "stem": 64,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "decoder": (512, 256, 128, 64, 16),
    "dropout": 0.1,
}

# A four-floor convolutional U-Net with ViT-B at the bottom, tokens of 16 x 16 pixels at 256 x 256 x 3: 98,152,449
# parameters at 1 class.
CONV_VIT_B = {
    "encoder": "conv",
    "features": (64, 128, 256, 512),
    "width": 768,
    "depth": 12,
    "heads": 12,
    "patch": 2,
    "dropout": 0.1,
}

ENCODERS = ("conv", "resnet")


class TransUNet(nn.Module):
    """Convolutional encoder, transformer at the bottom, cascaded upsampler with skips.

    Attributes:
        num_classes: output channels K.
        encoder: 'conv' (U-Net floors and max-pooling) or 'resnet'.
        features: channels of each floor, top to bottom ('conv' only); the bottom is at stride 2^(floors - 1).
        stages: blocks per stage ('resnet' only); the bottom is at stride 2^(stages + 1).
        stem: channels of the stem ('resnet' only).
        variant: 'hybrid', the paper's; 'v1.5' or 'v1', which take ImageNet's ResNet weights, as in `ResNetEncoder`
            ('resnet' only).
        width: D of the transformer.
        depth: its blocks.
        heads: its attention heads; must divide D.
        mlp_ratio: hidden width of its MLP over D.
        patch: edge of a token on the encoder's bottom grid.
        decoder: channels of the cascaded upsampler, bottom to top: the convolution after the transformer, then one
            per doubling. Empty: the mirror of `features`.
        out_kernel: kernel edge of the output convolution.
        dropout: rate inside the transformer.
        norm: of the convolutions, but the hybrid stem's: 'batch', 'instance', 'group' or 'none'.
        activation: of the convolutions: 'relu', 'leaky_relu', 'gelu' or 'silu'.
        dtype: compute dtype; parameters and statistics stay float32.
        remat: recompute each floor and block in the backward pass, to save memory.
        axis_name: mapped axis over which batch statistics are averaged.
    """

    num_classes: int = 1
    encoder: str = "conv"
    features: tuple[int, ...] = (16, 32, 64, 128)
    stages: tuple[int, ...] = (3, 4, 9)
    stem: int = 64
    variant: str = "hybrid"
    width: int = 128
    depth: int = 4
    heads: int = 4
    mlp_ratio: int = 4
    patch: int = 1
    decoder: tuple[int, ...] = ()
    out_kernel: int = 3
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
        doublings, decoder = self._plan()
        check_divisible(x, 2**doublings * self.patch, "TransUNet")
        common = {
            "use_bias": self.norm == "none",  # a norm would take the bias out again
            "norm": self.norm,
            "activation": self.activation,
            "axis_name": self.axis_name,
            "dtype": self.dtype,
        }
        x = x.astype(self.dtype)
        if self.encoder == "conv":
            pyramid = self._floors(x, common, train=train)
        else:
            stem = ResNetEncoder(
                tuple(self.stages),
                self.stem,
                self.variant,
                self.norm,
                self.dtype,
                self.remat,
                self.axis_name,
                name="encoder",
            )
            pyramid = (None, *stem(x, train=train))  # no skip at full resolution
        *skips, bottom = pyramid
        transformer = Transformer(
            self.width,
            self.depth,
            self.heads,
            self.mlp_ratio,
            self.patch,
            dropout=self.dropout,
            dtype=self.dtype,
            remat=self.remat,
            axis_name=self.axis_name,
            name="transformer",
        )
        x, _ = transformer(bottom, train=train)
        if self.patch > 1:
            x = resize(x, bottom.shape[1:-1])
        x = ConvNormAct(decoder[0], name="bridge", **common)(x, train=train)
        x = decode(
            x,
            skips,
            decoder[:0:-1],
            convs=2,
            upsample="linear",
            attention=False,
            dropout=0.0,
            common=common,
            remat=self.remat,
            train=train,
        )
        x = Conv(self.num_classes, self.out_kernel, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)

    def _plan(self) -> tuple[int, tuple[int, ...]]:
        """(doublings from the bottom to full resolution, channels of the decoder)."""
        if self.encoder not in ENCODERS:
            raise ConfigError(
                f"TransUNet: unknown encoder {self.encoder!r}; choose one of {', '.join(ENCODERS)}"
            )
        conv = self.encoder == "conv"
        doublings = len(self.features) - 1 if conv else len(self.stages) + 1
        decoder = tuple(self.decoder) or tuple(reversed(self.features))
        if len(decoder) != doublings + 1:
            raise ConfigError(
                f"TransUNet: decoder {decoder} must be {doublings + 1} numbers: this encoder halves "
                f"the image {doublings} times; set `decoder`"
            )
        return doublings, decoder

    def _floors(self, x: jax.Array, common: dict, *, train: bool) -> list[jax.Array]:
        pyramid = []
        for i, features in enumerate(self.features):
            x = max_pool(x) if i else x
            x = Floor(features, 2, 0.0, common, self.remat, name=f"down{i}")(x, train=train)
            pyramid.append(x)
        return pyramid
