"""Published vision transformers: the arrays of google-research/vision_transformer's `.npz` files under our names.

The names are those of Dosovitskiy et al. 2021 (arXiv:2010.11929): `embedding`, `cls`, `Transformer/encoderblock_i`, `head`; in
the hybrids, as R50+ViT-B_16, also `conv_root`, `gn_root` and `blocki/unitj`. These networks were trained with the tanh
form of GELU; here, as in torchvision's ViT and in the TransUNet paper's code, it is exact.
"""

import collections
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import numpy as np

from brainjax.models import TransUNet, ViT
from brainjax.models.layers import resize
from brainjax.types import CheckpointError, ConfigError

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
Layers = Iterator[tuple[str, Arrays]]  # (path here, arrays by the full names of the variables)

_BLOCK = "Transformer/encoderblock_"
_ATTENTION = "MultiHeadDotProductAttention_1"


def from_vit(
    model: nn.Module, tensors: Arrays, shapes: Shapes, path: pathlib.Path
) -> tuple[dict[str, Arrays], dict[str, str]]:
    """What `model` takes over from a published vision transformer.

    A `ViT` takes all of it; a `TransUNet` the transformer and, if its stem is the hybrids', the stem. Position embeddings
    are interpolated to the model's grid; a network without a class token drops it with its position.

    Args:
        model: ViT or TransUNet.
        tensors: as `read_npz` gives them.
        shapes: of the model's variables, by name.
        path: of the file, for messages.

    Returns:
        (arrays by layer, the first convolution first; reasons of layers that keep their own weights).

    Raises:
        CheckpointError: the file is of another kind, or of a network of another shape.
        ConfigError: another model.
    """
    if not isinstance(model, ViT | TransUNet):
        raise ConfigError(
            f"there are no published weights for {type(model).__name__} in .npz files"
        )
    try:
        if isinstance(model, ViT):
            _check(model, _fields(tensors), path)
            found = dict(_transformer("encoder", model.depth, tensors))
            found["head"] = _linear("head", tensors["head/kernel"], tensors["head/bias"])
            kept = _unread(model.class_token, tensors)
            found |= _positions("encoder", tensors, shapes, kept)
        else:
            found, kept = _transunet(model, tensors, shapes, path)
    except KeyError as error:
        raise CheckpointError(f"{path} is of another network: it lacks {error.args[0]}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path} holds no vision transformer ({error})") from error
    return {layer: arrays for layer, arrays in found.items() if layer not in kept}, kept


def _transunet(
    model: TransUNet, tensors: Arrays, shapes: Shapes, path: pathlib.Path
) -> tuple[dict[str, Arrays], dict[str, str]]:
    fields, kept, found = _fields(tensors), {}, {}
    stages = _stages(tensors)
    if stages and (model.encoder, model.variant) == ("resnet", "hybrid"):
        _check(model, {**fields, "stages": stages}, path)
        found = dict(_stem(stages, tensors))
    _check(model, fields, path)
    found |= _transformer("transformer", model.depth, tensors)
    kernel = "params/transformer/patches/kernel"
    if found["transformer/patches"][kernel].shape != shapes.get(kernel):
        kept["transformer/patches"] = "it reads the image, or another encoder, there"
    found |= _positions("transformer", tensors, shapes, kept)
    return found, kept


def _fields(tensors: Arrays) -> dict[str, int]:
    """Depth and heads: what could differ from the model's while every array fits."""
    blocks = {name.split("/")[1] for name in tensors if name.startswith(_BLOCK)}
    heads = tensors[f"{_BLOCK}0/{_ATTENTION}/query/kernel"].shape[1]
    return {"depth": len(blocks), "heads": heads}


def _stages(tensors: Arrays) -> tuple[int, ...]:
    """Units per block of a hybrid's stem; () of other networks."""
    units = {tuple(name.split("/")[:2]) for name in tensors if name.startswith("block")}
    count = collections.Counter(block for block, _ in units)
    return tuple(count[f"block{i + 1}"] for i in range(len(count)))


def _check(model: nn.Module, fields: dict[str, Any], path: pathlib.Path) -> None:
    for field, there in fields.items():
        here = getattr(model, field)
        here = here if isinstance(here, int) else tuple(here)
        if here != there:
            raise CheckpointError(
                f"{path} is of another network: `{field}` is {there} there, {here} here; set it so"
            )


def _stem(stages: tuple[int, ...], tensors: Arrays) -> Layers:
    def unit(ours: tuple[str, str], theirs: tuple[str, str]) -> Layers:
        conv, norm = (f"params/encoder/{layer}" for layer in ours)
        yield f"encoder/{ours[0]}", {f"{conv}/kernel": tensors[f"{theirs[0]}/kernel"]}
        # Published as [1 1 1 F].
        parts = {part: tensors[f"{theirs[1]}/{part}"].reshape(-1) for part in ("scale", "bias")}
        yield f"encoder/{ours[1]}", {f"{norm}/norm/{part}": value for part, value in parts.items()}

    yield from unit(("stem_conv", "stem_norm"), ("conv_root", "gn_root"))
    for i, units in enumerate(stages):
        for j in range(units):
            here, there = f"stage{i + 1}_block{j + 1}", f"block{i + 1}/unit{j + 1}"
            for k in (1, 2, 3):
                ours = (f"{here}/conv{k}", f"{here}/norm{k}")
                yield from unit(ours, (f"{there}/conv{k}", f"{there}/gn{k}"))
            if j == 0:
                ours = (f"{here}/proj_conv", f"{here}/proj_norm")
                yield from unit(ours, (f"{there}/conv_proj", f"{there}/gn_proj"))


def _transformer(at: str, depth: int, tensors: Arrays) -> Layers:
    def linear(ours: str, theirs: str) -> Layers:
        layer = f"{at}/{ours}"
        yield layer, _linear(layer, tensors[f"{theirs}/kernel"], tensors[f"{theirs}/bias"])

    def norm(ours: str, theirs: str) -> Layers:
        parts = {part: tensors[f"{theirs}/{part}"] for part in ("scale", "bias")}
        yield f"{at}/{ours}", {f"params/{at}/{ours}/{part}": v for part, v in parts.items()}

    yield from linear("patches", "embedding")
    for i in range(depth):
        here, there = f"block{i}", f"{_BLOCK}{i}"
        yield from norm(f"{here}/norm1", f"{there}/LayerNorm_0")
        # [D H D/H] each, H heads: one matrix [D 3D] here.
        three = [f"{there}/{_ATTENTION}/{part}" for part in ("query", "key", "value")]
        kernels = [tensors[f"{name}/kernel"] for name in three]
        kernel = np.concatenate([k.reshape(len(k), -1) for k in kernels], axis=1)
        bias = np.concatenate([tensors[f"{name}/bias"].reshape(-1) for name in three])
        layer = f"{at}/{here}/attention"
        yield f"{layer}/qkv", _linear(f"{layer}/qkv", kernel, bias)
        kernel, bias = (tensors[f"{there}/{_ATTENTION}/out/{part}"] for part in ("kernel", "bias"))
        kernel = kernel.reshape(-1, kernel.shape[-1])  # [H D/H D]
        yield f"{layer}/out", _linear(f"{layer}/out", kernel, bias)
        yield from norm(f"{here}/norm2", f"{there}/LayerNorm_2")
        yield from linear(f"{here}/mlp1", f"{there}/MlpBlock_3/Dense_0")
        yield from linear(f"{here}/mlp2", f"{there}/MlpBlock_3/Dense_1")
    yield from norm("norm", "Transformer/encoder_norm")


def _linear(layer: str, kernel: np.ndarray, bias: np.ndarray) -> Arrays:
    return {f"params/{layer}/kernel": kernel, f"params/{layer}/bias": bias}


def _positions(at: str, tensors: Arrays, shapes: Shapes, kept: dict[str, str]) -> Layers:
    """Position embeddings [1 (1) + N D], the class token's first, and the class token [1 1 D]."""
    token = tensors.get("cls")
    table = tensors["Transformer/posembed_input/pos_embedding"][0].astype(np.float32)
    if token is not None:
        for name, value in (("class_token", token.reshape(-1)), ("class_position", table[0])):
            if f"params/{at}/{name}" in shapes:
                yield f"{at}/{name}", {f"params/{at}/{name}": value}
        table = table[1:]
    edge = math.isqrt(len(table))
    if edge**2 != len(table):
        raise ValueError(f"{len(table)} positions are no square grid")
    wanted = shapes.get(f"params/{at}/position", ())
    if len(wanted) != 3:
        kept[f"{at}/position"] = "a plane there, another number of axes here"
    else:
        grid = resize(table.reshape(1, edge, edge, -1), wanted[:-1])[0]
        yield f"{at}/position", {f"params/{at}/position": np.asarray(grid)}


def _unread(class_token: bool, tensors: Arrays) -> dict[str, str]:
    """The layers of a ViT that have no counterpart, or read something else than theirs."""
    if not class_token and "cls" in tensors:
        return {"head": "it reads a class token there, the mean over the grid here"}
    if class_token and "cls" not in tensors:
        why = "the mean over the grid is read there, a class token here"
        return dict.fromkeys(("encoder/class_token", "encoder/class_position", "head"), why)
    if "pre_logits/kernel" in tensors:
        return {"head": "it reads a hidden layer, pre_logits, there"}
    return {}
