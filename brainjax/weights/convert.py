"""The arrays of PyTorch's and Keras's layers under our names, their axes in our order."""

import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from brainjax.types import CheckpointError
from brainjax.weights.keras_file import KerasWeights
from brainjax.weights.keras_names import Shapes, locate
from brainjax.weights.names import Layer, in_head

Arrays = dict[str, np.ndarray]


def from_torch(table: list[Layer], tensors: Arrays, path: pathlib.Path) -> dict[str, Arrays]:
    """Arrays by layer's path, their keys the full names of variables; without a head that is not there.

    Raises:
        CheckpointError: a layer is not there or has other arrays, or a stage there goes on.
    """
    named = {name.rpartition(".")[0] for name in tensors}

    def one(layer: Layer) -> Arrays:
        if layer.kind == "norm":
            parts = ("weight", "bias", "running_mean", "running_var")
            return _norm(layer, *(tensors[f"{layer.torch}.{part}"] for part in parts))
        weight, bias = tensors[f"{layer.torch}.weight"], tensors.get(f"{layer.torch}.bias")
        if layer.kind in ("conv", "depthwise"):
            weight = np.moveaxis(weight, (0, 1), (-1, -2))  # [F C *k] -> [*k C F]
        elif layer.kind == "flattened":
            # PyTorch flattens channels first.
            weight = weight.reshape(len(weight), -1, *layer.grid).transpose(2, 3, 1, 0)
            weight = weight.reshape(-1, weight.shape[-1])
        else:
            weight = weight.T
        return _weighted(layer, weight, bias)

    there = [layer for layer in table if layer.torch in named or not in_head(layer)]
    found = {layer.path: _converted(one, layer, path) for layer in there}
    _check_end({layer.torch for layer in there}, named, r"[^.]+", path)
    return found


def from_keras(
    table: list[Layer], weights: KerasWeights, shapes: Shapes, path: pathlib.Path
) -> tuple[dict[str, Arrays], dict[str, str]]:
    """(arrays by layer's path, their keys the full names of variables; reasons of layers that keep their own).

    Raises:
        CheckpointError: a layer is not there or has other arrays, or a stage there goes on.
    """
    where = locate(table, weights, shapes, path)

    def one(layer: Layer) -> Arrays:
        arrays = weights.layers[where.names[layer.path]]
        if layer.kind == "norm":
            return _norm(layer, *arrays)
        kernel, *bias = arrays
        if layer.kind == "depthwise":
            kernel = np.swapaxes(kernel, -1, -2)  # [*k C 1] -> [*k 1 C]
        return _weighted(layer, kernel, bias[0] if bias else None)

    there = [layer for layer in table if layer.path in where.names]
    found = {layer.path: _converted(one, layer, path) for layer in there}
    body = [layer for layer in there if not in_head(layer)]
    if not weights.numbered:
        # 'conv4_block6_2_bn' is of stage 'conv4', 'block2a_expand_conv' of 'block2'.
        inside = [
            n.removeprefix(where.prefix) for n in weights.layers if n.startswith(where.prefix)
        ]
        _check_end({layer.keras for layer in body}, inside, r"[A-Za-z]+\d*", path)
        return found, where.kept
    convs = sum(layer.keras_class == "conv2d" for layer in body)
    if following := weights.layers.get(f"{where.prefix}conv2d_{convs}"):
        # Numbers tell no stages, but the next one has other widths.
        *_, last = (layer.path.rpartition("/")[0] for layer in body if layer.kind == "conv")
        block = [arrays for layer, arrays in found.items() if layer.startswith(f"{last}/")]
        widths = {a.shape[-1:] for arrays in block for n, a in arrays.items() if "kernel" in n}
        if following[0].shape[-1:] in widths:
            raise CheckpointError(f"{path} is of another network: its last stage goes on")
    return found, where.kept


def _converted(one: Callable[[Layer], Arrays], layer: Layer, path: pathlib.Path) -> Arrays:
    try:
        return one(layer)
    except KeyError as error:
        raise CheckpointError(f"{path} is of another network: it lacks {error.args[0]}") from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is of another network: {layer.path} does not fit ({error})"
        ) from error


def _check_end(used: set[str], there: Iterable[str], stage: str, path: pathlib.Path) -> None:
    """Refuses a stage that is used in part: ResNet-101's first blocks are no ResNet-50."""
    stages = {re.match(stage, name)[0] for name in used}
    for name in there:
        found = re.match(stage, name)
        if name not in used and found and found[0] in stages:
            raise CheckpointError(f"{path} is of another network: it goes on with {name[:80]!r}")


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
