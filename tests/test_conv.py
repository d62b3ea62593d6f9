"""`conv` and its own gradient rule against `lax.conv_general_dilated` and its derivative."""

import functools

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from brainjax.models import conv_cpu
from brainjax.models.conv import Conv, DepthwiseConv, UpConv, conv, explicit_padding
from brainjax.models.layers import (
    NORMS,
    BatchNorm,
    ConvNormAct,
    GroupNorm,
    Norm,
    max_pool,
    max_pool_3,
    resize,
)

AXES = {1: "W", 2: "HW", 3: "XYZ"}


def reference(x, kernel, strides, padding, dilation, groups=1):
    rank = kernel.ndim - 2
    axes = AXES[rank]
    strides, dilation = ((n,) * rank if isinstance(n, int) else n for n in (strides, dilation))
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=groups,
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
    ((13,), 3, 2, "SAME", 1),
    ((8, 7), 2, 3, "VALID", 1),  # which skips positions
    ((4, 5), 3, 1, ((3, 0), (0, 3)), 1),  # which sees nothing but padding
    ((12, 10), 7, 2, ((3, 3), (3, 3)), 1),
    ((2, 2), 3, 1, "SAME", 1),  # a kernel larger than the image: patches
    ((3, 2), 5, 2, "SAME", 1),
    ((4, 3), 3, 1, ((2, 2), (2, 2)), 3),
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


VOLUMES = [  # space, kernel, strides, padding, dilation
    ((8, 5, 6), (3, 3, 3), 1, "SAME", 1),
    ((9, 5, 6), (3, 3, 3), 1, "VALID", 1),
    ((2, 4, 5), (3, 3, 3), 1, "SAME", 1),  # fewer slices than taps
    ((8, 4, 6), (3, 3, 3), 2, "SAME", 1),
    ((9, 7, 5), (3, 3, 3), 2, ((1, 1),) * 3, 1),
    ((11, 6, 5), (4, 3, 3), (3, 2, 1), ((2, 1), (0, 1), (2, 2)), 1),
    ((9, 5, 5), (2, 2, 2), 2, "VALID", 1),  # a last slice that no output sees
    ((7, 6, 5), (1, 3, 3), (1, 2, 2), "SAME", 1),
    ((12, 6, 7), (5, 3, 2), 1, ((4, 0), (0, 2), (1, 1)), (1, 1, 3)),
    ((13, 7, 6), (3, 3, 3), 1, "SAME", (3, 2, 1)),
]


@pytest.mark.parametrize("slab_bytes", [1, 1 << 20], ids=["slabs", "whole"])
@pytest.mark.parametrize("space, size, strides, padding, dilation", VOLUMES)
def test_volumes_equal_xla(monkeypatch, slab_bytes, space, size, strides, padding, dilation):
    monkeypatch.setattr(conv_cpu, "_SLAB_BYTES", slab_bytes)
    x, kernel = arrays((2, *space, 3), (*size, 3, 4))
    options = {"strides": strides, "padding": padding, "dilation": dilation}

    @jax.jit
    def both(x, kernel):
        ours = forward_and_gradients(lambda x, k: conv(x, k, **options), x, kernel)
        xla = forward_and_gradients(lambda x, k: reference(x, k, **options), x, kernel)
        return ours, xla

    ours, xla = both(x, kernel)
    assert_close(ours, xla, 1e-5)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("space", [(16, 16), (8, 8, 8)])
def test_accelerators_get_xla_s_own_convolution_and_derivatives(space, strides):
    x, kernel = arrays((1, *space, 3), (3,) * len(space) + (3, 4))

    def windows(f, platform):
        """What each convolution of the program does, and the program."""
        step = jax.jit(lambda x, k: forward_and_gradients(f, x, k))
        text = jax.export.export(step, platforms=[platform])(x, kernel).mlir_module()
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return sorted(line.split("window = ")[1].split("}")[0] for line in lines), text

    plain = functools.partial(reference, strides=strides, padding="SAME", dilation=1)
    own = functools.partial(conv, strides=strides)
    for platform in ("cuda", "tpu"):
        ours, text = windows(own, platform)
        assert len(ours) == 3 and ours == windows(plain, platform)[0]
        assert "stablehlo.while" not in text and "stablehlo.dot" not in text
    assert (
        "stablehlo.dot" in windows(own, "cpu")[1]
    )  # where the kernel's gradient is made of matmuls


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
        jax.jit(lambda x: jax.jvp(lambda v: conv(v, kernel), (x,), (x,))).lower(x)


def test_wrong_channels_are_named():
    x, kernel = arrays((1, 4, 4, 2), (3, 3, 3, 2))
    with pytest.raises(ValueError, match="does not fit kernel"):
        conv(x, kernel)


def test_same_padding_is_tensorflows():
    assert explicit_padding("SAME", (8, 7), (3, 3), (2, 2), (1, 1)) == ((0, 1), (1, 1))
    assert explicit_padding("VALID", (8,), (3,), (1,), (1,)) == ((0, 0),)


def test_several_inputs_equal_their_concatenation():
    x, y, kernel, bias = arrays((2, 6, 5, 3), (2, 6, 5, 2), (3, 3, 5, 4), (4,))
    apply = jax.jit(lambda *x: Conv(4).apply({"params": {"kernel": kernel, "bias": bias}}, *x))
    assert_close(apply(x, y), apply(jnp.concatenate([x, y], -1)), 1e-5)


@pytest.mark.parametrize("slab_bytes", [1, 1 << 20], ids=["slabs", "whole"])
@pytest.mark.parametrize("space", [(4, 3), (2, 3, 2)])
def test_up_convolution_equals_xlas_transpose(monkeypatch, slab_bytes, space):
    monkeypatch.setattr(conv_cpu, "_SLAB_BYTES", slab_bytes)
    rank, axes = len(space), AXES[len(space)]
    x, kernel, bias = arrays((2, *space, 3), (2,) * rank + (3, 4), (4,))

    @jax.jit
    def both(x, kernel):
        transposed = lax.conv_transpose(
            x,
            jnp.flip(kernel, tuple(range(rank))),  # XLA's is the kernel of the forward convolution
            (2,) * rank,
            "VALID",
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            precision="highest",
        )
        ours = UpConv(4).apply({"params": {"kernel": kernel, "bias": bias}}, x)
        return ours, transposed + bias

    assert_close(*both(x, kernel), 1e-5)


@pytest.mark.parametrize(
    "space, size, strides, padding",
    [
        ((6, 7), 3, 1, "SAME"),
        ((8, 7), 5, 2, 2),
        ((8, 7), 3, 2, "SAME"),
        ((4, 5, 3), 3, 1, "SAME"),
        ((7,), 3, 2, "VALID"),
    ],
)
def test_depthwise_equals_xla_s_grouped_convolution(space, size, strides, padding):
    x, rank = arrays((2, *space, 5))[0], len(space)
    layer = DepthwiseConv(size, strides, padding)
    (kernel,) = arrays((*(size,) * rank, 1, 5))
    pads = padding if isinstance(padding, str) else ((padding, padding),) * rank
    axes = AXES[rank]

    def grouped(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (strides,) * rank,
            pads,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            feature_group_count=5,
            precision="highest",
        )

    def own(x, kernel):
        return layer.apply({"params": {"kernel": kernel}}, x)

    found, expected = (jax.jit(functools.partial(forward_and_gradients, f)) for f in (own, grouped))
    assert_close(found(x, kernel), expected(x, kernel), 1e-5)


def test_depthwise_is_xla_s_own_on_accelerators():
    layer, x = DepthwiseConv(3), jnp.zeros((1, 8, 8, 4))
    apply = jax.jit(lambda k, x: layer.apply({"params": {"kernel": k}}, x))
    for platform, convolves in (("cpu", False), ("cuda", True), ("tpu", True)):
        exported = jax.export.export(apply, platforms=[platform])(jnp.zeros((3, 3, 1, 4)), x)
        assert ("stablehlo.convolution" in exported.mlir_module()) == convolves, platform


def test_standardised_kernels_ignore_scale_and_offset():
    x, kernel = arrays((2, 5, 5, 3), (3, 3, 3, 4))
    module = Conv(4, standardize=True, use_bias=False)
    apply = jax.jit(lambda kernel: module.apply({"params": {"kernel": kernel}}, x))
    y = apply(kernel)
    assert_close(apply(5 * kernel + 2), y, 1e-3)
    assert float(np.std(y)) > 2  # 27 taps of unit variance, fewer at the border


@pytest.mark.parametrize("shape", [(2, 8, 4, 3), (2, 4, 2, 6, 3)])
def test_max_pools_equal_flax(shape):
    (x,) = arrays(shape)
    twos, threes, ones = ((n,) * (len(shape) - 2) for n in (2, 3, (1, 1)))

    @jax.jit
    def both(x):
        ours = max_pool(x), max_pool_3(x, 1), max_pool_3(x, "SAME")
        flax = (
            nn.max_pool(x, twos, twos),
            nn.max_pool(x, threes, twos, ones),
            nn.max_pool(x, threes, twos, "SAME"),
        )
        return ours, flax

    assert_close(*both(x), 0)


@pytest.mark.parametrize("pool", [max_pool, lambda x: max_pool_3(x, 1)])
def test_max_pool_gradient_is_shared_and_conserved(pool):
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 0, 0] = 1.0
    g = np.asarray(jax.jit(jax.grad(lambda x: pool(x).sum()))(x))
    assert g.sum() == pytest.approx(4.0)  # one for each of the 2 x 2 outputs
    assert g[0, 0, 0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (2, 3, 1, 4, 2)])
def test_doubling_equals_jax_s_linear_resize(shape):
    (x,) = arrays(shape)
    fine = (shape[0], *(2 * n for n in shape[1:-1]), shape[-1])

    def value_and_gradient(f):
        y, vjp = jax.vjp(f, x)
        return y, vjp(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    @jax.jit
    def both():
        ours = value_and_gradient(lambda x: resize(x, fine[1:-1]))
        theirs = value_and_gradient(lambda x: jax.image.resize(x, fine, "linear", antialias=False))
        return ours, theirs

    assert_close(*both(), 1e-5)


@pytest.mark.parametrize("groups", [0, 1, 2, 6])
def test_group_norm_equals_flax_s_with_its_gradients(groups):
    x, scale, bias = arrays((2, 4, 5, 3, 6), (6,), (6,))
    params = {"scale": scale, "bias": bias}

    def value_and_gradients(module):
        y, vjp = jax.vjp(lambda p, x: module.apply({"params": p}, x), params, 3 * x + 1)
        return y, vjp(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    theirs = nn.GroupNorm(num_groups=groups or x.shape[-1], epsilon=1e-5)
    both = jax.jit(lambda: (value_and_gradients(GroupNorm(groups)), value_and_gradients(theirs)))
    assert_close(*both(), 1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_flax_s_with_its_gradients_and_statistics(train):
    x, scale, bias, mean = arrays((2, 4, 5, 3, 6), (6,), (6,), (6,))
    statistics = {"mean": mean, "var": 1 + mean**2}
    params = {"scale": scale, "bias": bias}

    def everything(apply):
        def outputs(params, x):
            variables = {"params": params, "batch_stats": statistics}
            return apply(variables, x)

        y, vjp, moved = jax.vjp(outputs, params, 3 * x + 1, has_aux=True)
        return y, vjp(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)), moved

    theirs = nn.BatchNorm(momentum=0.9, use_running_average=not train)
    both = jax.jit(
        lambda: (
            everything(lambda v, x: BatchNorm().apply(v, x, train=train, mutable="batch_stats")),
            everything(lambda v, x: theirs.apply(v, x, mutable="batch_stats")),
        )
    )
    assert_close(*both(), 1e-5)


@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("train", [True, False])
def test_an_offset_is_as_good_as_added_before(kind, train):
    x, offset, scale, bias, mean = arrays((2, 4, 5, 8), (8,), (8,), (8,), (8,))
    norm = Norm(kind, groups=2)
    variables = {"params": {"norm": {"scale": scale, "bias": bias}}}
    if kind == "batch":
        variables["batch_stats"] = {"norm": {"mean": mean, "var": 1 + mean**2}}

    def everything(apart):
        def outputs(x, offset):
            x, rest = (x, offset) if apart else (x + offset, None)
            return norm.apply(variables, x, offset=rest, train=train, mutable="batch_stats")

        y, vjp, moved = jax.vjp(outputs, x, offset, has_aux=True)
        to_x, to_offset = vjp(jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))
        return (y, to_x, moved), to_offset

    (ours, one), (theirs, other) = jax.jit(lambda: (everything(True), everything(False)))()
    assert_close(ours, theirs, 1e-5)
    np.testing.assert_allclose(one, other, atol=1e-5)  # exactly 0 where it is only rounding there


def test_a_bias_without_effect_has_no_gradient():
    x, kernel, bias, ones = arrays((2, 6, 6, 3), (3, 3, 3, 4), (4,), (4,))
    params = {
        "conv": {"kernel": kernel, "bias": bias},
        "norm": {"norm": {"scale": ones, "bias": ones}},
    }
    block = ConvNormAct(4, norm="instance")
    loss = jax.jit(jax.grad(lambda p: block.apply({"params": p}, x, train=True).sum()))
    found = loss(params)
    assert not np.any(found["conv"]["bias"]) and np.any(found["conv"]["kernel"])
    with_bias = block.apply({"params": params}, x, train=True)
    params["conv"]["bias"] = bias + 1
    np.testing.assert_array_equal(block.apply({"params": params}, x, train=True), with_bias)
