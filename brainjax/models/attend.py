"""Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762, equation 1): JAX's own, and on a CPU block by block."""

import jax
import jax.numpy as jnp
from jax import lax, nn

from brainjax import native
from brainjax.native.attention import attention


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """softmax(q k^T / sqrt(D)) v of every head, the softmax in float32: [B N H D] three times -> [B N H D]."""
    ours = all(a.dtype == jnp.float32 and a.size for a in (q, k, v)) and native.attends()
    on_cpu = attention if ours else _by_head
    return lax.platform_dependent(q, k, v, cpu=on_cpu, default=nn.dot_product_attention)


def _by_head(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """The same, one head of one example after another.

    All their scores [B H N N] at once go to memory and back for every step of a softmax; one head's stay in the
    processor's cache, and are computed again in the backward pass rather than kept: half the time and no more memory
    than one head takes.
    """
    batch, tokens, heads, width = q.shape

    def one(arrays: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        q, k, v = arrays  # [N D]
        scores = jnp.dot(q, k.T, preferred_element_type=jnp.float32) * width**-0.5
        return jnp.dot(nn.softmax(scores).astype(v.dtype), v)

    def each(x: jax.Array) -> jax.Array:
        return x.swapaxes(1, 2).reshape(batch * heads, tokens, width)

    y = lax.map(jax.checkpoint(one), (each(q), each(k), each(v)))
    return y.reshape(batch, heads, tokens, width).swapaxes(1, 2)
