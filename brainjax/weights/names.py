"""Where each layer of a network here is found in the weights of torchvision and Keras.

One line a layer: its path here, its kind, its name there. The kinds say which arrays a layer has and how
their axes are ordered on either side (`brainjax.weights.convert`).
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import flax.linen as nn

from brainjax.models import VGG, EfficientNet, MobileNetV2, ResNet, ResNetUNet, TransUNet
from brainjax.types import ConfigError


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer with weights.

    Attributes:
        path: of its parameters here, joined by '/'.
        kind: 'conv', 'depthwise', 'norm', 'dense', or 'flattened' (dense over a grid).
        torch: prefix of its tensors in a torchvision state dict.
        keras: its name in Keras's own application.
        keras_class: its Keras class, as `.weights.h5` files name it.
        grid: (H, W) of the input of a 'flattened' layer.
    """

    path: str
    kind: str
    torch: str
    keras: str
    keras_class: str
    grid: tuple[int, int] = (0, 0)


_CLASSES = {
    "conv": "conv2d",
    "depthwise": "depthwise_conv2d",
    "norm": "batch_normalization",
    "dense": "dense",
    "flattened": "dense",
}


def _layer(path: str, kind: str, torch: str, keras: str, **more) -> Layer:
    return Layer(path, kind, torch, keras, _CLASSES[kind], **more)


def _vgg(model: VGG) -> Iterator[Layer]:
    place = 0
    for i, convs in enumerate(model.convs):
        for j in range(convs):
            name = f"block{i + 1}_conv{j + 1}"
            yield _layer(f"encoder/{name}", "conv", f"features.{place}", name)
            place += 2  # the convolution and its ReLU
        place += 1  # the pooling
    if model.head == "dense":
        yield _layer("head/hidden1", "flattened", "classifier.0", "fc1", grid=(7, 7))
        yield _layer("head/hidden2", "dense", "classifier.3", "fc2")
        yield _layer("head/out", "dense", "classifier.6", "predictions")


def _resnet_encoder(stages: tuple[int, ...]) -> Iterator[Layer]:
    yield _layer("encoder/stem_conv", "conv", "conv1", "conv1_conv")
    yield _layer("encoder/stem_norm", "norm", "bn1", "conv1_bn")
    for i, blocks in enumerate(stages):
        for j in range(blocks):
            here = f"encoder/stage{i + 1}_block{j + 1}"
            torch, keras = f"layer{i + 1}.{j}", f"conv{i + 2}_block{j + 1}"
            for k in (1, 2, 3):
                if k == 3 and j == 0:  # where Keras lists it
                    yield _layer(
                        f"{here}/proj_conv", "conv", f"{torch}.downsample.0", f"{keras}_0_conv"
                    )
                yield _layer(f"{here}/conv{k}", "conv", f"{torch}.conv{k}", f"{keras}_{k}_conv")
                if k == 3 and j == 0:
                    yield _layer(
                        f"{here}/proj_norm", "norm", f"{torch}.downsample.1", f"{keras}_0_bn"
                    )
                yield _layer(f"{here}/norm{k}", "norm", f"{torch}.bn{k}", f"{keras}_{k}_bn")


def _resnet(model: ResNet) -> Iterator[Layer]:
    yield from _resnet_encoder(model.stages)
    if model.head == "linear":
        yield _layer("head/out", "dense", "fc", "predictions")


def _transunet(model: TransUNet) -> Iterator[Layer]:
    if model.encoder != "resnet" or model.variant == "hybrid":
        raise ConfigError(
            "TransUNet takes a ResNet's weights with encoder='resnet' and variant='v1.5' (torchvision) or 'v1' "
            "(Keras), stages=(3, 4, 6) for ResNet-50; its hybrid stem takes those of an .npz file"
        )
    yield from _resnet_encoder(model.stages)


def _mobilenet(model: MobileNetV2) -> Iterator[Layer]:
    yield _layer("stem_conv", "conv", "features.0.0", "Conv1")
    yield _layer("stem_norm", "norm", "features.0.1", "bn_Conv1")
    for i in range(17):  # at depth 1, the only one that weights were published for
        here, torch = f"block{i}", f"features.{i + 1}.conv"
        keras = f"block_{i}" if i else "expanded_conv"
        parts = [("expand", "conv"), ("depthwise", "depthwise")][not i :]
        for k, (part, kind) in enumerate(parts):
            yield _layer(f"{here}/{part}_conv", kind, f"{torch}.{k}.0", f"{keras}_{part}")
            yield _layer(f"{here}/{part}_norm", "norm", f"{torch}.{k}.1", f"{keras}_{part}_BN")
        k = len(parts)
        yield _layer(f"{here}/project_conv", "conv", f"{torch}.{k}", f"{keras}_project")
        yield _layer(f"{here}/project_norm", "norm", f"{torch}.{k + 1}", f"{keras}_project_BN")
    yield _layer("last_conv", "conv", "features.18.0", "Conv_1")
    yield _layer("last_norm", "norm", "features.18.1", "Conv_1_bn")
    if model.head == "linear":
        yield _layer("head/out", "dense", "classifier.1", "predictions")


# The layers of EfficientNet's block here, their kinds, and their names in torchvision (where the first step is missing
# without an expansion), in efficientnet-pytorch and in Keras.
_MBCONV = (
    ("expand_conv", "conv", (0, "0"), "_expand_conv", "expand_conv"),
    ("expand_norm", "norm", (0, "1"), "_bn0", "expand_bn"),
    ("depthwise_conv", "depthwise", (1, "0"), "_depthwise_conv", "dwconv"),
    ("depthwise_norm", "norm", (1, "1"), "_bn1", "bn"),
    ("squeeze_excite/reduce", "conv", (2, "fc1"), "_se_reduce", "se_reduce"),
    ("squeeze_excite/expand", "conv", (2, "fc2"), "_se_expand", "se_expand"),
    ("project_conv", "conv", (3, "0"), "_project_conv", "project_conv"),
    ("project_norm", "norm", (3, "1"), "_bn2", "project_bn"),
)


def _efficientnet(model: EfficientNet) -> Iterator[Layer]:
    """PyTorch's names are torchvision's, or efficientnet-pytorch's where the weights came from TensorFlow."""
    lite, ported = model.variant == "lite", model.variant != "torchvision"

    def layer(path: str, kind: str, torchvision: str, port: str, keras: str) -> Layer:
        return _layer(path, kind, port if ported else torchvision, keras)

    yield layer("stem_conv", "conv", "features.0.0", "_conv_stem", "stem_conv")
    yield layer("stem_norm", "norm", "features.0.1", "_bn0", "stem_bn")
    places = [(i, j) for i, blocks in enumerate(model.blocks()) for j in range(blocks)]
    for n, (i, j) in enumerate(places):
        here, keras = f"stage{i + 1}_block{j + 1}", f"block{i + 1}{chr(ord('a') + j)}"
        for part, kind, (step, rest), port, name in _MBCONV:
            if (part.startswith("expand") and i == 0) or (part.startswith("squeeze") and lite):
                continue
            torchvision = f"features.{i + 1}.{j}.block.{step - (i == 0)}.{rest}"
            names = torchvision, f"_blocks.{n}.{port}", f"{keras}_{name}"
            yield layer(f"{here}/{part}", kind, *names)
    if model.stages < 7 or not model.last:
        return  # what follows is not as in `published`
    yield layer("last_conv", "conv", "features.8.0", "_conv_head", "top_conv")
    yield layer("last_norm", "norm", "features.8.1", "_bn1", "top_bn")
    if model.head == "linear":
        yield layer("head/out", "dense", "classifier.1", "_fc", "predictions")


def published(model: nn.Module) -> nn.Module:
    """The network whose weights were published; `model` is that one or its first stages."""
    return model.clone(stages=7, last=True) if isinstance(model, EfficientNet) else model


def in_head(layer: Layer) -> bool:
    """Whether a layer belongs to the classifier's head, which a file of a backbone alone lacks."""
    return layer.path.startswith("head/")


@functools.singledispatch
def layers(model: nn.Module) -> Iterator[Layer]:
    """The layers of `model` that the published weights have, in Keras's order.

    Raises:
        ConfigError: nobody published weights for this network.
    """
    raise ConfigError(
        f"there are no published weights for {type(model).__name__} in PyTorch's or Keras's files"
    )


_TABLES: dict[type, Callable] = {
    VGG: _vgg,
    ResNet: _resnet,
    ResNetUNet: lambda model: _resnet_encoder(model.stages),
    TransUNet: _transunet,
    MobileNetV2: _mobilenet,
    EfficientNet: _efficientnet,
}
for _type, _table in _TABLES.items():
    layers.register(_type, _table)
