"""Attention head by head, as CPUs do it, equals JAX's own; elsewhere it is JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.models.attend import attend


def arrays(dtype="float32"):
    keys = jax.random.split(jax.random.key(0), 4)
    return [2 * jax.random.normal(k, (2, 10, 3, 8)).astype(dtype) for k in keys]


def test_values_and_gradients_are_those_of_jax():
    *inputs, g = arrays()

    def found(function):
        y, vjp = jax.vjp(function, *inputs)
        return y, vjp(g)

    ours, theirs = jax.jit(lambda: (found(attend), found(jax.nn.dot_product_attention)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


def test_scores_are_float32_in_half_precision_too():
    *inputs, _ = arrays("bfloat16")
    exact = jax.nn.dot_product_attention(*(x.astype(jnp.float32) for x in inputs))
    y = jax.jit(attend)(*inputs)
    assert y.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: what remains is the rounding of the weights and of the result.
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_elsewhere_nothing_goes_head_by_head(platform):
    text = jax.jit(attend).trace(*arrays()[:3]).lower(lowering_platforms=(platform,)).as_text()
    assert "while" not in text
    assert "while" in jax.jit(attend).lower(*arrays()[:3]).as_text()
