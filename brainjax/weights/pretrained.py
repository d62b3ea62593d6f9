"""Fills a network's variables from published weights: PyTorch's, Keras's and NumPy's files, without the first two."""

import dataclasses
import pathlib
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from brainjax.models import VGG, EfficientNet, MobileNetV2
from brainjax.types import CheckpointError
from brainjax.weights.archive import MALFORMED, reason
from brainjax.weights.convert import from_keras, from_torch
from brainjax.weights.keras_file import read_keras
from brainjax.weights.names import layers, published
from brainjax.weights.npz_file import read_npz
from brainjax.weights.torch_file import read_torch
from brainjax.weights.vit import from_vit

_TORCH, _KERAS = (".pth", ".pt", ".safetensors"), (".h5", ".keras")
# How images were normalised (see `brainjax.preprocess.normalize`) for Keras's networks: ResNet's stands for its encoders.
# For torchvision's it is 'imagenet', for Google's transformers and EfficientNet-Lite 'symmetric'.
_KERAS_INPUT = {VGG: "caffe", MobileNetV2: "symmetric", EfficientNet: "imagenet"}
_LAST = ("head", "head/out")  # layers whose width is the number of classes
# Variables that belong to a layer; others, as position embeddings, stand for themselves.
_PARTS = ("kernel", "bias", "scale", "mean", "var")
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Filled:
    """What was taken over.

    Attributes:
        variables: the network's, with the published weights where they fit.
        kept: paths of layers that keep their own weights, with the reason.
        normalize: how images were normalised for the published weights, a name as of `--config.input.normalize`.
    """

    variables: Any
    kept: dict[str, str]
    normalize: str


def load_pretrained(path: str | pathlib.Path, model: nn.Module, variables: Any) -> Filled:
    """Fills `variables` of `model` from a file of weights.

    The last layer keeps its own weights where the number of classes differs, a whole head where the file has none
    (Keras's `include_top=False`) or another. Keras's dense layers on top may have any name, and the network may be one
    layer of a larger model. The first convolution is adapted to the
    channels of the input: what it would answer to a grey image in all three colours is spread over the channels at
    hand, so that one channel works as a grey image does (up to one factor per feature in a hybrid's stem, which
    standardises its kernels). Position embeddings are interpolated to the grid at hand.

    Args:
        path: `.pth`, `.pt` or `.safetensors` of torchvision, efficientnet-pytorch or efficientnet-lite-pytorch; `.h5`,
            `.weights.h5` or `.keras` of Keras's applications; `.npz` of google-research/vision_transformer.
        model: one of the networks in `brainjax.weights.names` or, for `.npz`, ViT or TransUNet; its `variant`, where it has
            one, must be that of the file's library.
        variables: of `model`, as `model.init` gives them.

    Raises:
        CheckpointError: the file is damaged, of another kind, or of another network.
        ConfigError: there are no published weights for this network.
    """
    path = pathlib.Path(path)
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    shapes = {name: tuple(leaf.shape) for name, leaf in flat.items()}
    found, kept = _read(path, model, shapes)
    first = next(iter(found))
    for layer, arrays in found.items():
        for name, value in arrays.items():
            if name not in shapes:
                raise CheckpointError(
                    f"{path} is of another network: {name} is no part of this {type(model).__name__}; is `variant` "
                    f"that of the file's library?"
                )
            wanted = shapes[name]
            if layer == first and name.endswith("/kernel") and value.shape != wanted:
                value = _adapted(value, wanted)
            if layer in _LAST and _classes_differ(value.shape, wanted):
                kept[layer] = f"{value.shape[-1]} classes there, {wanted[-1]} here"
            elif value.shape != wanted:
                raise CheckpointError(
                    f"{path} is of another network: {name} is {value.shape} there, {wanted} here"
                )
            else:
                flat[name] = jnp.asarray(value, flat[name].dtype)
    written = {name for arrays in found.values() for name in arrays}
    for name in flat:
        own = name.split("/", 1)[1]
        layer, _, part = own.rpartition("/")
        if name not in written and layer in found:
            raise CheckpointError(
                f"{path} is of another network: it has no {own}; is `variant` that of the file's library?"
            )
        if name not in written:
            kept.setdefault(layer if part in _PARTS else own, "not in these weights")
    return Filled(flax.traverse_util.unflatten_dict(flat, sep="/"), kept, _input(path, model))


def _read(
    path: pathlib.Path, model: nn.Module, shapes: dict
) -> tuple[dict[str, Arrays], dict[str, str]]:
    """(arrays by layer, reasons of layers that keep their own weights)."""
    if path.suffix == ".npz":
        return from_vit(model, read_npz(path), shapes, path)
    own = {layer.path for layer in layers(model)}
    # All layers are looked for, also those that a shorter network does without: what is left over is of another one.
    table = list(layers(published(model)))
    kept: dict[str, str] = {}
    if path.suffix in _KERAS:
        found, kept = from_keras(table, read_keras(path), shapes, path)
    elif path.suffix == ".safetensors":
        found = from_torch(table, _read_safetensors(path), path)
    elif path.suffix in _TORCH:
        found = from_torch(table, read_torch(path), path)
    else:
        known = ", ".join((*_TORCH, *_KERAS, ".npz"))
        raise CheckpointError(f"{path}: weights are read from {known} files")
    return {layer: arrays for layer, arrays in found.items() if layer in own}, kept


def _input(path: pathlib.Path, model: nn.Module) -> str:
    """What the authors of such files and networks made of an image."""
    if path.suffix in _KERAS:
        return _KERAS_INPUT.get(type(model), "caffe")
    lite = isinstance(model, EfficientNet) and model.variant == "lite"
    return "symmetric" if path.suffix == ".npz" or lite else "imagenet"


def _classes_differ(there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    return len(there) == len(here) and there[:-1] == here[:-1] and there != here


def _adapted(kernel: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """[*k 3 F] -> [*k C F] that answers a grey image, in C equal channels, as before; other kernels as they are."""
    if kernel.shape not in {(*wanted[:-2], colours, wanted[-1]) for colours in (1, 3)}:
        return kernel
    channels = wanted[-2]
    return np.repeat(kernel.sum(-2, keepdims=True) / channels, channels, -2)


def _read_safetensors(path: pathlib.Path) -> Arrays:
    try:
        return load_file(path)
    except (*MALFORMED, SafetensorError) as error:  # AttributeError: types that NumPy lacks
        raise CheckpointError(f"{path} cannot be read as safetensors ({reason(error)})") from error
