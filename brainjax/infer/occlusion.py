"""Where a classifier's evidence is, by covering it (Zeiler & Fergus 2014, arXiv:1311.2901).

A soft spot of the head's usual grey is laid over one place of the head after another, and the drop of the class's
log-probability p is noted: with m_i the spot at place i, in [0, 1],

    map = sum_i m_i relu(log p - log p_i) / sum_i m_i

within the head, divided by its maximum. It asks the network itself, at some hundred forward passes an image, and is as
fine as the spot. Grad-CAM's few last feature maps have seen the whole picture and need not lie where their evidence does.
"""

import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.infer.ensemble import members
from brainjax.infer.explain import to_one

_SPOT = 0.1  # standard deviation of the spot, of the image's edge
_AIR = 0.15  # of the way from the darkest to the brightest value, below which there is air
_TOGETHER = 16  # covered images in one pass


def occlusion(
    model: nn.Module, variables: Any, image: Any, class_index: Any, places: int = 11
) -> jax.Array:
    """The map of each image; compiled once for a model and its shapes.

    Args:
        model: any classifier, images [B *spatial C] to logits [B K].
        variables: the model's; a tuple of several is an ensemble, whose map is the mean of its members'.
        image: [B *spatial C] as the network sees it, normalised.
        class_index: the class to explain, an int or [B] of them in 0 .. K - 1.
        places: of the spot along each axis.

    Returns:
        [B *spatial] float32 in [0, 1]: the largest value of an image is 1, or all are 0 where covering never lowers the
        probability of the class.
    """
    image = jnp.asarray(image)
    index = jnp.asarray(np.broadcast_to(class_index, len(image)))
    maps = [
        sum(_map(model, member, x, k, places) for member in members(variables))
        for x, k in zip(image, index, strict=True)
    ]
    return to_one(jnp.stack(maps))


@functools.partial(jax.jit, static_argnames=("model", "places"))
def _map(
    model: nn.Module, variables: Any, image: jax.Array, index: jax.Array, places: int
) -> jax.Array:
    """The map [*spatial] of one image [*spatial C], its largest value 1."""
    space = image.shape[:-1]
    inside = _head(image.mean(-1))[..., None]
    grey = jnp.nanmedian(jnp.where(inside, image, jnp.nan))

    def spot(centre: jax.Array) -> jax.Array:
        near = jnp.ones(space)
        for axis, size in enumerate(space):
            far = (jnp.arange(size) + 0.5) / size - centre[axis]
            shape = [-1 if a == axis else 1 for a in range(len(space))]
            near *= jnp.exp(-0.5 * (far / _SPOT) ** 2).reshape(shape)
        return near[..., None]

    def score(x: jax.Array) -> jax.Array:
        logits = model.apply(variables, x[None], train=False)[0]
        return jax.nn.log_softmax(logits.astype(jnp.float32))[index]

    whole = score(image)

    def drop(centre: jax.Array) -> jax.Array:
        cover = spot(centre) * inside
        return nn.relu(whole - score(image * (1 - cover) + grey * cover))

    line = (np.arange(places) + 0.5) / places
    centres = jnp.asarray(list(itertools.product(line, repeat=len(space))), jnp.float32)
    drops = jax.lax.map(drop, centres, batch_size=_TOGETHER)

    def add(sums: tuple, one: tuple) -> tuple:
        centre, fell = one
        cover = spot(centre)[..., 0]
        return (sums[0] + fell * cover, sums[1] + cover), None

    (heat, weight), _ = jax.lax.scan(add, (jnp.zeros(space), jnp.zeros(space)), (centres, drops))
    return to_one((heat / weight * inside[..., 0])[None])[0]


def _head(image: jax.Array) -> jax.Array:
    """[*spatial] bool: what has tissue on either side along every axis, so that dark parts within belong to it."""
    low, high = image.min(), jnp.percentile(image, 99)
    tissue = (image >= low + _AIR * (high - low)).astype(jnp.int32)
    inside = jnp.ones(image.shape, bool)
    for axis in range(image.ndim):
        inside &= jax.lax.cummax(tissue, axis).astype(bool)
        inside &= jax.lax.cummax(tissue, axis, reverse=True).astype(bool)
    return inside
