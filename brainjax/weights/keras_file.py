"""Reads the weights of Keras files without Keras: `.h5`, `.weights.h5` and `.keras`.

Three layouts are met. Older `.h5` files name their layers. Keras 3's `.weights.h5` names them by class and
number, `conv2d`, `conv2d_1`, ..., in the order of the model's layers. A `.keras` file is a zip of such a
file and of a `config.json`, which is read for the layers' own names; no code in it is run.
"""

import dataclasses
import io
import json
import pathlib
import re
import zipfile
from typing import Any

import h5py
import numpy as np

from brainjax.types import CheckpointError

_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"


@dataclasses.dataclass(frozen=True)
class KerasWeights:
    """Weights by layer.

    Attributes:
        layers: name -> arrays, in Keras's order (kernel before bias; gamma, beta, moving mean, moving variance).
        numbered: whether the names are those of Keras 3, class and number, instead of the layers' own.
    """

    layers: dict[str, list[np.ndarray]]
    numbered: bool


def read_keras(path: str | pathlib.Path) -> KerasWeights:
    """Every layer's weights in a `.h5`, `.weights.h5` or `.keras` file.

    Raises:
        CheckpointError: not such a file, damaged, or without weights.
    """
    path = pathlib.Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                config = json.loads(archive.read(_CONFIG))
                weights = _read_h5(io.BytesIO(archive.read(_WEIGHTS)))
            found = KerasWeights(_with_own_names(weights.layers, config), numbered=False)
        else:
            found = _read_h5(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} cannot be read as Keras weights ({type(error).__name__}: {error})"
        ) from error
    if not found.layers:
        raise CheckpointError(f"{path} holds no weights")
    return found


def class_name(layer: str) -> str:
    """Keras's own file name of a layer class: 'DepthwiseConv2D' -> 'depthwise_conv2d'."""
    text = re.sub(r"\W+", "", layer)
    text = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()


def _read_h5(file: Any) -> KerasWeights:
    with h5py.File(file, "r") as h5:
        if "layers" in h5 and "layer_names" not in h5.attrs:
            return KerasWeights(_numbered(h5["layers"]), numbered=True)
        group = h5.get("model_weights", h5)
        layers = {}
        for name in _texts(group.attrs["layer_names"]):
            arrays = [np.asarray(group[name][w]) for w in _texts(group[name].attrs["weight_names"])]
            if arrays:
                layers[name] = arrays
        return KerasWeights(layers, numbered=False)


def _numbered(group: h5py.Group) -> dict[str, list[np.ndarray]]:
    """Leaves of a Keras 3 file; a nested layer's name is its path, joined by '/'."""
    found: dict[str, list[np.ndarray]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and name.rpartition("/")[2] == "vars" and len(item):
            arrays = [np.asarray(item[str(i)]) for i in range(len(item))]
            found[name.rpartition("/")[0].replace("/layers/", "/")] = arrays

    group.visititems(visit)
    return found


def _with_own_names(
    layers: dict[str, list[np.ndarray]], config: dict[str, Any]
) -> dict[str, list[np.ndarray]]:
    """Replaces class and number by the names in the model's config; what is nested keeps its path."""
    count: dict[str, int] = {}
    named = dict(layers)
    for layer in config["config"]["layers"]:
        kind = class_name(layer["class_name"])
        number = count[kind] = count.get(kind, -1) + 1
        arrays = named.pop(f"{kind}_{number}" if number else kind, None)
        if arrays is not None:
            named[layer["config"]["name"]] = arrays
    return named


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]
