"""Every network of `brainjax.models`: shapes, gradients, dtypes, memory option, errors.

A new network needs one line in `TINY`; the tests are parametrised over `__all__`.
"""

import functools
import math

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from brainjax import models
from brainjax.models import ResNet, ResNetUNet, TransUNet, UNet, ViT, residual_unet
from brainjax.models.attention import AttentionGate
from brainjax.models.layers import NORMS, Norm
from brainjax.models.resnet import ResNetEncoder
from brainjax.models.vit import SelfAttention, Transformer
from brainjax.types import ConfigError

TINY = {
    "EfficientNet": {"width": 0.05, "depth": 0.1, "drop_path": 0.0, "dropout": 0.0},
    "MobileNetV2": {"width": 0.4, "depth": 0.1, "dropout": 0.0},
    "ResNet": {"stages": (1, 1), "width": 4},
    "ResNetUNet": {"stages": (1,), "width": 4, "features": (2, 4), "convs": 1, "attention": True},
    "ResidualEncoderUNet": {"features": (2, 4), "blocks": (1, 1), "strides": (1, 2)},
    "ResidualUNet": {"features": (2, 4), "dropout": 0.0},
    "TransUNet": {"features": (2, 4), "width": 8, "depth": 1, "heads": 2, "patch": 2},
    "UNet": {"features": (2, 4), "up_convs": 1},
    "VGG": {"convs": (1, 1), "width": 2},
    "ViT": {"width": 8, "depth": 1, "heads": 2, "patch": 4},
    "VolumeClassifier": {"width": 4, "blocks": (1, 1)},
}
SIZE, CHANNELS, CLASSES = 16, 3, 2
SEGMENTERS = ("ResNetUNet", "ResidualEncoderUNet", "ResidualUNet", "TransUNet", "UNet")
everything = pytest.mark.parametrize("name", models.__all__)


def tiny(name, **fields):
    return models.get(name)(num_classes=CLASSES, **{**TINY[name], **fields})


def image(rank=2, size=SIZE):
    return jax.ShapeDtypeStruct((2, *(size,) * rank, CHANNELS), jnp.float32)


def shapes(model, x, **kwargs):
    """Shapes of (logits, variables), without running anything."""
    return jax.eval_shape(
        lambda k, x: model.init_with_output(k, x, train=False, **kwargs), jax.random.key(0), x
    )


def filled(model, x):
    """Variables filled from a fixed generator: no compilation, unlike `init`."""
    rng = np.random.default_rng(0)

    def leaf(path, s):
        last = path[-1]
        if last in ("scale", "var"):
            return np.ones(s.shape, np.float32)
        if last in ("mean", "bias"):
            return np.zeros(s.shape, np.float32)
        fan = math.prod(s.shape[:-1])
        return rng.normal(0, fan**-0.5, s.shape).astype(np.float32)

    flat = flax.traverse_util.flatten_dict(shapes(model, x)[1])
    return flax.traverse_util.unflatten_dict({p: leaf(p, s) for p, s in flat.items()})


def pixels(x):
    return np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)


@functools.cache
def training_step(name, remat=False):
    """(logits, new batch statistics or None, gradients) of a tiny model at train=True."""
    model, x = tiny(name, remat=remat), image()
    variables = filled(model, x)

    def loss(params, x):
        out, new = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return (out**2).mean() + out.sum() / out.size, (out, new.get("batch_stats"))

    grads, (out, stats) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], pixels(x))
    return variables, out, stats, grads


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def test_all_is_sorted_and_lists_modules_only():
    assert list(models.__all__) == sorted(models.__all__)
    assert all(issubclass(models.get(name), nn.Module) for name in models.__all__)


def test_unknown_model_names_the_nearest_and_lists_all():
    with pytest.raises(
        ConfigError,
        match="'UNet'.*EfficientNet, MobileNetV2, ResNet, ResNetUNet, ResidualEncoderUNet, ResidualUNet, ",
    ):
        models.get("u-net")


@everything
@pytest.mark.parametrize("rank", [2, 3])
def test_logits_shape_follows_the_input(name, rank):
    x = image(rank)
    logits, variables = shapes(tiny(name), x)
    spatial = x.shape[1:-1] if name in SEGMENTERS else ()
    assert logits.shape == (2, *spatial, CLASSES)
    assert logits.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@everything
def test_training_step_is_finite_and_reaches_every_parameter(name):
    _, out, _, grads = training_step(name)
    assert finite(out) and finite(grads)
    flat = flax.traverse_util.flatten_dict(grads)

    def cancelled(path):
        """The bias of a convolution whose result is normalised, by the batch or by itself."""
        norm = path[-2].replace("conv", "norm")
        return (
            path[-1] == "bias" and norm != path[-2] and (*path[:-2], norm, "norm", "scale") in flat
        )

    still = [
        "/".join(path)
        for path, g in flat.items()
        if not float(jnp.abs(g).max()) > 0 and not cancelled(path)
    ]
    assert not still


@everything
def test_training_updates_moving_statistics(name):
    variables, _, stats, _ = training_step(name)
    if "batch_stats" not in variables:
        pytest.skip("no batch norm in this network")
    before = jax.tree.leaves(variables["batch_stats"])
    after = jax.tree.leaves(stats)
    assert len(before) == len(after)
    assert all(float(jnp.abs(a - b).max()) > 0 for a, b in zip(after, before, strict=True))


@everything
def test_remat_gives_the_same_parameters_and_gradients(name):
    _, out, _, grads = training_step(name)
    _, out_remat, _, grads_remat = training_step(name, remat=True)
    np.testing.assert_allclose(out, out_remat, atol=1e-4)
    assert jax.tree.structure(grads) == jax.tree.structure(grads_remat)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads))
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_remat), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * scale)


@everything
def test_bfloat16_computes_close_to_float32(name):
    x = image()
    variables = filled(tiny(name), x)
    low = tiny(name, dtype="bfloat16")
    logits, stored = shapes(low, x)
    assert logits.dtype == jnp.float32
    assert jax.tree.map(lambda s: (s.shape, s.dtype), stored) == jax.tree.map(
        lambda v: (v.shape, v.dtype), variables
    )
    both = jax.jit(
        lambda v, x: (
            tiny(name).apply(v, x, train=False),
            low.apply(v, x, train=False),
        )
    )
    high, low = both(variables, pixels(x))
    error = float(jnp.abs(high - low).max())
    assert 0 < error < 0.1 * float(jnp.abs(high).max())


STRIDED = ("EfficientNet", "MobileNetV2", "ResNet")  # which take any size


@pytest.mark.parametrize("name", [n for n in models.__all__ if n not in STRIDED])
def test_sizes_that_do_not_divide_are_refused_with_the_fix(name):
    with pytest.raises(ConfigError, match="must divide by .* resize or pad to"):
        shapes(tiny(name), image(size=SIZE + 2 if name == "ViT" else SIZE + 1))


def test_an_efficientnet_of_no_or_eight_stages_is_refused():
    for stages in (0, 8):
        with pytest.raises(ConfigError, match=f"1 to 7 stages, got {stages}"):
            shapes(models.EfficientNet(stages=stages), image())


@everything
def test_dropout_needs_its_key_in_training_only(name):
    if "dropout" not in models.get(name).__dataclass_fields__:
        pytest.skip("no dropout in this network")
    model, x = tiny(name, dropout=0.5), image()
    variables = shapes(model, x)[1]  # evaluation needs none

    def train(variables, x, **rngs):
        return model.apply(variables, x, train=True, mutable=["batch_stats"], **rngs)[0]

    with pytest.raises(flax.errors.InvalidRngError):
        jax.eval_shape(train, variables, x)
    key = {"dropout": jax.random.key(0)}
    assert jax.eval_shape(lambda v, x: train(v, x, rngs=key), variables, x).shape[0] == 2


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("UNet", {"convs": (2, 2, 2)}, "one per floor"),
        ("UNet", {"upsample": "bilinear"}, "transpose, transpose_only, resize, linear"),
        ("UNet", {"norm": "layer"}, "batch, instance, group, none"),
        ("UNet", {"activation": "tanh"}, "leaky_relu"),
        ("ResNet", {"variant": "v2"}, "v1.5, v1, hybrid"),
        ("VGG", {"head": "deep"}, "linear, advanced, dense"),
        ("MobileNetV2", {"variant": "tensorflow"}, "torchvision, keras|keras, torchvision"),
        ("ResNetUNet", {"features": (4, 4, 4)}, "2 numbers"),
        ("ResNetUNet", {"upsample": "bilinear"}, "transpose, transpose_only, resize, linear"),
        ("ResidualUNet", {"variant": "third"}, "first, second"),
        ("ResidualEncoderUNet", {"blocks": (1,)}, "must be 2 entries"),
        ("ResidualEncoderUNet", {"strides": (2, 2)}, "must be 1"),
        ("ResidualEncoderUNet", {"kernels": (3, (1, 3, 3))}, "must be 2 numbers"),
        ("ResidualEncoderUNet", {"deep_supervision": 2}, "choose 0 to 1"),
        ("TransUNet", {"encoder": "vgg"}, "conv, resnet"),
        ("TransUNet", {"decoder": (8, 4, 2)}, "must be 2 numbers"),
        ("TransUNet", {"heads": 3}, "divide by heads"),
    ],
)
def test_impossible_fields_are_refused_with_the_fix(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        shapes(tiny(name, **fields), image())


@pytest.mark.parametrize(
    "name, fields",
    [
        ("UNet", {"upsample": "resize", "attention": True}),
        ("UNet", {"upsample": "linear", "norm": "instance"}),
        ("UNet", {"upsample": "transpose_only", "norm": "none"}),
        ("ResidualUNet", {"variant": "first"}),
        ("ResidualEncoderUNet", {"strides": (1, (1, 2, 2)), "kernels": ((1, 3, 3), 3)}),
        ("ResidualEncoderUNet", {"deep_supervision": 1, "norm": "batch"}),
        ("ResNetUNet", {"full_skip": False, "variant": "hybrid"}),
        ("TransUNet", {"encoder": "resnet", "stages": (1,), "stem": 4, "decoder": (8, 4, 2)}),
        ("TransUNet", {"norm": "none", "activation": "gelu"}),
        ("ViT", {"class_token": False}),
    ],
)
def test_variants_keep_the_shape(name, fields):
    # 3D: what holds there holds in 2D.
    expected = shapes(tiny(name), image(3))[0]
    assert shapes(tiny(name, **fields), image(3))[0] == expected


def test_attention_field_adds_gates_and_nothing_else():
    plain = shapes(UNet(features=(2, 4, 8)), image())[1]["params"]
    gated = shapes(UNet(features=(2, 4, 8), attention=True), image())[1]["params"]
    assert set(gated) - set(plain) == {"gate0", "gate1"}
    assert {k: v for k, v in gated.items() if k in plain} == plain


def test_deep_supervision_answers_at_several_resolutions_in_training_only():
    fields = {"features": (2, 4, 4), "blocks": (1, 1, 1), "strides": (1, 2, (2, 2, 1))}
    model = models.ResidualEncoderUNet(**fields, deep_supervision=2)
    x = image(3, size=8)
    logits, variables = shapes(model, x)
    assert logits.shape == (2, 8, 8, 8, 1)

    def train(variables, x):
        return model.apply(variables, x, train=True)

    levels = jax.eval_shape(train, variables, x)
    assert [level.shape for level in levels] == [(2, 8, 8, 8, 1), (2, 4, 4, 4, 1)]


def test_the_versions_of_the_residual_network_differ_by_a_convolution_and_dropout():
    first, second = (
        shapes(tiny("ResidualUNet", variant=v), image(3))[1]["params"]["up0"]
        for v in ("first", "second")
    )
    assert set(second) - set(first) == {"conv3"} and set(first) <= set(second)
    assert set(first) == {"conv1", "conv2", "norm1_0", "norm1_1", "norm2", "norm3", "shortcut"}


def test_residual_block_normalises_its_inputs_as_their_concatenation():
    block = residual_unet._Block(4, "second", 0.0, 0.2, "instance", "float32", None)
    a, b = (pixels(image())[..., :c] for c in (1, 3))
    whole = np.concatenate([a, b], -1)
    params = jax.tree.map(
        lambda s: np.random.default_rng(3).standard_normal(s.shape).astype(np.float32),
        jax.eval_shape(lambda: block.init(jax.random.key(0), whole, train=False)),
    )["params"]
    norm = params["norm1_0"]["norm"]
    split = {
        **{k: v for k, v in params.items() if k != "norm1_0"},
        "norm1_0": {"norm": {k: v[:1] for k, v in norm.items()}},
        "norm1_1": {"norm": {k: v[1:] for k, v in norm.items()}},
    }
    apply = jax.jit(lambda p, *x: block.apply({"params": p}, *x, train=False))
    np.testing.assert_allclose(apply(split, a, b), apply(params, whole), atol=1e-3)


def test_encoder_pyramid_halves_and_doubles():
    encoder = ResNetEncoder(stages=(1, 1, 1, 1), width=4)
    pyramid, variables = shapes(encoder, image(size=64))
    assert [p.shape[1] for p in pyramid] == [32, 16, 8, 4, 2]
    assert [p.shape[-1] for p in pyramid] == [4, 16, 32, 64, 128]
    names = {"stem_conv", "stem_norm", *(f"stage{i}_block1" for i in (1, 2, 3, 4))}
    assert set(variables["params"]) == names
    block = {f"{kind}{i}" for kind in ("conv", "norm") for i in (1, 2, 3)}
    assert set(variables["params"]["stage1_block1"]) == block | {"proj_conv", "proj_norm"}


def test_a_network_for_one_size_runs_at_another():
    model = TransUNet(**TINY["TransUNet"])
    variables = filled(model, image())
    position = variables["params"]["transformer"]["position"]
    assert position.shape == (4, 4, 8)  # 16 pixels, stride 2, tokens of 2
    larger = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image(size=32))
    assert larger.shape == (2, 32, 32, 1)


def test_positions_are_interpolated_to_the_grid_at_hand():
    model = Transformer(width=2, depth=0, heads=1, patch=1)
    kernel = {"kernel": jnp.zeros((1, 1, 1, 2)), "bias": jnp.zeros(2)}
    norm = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    # The norm of (a, 0) is the sign of a: the boundary between the halves shows where a position went.
    position = jnp.zeros((4, 1, 2)).at[..., 0].set(jnp.array([[-1.0], [-1.0], [1.0], [1.0]]))
    params = {"patches": kernel, "norm": norm, "position": position}
    out, token = jax.jit(lambda p, x: model.apply({"params": p}, x, train=False))(
        params, jnp.zeros((1, 8, 3, 1))
    )
    assert token is None
    signs = np.sign(np.asarray(out[0, :, :, 0]))
    np.testing.assert_array_equal(signs, np.repeat([[-1.0], [1.0]], 4, axis=0) * np.ones((8, 3)))


def test_self_attention_equals_flax():
    x = pixels(jax.ShapeDtypeStruct((2, 5, 8), jnp.float32))
    ours, theirs = SelfAttention(heads=2), nn.MultiHeadDotProductAttention(num_heads=2)
    rng = np.random.default_rng(2)
    kernel, out = rng.standard_normal((8, 24)), rng.standard_normal((8, 8))
    bias = rng.standard_normal(24)
    params = {
        "qkv": {"kernel": kernel, "bias": bias},
        "out": {"kernel": out, "bias": np.zeros(8)},
    }
    split = {
        name: {
            "kernel": kernel[:, 8 * i : 8 * i + 8].reshape(8, 2, 4),
            "bias": bias[8 * i : 8 * i + 8].reshape(2, 4),
        }
        for i, name in enumerate(("query", "key", "value"))
    }
    split["out"] = {"kernel": out.reshape(2, 4, 8), "bias": np.zeros(8)}
    actual, expected = jax.jit(
        lambda a, b: (ours.apply({"params": a}, x), theirs.apply({"params": b}, x))
    )(params, split)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_attention_gate_opens_and_closes():
    gate = AttentionGate(4, norm="none")
    skip, coarse = image(size=8), image(size=4)
    variables = jax.eval_shape(
        lambda s, g: gate.init(jax.random.key(0), s, g, train=False), skip, coarse
    )
    zeros = jax.tree.map(lambda s: np.zeros(s.shape, np.float32), variables)["params"]
    zeros["out"]["kernel"] = np.eye(CHANNELS, dtype=np.float32)[None, None]
    x, g = pixels(skip), pixels(coarse)
    apply = jax.jit(lambda p: gate.apply({"params": p}, x, g, train=False))
    for bias, expected in ((40.0, x), (0.0, x / 2), (-40.0, 0 * x)):
        params = {**zeros, "psi": {**zeros["psi"], "bias": np.full(1, bias, np.float32)}}
        np.testing.assert_allclose(apply(params), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [k for k in NORMS if k != "none"])
def test_norms_centre_and_scale_over_their_axes(kind):
    x = 3 + 2 * pixels(jax.ShapeDtypeStruct((4, 6, 6, 16), jnp.float32))
    variables = filled(Norm(kind), jax.ShapeDtypeStruct(x.shape, jnp.float32))
    apply = jax.jit(lambda v: Norm(kind).apply(v, x, train=True, mutable=["batch_stats"])[0])
    y = np.asarray(apply(variables))
    if kind == "group":
        y = y.reshape(4, 36, 8, 2)
    axes = {"batch": (0, 1, 2), "instance": (1, 2), "group": (1, 3)}[kind]
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-3)


def test_runs_in_nnx():
    x = pixels(image())

    @nnx.jit
    def create(x):
        model = nnx.bridge.ToNNX(UNet(features=(2, 4)), rngs=nnx.Rngs(0))
        return nnx.bridge.lazy_init(model, x, train=False)

    model = create(x)
    y = nnx.jit(lambda m, x: m(x, train=False))(model, x)
    params = nnx.state(model, nnx.Param)
    assert y.shape == (2, SIZE, SIZE, 1) and finite(y)
    expected = jax.tree.leaves(shapes(UNet(features=(2, 4)), image())[1]["params"])
    assert sorted(p.shape for p in jax.tree.leaves(params)) == sorted(p.shape for p in expected)


def test_published_names_build():
    assert models.get("ViT") is ViT and models.get("ResNetUNet") is ResNetUNet
    assert ResNet().stages == (3, 4, 6, 3)


def test_detail_begins_as_no_correction_and_learns_voxels_within_a_patch():
    plain, finer = (tiny("UNet", patch=2, norm="instance", detail=n) for n in (0, 4))
    x, old, new = image(), filled(plain, image()), filled(finer, image())
    params = {**new["params"], **old["params"]}
    params["detail"]["head"] = jax.tree.map(np.zeros_like, params["detail"]["head"])

    def logits(params):
        return finer.apply({"params": params}, pixels(x), train=False)

    before = jax.jit(lambda v: plain.apply(v, pixels(x), train=False))(old)
    np.testing.assert_array_equal(jax.jit(logits)(params), before)
    grads = jax.jit(jax.grad(lambda p: logits(p)[0, 3, 5, 0]))(params)
    assert np.abs(grads["detail"]["head"]["kernel"]).max() > 0


def test_detail_without_patches_is_refused():
    with pytest.raises(ConfigError, match="detail is for a network in patches"):
        shapes(tiny("UNet", detail=4), image())
