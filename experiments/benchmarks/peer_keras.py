"""Keras's side: the same networks and the sweep's small classifier, as its users write them.

Imported under the peers' interpreter alone, so nothing here needs brainjax. The backend is KERAS_BACKEND's.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from experiments.benchmarks import child
from experiments.benchmarks.cases import CASES, Case


def network(case: str, mode: str, steps: int, small: bool = False) -> dict[str, Any]:
    """Times one case, trained or applied, as `ours.network` does.

    Args:
        case, mode, steps, small: as there.
    """
    spec = CASES[case]
    shape = spec.small if small else spec.shape
    net = build(spec, shape[1:])
    loss = keras.losses.BinaryCrossentropy if spec.pixels else keras.losses.CategoricalCrossentropy
    net.compile(keras.optimizers.Adam(1e-3), loss(from_logits=True))
    count = sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    if spec.pixels:
        y = rng.integers(0, 2, (*shape[:-1], spec.classes)).astype(np.float32)
    else:
        y = np.eye(spec.classes, dtype=np.float32)[rng.integers(0, spec.classes, shape[0])]
    if mode == "train":
        found = child.timed(lambda: net.train_on_batch(x, y), steps)
    else:
        found = child.timed(lambda: net.predict_on_batch(x), steps)
    return {**found, "parameters": count, "units": shape[0], "unit": "examples"}


def gpu() -> dict[str, bool]:
    """Whether Keras's backend sees one."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return {"gpu": torch.cuda.is_available()}
    if backend == "tensorflow":
        import tensorflow as tf

        return {"gpu": bool(tf.config.list_physical_devices("GPU"))}
    import jax

    return {"gpu": jax.default_backend() == "gpu"}


def build(spec: Case, shape: tuple[int, ...]) -> keras.Model:
    """The twin of a case's network for images of [H W C] `shape`."""
    make = {"UNet": _unet, "ResNetUNet": _resnet_unet, "TransUNet": _transunet}
    if spec.model in make:
        x = layers.Input(shape)
        return keras.Model(x, make[spec.model](x, spec.fields))
    apps = keras.applications
    bodies = {"VGG": apps.VGG16, "MobileNetV2": apps.MobileNetV2}
    make_body = bodies.get(spec.model, apps.EfficientNetB0)
    body = make_body(include_top=False, weights=None, input_shape=shape, pooling="avg")
    x = body.output
    if spec.model != "VGG":
        x = layers.Dropout(0.2)(x)
    return keras.Model(body.input, layers.Dense(spec.classes)(x))


def _block(x: Any, features: int, bias: bool = True) -> Any:
    x = layers.Conv2D(features, 3, padding="same", use_bias=bias)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def _floor(x: Any, features: int, convs: int = 2, bias: bool = True) -> Any:
    for _ in range(convs):
        x = _block(x, features, bias)
    return x


def _down(x: Any, features: tuple[int, ...], bias: bool = True) -> list[Any]:
    found = []
    for i, width in enumerate(features):
        x = _floor(layers.MaxPooling2D()(x) if i else x, width, bias=bias)
        found.append(x)
    return found


def _up(x: Any, skips: list[Any], features: tuple[int, ...]) -> Any:
    for skip, width in zip(reversed(skips), reversed(features[: len(skips)]), strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = _floor(layers.Concatenate()([x, skip]), width)
    return x


def _unet(x: Any, fields: dict[str, Any]) -> Any:
    features = fields["features"]
    *skips, x = _down(x, features)
    x = _up(x, skips, features)
    return layers.Conv2D(fields["num_classes"], fields["out_kernel"], padding="same")(x)


def _resnet_unet(x: Any, fields: dict[str, Any]) -> Any:
    body = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x)
    names = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out")
    skips = [_block(x, fields["features"][0]), *(body.get_layer(n).output for n in names)]
    x = _up(body.output, skips, fields["features"])
    return layers.Conv2D(fields["num_classes"], 1)(x)


class _Position(layers.Layer):
    """Adds a learned vector to each token."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Makes the vectors."""
        self.value = self.add_weight(shape=shape[1:], initializer="zeros", name="position")

    def call(self, x: Any) -> Any:
        """[B N D] -> [B N D]."""
        return x + self.value


def _transunet(x: Any, fields: dict[str, Any]) -> Any:
    features, width, heads = fields["features"], fields["width"], fields["heads"]
    *skips, x = _down(x, features, bias=False)
    x = layers.Conv2D(width, fields["patch"], strides=fields["patch"])(x)
    grid = x.shape[1:]
    x = _Position()(layers.Reshape((grid[0] * grid[1], width))(x))
    for _ in range(fields["depth"]):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.MultiHeadAttention(heads, width // heads)(y, y)
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(y))
    x = layers.Reshape(grid)(layers.LayerNormalization(epsilon=1e-6)(x))
    x = _block(x, features[-1], bias=False)
    for skip, up in zip(reversed(skips), reversed(features[:-1]), strict=True):
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        x = _floor(layers.Concatenate()([x, skip]), up, bias=False)
    return layers.Conv2D(fields["num_classes"], 3, padding="same")(x)


def trials(
    rates: list[float], steps: int, batch_size: int, size: int, width: int
) -> dict[str, float]:
    """Trains the sweep's small classifier once per learning rate, one after another: compile and fit."""
    from experiments.benchmarks.sweep_data import images

    image, label = images(size)
    rows = np.random.default_rng(1).integers(0, len(label), steps * batch_size)
    x, y = image[rows].astype(np.float32), np.eye(4, dtype=np.float32)[label[rows]]
    clock = child.Clock()
    for rate in rates:
        net = keras.Sequential([layers.Input(x.shape[1:])])
        for i in range(3):
            net.add(layers.Conv2D(width << i, 3, padding="same", activation="relu"))
            net.add(layers.MaxPooling2D())
        net.add(layers.GlobalAveragePooling2D())
        net.add(layers.Dense(4))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        net.compile(keras.optimizers.Adam(rate), loss)
        net.fit(x, y, batch_size=batch_size, epochs=1, verbose=0)
    return {**clock.read(), "units": len(rates), "unit": "trials"}
