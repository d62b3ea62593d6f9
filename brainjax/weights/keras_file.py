"""Reads the weights of Keras files without Keras: `.h5`, `.weights.h5` and `.keras`.

Three layouts are met. Older `.h5` files name their layers. Keras 3's `.weights.h5` names them by class and
number, `conv2d`, `conv2d_1`, ..., in the order of the model's layers. A `.keras` file is a zip of such a
file and of a `config.json`, which is read for the layers' own names; no code in it is run. A layer of a model that is
itself a layer of another has both names, joined by '/'.
"""

import dataclasses
import io
import json
import pathlib
import re
from typing import Any

import h5py
import numpy as np

from brainjax.types import CheckpointError
from brainjax.weights.archive import MALFORMED, open_zip, reason

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
            with open_zip(path) as archive:
                config = json.loads(archive.read(_CONFIG))
                weights = _read_h5(io.BytesIO(archive.read(_WEIGHTS)), path)
            found = KerasWeights(_with_own_names(weights.layers, config), numbered=False)
        else:
            found = _read_h5(path, path)
    except MALFORMED as error:
        raise CheckpointError(
            f"{path} cannot be read as Keras weights ({reason(error)})"
        ) from error
    if not found.layers:
        raise CheckpointError(f"{path} holds no weights")
    return found


def class_name(layer: str) -> str:
    """Keras's own file name of a layer class: 'DepthwiseConv2D' -> 'depthwise_conv2d'."""
    text = re.sub(r"\W+", "", layer)
    text = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", text)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()


class _Reader:
    """Arrays of an HDF5 file, as long as they lie in it and are no larger than it.

    HDF5 can compose an array of any other file on the machine, and a few bytes can stand for a huge one.
    """

    def __init__(self, h5: h5py.File, size: int):
        self.own, self.left = self._file(h5), size

    def __call__(self, item: Any) -> np.ndarray:
        """All of a dataset; ValueError if that is not to be had safely."""
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
            raise ValueError(f"{item.name[:80]} is no array of numbers")
        if item.external or item.is_virtual or self._file(item) != self.own:
            raise ValueError(f"{item.name[:80]} lies in another file: it may be hostile")
        self.left -= item.nbytes
        if self.left < 0:
            raise ValueError("its arrays are larger than the file; write it without compression")
        return np.asarray(item)

    def _file(self, item: Any) -> int:
        return h5py.h5o.get_info(item.id).fileno


def _read_h5(file: Any, path: pathlib.Path) -> KerasWeights:
    with h5py.File(file, "r") as h5:
        read = _Reader(h5, path.stat().st_size)
        if "layers" in h5 and "layer_names" not in h5.attrs:
            return KerasWeights(_numbered(h5["layers"], read), numbered=True)
        group = h5.get("model_weights", h5)
        layers: dict[str, list[np.ndarray]] = {}
        for name in _texts(group.attrs["layer_names"]):
            texts = _texts(group[name].attrs["weight_names"])
            # 'Conv1/kernel' or 'model/Conv1/kernel', by way of older Keras 'Conv1/kernel:0'
            parts = [text.rpartition("/")[0].rpartition("/")[2] for text in texts]
            for part, text in zip(parts, texts, strict=True):
                own = f"{name}/{part}" if len(set(parts)) > 1 else name
                layers.setdefault(own, []).append(read(group[name][text]))
        return KerasWeights(layers, numbered=False)


def _numbered(group: h5py.Group, read: _Reader) -> dict[str, list[np.ndarray]]:
    """Leaves of a Keras 3 file; a nested layer's name is its path, joined by '/'."""
    found: dict[str, list[np.ndarray]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group) and name.rpartition("/")[2] == "vars" and len(item):
            arrays = [read(item[str(i)]) for i in range(len(item))]
            found[name.rpartition("/")[0].replace("/layers/", "/")] = arrays

    group.visititems(visit)
    return found


def _with_own_names(
    layers: dict[str, list[np.ndarray]], config: dict[str, Any]
) -> dict[str, list[np.ndarray]]:
    """Replaces class and number by the names in the model's config, also of the models that are layers in it."""
    left, named = dict(layers), {}

    def name(config: dict[str, Any], there: str, here: str) -> None:
        count: dict[str, int] = {}
        for layer in config["layers"]:
            kind, own = class_name(layer["class_name"]), here + layer["config"]["name"]
            number = count[kind] = count.get(kind, -1) + 1
            file = f"{there}{kind}_{number}" if number else there + kind
            if file in left:
                named[own] = left.pop(file)
            elif "layers" in layer["config"]:
                name(layer["config"], f"{file}/", f"{own}/")

    name(config["config"], "", "")
    return {**left, **named}


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]
