"""The native convolutions against `lax.conv_general_dilated`, under every transformation."""

import functools
import itertools
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_conv import arrays, assert_close, forward_and_gradients, reference
from tiny import ROOT, clean_environment

from brainjax import native
from brainjax.models import UNet
from brainjax.models.conv import Conv, Dense, DepthwiseConv, UpConv, conv
from brainjax.native import calls
from brainjax.types import ConfigError


def is_native(f, *args):
    return "brainjax_forward" in jax.jit(f).lower(*args).as_text()


SPACES = {1: (11,), 2: (9, 7), 3: (6, 5, 7)}


@pytest.mark.parametrize("rank", SPACES)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize(
    ("strides", "padding", "dilation"),
    [(1, "SAME", 1), (2, "SAME", 1), (1, "VALID", 1), (1, "SAME", 2), (2, "VALID", 2), (3, 2, 1)],
)
def test_equals_xla_forward_and_both_gradients(forced, rank, size, strides, padding, dilation):
    pads = [(padding, padding)] * rank if isinstance(padding, int) else padding
    x, kernel = arrays((2, *SPACES[rank], 3), ((size,) * rank + (3, 5)))
    how = {"strides": strides, "padding": pads, "dilation": dilation}
    found = jax.jit(lambda x, k: forward_and_gradients(lambda *a: conv(*a, **how), x, k))
    wanted = jax.jit(lambda x, k: forward_and_gradients(lambda *a: reference(*a, **how), x, k))
    assert_close(found(x, kernel), wanted(x, kernel), 1e-5)
    if size > 1:
        assert is_native(lambda *a: conv(*a, **how), x, kernel)


def test_wide_channels_and_uneven_options(forced):
    x, kernel = arrays((1, 8, 6, 4, 32), (3, 2, 1, 32, 48))
    how = {"strides": (2, 1, 1), "padding": ((1, 0), (0, 1), (0, 0)), "dilation": (1, 2, 1)}
    found = jax.jit(lambda *a: forward_and_gradients(lambda *b: conv(*b, **how), *a))(x, kernel)
    wanted = jax.jit(lambda *a: forward_and_gradients(lambda *b: reference(*b, **how), *a))(
        x, kernel
    )
    assert_close(found, wanted, 1e-5)


# Image or volume, kernel, padding: tiles that are cut, several slabs, kernels that a team of threads shares.
WINOGRAD = {
    "cut tiles": ((2, 21, 19, 16), (3, 3, 16, 32), "SAME"),
    "valid": ((3, 22, 18, 48), (3, 3, 48, 16), "VALID"),
    "uneven padding": ((2, 20, 20, 32), (3, 3, 32, 32), ((2, 0), (0, 1))),
    "padding beyond the kernel": ((2, 20, 20, 32), (3, 3, 32, 32), ((3, 4), (5, 3))),
    "slabs": ((3, 68, 64, 96), (3, 3, 96, 64), "SAME"),
    "team": ((2, 17, 16, 256), (3, 3, 256, 240), "SAME"),
    "volume": ((2, 9, 14, 16, 16), (3, 3, 3, 16, 16), "SAME"),
    "depth alone padded": ((2, 5, 14, 12, 32), (3, 3, 3, 32, 16), ((2, 1), (0, 0), (0, 0))),
    "flat kernel": ((1, 6, 13, 16, 16), (1, 3, 3, 16, 48), "SAME"),
    "even depth": ((1, 7, 15, 16, 16), (2, 3, 3, 16, 32), "SAME"),
    "slabs of a volume": ((1, 37, 24, 24, 64), (3, 3, 3, 64, 48), "SAME"),
    "team, volume": ((1, 6, 12, 12, 128), (3, 3, 3, 128, 208), "SAME"),
}


@pytest.mark.parametrize("case", WINOGRAD)
def test_winograds_algorithm_equals_xla(forced, case, monkeypatch):
    shape, size, padding = WINOGRAD[case]
    x, kernel = arrays(shape, size)

    def run(function):
        f = jax.jit(lambda *a: forward_and_gradients(function, *a))
        return f(x, kernel)

    found = run(lambda *a: conv(*a, padding=padding))
    assert_close(found, run(lambda *a: reference(*a, 1, padding, 1)), 3e-5)
    monkeypatch.setenv("BRAINJAX_WINOGRAD", "0")
    plain = run(lambda *a: conv(*a, padding=padding))
    assert_close(plain, found, 3e-5)
    for a, b in zip(found, plain, strict=True):
        assert not np.array_equal(a, b), "both took the same path"


def test_winograds_algorithm_loses_little_to_rounding(forced):
    """Against float64: some 1e-5 of the spread, as its own documentation says."""
    x, kernel = arrays((2, 32, 32, 64), (3, 3, 64, 64))
    found = jax.jit(lambda *a: forward_and_gradients(conv, *a))(x, kernel)
    with jax.enable_x64(True):
        exact = [jnp.asarray(np.array(a), jnp.float64) for a in (x, kernel)]
        wanted = forward_and_gradients(lambda *a: reference(*a, 1, "SAME", 1), *exact)
    for a, b in zip(found, wanted, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b)
        assert np.abs(a - b).max() < 3e-5 * b.std()
        assert np.sqrt(np.mean((a - b) ** 2)) < 5e-6 * b.std()


# Image, kernel, stride, padding: what `depthwise.h` does, in one strip or several, and what is left to oneDNN.
DEPTHWISE = {
    "three taps": ((2, 9, 8, 32), 3, 1, "SAME"),
    "five": ((2, 9, 8, 32), 5, 1, "SAME"),
    "five, odd and cut": ((3, 7, 11, 16), 5, 1, "VALID"),
    "five, stride 2": ((2, 10, 9, 48), 5, 2, "SAME"),
    "five, stride 3": ((2, 10, 9, 16), 5, 3, 2),
    "seven beyond the image": ((2, 4, 5, 16), 7, 1, 6),
    "seven, strips": ((1, 40, 70, 32), 7, 2, "SAME"),
    "padding of twice the image": ((1, 3, 2, 16), 5, 1, 7),
    "odd channels": ((2, 9, 8, 20), 5, 1, "SAME"),
    "volume": ((1, 6, 7, 5, 16), 5, 1, "SAME"),
}


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise_convolutions_equal_xla(forced, case):
    shape, size, strides, padding = DEPTHWISE[case]
    x, kernel = arrays(shape, (*(size,) * (len(shape) - 2), 1, shape[-1]))
    module = DepthwiseConv(size, strides, padding)
    pads = [(padding, padding)] * (len(shape) - 2) if isinstance(padding, int) else padding
    how = {"strides": strides, "padding": pads, "dilation": 1, "groups": shape[-1]}

    def ours(x, kernel):
        return module.apply({"params": {"kernel": kernel}}, x)

    assert is_native(ours, x, kernel)
    found, wanted = (
        jax.jit(functools.partial(forward_and_gradients, f))(x, kernel)
        for f in (ours, functools.partial(reference, **how))
    )
    assert_close(found, wanted, 1e-5)


def test_an_unknown_wish_for_winograds_algorithm_is_named(forced, monkeypatch):
    monkeypatch.setenv("BRAINJAX_WINOGRAD", "on")
    with pytest.raises(ConfigError, match="BRAINJAX_WINOGRAD=on"):
        conv(*arrays((1, 6, 6, 2), (3, 3, 2, 2)))


# Image, kernel, options: of every rank, with strides, holes, uneven padding and a kernel for each channel.
HALVES = {
    "volume": ((2, 6, 6, 6, 8), (3, 3, 3, 8, 8), {}),
    "strided volume": ((1, 7, 6, 8, 16), (2, 3, 3, 16, 32), {"strides": (2, 1, 2)}),
    "image": ((2, 9, 8, 16), (3, 3, 16, 24), {"padding": ((1, 0), (0, 2))}),
    "odd channels": ((2, 9, 8, 3), (3, 3, 3, 5), {}),
    "dilated image": ((1, 12, 9, 16), (3, 3, 16, 16), {"dilation": 2, "padding": "VALID"}),
    "pointwise": ((2, 5, 6, 8), (1, 1, 8, 12), {}),
    "signal": ((2, 21, 8), (3, 8, 16), {"strides": 3}),
    "depthwise": ((2, 9, 8, 32), (5, 5, 1, 32), {"strides": 2}),
}


@pytest.mark.parametrize("case", HALVES)
def test_bfloat16(forced, case):
    if not native.halves():
        pytest.skip("oneDNN has no convolutions of bfloat16 for this processor")
    shape, size, how = HALVES[case]
    x, kernel = arrays(shape, size, dtype=jnp.bfloat16)
    module = DepthwiseConv(size[0], how.get("strides", 1), "SAME", dtype="bfloat16")

    def ours(x, kernel):
        if size[-2] == 1:
            return module.apply({"params": {"kernel": kernel}}, x)
        return conv(x, kernel, **how)

    assert is_native(ours, x, kernel)
    found = jax.jit(functools.partial(forward_and_gradients, ours))(x, kernel)
    exact = [a.astype(jnp.float32) for a in (x, kernel)]
    plain = {"strides": 1, "padding": "SAME", "dilation": 1, **how}
    plain["groups"] = shape[-1] if size[-2] == 1 else 1
    same = functools.partial(reference, **plain)
    wanted = jax.jit(functools.partial(forward_and_gradients, same))(*exact)
    assert all(a.dtype == jnp.bfloat16 for a in found)
    assert_close([a.astype(jnp.float32) for a in found], wanted, 2e-2)


def test_bfloat16_takes_the_portable_path_where_the_processor_has_none(extension):
    text = (
        "import jax, jax.numpy as jnp; from brainjax import native; from brainjax.models.conv import conv\n"
        "x, k = (jnp.ones(s, jnp.bfloat16) for s in ((1, 6, 6, 2), (3, 3, 2, 2)))\n"
        "f = lambda x, k: conv(x, k).sum()\n"
        "print(native.ready(), native.halves(), jax.grad(f, 1)(x, k)[1, 1, 0, 0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=clean_environment() | {"ONEDNN_MAX_CPU_ISA": "AVX2", "BRAINJAX_NATIVE": "1"},
    )
    assert done.stdout == "True False 36\n", done.stderr


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int32])
def test_other_dtypes_take_the_portable_path(forced, dtype):
    x, kernel = (jnp.ones(s, dtype) for s in ((1, 5, 5, 2), (3, 3, 2, 2)))
    assert not is_native(conv, x, kernel)
    assert conv(x, kernel).dtype == dtype


def test_vmap_scan_and_remat(forced):
    x, kernel = arrays((3, 2, 6, 6, 2), (3, 3, 3, 2, 4))  # three kernels, three batches

    def loss(x, k):
        return (conv(x, k) ** 2).sum()

    alone = [jax.jit(jax.grad(loss, 1))(*pair) for pair in zip(x, kernel, strict=True)]
    assert_close(jax.jit(jax.vmap(jax.grad(loss, 1)))(x, kernel), jnp.stack(alone), 1e-6)
    one = jax.grad(loss, 1)
    _, scanned = jax.jit(lambda *a: jax.lax.scan(lambda c, pair: (c, one(*pair)), 0, a))(x, kernel)
    assert_close(scanned, jnp.stack(alone), 1e-6)
    assert_close(jax.jit(jax.grad(jax.checkpoint(loss), 1))(x[0], kernel[0]), alone[0], 1e-6)


def test_pmap(forced):
    x, kernel = arrays((4, 2, 6, 6, 2), (3, 3, 2, 4))
    found = jax.pmap(conv, in_axes=(0, None))(x, kernel)
    assert_close(found, jnp.stack([conv(part, kernel) for part in x]), 1e-6)


def test_a_network_gives_what_it_gives_without(forced, monkeypatch):
    model = UNet(num_classes=2, features=(4, 8), norm="instance")
    x = jax.random.normal(jax.random.key(1), (1, 8, 8, 8, 2))
    variables = jax.jit(lambda key: model.init(key, x, train=False))(jax.random.key(0))

    def run():
        def loss(v):
            return (model.apply(v, x, train=False) ** 2).sum()

        return jax.jit(jax.value_and_grad(loss))(variables)

    found = run()
    monkeypatch.setenv("BRAINJAX_NATIVE", "0")
    wanted = run()
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(wanted[1]))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_never_see_it(forced, platform):
    x, kernel = arrays((1, 6, 6, 6, 2), (3, 3, 3, 2, 2))

    @jax.jit
    def gradients(x, k):
        return forward_and_gradients(conv, x, k)

    text = gradients.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert "brainjax" not in text
    assert text.count("stablehlo.convolution") == 3


def test_switched_off_is_part_of_every_trace(forced):
    x, kernel = arrays((1, 6, 6, 2), (3, 3, 2, 2))
    assert is_native(conv, x, kernel)
    with native.switched_off():
        assert not is_native(conv, x, kernel)
    assert is_native(conv, x, kernel)


def test_several_devices_take_the_portable_path_by_themselves(extension, monkeypatch):
    monkeypatch.delenv("BRAINJAX_NATIVE", raising=False)
    assert jax.device_count() == 8 and not native.ready()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, k, g, h: calls.forward(x[..., :1], k, **h), "does not fit kernel"),
        (lambda x, k, g, h: calls.forward(x[:, :1], k, **h), "does not fit into"),
        (lambda x, k, g, h: calls.forward(x[None, None, None], k, **h), "spatial axes"),
        (lambda x, k, g, h: calls.input_gradient(g, k, (9, 9), **h), "gradient"),
        (lambda x, k, g, h: calls.kernel_gradient(x, g[:, :1], (3, 3), **h), "gradient"),
    ],
)
def test_shapes_that_do_not_fit_are_errors_of_python(extension, call, message):
    x, kernel, g = arrays((1, 6, 6, 2), (3, 3, 2, 4), (1, 4, 4, 4))
    with pytest.raises(ValueError, match=message):
        call(x, kernel, g, {"strides": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1)})


@pytest.mark.parametrize("change", ["dtype", "options", "rank", "channels"])
def test_the_handler_itself_refuses_what_python_let_through(extension, change):
    x, kernel = arrays((1, 6, 6, 2), (3, 3, 2, 4))
    options = {k: np.ones(2, np.int64) for k in ("strides", "low", "high", "dilation")}
    options["winograd"] = np.int64(1)
    if change == "dtype":
        kernel = kernel.astype(jnp.bfloat16)
    elif change == "options":
        options["low"] = np.ones(1, np.int64)
    elif change == "rank":
        kernel = kernel[0]
    else:
        kernel = kernel[:, :, :1]
    out = jax.ShapeDtypeStruct((1, 6, 6, 4), jnp.float32)
    with pytest.raises(jax.errors.JaxRuntimeError, match="convolution"):
        jax.ffi.ffi_call("brainjax_forward", out)(x, kernel, **options)


SCRIPT = """
import json, jax, jax.numpy as jnp
from brainjax.models.conv import conv
f = jax.jit(lambda x, k: conv(x, k).sum())
x, k = jnp.ones((1, 6, 6, 6, 2)), jnp.ones((3, 3, 3, 2, 4))
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(json.dumps({"sum": float(f(x, k)), "text": "brainjax_forward" in f.lower(x, k).as_text(),
    "hits": hits.count("/jax/compilation_cache/cache_hits")}))
"""


def test_a_fresh_process_uses_it_and_its_compiled_programs(extension, tmp_path):
    environment = clean_environment() | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment.pop("BRAINJAX_NATIVE", None)
    first, second = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", SCRIPT],
                capture_output=True,
                text=True,
                check=True,
                cwd=ROOT,
                env=environment,
            ).stdout.splitlines()[-1]
        )
        for _ in range(2)
    )
    assert first["text"] and first["sum"] == second["sum"]
    assert second["hits"] > first["hits"]


def test_modules_convolve_several_inputs(forced):
    x, y = arrays((1, 6, 6, 2), (1, 6, 6, 3))
    module = Conv(4)
    variables = module.init(jax.random.key(0), x, y)
    both = jnp.concatenate([x, y], -1)
    assert_close(module.apply(variables, x, y), module.apply(variables, both), 1e-6)


@pytest.mark.parametrize(
    ("space", "factor"), [((5, 6), 2), ((3, 4, 2), 2), ((4, 3), (2, 1)), ((3, 2, 2), (1, 2, 3))]
)
def test_transposed_convolutions_of_blocks(forced, monkeypatch, space, factor):
    (x,) = arrays((2, *space, 3))
    module = UpConv(4, factor)
    variables = module.init(jax.random.key(0), x)

    def run():
        loss = jax.value_and_grad(lambda v, x: (jnp.sin(module.apply(v, x))).sum(), (0, 1))
        return jax.jit(loss)(variables, x), jax.jit(module.apply)(variables, x)

    found = run()
    assert "brainjax_input_gradient" in jax.jit(module.apply).lower(variables, x).as_text()
    monkeypatch.setenv("BRAINJAX_NATIVE", "0")
    assert_close(found, run(), 1e-5)


def test_dense_layers_are_products_of_it(forced):
    (x,) = arrays((2, 7, 6))
    ours, theirs = Dense(5, name="dense"), nn.Dense(5, name="dense")
    variables = theirs.init(jax.random.key(0), x)

    def run(module):
        return jax.value_and_grad(lambda v, x: (module.apply(v, x) ** 2).sum(), (0, 1))(
            variables, x
        )

    assert_close(run(ours), run(theirs), 1e-5)
    assert is_native(lambda x: ours.apply(variables, x), x)
    assert not is_native(lambda x: ours.apply(variables, x), x[0])  # [B C]: a product of XLA's


def test_every_rank_and_stride_leaves_its_inputs_alone(forced):
    for rank, stride in itertools.product(SPACES, (1, 2)):
        x, kernel = arrays((1, *SPACES[rank], 3), ((3,) * rank + (3, 4)))
        before = np.array(x), np.array(kernel)
        jax.block_until_ready(conv(x, kernel, strides=stride))
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(kernel, before[1])
