"""The reference networks of torchvision and Keras, filled with weights that are a function of their names.

    python tests/parity.py      writes tests/goldens/*.json; needs the extra `parity`

The goldens hold names and shapes of the reference's weights and the logits that it gave for one image, so that the
importers are tested where neither library is installed.
"""

import contextlib
import json
import os
import pathlib
import zlib

import numpy as np

with contextlib.suppress(ImportError):
    import torchvision  # noqa: F401  now: 0.29 aborts the process that loads it only when a test asks for it

GOLDENS = pathlib.Path(__file__).parent / "goldens" / "weights.json"
PORTS = GOLDENS.with_name("ports.json")
CLASSES = 5
# Network -> (torchvision's name, Keras's name, edge of the test image)
NETWORKS = {
    "VGG": ("vgg16", "VGG16", 64),
    "ResNet": ("resnet50", "ResNet50", 64),
    "MobileNetV2": ("mobilenet_v2", "MobileNetV2", 64),
    "EfficientNet": ("efficientnet_b0", "EfficientNetB0", 64),
}
# TensorFlow's EfficientNets in PyTorch: efficientnet-lite-pytorch's name -> our fields
PORTED = {
    "efficientnet-b0": {"variant": "keras"},
    "efficientnet-lite2": {"variant": "lite", "width": 1.1, "depth": 1.2},
}


def image(size: int) -> np.ndarray:
    """[1 size size 3] float32, the same everywhere."""
    return np.random.default_rng(7).standard_normal((1, size, size, 3)).astype(np.float32)


def weights(name: str, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Values for the tensor `name`: 'weight', 'scale', 'var' or 'small'.

    They give every network logits of order one, as training does, so that an absolute bound means the same for all. The
    libraries' own first values do not: ResNet-50's logits are then tens to hundreds, MobileNetV2's 1e-9.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if kind == "var":
        values = rng.uniform(0.5, 1.5, shape)
    elif kind == "scale":
        values = rng.uniform(0.2, 0.6, shape)  # fifty residual blocks do not add up to thousands
    elif kind == "small":
        values = rng.normal(0, 0.1, shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(2 / max(1, int(np.prod(shape)) // max(shape)))
    return values.astype(np.float32)


def torch_kind(name: str, shape: tuple[int, ...]) -> str:
    """What the tensor `name` of a state dict is."""
    last = name.rpartition(".")[2]
    if last in ("bias", "running_mean") or len(shape) == 2:  # the last layer
        return "small"
    return "var" if last == "running_var" else "scale" if len(shape) == 1 else "weight"


def keras_kinds(layer_class: str, shapes: list[tuple[int, ...]]) -> list[str]:
    """What the arrays of a layer are, in Keras's order."""
    if layer_class == "BatchNormalization":
        return ["scale", "small", "small", "var"]
    last = layer_class == "Dense" and shapes[0][-1] == CLASSES
    return ["small" if last else "weight", "small"][: len(shapes)]


def torch_model(network: str):
    """torchvision's network, filled, in evaluation mode. VGG ends in a mean and one layer, as ours does by default."""
    import torch

    # torchvision built for another PyTorch has no compiled operators; these classifiers need none.
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for op in ("nms", "qnms"):
            library.define(f"{op}(Tensor a, Tensor b, float c) -> Tensor")
        torch_model.library = library  # it lives as long as its operators
    import torchvision

    model = getattr(torchvision.models, NETWORKS[network][0])(num_classes=CLASSES)
    if network == "VGG":
        model.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        model.classifier = torch.nn.Sequential(torch.nn.Linear(512, CLASSES))
    return _filled_torch(model)


def ported_model(name: str):
    """A network of efficientnet-lite-pytorch for images of 64 pixels, filled, in evaluation mode."""
    from efficientnet_lite_pytorch import EfficientNet

    return _filled_torch(EfficientNet.from_name(name, image_size=64, num_classes=CLASSES))


def _filled_torch(model):
    """A PyTorch model with our values in it."""
    import torch

    state = {
        name: torch.from_numpy(weights(name, tuple(t.shape), torch_kind(name, tuple(t.shape))))
        for name, t in model.state_dict().items()
        if t.dim()
    }
    model.load_state_dict({**model.state_dict(), **state})
    return model.eval()


def torch_logits(model, x: np.ndarray) -> np.ndarray:
    """Logits of a PyTorch network for x [B H W 3]."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


def keras_model(network: str):
    """Keras's network, filled."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    _, name, size = NETWORKS[network]
    more = {"include_top": False, "pooling": "avg"} if network == "VGG" else {"classes": CLASSES}
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classifier_activation=None, **more
    )
    if network == "VGG":
        out = keras.layers.Dense(CLASSES, name="predictions")(model.output)
        model = keras.Model(model.input, out)
    return _filled(model)


def keras_vgg():
    """Keras's VGG16 with the dense layers it was published with, filled."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    edge = NETWORKS["VGG"][2]
    more = {"classes": CLASSES, "classifier_activation": None}
    return _filled(keras.applications.VGG16(weights=None, input_shape=(edge, edge, 3), **more))


def _filled(model):
    """A Keras model with our values in it."""
    for layer in model.layers:
        shapes = [tuple(w.shape) for w in layer.weights]
        if shapes and type(layer).__name__ != "Normalization":
            kinds = keras_kinds(type(layer).__name__, shapes)
            arrays = [
                weights(f"{layer.name}/{i}", s, k)
                for i, (s, k) in enumerate(zip(shapes, kinds, strict=True))
            ]
            layer.set_weights(arrays)
    return model


def keras_logits(model, network: str, x: np.ndarray) -> np.ndarray:
    """Logits of a Keras network; EfficientNet divides its input by 255 itself."""
    return np.asarray(model(x * 255 if network == "EfficientNet" else x, training=False))


def _golden(torch) -> dict:
    """Names and shapes of a PyTorch network's tensors, and its logits for the test image."""
    return {
        "torch": {n: list(t.shape) for n, t in torch.state_dict().items() if t.dim()},
        "torch_logits": torch_logits(torch, image(64))[0].tolist(),
    }


def _write() -> None:
    found: dict[str, dict] = {}
    for network, (_, _, size) in NETWORKS.items():
        keras = keras_model(network)
        found[network] = {
            **_golden(torch_model(network)),
            "keras": [
                [type(layer).__name__, layer.name, [list(w.shape) for w in layer.weights]]
                for layer in keras.layers
                if layer.weights and type(layer).__name__ != "Normalization"
            ],
            "keras_logits": keras_logits(keras, network, image(size))[0].tolist(),
        }
        print(network, found[network]["torch_logits"], found[network]["keras_logits"])
    GOLDENS.parent.mkdir(exist_ok=True)
    GOLDENS.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    ports = {name: _golden(ported_model(name)) for name in PORTED}
    PORTS.write_text(json.dumps(ports, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    _write()
