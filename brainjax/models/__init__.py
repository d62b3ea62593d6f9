"""Networks, importable by anyone: this room needs jax and flax only.

Linen modules are dataclasses: their fields are their configuration. From Flax NNX, use
`flax.nnx.bridge.ToNNX(UNet(...), rngs=...)`. A new network is one file, one import and one line here.
"""

import flax.linen as nn

from brainjax.lookup import lookup
from brainjax.models.efficientnet import EfficientNet
from brainjax.models.mobilenet import MobileNetV2
from brainjax.models.residual_encoder import ResidualEncoderUNet
from brainjax.models.residual_unet import ResidualUNet
from brainjax.models.resnet import ResNet
from brainjax.models.resnet_unet import ResNetUNet
from brainjax.models.transunet import TransUNet
from brainjax.models.unet import UNet
from brainjax.models.vgg import VGG
from brainjax.models.vit import ViT
from brainjax.models.volume_classifier import VolumeClassifier

__all__ = [
    "EfficientNet",
    "MobileNetV2",
    "ResNet",
    "ResNetUNet",
    "ResidualEncoderUNet",
    "ResidualUNet",
    "TransUNet",
    "UNet",
    "VGG",
    "ViT",
    "VolumeClassifier",
]


def get(name: str) -> type[nn.Module]:
    """The network called `name`.

    Raises:
        ConfigError: no such network; the message names the nearest and lists all.
    """
    return lookup(name, {n: globals()[n] for n in __all__}, "model")
