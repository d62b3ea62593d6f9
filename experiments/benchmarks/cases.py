"""The networks that are compared, by name: data without any library, read by our side and by the peers'.

Fields that a twin needs are written out; what they mean is said in `brainjax.models`.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its input.

    Attributes:
        model: class in `brainjax.models`.
        fields: its fields, but `dtype`.
        shape: [B *spatial C] of the input, channels last.
        peers: libraries that can build the same network, to the parameter.
        small: the least input that all twins take.
        pixels: whether the output has the input's grid (segmentation) or not (classification).
    """

    model: str
    fields: dict[str, Any]
    shape: tuple[int, ...]
    peers: tuple[str, ...]
    small: tuple[int, ...]
    pixels: bool = True

    @property
    def classes(self) -> int:
        """Logits K."""
        return self.fields["num_classes"]


# 1.27 M parameters, as deep and as wide as the residual U-Nets that MONAI's tutorials train.
_RESIDUAL = {
    "num_classes": 1,
    "features": (16, 32, 64, 128),
    "blocks": (1, 1, 1, 1),
    "strides": (1, 2, 2, 2),
}
# MONAI's BasicUNet(features=(16, 16, 32, 64, 128, 16)), whose fields these are in our words.
_BASIC = {
    "num_classes": 1,
    "features": (16, 16, 32, 64, 128),
    "norm": "instance",
    "activation": "leaky_relu",
    "upsample": "transpose_only",
    "out_kernel": 1,
}
_UNET = {"num_classes": 1, "features": (32, 64, 128, 256, 512), "out_kernel": 3}
_RESNET = {"num_classes": 1, "features": (32, 64, 128, 256, 512)}
_TRANSUNET = {
    "num_classes": 1,
    "features": (16, 32, 64, 128),
    "width": 128,
    "depth": 4,
    "heads": 4,
    "patch": 1,
}
_IMAGES = {"num_classes": 4, "head": "linear"}


def _volumes(edge: int, batch: int, channels: int = 1) -> dict[str, tuple[int, ...]]:
    return {
        "shape": (batch, edge, edge, edge, channels),
        "small": (1, 32, 32, 32, channels),
    }


def _slices(batch: int, edge: int = 256, small: int = 32) -> dict[str, tuple[int, ...]]:
    return {"shape": (batch, edge, edge, 3), "small": (2, small, small, 3)}


CASES = {
    "res3d_64": Case("ResidualEncoderUNet", _RESIDUAL, peers=("torch",), **_volumes(64, 2)),
    "res3d_96": Case("ResidualEncoderUNet", _RESIDUAL, peers=("torch",), **_volumes(96, 1)),
    "res3d_128": Case("ResidualEncoderUNet", _RESIDUAL, peers=("torch",), **_volumes(128, 1, 4)),
    "unet3d_64": Case("UNet", _BASIC, peers=("torch", "monai"), **_volumes(64, 2)),
    "unet2d_4": Case("UNet", _UNET, peers=("torch", "keras"), **_slices(4)),
    "unet2d_16": Case("UNet", _UNET, peers=("torch", "keras"), **_slices(16)),
    "resnet50_unet": Case(
        "ResNetUNet", _RESNET | {"variant": "v1.5"}, peers=("torch",), **_slices(4)
    ),
    # Keras's ResNet-50 is the first form, with biases; torchvision's is the second.
    "resnet50v1_unet": Case(
        "ResNetUNet", _RESNET | {"variant": "v1"}, peers=("keras",), **_slices(4)
    ),
    "transunet": Case("TransUNet", _TRANSUNET, peers=("torch", "keras"), **_slices(4)),
    "vgg16": Case("VGG", _IMAGES, peers=("torch", "keras"), pixels=False, **_slices(32, 128)),
    "mobilenetv2": Case(
        "MobileNetV2", _IMAGES, peers=("torch", "keras"), pixels=False, **_slices(32, 128)
    ),
    "efficientnetb0": Case(
        "EfficientNet", _IMAGES, peers=("torch", "keras"), pixels=False, **_slices(32, 128)
    ),
}
MODES = ("train", "infer")
