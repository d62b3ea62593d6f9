"""A batch computed part by part in the memory of one part, for gradients that are those of the whole.

Part k of a batch has its examples k, k + parts, ..: the axis that devices divide stays in front, so that no example
moves to another device, and a batch that begins with its lesions has as many of them in every part.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def mapped(f: Callable[..., Any], examples: tuple[Any, ...], parts: int) -> Any:
    """`f(*examples)` -> arrays [B ..], where f sees [B/parts ..] of `examples` [B ..] at a time."""
    if parts == 1:
        return f(*examples)
    found = jax.lax.map(lambda k: f(*_part(examples, k, parts)), jnp.arange(parts))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), found)


def summed(
    f: Callable[[Any, Any, jax.Array], tuple[Any, Any]],
    carry: Any,
    examples: Any,
    key: jax.Array,
    parts: int,
) -> tuple[Any, Any]:
    """The sum of what f gives for each part.

    Args:
        f: `f(carry, examples, key) -> (arrays to be summed, carry)`.
        carry: what one part hands on to the next.
        examples: arrays [B ..].
        key: of the batch; of several parts, each gets one of its own.
        parts: their number, which divides B.

    Returns:
        (sums, the last carry).
    """
    if parts == 1:
        return f(carry, examples, key)

    def one(k: jax.Array, carry: Any) -> tuple[Any, Any]:
        return f(carry, _part(examples, k, parts), jax.random.fold_in(key, k))

    def add(held: tuple[Any, Any], k: jax.Array) -> tuple[tuple[Any, Any], None]:
        sums, carry = held
        new, carry = one(k, carry)
        return (jax.tree.map(jnp.add, sums, new), carry), None

    shapes, _ = jax.eval_shape(one, jnp.int32(0), carry)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    held, _ = jax.lax.scan(add, (nothing, carry), jnp.arange(parts))
    return held


def _part(tree: Any, k: jax.Array, parts: int) -> Any:
    def take(x: jax.Array) -> jax.Array:
        x = x.reshape(len(x) // parts, parts, *x.shape[1:])
        return jax.lax.dynamic_index_in_dim(x, k, axis=1, keepdims=False)

    return jax.tree.map(take, tree)
