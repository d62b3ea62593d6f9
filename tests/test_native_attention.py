"""The extension's attention against JAX's own, and where it is not taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_conv import arrays, assert_close

from brainjax import native
from brainjax.models.attend import attend


def forward_and_gradients(function, q, k, v):
    y, back = jax.vjp(function, q, k, v)
    return y, *back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


def is_native(*args):
    return "brainjax_attention" in jax.jit(attend).lower(*args).as_text()


@pytest.mark.parametrize(
    ("queries", "keys", "heads", "width"),
    [(64, 64, 2, 32), (70, 70, 3, 8), (1, 1, 1, 1), (130, 33, 2, 5), (5, 200, 1, 16)],
)
def test_equals_jax_forward_and_all_gradients(forced, queries, keys, heads, width):
    q, k, v = arrays(*((2, n, heads, width) for n in (queries, keys, keys)))
    found = jax.jit(lambda *a: forward_and_gradients(attend, *a))(q, k, v)
    wanted = jax.jit(lambda *a: forward_and_gradients(jax.nn.dot_product_attention, *a))(q, k, v)
    assert_close(found, wanted, 1e-5)
    assert is_native(q, k, v)


def test_scores_far_from_zero(forced):
    """One key has nearly all the weight; others underflow, and nothing is NaN."""
    q, k, v = arrays(*[(1, 40, 2, 16)] * 3)
    q, k = q * 10, k * 10
    found = forward_and_gradients(attend, q, k, v)
    wanted = forward_and_gradients(jax.nn.dot_product_attention, q, k, v)
    assert all(np.isfinite(a).all() for a in found)
    assert_close(found, wanted, 2e-3)  # scores of some hundreds are rounded to some 1e-5


def test_vmap_and_remat(forced):
    q, k, v = arrays(*[(3, 2, 20, 2, 8)] * 3)
    alone = jnp.stack([attend(*each) for each in zip(q, k, v, strict=True)])
    assert_close(jax.vmap(attend)(q, k, v), alone, 1e-6)

    def loss(q):
        return (jax.checkpoint(attend)(q, k[0], v[0]) ** 2).sum()

    wanted = jax.grad(lambda q: (attend(q, k[0], v[0]) ** 2).sum())(q[0])
    assert_close(jax.jit(jax.grad(loss))(q[0]), wanted, 1e-6)


def test_other_dtypes_and_accelerators_take_xla(forced):
    q, k, v = arrays(*[(1, 20, 2, 8)] * 3)
    assert not is_native(*(a.astype(jnp.bfloat16) for a in (q, k, v)))
    for platform in ("cuda", "tpu"):
        text = jax.jit(attend).trace(q, k, v).lower(lowering_platforms=(platform,)).as_text()
        assert "brainjax" not in text
    with native.switched_off():
        assert not is_native(q, k, v)


def test_the_handler_refuses_what_does_not_fit(forced):
    q, k = arrays((1, 20, 2, 8), (1, 20, 3, 8))
    like = tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in (q.shape, (1, 2, 20)))
    assert native.attends()
    with pytest.raises(jax.errors.JaxRuntimeError, match="attention"):
        jax.ffi.ffi_call("brainjax_attention", like)(q, k, k)
