"""Grad-CAM: evidence in a known place lights up there; linear heads by hand; nothing but zeros where there is none."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models import TINY, filled, tiny

from brainjax.infer import explain
from brainjax.infer.explain import grad_cam
from brainjax.models.heads import Head
from brainjax.types import ConfigError

SIZE = 32


class Corner(nn.Module):
    """Its features are its pixels, averaged over squares of 4; its head is all that there is to learn."""

    kind: str = "linear"

    @nn.compact
    def __call__(self, x, *, train):
        features = nn.avg_pool(x, (4, 4), (4, 4))
        return Head(3, self.kind, (4,) if self.kind != "linear" else (), name="head")(
            features, train=train
        )


# Class 0 wants channel 0 bright, class 1 wants channel 1 bright and 0 dark, class 2 wants nothing.
KERNEL = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
RIGGED = {"params": {"head": {"out": {"kernel": KERNEL, "bias": np.zeros(3, np.float32)}}}}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=3),
    st.floats(0.01, 1000),
    st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_evidence_in_a_known_place_lights_up_there(places, strength, by_name):
    image = np.zeros((3, SIZE, SIZE, 2), np.float32)
    for i, (y, x) in enumerate(places):
        image[i, 4 * y : 4 * y + 8, 4 * x : 4 * x + 8, 0] = strength
    maps = np.asarray(grad_cam(Corner(), RIGGED, image, [0, 0, 0] if by_name else None))
    assert maps.shape == (3, SIZE, SIZE) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1 and maps.max((1, 2)).min() > 0.99999
    for heat, (y, x) in zip(maps, places, strict=True):
        inside = heat[4 * y : 4 * y + 8, 4 * x : 4 * x + 8]
        assert inside.min() > 0.35  # a corner of bilinear interpolation is 0.39
        far = heat.copy()
        far[max(0, 4 * y - 2) : 4 * y + 10, max(0, 4 * x - 2) : 4 * x + 10] = 0
        assert far.max() == 0


def test_the_class_asked_for_decides():
    """Of one image: two lights, one a class; and a class that nothing speaks for."""
    image = np.zeros((1, SIZE, SIZE, 2), np.float32)
    image[0, :8, :8, 0], image[0, 24:, 24:, 1] = 2, 1
    both = np.repeat(image, 3, axis=0)
    maps = np.asarray(grad_cam(Corner(), RIGGED, both, np.arange(3)))
    assert maps[0, :8, :8].min() > 0.35 and not maps[0, 16:].any()
    assert maps[1, 24:, 24:].min() > 0.35 and not maps[1, :16].any()
    assert not maps[2].any()
    # One for all, and the predicted one: the logit of class 0 is the largest.
    for index in (0, None, np.array([0])):
        np.testing.assert_array_equal(grad_cam(Corner(), RIGGED, image, index)[0], maps[0])


def test_an_ensemble_s_map_is_the_mean_of_its_members():
    """One member sees the first light alone, the other both, the second brighter."""
    image = np.zeros((1, SIZE, SIZE, 2), np.float32)
    image[0, :8, :8, 0], image[0, 24:, 24:, 1] = 2, 1
    sees_both = {"params": {"head": {"out": {**RIGGED["params"]["head"]["out"]}}}}
    sees_both["params"]["head"]["out"]["kernel"] = np.array([[1.0, 0, 0], [4.0, 0, 0]], np.float32)
    each = [np.asarray(grad_cam(Corner(), one, image, 0)) for one in (RIGGED, sees_both)]
    mean = (each[0] + each[1]) / 2
    found = np.asarray(grad_cam(Corner(), (RIGGED, sees_both), image, 0))
    np.testing.assert_allclose(found, mean / mean.max(), atol=1e-6)
    assert found.max() == 1 and 0.1 < found[0, 28, 28] < 1


def test_without_gradient_or_evidence_the_map_is_zero_not_nan():
    image = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 2)).astype(np.float32)
    dead = jax.tree.map(np.zeros_like, RIGGED)
    assert not np.asarray(grad_cam(Corner(), dead, image)).any()
    assert not np.asarray(grad_cam(Corner(), RIGGED, -abs(image), 0)).any()
    assert not np.asarray(grad_cam(Corner(), RIGGED, 0 * image, 1)).any()
    faint = np.asarray(grad_cam(Corner(), RIGGED, abs(image) * 1e-40, 0))
    assert np.isfinite(faint).all() and faint.max() <= 1


@pytest.mark.parametrize("kind", ["linear", "advanced", "dense"])
def test_weights_are_the_slopes_of_the_logit_by_finite_differences(kind):
    """Lifting a whole feature map by e changes the logit by e times its weight times its positions."""
    model, rng = Corner(kind), np.random.default_rng(0)
    image = rng.normal(size=(1, SIZE, SIZE, 2)).astype(np.float32)
    variables = filled(model, jax.ShapeDtypeStruct(image.shape, jnp.float32))
    with jax.enable_x64():
        wide = jax.tree.map(lambda v: v.astype(np.float64), variables)
        slopes = []
        for k in range(2):
            lift = 1e-4 * np.eye(2)[k]
            up, down = (model.apply(wide, image + s * lift, train=False)[0, 1] for s in (1, -1))
            slopes.append(float(up - down))
    features = np.asarray(nn.avg_pool(jnp.asarray(image), (4, 4), (4, 4)))[0]
    evidence = np.maximum(features @ np.array(slopes), 0)
    expected = np.asarray(jax.image.resize(evidence, (SIZE, SIZE), "linear"))
    assert expected.any()
    heat = grad_cam(model, variables, image, 1)[0]
    np.testing.assert_allclose(heat, expected / max(expected.max(), 1e-30), atol=2e-2)


@pytest.mark.parametrize("name", ["EfficientNet", "MobileNetV2", "ResNet", "VGG"])
def test_every_classifier_with_a_linear_head_gives_its_class_activation_map(name):
    """There Grad-CAM is the features times the head's weights (Zhou et al. 2016, arXiv:1512.04150)."""
    model, rng = tiny(name), np.random.default_rng(1)
    x = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = filled(model, x)
    image = rng.standard_normal(x.shape).astype(np.float32)
    maps = np.asarray(grad_cam(model, variables, image, [0, 1]))
    assert maps.shape == (2, 64, 64) and maps.min() >= 0 and maps.max() <= 1

    run = jax.jit(functools.partial(model.apply, train=False, capture_intermediates=True))
    inner = run(variables, image)[1]["intermediates"]
    if name in ("ResNet", "VGG"):
        (features,) = inner["encoder"]["__call__"]
        features = features[-1] if name == "ResNet" else features
    else:
        (features,) = inner["last_norm"]["__call__"]
        features = nn.silu(features) if name == "EfficientNet" else nn.relu6(features)
    kernel = variables["params"]["head"]["out"]["kernel"]
    evidence = np.maximum(np.einsum("byxd,db->byx", features, kernel), 0)
    for heat, raw in zip(maps, evidence, strict=True):
        expected = np.asarray(jax.image.resize(raw, (64, 64), "linear"))
        np.testing.assert_allclose(heat, expected / max(expected.max(), 1e-30), atol=1e-4)
    assert (evidence.max((1, 2)) > 0).any()


def test_a_second_call_compiles_nothing():
    image = np.ones((2, SIZE, SIZE, 2), np.float32)
    grad_cam(Corner(), RIGGED, image, 0)
    before = explain._grad_cam._cache_size()
    grad_cam(Corner(), RIGGED, 2 * image, 1)
    assert explain._grad_cam._cache_size() == before


def test_wrong_classes_and_models_are_refused():
    image = np.zeros((1, SIZE, SIZE, 2), np.float32)
    for index in (3, -1):
        with pytest.raises(ValueError, match="0 to 2"):
            grad_cam(Corner(), RIGGED, image, index)
    assert "UNet" in TINY
    model, x = tiny("UNet"), jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    with pytest.raises(ConfigError, match="UNet has 0"):
        grad_cam(model, filled(model, x), np.zeros(x.shape, np.float32))
