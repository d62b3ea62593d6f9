"""`conv` and its own gradient rule against `lax.conv_general_dilated` and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from brainjax.models.conv import Conv, UpConv, conv, explicit_padding
from brainjax.models.layers import max_pool, max_pool_3

AXES = {1: "W", 2: "HW", 3: "XYZ"}


def reference(x, kernel, strides, padding, dilation):
    rank = kernel.ndim - 2
    axes = AXES[rank]
    return lax.conv_general_dilated(
        x,
        kernel,
        (strides,) * rank,
        padding,
        rhs_dilation=(dilation,) * rank,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        precision="highest",
    )


def arrays(*shapes, dtype=np.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(s), dtype) for s in shapes]


def forward_and_gradients(f, x, kernel):
    """f(x, kernel), and both gradients of its product with a fixed cotangent."""
    y, vjp = jax.vjp(f, x, kernel)
    wave = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
    return y, *vjp(wave)


def assert_close(actual, expected, tolerance):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        a, e = np.asarray(a, np.float32), np.asarray(e, np.float32)
        np.testing.assert_allclose(a, e, atol=tolerance * np.abs(e).max(), rtol=0)


CASES = [  # space, kernel edge, strides, padding, dilation
    ((11,), 3, 1, "SAME", 2),
    ((6, 7), 3, 1, "SAME", 1),
    ((33, 34), 3, 1, "SAME", 1),  # more positions than one matmul over the batch takes
    ((8, 7), 4, 1, "VALID", 1),
    ((8, 7), 2, 1, ((0, 1), (2, 0)), 2),
    ((5, 6), 1, 1, "SAME", 1),
    ((5, 6), 1, 2, "SAME", 1),
    ((5, 6), 1, 1, ((1, 1), (0, 2)), 1),
    ((8, 7), 3, 2, "SAME", 1),
    ((12, 10), 7, 2, ((3, 3), (3, 3)), 1),
    ((4, 5, 6), 3, 1, "SAME", 1),
    ((4, 5, 6), 3, 2, "SAME", 1),
]


@pytest.mark.parametrize("space, size, strides, padding, dilation", CASES)
def test_equals_xla_forward_and_both_gradients(space, size, strides, padding, dilation):
    x, kernel = arrays((2, *space, 3), (size,) * len(space) + (3, 4))
    options = {"strides": strides, "padding": padding, "dilation": dilation}

    @jax.jit
    def both(x, kernel):
        ours = forward_and_gradients(lambda x, k: conv(x, k, **options), x, kernel)
        xla = forward_and_gradients(lambda x, k: reference(x, k, **options), x, kernel)
        return ours, xla

    ours, xla = both(x, kernel)
    assert_close(ours, xla, 1e-5)


def test_bfloat16_keeps_its_dtype_and_accuracy():
    x, kernel = arrays((2, 6, 6, 3), (3, 3, 3, 4))
    f = jax.jit(lambda x, k: forward_and_gradients(conv, x, k))
    low = f(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert all(a.dtype == jnp.bfloat16 for a in low)
    high = jax.tree.map(lambda a: a.astype(jnp.bfloat16), f(x, kernel))
    assert_close(low, high, 0.02)


def test_under_vmap_and_remat():
    x, kernel = arrays((3, 2, 5, 6, 3), (3, 3, 3, 4))

    @jax.jit
    def both(x, kernel):
        mapped = jax.vmap(jax.checkpoint(lambda x: forward_and_gradients(conv, x, kernel)))(x)
        single = [forward_and_gradients(conv, one, kernel) for one in x]
        return mapped, [jnp.stack(parts) for parts in zip(*single, strict=True)]

    mapped, looped = both(x, kernel)
    assert_close(mapped, looped, 1e-5)


def test_kernels_mapped_over_an_ensemble():
    x, kernels = arrays((2, 5, 6, 3), (2, 3, 3, 3, 4))
    mapped = jax.jit(jax.vmap(lambda k: forward_and_gradients(conv, x, k)))(kernels)
    one = jax.jit(lambda k: forward_and_gradients(conv, x, k))
    looped = [jnp.stack(parts) for parts in zip(*(one(k) for k in kernels), strict=True)]
    assert_close(mapped, looped, 1e-5)


def test_forward_mode_is_refused_at_stride_one():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 2, 2))
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.eval_shape(lambda x: jax.jvp(lambda v: conv(v, kernel), (x,), (x,)), x)


def test_wrong_channels_are_named():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 3, 2))
    with pytest.raises(ValueError, match="does not fit kernel"):
        conv(x, kernel)


def test_same_padding_is_tensorflows():
    assert explicit_padding("SAME", (8, 7), (3, 3), (2, 2), (1, 1)) == ((0, 1), (1, 1))
    assert explicit_padding("VALID", (8,), (3,), (1,), (1,)) == ((0, 0),)


def test_several_inputs_equal_their_concatenation():
    x, y = arrays((2, 6, 5, 3), (2, 6, 5, 2))
    module = Conv(4)
    variables = module.init(jax.random.key(0), jnp.concatenate([x, y], -1))
    joined = module.apply(variables, jnp.concatenate([x, y], -1))
    assert_close(module.apply(variables, x, y), joined, 1e-5)


@pytest.mark.parametrize("space", [(4, 3), (2, 3, 2)])
def test_up_convolution_equals_xlas_transpose(space):
    (x,) = arrays((2, *space, 3))
    rank, axes = len(space), AXES[len(space)]
    module = UpConv(4)
    variables = module.init(jax.random.key(0), x)
    expected = lax.conv_transpose(
        x,
        variables["params"]["kernel"],
        (2,) * rank,
        "VALID",
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        precision="highest",
    )
    # XLA's kernel is that of the forward convolution: mirrored.
    mirrored = jnp.flip(variables["params"]["kernel"], tuple(range(rank)))
    variables = {"params": {**variables["params"], "kernel": mirrored}}
    assert_close(module.apply(variables, x), expected, 1e-5)


def test_standardised_kernels_ignore_scale_and_offset():
    (x,) = arrays((2, 5, 5, 3))
    module = Conv(4, standardize=True, use_bias=False)
    variables = module.init(jax.random.key(0), x)
    other = jax.tree.map(lambda k: 5 * k + 2, variables)
    y = module.apply(variables, x)
    assert_close(module.apply(other, x), y, 1e-3)
    assert float(y.std()) > 1  # 27 taps of unit variance


@pytest.mark.parametrize("shape", [(2, 8, 4, 3), (2, 4, 2, 6, 3)])
def test_max_pools_equal_flax(shape):
    import flax.linen as nn

    (x,) = arrays(shape)
    rank = len(shape) - 2
    np.testing.assert_array_equal(max_pool(x), nn.max_pool(x, (2,) * rank, (2,) * rank))
    for ours, theirs in ((1, ((1, 1),) * rank), ("SAME", "SAME")):
        expected = nn.max_pool(x, (3,) * rank, (2,) * rank, theirs)
        np.testing.assert_array_equal(max_pool_3(x, ours), expected)


def test_max_pool_gradient_is_shared_and_conserved():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    for pool in (max_pool, lambda x: max_pool_3(x, 1)):
        g = jax.grad(lambda x, pool=pool: pool(x).sum())(x)
        assert float(g.sum()) == pytest.approx(4.0)  # one for each of the 2 x 2 outputs
        assert float(g[0, 0, 0, 0]) >= 1.0
