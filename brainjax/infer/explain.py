"""Where a classifier saw its evidence: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391).

With A_k the feature maps that reach the head and y the logit of a class,

    map = relu(sum_k a_k A_k),  a_k = mean over positions of dy / dA_k

brought to the image's size and divided by its maximum. It is as coarse as these feature maps (a 32nd of the image
for the networks as published), tells where evidence for the class is, not against it, and not how strong it is.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.infer.ensemble import members
from brainjax.models.heads import Head
from brainjax.models.layers import resize
from brainjax.types import ConfigError


def grad_cam(
    model: nn.Module, variables: Any, image: Any, class_index: Any | None = None
) -> jax.Array:
    """The Grad-CAM of each image; compiled once for a model and its shapes.

    Args:
        model: a classifier that ends in a `Head`: VGG, ResNet, MobileNetV2, EfficientNet. Its fields hold tuples, not
            lists, as a config gives them.
        variables: the model's; a tuple of several is an ensemble, whose map is the mean of its members'.
        image: [B *spatial C] as the network sees it, normalised.
        class_index: the class to explain, an int or [B] of them in 0 .. K - 1; None for each image's predicted one.

    Returns:
        [B *spatial] float32 in [0, 1]: the largest value of an image is 1, or all are 0 where nothing speaks for the
        class.

    Raises:
        ConfigError: the model has no `Head`.
        ValueError: a class that the model does not have.
    """
    index = None if class_index is None else np.broadcast_to(class_index, len(image))
    each = [_grad_cam(model, member, image, index) for member in members(variables)]
    classes = each[0][1].shape[-1]
    if index is not None and ((index < 0) | (index >= classes)).any():
        raise ValueError(f"class_index must be 0 to {classes - 1}, got {class_index}")
    return to_one(sum(heat for heat, _ in each))


@functools.partial(jax.jit, static_argnames="model")
def _grad_cam(
    model: nn.Module, variables: Any, image: jax.Array, index: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Maps [B *spatial] and logits [B K]."""
    head, features = _before_head(model, variables, image)
    logits, pull = jax.vjp(head, features)
    chosen = jax.nn.one_hot(logits.argmax(-1) if index is None else index, logits.shape[-1])
    # An image's logits depend on its own features alone: one backward pass serves the batch.
    (slope,) = pull(chosen)  # [B *space D]
    weight = slope.mean(range(1, slope.ndim - 1), keepdims=True)
    evidence = nn.relu((weight * features).sum(-1, keepdims=True))  # [B *space 1]
    return to_one(resize(evidence, image.shape[1:-1])[..., 0]), logits


def to_one(heat: jax.Array) -> jax.Array:
    """Maps [B *spatial] from 0 on, each divided by its largest value."""
    top = heat.max(range(1, heat.ndim), keepdims=True)
    least = jnp.finfo(jnp.float32).tiny  # devices differ in what they make of smaller numbers
    heat = jnp.where(top < least, 0.0, heat / jnp.maximum(top, least))
    return jnp.minimum(heat, 1.0)  # x / x is not quite 1 where 1 / x is multiplied


def _before_head(
    model: nn.Module, variables: Any, image: jax.Array
) -> tuple[Callable[[jax.Array], jax.Array], jax.Array]:
    """The model's head alone, features -> logits, and the features [B *space D] float32 that reach it."""
    seen = []

    def watch(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, Head) and context.method_name == "__call__":
            seen.append((*context.module.unbind(), args[0]))
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        model.apply(variables, image, train=False)
    if len(seen) != 1:
        raise ConfigError(
            f"Grad-CAM needs a network with one head, as VGG or ResNet; {type(model).__name__} has {len(seen)}"
        )
    head, own, features = seen[0]
    return lambda x: head.apply(own, x, train=False), features.astype(jnp.float32)
