"""A model's whole way from raw array to answer as one function of jax, to be exported (`brainjax.infer.export`).

`whole(model, ..)` takes what stands in the files and does on the device what the model's class does on the host too:
normalise, resample to the working grid, network, mirror images, back to the own grid, threshold. The number of slices,
images or scans is symbolic: the function loops over them in batches of one size, so that the network is compiled once
and its memory does not grow. What only the host can do (file formats, connected components) is said in `Whole.left`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export, lax

from brainjax.infer.classifier import Classifier
from brainjax.infer.scan_classifier import ScanClassifier
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.sliding import tiling
from brainjax.infer.strip import Stripper
from brainjax.infer.whole_head import find_brain
from brainjax.preprocess.device_stats import stats
from brainjax.types import ConfigError

DTYPES = ("uint8", "uint16", "float32")


@dataclasses.dataclass(frozen=True, eq=False)
class Whole:
    """A function of raw arrays.

    Attributes:
        apply: arrays, in the order of `arguments` -> {'probability': float32, 'mask': bool}, without the mask of
            classifiers.
        arguments: name -> shape, with symbolic sizes, and dtype.
        left: what the host does before and after.
    """

    apply: Callable[..., dict[str, jax.Array]]
    arguments: dict[str, jax.ShapeDtypeStruct]
    left: str


def whole(
    model: Segmenter | Classifier | ScanClassifier | Stripper,
    *,
    shape: Sequence[int] = (),
    dtype: str = "",
    batch_size: int = 0,
) -> Whole:
    """The function of a model.

    Args:
        model: as its class loads it.
        shape: height and width of slices, or X, Y, Z of volumes, in voxels; not for models that know it themselves.
        dtype: of the raw arrays, one of `DTYPES`; '' for uint8 of pictures and slices, float32 of volumes.
        batch_size: slices, images or patches at once; 0 for 8 of slices and images, 1 of volumes.

    Raises:
        ConfigError: no shape where one is needed, or one too many; an unknown dtype.
    """
    if dtype and dtype not in DTYPES:
        raise ConfigError(f"--dtype={dtype}; choose one of {', '.join(DTYPES)}")
    if batch_size < 0:
        raise ConfigError(f"--batch_size={batch_size}; use 1 or more, or 0 for the usual")
    if isinstance(model, Stripper):
        _no(shape, "takes heads of any shape")
        if dtype not in ("", "float32"):
            raise ConfigError(f"--dtype={dtype}; heads are float32")
        return _heads(model)
    flat = model.rank == 2
    dtype, size = dtype or ("uint8" if flat else "float32"), batch_size or (8 if flat else 1)
    if isinstance(model, Segmenter):
        axes = "height,width" if flat else "X,Y,Z"
        if len(shape) != model.rank or min(shape) < 1:
            raise ConfigError(
                f"this model needs --shape={axes} of the arrays that it will be given"
            )
        return (_slices if flat else _volumes)(model, tuple(shape), dtype, size)
    _no(shape, "has a working grid of its own")
    return _images(model, dtype, size)


def _slices(model: Segmenter, shape: tuple[int, ...], dtype: str, size: int) -> Whole:
    context, channels = model.predictor.input.context, len(model.facts["channels"])

    def apply(image: jax.Array) -> dict[str, jax.Array]:
        count = image.shape[0]
        numbers = [jnp.tile(x, context) for x in stats(image, model.predictor.input.normalize)]

        def some(rows: jax.Array) -> jax.Array:
            reach = jnp.arange(context) - context // 2
            seen = image[jnp.clip(rows[:, None] + reach, 0, count - 1)]  # [b context H W C]
            seen = jnp.moveaxis(seen, 1, -2).reshape(size, *shape, context * channels)
            return _on_batch(model, seen, *(jnp.tile(x, (size, 1)) for x in numbers))

        return _with_mask(model, _in_batches(some, count, size))

    left = "before: stack one patient's slices in scan order; after: the clean-up of 3D components"
    return Whole(apply, {"image": _spec("n", (*shape, channels), dtype)}, left)


def _images(model: Classifier | ScanClassifier, dtype: str, size: int) -> Whole:
    data, normalize = model.config.data, model.predictor.input.normalize
    if model.rank == 2:
        shape, channels = (data.size, data.size), data.channels
        left = "before: brainjax.preprocess.crop.as_input, the crop to the head"
    else:
        shape, channels = tuple(data.shape), len(model.facts["channels"])
        left = "before: brainjax.preprocess.head.head_box, the box about the head"

    def apply(image: jax.Array) -> dict[str, jax.Array]:
        def some(rows: jax.Array) -> jax.Array:
            seen = image[rows]
            numbers = jax.vmap(lambda one: stats(one[None], normalize))(seen)
            return _on_batch(model, seen, *numbers)

        return {"probability": _in_batches(some, image.shape[0], size)}

    return Whole(apply, {"image": _spec("b", (*shape, channels), dtype)}, left)


def _volumes(model: Segmenter, shape: tuple[int, ...], dtype: str, size: int) -> Whole:
    options, channels = model.predictor.options, len(model.facts["channels"])
    plan = tiling(shape, options.patch or shape, options.overlap)
    lengths = [n + a + b for n, (a, b) in zip(shape, plan.around, strict=True)]
    places = jnp.asarray(plan.places)

    def one(image: jax.Array) -> jax.Array:  # [X Y Z C] -> [X Y Z K]
        shift, scale = stats(image[None], model.predictor.input.normalize)
        numbers = [jnp.tile(x, (size, 1)) for x in (shift, scale)]
        padded = jnp.pad(image, [*plan.around, (0, 0)], mode="edge")

        def patches(rows: jax.Array) -> jax.Array:
            cut = jax.vmap(lambda p: lax.dynamic_slice(padded, (*p, 0), (*plan.size, channels)))
            return _on_batch(model, cut(places[rows]), *numbers)

        classes = jax.eval_shape(patches, jax.ShapeDtypeStruct((size,), jnp.int32)).shape[-1]

        def step(i: jax.Array, total: jax.Array) -> jax.Array:
            rows = i * size + jnp.arange(size)
            found = patches(jnp.minimum(rows, len(places) - 1))
            # What fills up the last batch counts nothing.
            found = found * (rows < len(places))[:, None, None, None, None]
            for k in range(size):
                place = (*places[jnp.minimum(rows[k], len(places) - 1)], 0)
                old = lax.dynamic_slice(total, place, (*plan.size, classes))
                new = old + plan.weight[..., None] * found[k]
                total = lax.dynamic_update_slice(total, new, place)
            return total

        steps = -(-len(places) // size)
        total = lax.fori_loop(0, steps, step, jnp.zeros((*lengths, classes), jnp.float32))
        for share in plan.shares:
            total = total * share
        return total[plan.inner]

    def apply(image: jax.Array) -> dict[str, jax.Array]:
        return _with_mask(model, lax.map(one, image))

    left = "before: turn to RAS+ and resample to facts.spacing_mm; after: the clean-up of 3D components"
    return Whole(apply, {"image": _spec("b", (*shape, channels), dtype)}, left)


def _heads(model: Stripper) -> Whole:
    def apply(image: jax.Array, spacing: jax.Array) -> dict[str, jax.Array]:
        found = lax.map(lambda one: find_brain(model, *one), (image, spacing))
        return {"probability": found, "mask": found >= 0.5}

    b, x, y, z = export.symbolic_shape("b, x, y, z")
    arguments = {
        "image": jax.ShapeDtypeStruct((b, x, y, z), jnp.float32),
        "spacing": jax.ShapeDtypeStruct((b, 3), jnp.float32),
    }
    return Whole(apply, arguments, "before: turn to RAS+; after: keep the largest component")


def _on_batch(model: Any, image: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    raw = {"image": image, "shift": shift, "scale": scale, "valid": jnp.ones(len(image))}
    return model.predictor.on_batch(model.variables, raw)


def _with_mask(model: Segmenter, probability: jax.Array) -> dict[str, jax.Array]:
    return {
        "probability": probability,
        "mask": probability >= model.predictor.options.threshold,
    }


def _in_batches(f: Callable[[jax.Array], jax.Array], count: Any, size: int) -> jax.Array:
    """f(rows [size]) for rows 0 to count, which may be symbolic; the last batch is filled up with the last row."""
    steps = (count + size - 1) // size
    rows = jnp.minimum(jnp.arange(steps * size), count - 1).reshape(steps, size)
    found = lax.map(f, rows)
    return found.reshape(steps * size, *found.shape[2:])[:count]


def _spec(name: str, shape: tuple[int, ...], dtype: str) -> jax.ShapeDtypeStruct:
    (count,) = export.symbolic_shape(name)
    return jax.ShapeDtypeStruct((count, *shape), jnp.dtype(dtype))


def _no(shape: Sequence[int], why: str) -> None:
    if shape:
        raise ConfigError(f"this model {why}; leave --shape out")
