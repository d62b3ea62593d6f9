"""Losses: formulas against numpy, and the properties that every loss has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainjax import losses
from brainjax.losses.distance import distance_map
from brainjax.types import ConfigError

CLASSIFICATION = ("softmax_ce", "kl_divergence", "categorical_hinge")
SEGMENTATION = tuple(n for n in losses.__all__ if n not in CLASSIFICATION)
SOFTMAX = ("dice", "jaccard", "tversky", "generalised_dice", "focal", "dice_focal", "mse")
OVERLAP = ("dice", "jaccard", "tversky", "generalised_dice")

# Every loss, in each of its activations: (name, options, channels).
CASES = [(n, {}, 1) for n in SEGMENTATION]
CASES += [(n, {}, 3) for n in losses.__all__]
CASES += [(n, {"activation": "softmax"}, 3) for n in (*SOFTMAX, "categorical_hinge")]
CASES += [(n, {"smooth": 0.0}, 1) for n in OVERLAP]
CASES += [
    ("dice", {"squared": True}, 1),
    ("dice", {"background": False, "activation": "softmax"}, 3),
    ("bce", {"positive_weight": 3.0}, 1),
    ("softmax_ce", {"label_smoothing": 0.1}, 3),
    ("focal", {"gamma": 0.5, "alpha": None}, 1),
    ("focal", {"gamma": 0.5, "activation": "softmax"}, 3),
    ("dice_focal", {"weight": 2.0, "background": False, "activation": "softmax"}, 3),
    ("signed_distance", {"radius": 2.0, "spacing": (0.5, 1.5)}, 1),
]
each_case = pytest.mark.parametrize(
    ("name", "options", "channels"), CASES, ids=lambda v: str(v).replace(" ", "")
)


def shape_of(name, channels, batch=4):
    return (batch, channels) if name in CLASSIFICATION else (batch, 5, 6, channels)


def draw(name, options, channels, seed=0, scale=2.0):
    """Random logits and a hard target, one-hot where the loss wants exclusive classes."""
    rng = np.random.default_rng(seed)
    shape = shape_of(name, channels)
    logits = rng.normal(0, scale, shape).astype(np.float32)
    if name in CLASSIFICATION or options.get("activation") == "softmax":
        target = np.eye(channels)[rng.integers(0, channels, shape[:-1])]
    else:
        target = rng.random(shape) < 0.4
    return logits, target.astype(np.float32)


distances = jax.jit(distance_map, static_argnames=("radius", "spacing"))


def ideal(name, options, target):
    """The logits that no others beat."""
    if name == "signed_distance":
        return np.asarray(distances(target, **options))
    return (2 * target - 1) * 1e4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@functools.cache
def compiled(name, items):
    """Values and summed gradient in one compile."""
    loss = functools.partial(losses.get(name), **dict(items))

    def both(logits, target):
        value, vjp = jax.vjp(lambda x: loss(x, target), logits)
        return value, vjp(jnp.ones_like(value))[0]

    return jax.jit(both)


def evaluate(name, options, logits, target):
    value, grad = compiled(name, tuple(options.items()))(logits, target)
    return np.asarray(value), np.asarray(grad)


@each_case
def test_properties(name, options, channels):
    logits, target = draw(name, options, channels)
    value, grad = evaluate(name, options, logits, target)
    assert value.shape == (4,) and value.dtype == np.float32
    assert (value >= 0).all() and np.isfinite(value).all() and np.isfinite(grad).all()
    assert np.abs(grad).max() > 0

    order = np.array([2, 0, 3, 1])
    permuted, _ = evaluate(name, options, logits[order], target[order])
    np.testing.assert_allclose(permuted, value[order], rtol=1e-6)

    changed = logits.copy()
    changed[1] = np.random.default_rng(9).normal(size=logits[1].shape)
    other, _ = evaluate(name, options, changed, target)
    assert other[1] != value[1]
    np.testing.assert_array_equal(np.delete(other, 1), np.delete(value, 1))


@each_case
def test_a_step_against_the_gradient_lowers_it(name, options, channels):
    logits, target = draw(name, options, channels, seed=3)
    value, grad = evaluate(name, options, logits, target)
    lower, _ = evaluate(name, options, logits - 0.1 * grad / np.abs(grad).max(), target)
    assert (lower < value).any() and (lower <= value + 1e-6).all()


@each_case
def test_confident_and_right_is_best_and_nothing_overflows(name, options, channels):
    logits, target = draw(name, options, channels, seed=1)
    right = ideal(name, options, target)
    best, grad = evaluate(name, options, right, target)
    assert np.isfinite(grad).all()
    floor = {"label_smoothing": 0.1}.items() <= options.items()
    if not floor:  # smoothed labels punish infinite confidence
        np.testing.assert_allclose(best, 0.0, atol=1e-5)
        assert (best <= evaluate(name, options, logits, target)[0]).all()
    worst, grad = evaluate(name, options, (1 - 2 * target) * 1e4, target)
    assert np.isfinite(worst).all() and np.isfinite(grad).all()
    if not floor:
        assert (worst > best).all()


@each_case
def test_bfloat16_logits_are_computed_in_float32(name, options, channels):
    logits, target = draw(name, options, channels)
    logits = np.asarray(jnp.asarray(logits, jnp.bfloat16), np.float32)
    expected, _ = evaluate(name, options, logits, target)
    value, grad = evaluate(
        name, options, jnp.asarray(logits, jnp.bfloat16), target.astype(np.uint8)
    )
    assert value.dtype == np.float32 and grad.dtype == jnp.bfloat16
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("name", OVERLAP)
@pytest.mark.parametrize("level", [-1e4, -100.0, -87.0, -30.0, 0.0, 1e4])
def test_empty_mask_is_finite(name, level, smooth):
    logits = np.full((4, 5, 6, 1), level, np.float32)
    value, grad = evaluate(name, {"smooth": smooth}, logits, np.zeros_like(logits))
    assert np.isfinite(value).all() and np.isfinite(grad).all()
    assert (value <= 1).all() and (grad >= 0).all()
    if level <= -30:
        np.testing.assert_allclose(value, 0.0, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_overlap_formulas(activation, seed):
    options = {"activation": activation}
    logits, target = draw("dice", options, 3, seed)
    p = (sigmoid if activation == "sigmoid" else softmax)(logits.astype(np.float64))
    tp, a, b = (v.sum((1, 2)) for v in (p * target, p, target))  # [B C]

    def check(name, expected, **more):
        value, _ = evaluate(name, options | more, logits, target)
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)

    check("dice", 1 - ((2 * tp + 1) / (a + b + 1)).mean(1))
    check("dice", 1 - ((2 * tp + 3) / (a + b + 3)).mean(1), smooth=3.0)
    check("dice", 1 - ((2 * tp + 1) / (a + b + 1))[:, 1:].mean(1), background=False)
    check(
        "dice",
        1 - ((2 * tp + 1) / ((p**2).sum((1, 2)) + (target**2).sum((1, 2)) + 1)).mean(1),
        squared=True,
    )
    check("jaccard", 1 - ((tp + 0.5) / (a + b - tp + 0.5)).mean(1))
    fp, fn = a - tp, b - tp
    check("tversky", 1 - ((tp + 0.5) / (tp + 0.3 * fp + 0.7 * fn + 0.5)).mean(1))
    w = 1 / b**2
    check("generalised_dice", 1 - 2 * (w * tp).sum(1) / (w * (a + b)).sum(1), smooth=0.0)


def test_generalised_dice_counts_the_background_of_one_channel():
    logits, target = draw("dice", {}, 1)
    both = np.concatenate([-logits, logits], -1)  # sigmoid(-x) = 1 - sigmoid(x)
    value, _ = evaluate("generalised_dice", {}, logits, target)
    pair, _ = evaluate("generalised_dice", {}, both, np.concatenate([1 - target, target], -1))
    np.testing.assert_allclose(value, pair, rtol=1e-5)


def test_generalised_dice_survives_missing_classes():
    logits, target = draw("dice", {"activation": "softmax"}, 3)
    target[..., 2] = 0
    for t in (target, np.zeros_like(target)):
        value, grad = evaluate("generalised_dice", {}, logits, t)
        assert np.isfinite(value).all() and np.isfinite(grad).all() and (value > 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_relations_between_overlap_losses(seed):
    logits, target = draw("dice", {}, 1, seed)
    d = 1 - evaluate("dice", {}, logits, target)[0]
    j = 1 - evaluate("jaccard", {}, logits, target)[0]
    np.testing.assert_allclose(j, d / (2 - d), rtol=1e-5)
    t, _ = evaluate("tversky", {"alpha": 0.5, "beta": 0.5}, logits, target)
    np.testing.assert_allclose(1 - t, d, rtol=1e-5)

    hard = np.where(logits > 0, 1e4, -1e4).astype(np.float32)
    cut = logits > 0
    d = 1 - evaluate("dice", {"smooth": 0.0}, hard, target)[0]
    true = target > 0.5
    overlap = (cut & true).sum((1, 2, 3))
    np.testing.assert_allclose(d, 2 * overlap / (cut.sum((1, 2, 3)) + true.sum((1, 2, 3))), 1e-6)


def test_cross_entropies():
    logits, target = draw("bce", {}, 3)
    p = sigmoid(logits.astype(np.float64))
    terms = -target * np.log(p), -(1 - target) * np.log(1 - p)
    value, grad = evaluate("bce", {}, logits, target)
    np.testing.assert_allclose(value, sum(terms).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(grad, (p - target) / target[0].size, rtol=1e-4, atol=1e-7)
    value, _ = evaluate("bce", {"positive_weight": 3.0}, logits, target)
    np.testing.assert_allclose(value, (3 * terms[0] + terms[1]).mean((1, 2, 3)), rtol=1e-5)
    soft = np.random.default_rng(4).random(target.shape).astype(np.float32)
    expected = (-soft * np.log(p) - (1 - soft) * np.log(1 - p)).mean((1, 2, 3))
    np.testing.assert_allclose(evaluate("bce", {}, logits, soft)[0], expected, rtol=1e-5)
    sure = np.full_like(logits, 30.0)  # softplus(30) - 30 would round to 0
    value, _ = evaluate("bce", {}, sure, np.ones_like(target))
    np.testing.assert_allclose(value, np.exp(-30.0), rtol=1e-5)
    zero = np.zeros_like(logits)  # the kink of the stable form is no kink of the loss
    np.testing.assert_allclose(
        evaluate("bce", {}, zero, target)[1], (0.5 - target) / target[0].size, rtol=1e-6
    )

    logits, target = draw("softmax_ce", {}, 3)
    log_p = np.log(softmax(logits.astype(np.float64)))
    expected = -(target * log_p).sum(-1)
    np.testing.assert_allclose(evaluate("softmax_ce", {}, logits, target)[0], expected, rtol=1e-5)
    dense, _ = evaluate("softmax_ce", {}, logits.reshape(2, 2, 3), target.reshape(2, 2, 3))
    np.testing.assert_allclose(dense, expected.reshape(2, 2).mean(1), rtol=1e-5)
    value, _ = evaluate("softmax_ce", {"label_smoothing": 0.1}, logits, target)
    np.testing.assert_allclose(value, -((0.9 * target + 0.1 / 3) * log_p).sum(-1), rtol=1e-5)


def test_kl_divergence():
    logits, target = draw("kl_divergence", {}, 3)
    hard = evaluate("kl_divergence", {}, logits, target)[0]
    np.testing.assert_allclose(hard, evaluate("softmax_ce", {}, logits, target)[0], rtol=1e-5)
    soft = softmax(np.random.default_rng(5).normal(size=(4, 3))).astype(np.float32)
    expected = (soft * np.log(soft / softmax(logits))).sum(-1)
    np.testing.assert_allclose(
        evaluate("kl_divergence", {}, logits, soft)[0], expected, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(evaluate("kl_divergence", {}, np.log(soft), soft)[0], 0.0, atol=1e-6)


def test_categorical_hinge():
    logits = np.array([[-3.0, -1.0, -2.5], [4.0, 1.0, 0.0]], np.float32)
    target = np.array([[1, 0, 0], [1, 0, 0]], np.float32)
    # Row 0: 1 + (-1) - (-3); an implementation that masks by multiplication would see max = 0.
    np.testing.assert_allclose(losses.categorical_hinge(logits, target), [3.0, 0.0])
    p = softmax(logits)
    np.testing.assert_allclose(
        losses.categorical_hinge(logits, target, activation="softmax"),
        1 + p[:, 1:].max(-1) - p[:, 0],
        rtol=1e-5,
    )


@pytest.mark.parametrize("alpha", [0.25, None])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal(alpha, gamma):
    options = {"alpha": alpha, "gamma": gamma}
    logits, target = draw("focal", {}, 1)
    p = sigmoid(logits.astype(np.float64))
    truth = np.where(target > 0, p, 1 - p)
    weight = 1.0 if alpha is None else np.where(target > 0, alpha, 1 - alpha)
    expected = (-weight * (1 - truth) ** gamma * np.log(truth)).mean((1, 2, 3))
    np.testing.assert_allclose(evaluate("focal", options, logits, target)[0], expected, rtol=1e-5)

    options["activation"] = "softmax"
    logits, target = draw("focal", options, 3)
    truth = (softmax(logits.astype(np.float64)) * target).sum(-1)
    expected = (-(alpha or 1.0) * (1 - truth) ** gamma * np.log(truth)).mean((1, 2))
    np.testing.assert_allclose(evaluate("focal", options, logits, target)[0], expected, rtol=1e-5)


def test_bce_dice_is_the_weighted_sum():
    logits, target = draw("bce_dice", {}, 1)
    parts = losses.bce(logits, target), losses.dice(logits, target, squared=True)
    value = losses.bce_dice(logits, target, weight=2.5, squared=True)
    np.testing.assert_allclose(value, parts[0] + 2.5 * parts[1], rtol=1e-6)


def test_dice_focal_is_the_weighted_sum():
    options = {"activation": "softmax"}
    logits, target = draw("dice_focal", options, 3)
    parts = [evaluate(name, options, logits, target)[0] for name in ("dice", "focal")]
    value, _ = evaluate("dice_focal", options | {"weight": 0.5}, logits, target)
    np.testing.assert_allclose(value, parts[0] + 0.5 * parts[1], rtol=1e-6)


def test_mse():
    logits, target = draw("mse", {}, 3)
    expected = ((sigmoid(logits) - target) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(evaluate("mse", {}, logits, target)[0], expected, rtol=1e-5)
    options = {"activation": "softmax"}
    expected = ((softmax(logits) - target) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(evaluate("mse", options, logits, target)[0], expected, rtol=1e-5)


def truncated_distances(mask, radius, spacing):
    """Of one mask [*spatial] bool, by scipy's exact transform over the whole grid."""

    def to(other):
        found = ndimage.distance_transform_edt(~other, sampling=spacing)
        return found - min(spacing) / 2 if other.any() else np.full(mask.shape, np.inf)

    return np.clip(np.where(mask, to(~mask), -to(mask)), -radius, radius)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    geometry=st.sampled_from(
        [(3.0, (1.0, 1.0, 1.0)), (5.0, (1.0, 1.0, 1.0)), (4.0, (0.7, 1.0, 3.0)), (2.0, (2, 5, 1))]
    ),
)
def test_distance_map_is_the_exact_transform_truncated(seed, share, geometry):
    radius, spacing = geometry
    masks = np.random.default_rng(seed).random((2, 9, 7, 6, 1)) < share
    found = distances(masks, radius=radius, spacing=spacing)
    for mask, distance in zip(masks[..., 0], found[..., 0], strict=True):
        np.testing.assert_allclose(
            distance, truncated_distances(mask, radius, spacing), atol=1e-5, rtol=1e-6
        )
    np.testing.assert_array_equal(found >= 0, masks)  # sigmoid(distance) >= 0.5 is the mask


def test_distance_grows_by_the_spacing_across_the_surface():
    mask = (np.arange(8) < 4)[None, :, None]
    found = distances(mask, radius=5.0, spacing=2.0)[0, :, 0]
    np.testing.assert_allclose(found, [5, 5, 3, 1, -1, -3, -5, -5])


def test_signed_distance_is_of_the_distance_and_free_beyond_the_radius():
    _, target = draw("signed_distance", {}, 2)
    goal = np.asarray(distances(target, radius=0.75))
    off = goal + np.random.default_rng(6).uniform(-1, 1, goal.shape).astype(np.float32)
    error = off - goal
    error[(goal == 0.75) & (error > 0) | (goal == -0.75) & (error < 0)] = 0
    assert (error != off - goal).any()
    value, grad = evaluate("signed_distance", {"radius": 0.75}, off, target)
    np.testing.assert_allclose(value, (error**2).mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(grad, 2 * error / error[0].size, rtol=1e-4, atol=1e-8)


def test_volumes_are_slices_laid_end_to_end():
    logits, target = draw("dice", {}, 3)
    volume = (4, 5, 3, 2, 3)
    for name in set(SEGMENTATION) - {"signed_distance"}:  # which knows where voxels are
        loss = losses.get(name)
        np.testing.assert_allclose(
            loss(logits.reshape(volume), target.reshape(volume)), loss(logits, target), rtol=1e-6
        )


def test_levels_are_weighted_by_halves_against_the_middle_voxels():
    rng = np.random.default_rng(0)
    target = (rng.random((2, 8, 4, 6, 1)) > 0.5).astype(np.float32)
    levels = [rng.standard_normal((2, *space, 1)) for space in ((8, 4, 6), (4, 4, 3), (2, 2, 3))]
    parts = [target, target[:, 1::2, :, 1::2], target[:, 2::4, 1::2, 1::2]]
    expected = sum(
        w * losses.bce(x, t) for w, x, t in zip((4 / 7, 2 / 7, 1 / 7), levels, parts, strict=True)
    )
    np.testing.assert_allclose(
        losses.at_all_levels(losses.bce, levels, target), expected, rtol=1e-5
    )
    alone = losses.at_all_levels(losses.bce, levels[0], target)
    np.testing.assert_array_equal(alone, losses.bce(levels[0], target))


def test_reduce_ignores_padding_even_nan():
    total, count = losses.reduce(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([1.0, 1.0, 0.0]))
    assert (float(total), float(count)) == (3.0, 2.0)
    total, count = losses.reduce(jnp.array([1.0, 2.0, 4.0]))
    assert (float(total), float(count)) == (7.0, 3.0)
    total, count = losses.reduce(jnp.array([jnp.nan]), jnp.zeros(1))
    assert (float(total), float(count)) == (0.0, 0.0)


def test_get():
    assert losses.get("dice") is losses.dice
    with pytest.raises(ConfigError, match="did you mean 'jaccard'") as error:
        losses.get("jacard")
    assert all(name in str(error.value) for name in losses.__all__)
    with pytest.raises(ConfigError, match="unknown loss"):
        losses.get("reduce")  # in the module, but no loss


def test_wrong_shapes_and_options():
    one, three = jnp.zeros((2, 4, 1)), jnp.zeros((2, 4, 3))
    with pytest.raises(ValueError, match="must both be"):
        losses.dice(one, three)
    with pytest.raises(ValueError, match="must both be"):
        losses.softmax_ce(jnp.zeros((2, 3)), jnp.zeros(2))
    with pytest.raises(ConfigError, match="always 1"):
        losses.dice(one, one, activation="softmax")
    with pytest.raises(ConfigError, match="'sigmoid' or 'softmax'"):
        losses.focal(three, three, activation="relu")
    with pytest.raises(ConfigError, match="background=False"):
        losses.dice(one, one, background=False)
    with pytest.raises(ConfigError, match="two classes"):
        losses.softmax_ce(one, one)
    for options in ({"radius": 0.0}, {"spacing": -1.0}, {"spacing": (1.0, float("nan"))}):
        with pytest.raises(ConfigError, match="above 0"):
            losses.signed_distance(jnp.zeros((2, 4, 4, 1)), jnp.zeros((2, 4, 4, 1)), **options)
    with pytest.raises(ConfigError, match="one an axis"):
        losses.signed_distance(one, one, spacing=(1.0, 1.0))
    with pytest.raises(ConfigError, match="'linear' or 'softmax'"):
        losses.categorical_hinge(three, three, activation="sigmoid")
