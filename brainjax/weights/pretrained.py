"""Fills a network's variables from published weights: PyTorch's and Keras's files, without either library."""

import dataclasses
import pathlib
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from brainjax.types import CheckpointError
from brainjax.weights.keras_file import KerasWeights, read_keras
from brainjax.weights.names import Layer, layers
from brainjax.weights.torch_file import read_torch

_TORCH, _KERAS = (".pth", ".pt", ".safetensors"), (".h5", ".keras")
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Filled:
    """What was taken over.

    Attributes:
        variables: the network's, with the published weights where they fit.
        kept: paths of layers that keep their own weights, with the reason.
    """

    variables: Any
    kept: dict[str, str]


def load_pretrained(path: str | pathlib.Path, model: nn.Module, variables: Any) -> Filled:
    """Fills `variables` of `model` from a file of weights.

    The last layer keeps its own weights where the number of classes differs. The first convolution is adapted to the
    channels of the input: what it would answer to a grey image in all three colours is spread over the channels at
    hand, so that one channel works as a grey image does.

    Args:
        path: `.pth`, `.pt` or `.safetensors` of torchvision; `.h5`, `.weights.h5` or `.keras` of Keras's applications.
        model: one of the networks in `brainjax.weights.names`; its `variant`, where it has one, must be that of the file's library.
        variables: of `model`, as `model.init` gives them.

    Raises:
        CheckpointError: the file is damaged, of another kind, or of another network.
        ConfigError: there are no published weights for this network.
    """
    path = pathlib.Path(path)
    table = list(layers(model))
    if path.suffix in _KERAS:
        found = _from_keras(table, read_keras(path), path)
    elif path.suffix == ".safetensors":
        found = _from_torch(table, _read_safetensors(path), path)
    elif path.suffix in _TORCH:
        found = _from_torch(table, read_torch(path), path)
    else:
        known = ", ".join((*_TORCH, *_KERAS))
        raise CheckpointError(f"{path}: weights are read from {known} files")
    flat = flax.traverse_util.flatten_dict(variables, sep="/")
    kept: dict[str, str] = {}
    for layer in table:
        for name, value in found[layer.path].items():
            wanted = flat[name].shape if name in flat else None
            if wanted is None:
                raise CheckpointError(f"{path}: {name} is no part of this {type(model).__name__}")
            if layer is table[0] and name.endswith("/kernel") and value.shape != wanted:
                value = _adapted(value, wanted)
            if value.shape != wanted and layer is table[-1]:
                kept[layer.path] = f"{value.shape[-1]} classes there, {wanted[-1]} here"
            elif value.shape != wanted:
                raise CheckpointError(
                    f"{path} is of another network: {name} is {value.shape} there, {wanted} here"
                )
            else:
                flat[name] = jnp.asarray(value, flat[name].dtype)
    filled = {f"{layer.path}/" for layer in table}
    for name in flat:
        if not name.split("/", 1)[1].startswith(tuple(filled)):
            kept.setdefault(name.split("/", 1)[1].rsplit("/", 1)[0], "not in these weights")
    return Filled(flax.traverse_util.unflatten_dict(flat, sep="/"), kept)


def _adapted(kernel: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """[k k 3 F] -> [k k C F] that answers a grey image, in C equal channels, as before."""
    if kernel.ndim != len(wanted) or kernel.shape[-1] != wanted[-1]:
        return kernel
    channels = wanted[-2]
    return np.repeat(kernel.sum(-2, keepdims=True) / channels, channels, -2)


def _from_torch(table: list[Layer], tensors: Arrays, path: pathlib.Path) -> dict[str, Arrays]:
    def one(layer: Layer) -> Arrays:
        own = {
            k: tensors[f"{layer.torch}.{k}"]
            for k in ("weight", "bias")
            if f"{layer.torch}.{k}" in tensors
        }
        if "weight" not in own:
            raise CheckpointError(f"{path} is of another network: it lacks {layer.torch}.weight")
        weight, bias = own["weight"], own.get("bias")
        if layer.kind == "norm":
            moments = [tensors[f"{layer.torch}.running_{m}"] for m in ("mean", "var")]
            return _norm(layer, weight, bias, *moments)
        if layer.kind in ("conv", "depthwise"):
            weight = np.moveaxis(weight, (0, 1), (-1, -2))  # [F C *k] -> [*k C F]
        elif layer.kind == "flattened":
            # PyTorch flattens channels first.
            weight = weight.reshape(len(weight), -1, *layer.grid).transpose(2, 3, 1, 0)
            weight = weight.reshape(-1, weight.shape[-1])
        else:
            weight = weight.T
        return _weighted(layer, weight, bias)

    return {layer.path: one(layer) for layer in table}


def _from_keras(table: list[Layer], weights: KerasWeights, path: pathlib.Path) -> dict[str, Arrays]:
    numbers: dict[str, int] = {}

    def one(layer: Layer) -> Arrays:
        name = layer.keras
        if weights.numbered:
            number = numbers[layer.keras_class] = numbers.get(layer.keras_class, -1) + 1
            name = f"{layer.keras_class}_{number}" if number else layer.keras_class
        if name not in weights.layers:
            raise CheckpointError(f"{path} is of another network: it has no layer {name}")
        arrays = weights.layers[name]
        if layer.kind == "norm":
            return _norm(layer, *arrays)
        kernel, *bias = arrays
        if layer.kind == "depthwise":
            kernel = np.swapaxes(kernel, -1, -2)  # [*k C 1] -> [*k 1 C]
        return _weighted(layer, kernel, bias[0] if bias else None)

    return {layer.path: one(layer) for layer in table}


def _weighted(layer: Layer, kernel: np.ndarray, bias: np.ndarray | None) -> Arrays:
    found = {f"params/{layer.path}/kernel": kernel}
    return found if bias is None else {**found, f"params/{layer.path}/bias": bias}


def _norm(layer: Layer, scale: Any, bias: Any, mean: Any, var: Any) -> Arrays:
    params, stats = (f"{part}/{layer.path}/norm" for part in ("params", "batch_stats"))
    return {
        f"{params}/scale": scale,
        f"{params}/bias": bias,
        f"{stats}/mean": mean,
        f"{stats}/var": var,
    }


def _read_safetensors(path: pathlib.Path) -> Arrays:
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({type(error).__name__}: {error})"
        ) from error
