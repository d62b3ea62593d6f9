"""Where a network's layers are in a Keras file: in a backbone that may be nested, under a head of any name."""

import collections
import dataclasses
import pathlib
import re

from brainjax.types import CheckpointError
from brainjax.weights.keras_file import KerasWeights
from brainjax.weights.names import Layer, in_head

Shapes = dict[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Located:
    """Where to look.

    Attributes:
        names: a layer's path here -> its name in the file; a head that the file lacks is left out.
        kept: paths of layers left out although the file has a head, with the reason.
        prefix: of the backbone's names: '' or, of a model that was made one layer of another, 'its name/'.
    """

    names: dict[str, str]
    kept: dict[str, str]
    prefix: str


def locate(
    table: list[Layer], weights: KerasWeights, shapes: Shapes, path: pathlib.Path
) -> Located:
    """Finds the layers of `table` by name; those of the head by their shapes, if their names are others.

    Args:
        table: the network's layers, in Keras's order.
        weights: what the file holds.
        shapes: of the network's variables, by name.
        path: of the file, for messages.

    Raises:
        CheckpointError: the file holds the network twice.
    """
    count: collections.Counter[str] = collections.Counter()
    names = {}
    for layer in table:
        names[layer.path] = layer.keras
        if weights.numbered:
            number = count[layer.keras_class]
            names[layer.path] = f"{layer.keras_class}_{number}" if number else layer.keras_class
        count[layer.keras_class] += 1
    head = [layer for layer in table if in_head(layer)]
    body = [names[layer.path] for layer in table if not in_head(layer)]
    prefix = _prefix(body, weights, path)
    found = {layer.path: prefix + names[layer.path] for layer in table if not in_head(layer)}
    # Numbers name no head: whatever dense layers there are may be another's.
    own = [] if weights.numbered else [(layer, prefix + layer.keras) for layer in head]
    found |= {layer.path: name for layer, name in own if _is_meant(layer, name, weights, shapes)}
    absent = [layer for layer in head if layer.path not in found]
    others = [n for n in weights.layers if n not in found.values() and _is_dense(n, weights)]
    if absent and _fit(absent, others, weights, shapes):
        found |= {layer.path: name for layer, name in zip(absent, others, strict=True)}
        absent = []
    kept = {layer.path: "the head is another there" for layer in absent if others}
    return Located(found, kept, prefix)


def _prefix(body: list[str], weights: KerasWeights, path: pathlib.Path) -> str:
    """What stands before the backbone's names; '' too where nothing makes all of them match."""
    nested = {f"{name.rpartition('/')[0]}/" for name in weights.layers if "/" in name}
    whole = [p for p in ("", *sorted(nested)) if all(p + name in weights.layers for name in body)]
    if len(whole) > 1 and body:
        raise CheckpointError(f"{path} holds this network twice; save the one that is meant alone")
    return whole[0] if whole and body else ""


def _is_meant(layer: Layer, name: str, weights: KerasWeights, shapes: Shapes) -> bool:
    """Whether the file's layer of that name is the head's, and not one on top of another hidden layer."""
    wanted = shapes.get(f"params/{layer.path}/kernel", ())
    return name in weights.layers and (
        layer.kind == "flattened" or weights.layers[name][0].shape[:1] == wanted[:1]
    )


def _is_dense(name: str, weights: KerasWeights) -> bool:
    """Whether a layer is, by its name or, where that is its own, by its arrays, a kernel [D F] and perhaps a bias."""
    if weights.numbered:
        return re.fullmatch(r"dense(_\d+)?", name.rpartition("/")[2]) is not None
    return [array.ndim for array in weights.layers[name]] in ([2], [2, 1])


def _fit(head: list[Layer], names: list[str], weights: KerasWeights, shapes: Shapes) -> bool:
    """Whether as many dense layers have the head's shapes, in order; the last one's classes may be others."""
    if len(head) != len(names):
        return False
    wanted = [shapes.get(f"params/{layer.path}/kernel", ()) for layer in head]
    there = [weights.layers[name][0].shape for name in names]
    return there[:-1] == wanted[:-1] and there[-1][:1] == wanted[-1][:1]
