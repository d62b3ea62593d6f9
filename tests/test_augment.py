import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from brainjax.augment import Augment, intensity, spatial, spline
from brainjax.types import ConfigError

STRENGTHS = (
    *("rotate", "scale", "anisotropy", "shear", "translate", "elastic", "gamma", "contrast"),
    *("brightness", "bias", "blur", "lowres", "noise", "missing"),
)
OFF = dict.fromkeys(STRENGTHS, 0.0) | {"flip": ()}
ALWAYS = {"p_affine": 1.0, "p_elastic": 1.0, "p_intensity": 1.0, "p_degrade": 1.0}


def image(shape=(24, 20, 6), seed=0):
    return random.normal(random.key(seed), shape)


def blob(shape, centre, radius):
    grid = np.meshgrid(*(np.arange(s) for s in shape), indexing="ij")
    distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
    return (distance < radius**2).astype(np.float32)[..., None]


def identity(rank=2, **changes):
    return {"matrix": jnp.eye(rank), "shift": jnp.zeros(rank)} | changes


@pytest.fixture(scope="module")
def full():
    """Everything on, and its jitted forms for one example and for a batch."""
    augment = Augment(groups=3, missing=0.5, missing_source=1, **ALWAYS)
    return augment, jax.jit(augment), jax.jit(augment.batch)


# The whole augmentation


def test_all_strengths_zero_is_exactly_the_identity():
    x, m = image(), (image(seed=1)[..., :1] > 0).astype(jnp.float32)
    y, n = Augment(**OFF)(random.key(0), x, m)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(n, m)


def test_operations_that_are_not_drawn_leave_the_example_exactly_alone():
    never = {"p_affine": 1e-9, "p_elastic": 1e-9, "p_intensity": 1e-9, "p_degrade": 1e-9}
    augment = Augment(flip=(1e-9, 1e-9), missing=1e-9, **never)
    x, m = image((16, 16, 3)), jnp.zeros((16, 16, 1))
    params = jax.eval_shape(lambda: augment.sample(random.key(0), x.shape))
    assert set(params) == {"spatial", *augment._intensity(3)}
    np.testing.assert_array_equal(jax.jit(augment)(random.key(0), x, m)[0], x)


def test_a_strength_of_zero_leaves_the_draws_of_the_others_alone():
    both = Augment(**OFF | {"gamma": 0.3, "bias": 0.3}).sample(random.key(3), (8, 8, 2))
    one = Augment(**OFF | {"bias": 0.3}).sample(random.key(3), (8, 8, 2))
    assert set(one) == {"bias"}
    np.testing.assert_array_equal(one["bias"]["control"], both["bias"]["control"])


def test_batch_equals_single_calls_wherever_the_example_stands(full):
    _, single, batch = full
    x = image((4, 32, 32, 6))
    m = jnp.stack([blob((32, 32), (12 + i, 15), 7) for i in range(4)])
    keys = random.split(random.key(5), 4)
    y, n = batch(keys, x, m)
    assert y.shape == x.shape and y.dtype == n.dtype == jnp.float32
    assert np.isfinite(y).all() and set(np.unique(n)) == {0.0, 1.0}
    back, _ = batch(keys[::-1], x[::-1], m[::-1])
    np.testing.assert_array_equal(back[::-1], y)
    for i in (0, 3):
        a, b = single(keys[i], x[i], m[i])
        np.testing.assert_allclose(a, y[i], atol=2e-5)
        np.testing.assert_array_equal(b, n[i])
    # Same key, same result; another key, another result.
    same, _ = batch(jnp.stack([keys[0]] * 4), jnp.stack([x[0]] * 4), jnp.stack([m[0]] * 4))
    np.testing.assert_array_equal(same[0], same[3])
    many, _ = batch(keys, jnp.stack([x[0]] * 4), jnp.stack([m[0]] * 4))
    gaps = [np.abs(many[i] - many[j]).mean() for i, j in itertools.combinations(range(4), 2)]
    assert min(gaps) > 0.05


@pytest.mark.parametrize("value", [0.0, -2.0, 1e4])
def test_constant_images_stay_finite_and_constant(full, value):
    _, single, _ = full
    y, n = single(random.key(1), jnp.full((32, 32, 6), value), jnp.zeros((32, 32, 1)))
    np.testing.assert_allclose(y, value, rtol=1e-4, atol=1e-5)
    assert not n.any()


def test_three_dimensions():
    augment = Augment(flip=(0.5, 0, 0), spacing=(1, 1, 2), elastic_grid=5, bias_grid=4, **ALWAYS)
    m = jnp.asarray(blob((16, 14, 10), (8, 7, 5), 4.0))
    y, n = jax.jit(augment)(random.key(2), jnp.concatenate([m, 1 - m], -1), m)
    assert y.shape == (16, 14, 10, 2) and np.isfinite(y).all()
    assert set(np.unique(n)) == {0.0, 1.0} and 0.5 < n.sum() / m.sum() < 2


def test_preview_gives_different_versions_of_one_example():
    augment = Augment(**OFF | {"brightness": 1.0, "p_intensity": 1.0})
    y, n = jax.jit(augment.preview, static_argnums=3)(
        random.key(0), image((8, 8, 2)), jnp.ones((8, 8, 1)), 3
    )
    assert y.shape == (3, 8, 8, 2) and n.shape == (3, 8, 8, 1)
    assert np.ptp(y[:, 0, 0, 0]) > 0.01


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"rotate": -1.0}, None, "rotate"),
        ({"missing": 1.5}, None, "missing"),
        ({"flip": (0.5, 2.0)}, None, "flip"),
        ({"elastic_grid": 3}, None, "elastic_grid"),
        ({"spacing": (1, 0)}, None, "spacing"),
        ({"spacing": (1, float("nan"))}, None, "spacing"),
        ({"groups": 4}, (8, 8, 6), "groups"),
        ({"missing": 0.1, "missing_source": 3, "groups": 3}, (8, 8, 6), "missing_source"),
        ({"missing": 0.1, "missing_most": 3, "groups": 3}, (8, 8, 6), "missing_most"),
        ({}, (8, 8, 8, 1), "flip"),
    ],
)
def test_settings_that_cannot_work_are_named(options, shape, message):
    with pytest.raises(ConfigError, match=message):
        augment = Augment(**options)
        if shape:
            augment.sample(random.key(0), shape)


def test_lists_from_json_become_tuples():
    assert Augment(flip=[0.0, 0.5]) == Augment(flip=(0.0, 0.5))
    assert hash(Augment(flip=[0.0, 0.5])) == hash(Augment(flip=(0.0, 0.5)))


# Geometry


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_are_exact(turns):
    x, m = image((9, 9, 3)), (image((9, 9, 1), 1) > 0).astype(jnp.float32)
    step = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns).astype(np.float32)
    y, n = spatial.apply(identity(matrix=jnp.asarray(step)), x, m)
    np.testing.assert_array_equal(y, np.rot90(x, turns))
    np.testing.assert_array_equal(n, np.rot90(m, turns))
    angle = jnp.array([-turns * math.pi / 2])
    zeros = jnp.zeros((2, 2))
    by_angle = spatial.matrix(angle, jnp.ones(2), zeros, jnp.zeros(2, bool))
    np.testing.assert_allclose(by_angle, step, atol=1e-6)


@pytest.mark.parametrize("flip", [(True, False), (False, True), (True, True)])
def test_flips_are_exact_and_undo_themselves(flip):
    x, m = image((8, 7, 2)), (image((8, 7, 1), 1) > 0).astype(jnp.float32)
    mirror = spatial.matrix(jnp.zeros(1), jnp.ones(2), jnp.zeros((2, 2)), jnp.array(flip))
    params = identity(matrix=mirror)
    y, n = spatial.apply(params, x, m)
    axes = [axis for axis, on in enumerate(flip) if on]
    np.testing.assert_array_equal(y, np.flip(x, axes))
    np.testing.assert_array_equal(n, np.flip(m, axes))
    np.testing.assert_array_equal(spatial.apply(params, y, n)[0], x)


def test_shift_reads_from_further_on_and_repeats_the_border():
    x = jnp.arange(10.0).reshape(10, 1, 1) * jnp.ones((1, 4, 1))
    y, _ = spatial.apply(identity(shift=jnp.array([0.25, 0.0])), x, x)
    np.testing.assert_allclose(y[:, 0, 0], np.minimum(np.arange(10) + 2.5, 9))


def test_scale_above_one_enlarges_and_shear_keeps_the_area():
    disc = jnp.asarray(blob((64, 64), (31.5, 31.5), 12))
    free = jnp.zeros(1), jnp.array([1.5, 1.5]), jnp.zeros((2, 2)), jnp.zeros(2, bool)
    _, larger = spatial.apply(identity(matrix=spatial.matrix(*free)), disc, disc)
    assert larger.sum() / disc.sum() == pytest.approx(2.25, rel=0.03)
    sheared = spatial.matrix(free[0], jnp.ones(2), jnp.array([[0.0, 0.3], [0.0, 0.0]]), free[3])
    _, leaning = spatial.apply(identity(matrix=sheared), disc, disc)
    assert leaning.sum() / disc.sum() == pytest.approx(1.0, rel=0.03)
    assert (leaning != disc).sum() > 50


def test_rotation_of_anisotropic_voxels_keeps_lengths_in_mm():
    spacing = np.array([1.0, 3.0])
    m = spatial.matrix(
        jnp.array([0.7]), jnp.ones(2), jnp.zeros((2, 2)), jnp.zeros(2, bool), tuple(spacing)
    )
    in_mm = spacing[:, None] * np.asarray(m) / spacing[None, :]
    np.testing.assert_allclose(in_mm @ in_mm.T, np.eye(2), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_image_and_mask_move_together(seed):
    augment = Augment(
        **OFF
        | ALWAYS
        | {"rotate": 25.0, "scale": 0.2, "shear": 0.1, "translate": 0.1}
        | {"elastic": 0.35, "flip": (0.5, 0.5), "anisotropy": 0.1}
    )
    m = jnp.asarray(blob((64, 64), (26, 38), 11))
    y, n = augment(random.key(seed), jnp.concatenate([m, 5 * m - 2], -1), m)
    seen = np.asarray(y[..., :1]) > 0.5
    assert (seen & (n > 0)).sum() / (seen | (n > 0)).sum() > 0.95
    overlap = float((m * n).sum() / m.sum())
    assert overlap < 0.95, "nothing moved"
    np.testing.assert_allclose(y[..., 1], 5 * y[..., 0] - 2, atol=1e-4)


def test_elastic_below_the_bound_never_folds():
    for seed in range(20):
        params = spatial.sample(random.key(seed), 2, elastic=0.4, elastic_grid=7)
        rows, columns = spatial.coordinates(params, (48, 40))
        (rr, rc), (cr, cc) = np.gradient(rows), np.gradient(columns)
        assert (rr * cc - rc * cr).min() > 0
        assert np.abs(rows - np.arange(48)[:, None]).max() > 0.3


def test_resampling_reproduces_linear_functions_between_voxels():
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in (5, 6, 7)), indexing="ij"), -1)
    x = jnp.asarray(grid @ np.array([[1.0], [-2.0], [0.5]]) + 3, jnp.float32)
    at = random.uniform(random.key(0), (11, 3)) * jnp.array([4.0, 5.0, 6.0])
    y = spatial.resample(x, tuple(at.T))
    np.testing.assert_allclose(y[:, 0], at @ np.array([1.0, -2.0, 0.5]) + 3, atol=1e-4)


def test_axes_of_one_voxel_are_allowed():
    x = image((1, 6, 2))
    np.testing.assert_array_equal(spatial.apply(identity(), x, x)[0], x)


def test_spline_basis_reproduces_constants_and_lines():
    basis = spline.basis(17, 6)
    np.testing.assert_allclose(basis.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(basis @ np.arange(6), np.linspace(1, 4, 17), atol=1e-5)


# Intensity: rows are [H W*C] with sequence r % G


def rows_of(x):
    return intensity.to_rows(x), x.shape[-1]


def test_gamma_keeps_mean_and_spread_and_order():
    rows, _ = rows_of(image((16, 16, 4)))
    params = {
        "power": jnp.array([0.6, 1.6]),
        "invert": jnp.array([False, True]),
        "on": jnp.array([True, True]),
    }
    y = intensity.gamma(params, rows)
    for g in (0, 1):
        before, after = rows[:, g::2].ravel(), y[:, g::2].ravel()
        np.testing.assert_allclose(after.mean(), before.mean(), atol=1e-5)
        np.testing.assert_allclose(after.std(), before.std(), rtol=1e-4)
        assert (np.diff(after[np.argsort(before)]) >= -1e-6).all()
    low, high = rows[:, ::2].min(), rows[:, ::2].max()
    t = (np.asarray(rows[:, ::2]) - low) / (high - low)
    expected = t**0.6
    np.testing.assert_allclose(np.corrcoef(expected.ravel(), y[:, ::2].ravel())[0, 1], 1, atol=1e-5)
    off = intensity.gamma(params | {"on": jnp.array([False, True])}, rows)
    np.testing.assert_array_equal(off[:, ::2], rows[:, ::2])


def test_gain_and_shift_are_relative_to_the_sequence():
    rows, _ = rows_of(image((16, 16, 2)) * 7 + 100)
    y = intensity.linear({"gain": jnp.array([1.0, 2.0]), "shift": jnp.array([0.5, 0.0])}, rows)
    np.testing.assert_allclose(y[:, ::2] - rows[:, ::2], 0.5 * rows[:, ::2].std(), rtol=1e-3)
    np.testing.assert_allclose(y[:, 1::2].mean(), rows[:, 1::2].mean(), rtol=1e-5)
    np.testing.assert_allclose(y[:, 1::2].std(), 2 * rows[:, 1::2].std(), rtol=1e-4)


def test_bias_field_is_smooth_shared_by_slices_and_spares_the_background():
    x = jnp.ones((20, 24, 4)).at[:5].set(-1.0)
    params = intensity.sample_bias(random.key(0), 2, 2, 0.4, 5, 1.0)
    y = intensity.bias(params, intensity.to_rows(x), 4).reshape(x.shape)
    np.testing.assert_array_equal(y[:5], x[:5])
    field = (y[5:] + 1) / 2
    expected = jnp.exp(spline.expand(params["control"], (20, 24)))[5:]
    np.testing.assert_allclose(field[..., :2], expected, rtol=1e-4)
    np.testing.assert_allclose(field[..., 2:], field[..., :2], rtol=1e-6)
    assert np.ptp(field[..., 0]) > 0.05 and np.abs(np.diff(field, axis=1)).max() < 0.2


def test_blur_is_a_gaussian_and_low_resolution_keeps_lines():
    off = jnp.float32(0)
    np.testing.assert_array_equal(intensity.smoothing(12, off, jnp.float32(1)), np.eye(12))
    row = intensity.smoothing(41, jnp.float32(2), jnp.float32(1))[20]
    offset = np.arange(41) - 20
    assert (row * offset**2).sum() == pytest.approx(4, rel=0.01)
    for factor in (1.3, 2.0, 3.7):
        coarse = np.asarray(intensity.smoothing(40, off, jnp.float32(factor)))
        np.testing.assert_allclose(coarse.sum(1), 1, atol=1e-5)
        line = np.arange(40.0)
        inner = slice(8, 32)
        np.testing.assert_allclose((coarse @ line)[inner], line[inner], atol=0.05)
        checkers = (-1.0) ** line
        assert np.abs((coarse @ checkers)[inner]).max() < (0.7 if factor < 2 else 0.25)


def test_sharpness_treats_every_channel_and_axis():
    x = jnp.zeros((17, 15, 2)).at[8, 7, 0].set(1.0).at[8, 7, 1].set(2.0)
    params = {"sigma": jnp.float32(1), "factor": jnp.ones(2), "on": jnp.array(True)}
    y = intensity.sharpness(params, intensity.to_rows(x), 2).reshape(x.shape)
    np.testing.assert_allclose(y.sum((0, 1)), [1, 2], rtol=1e-4)
    np.testing.assert_allclose(y[..., 1], 2 * y[..., 0], atol=1e-6)
    np.testing.assert_allclose(y[4:13, 7, 0], y[8, 3:12, 0], atol=1e-6)


def test_white_noise_is_normal_and_uncorrelated():
    a = np.asarray(intensity.white(random.bits(random.key(0), (2,)), (256, 1024)))
    b = np.asarray(intensity.white(random.bits(random.key(1), (2,)), (256, 1024)))
    n = a.size
    assert abs(a.mean()) < 4 / n**0.5 and abs(a.var() - 1) < 4 * (2 / n) ** 0.5
    assert abs((a**3).mean()) < 0.03 and (a**4).mean() == pytest.approx(2.85, abs=0.05)
    for other in (b, np.roll(a, 1, 1), np.roll(a, 1, 0), np.roll(a, 9, 1)):
        assert abs((a * other).mean()) < 4.5 / n**0.5
    inside = np.abs(a) < 1.96
    assert inside.mean() == pytest.approx(0.95, abs=0.004)


def test_noise_level_follows_the_sequence():
    rows, _ = rows_of(image((64, 64, 2)) * jnp.array([1.0, 10.0]))
    seed = random.bits(random.key(4), (2,))
    y = intensity.noise({"std": jnp.array([0.1, 0.2]), "seed": seed}, rows) - rows
    assert y[:, ::2].std() == pytest.approx(0.1, rel=0.06)
    assert y[:, 1::2].std() == pytest.approx(2.0, rel=0.06)


def test_missing_copies_the_source_in_every_slice_or_leaves_zeros():
    x = image((4, 5, 6))
    params = {"on": jnp.array([True, False, False])}
    y = intensity.missing(params, intensity.to_rows(x), 1).reshape(x.shape)
    np.testing.assert_array_equal(y, x[..., np.array([1, 1, 2, 4, 4, 5])])
    y = intensity.missing(params, intensity.to_rows(x), -1).reshape(x.shape)
    np.testing.assert_array_equal(y, x * jnp.array([0, 1, 1, 0, 1, 1]))


def test_missing_loses_one_sequence_and_never_the_source():
    keys = random.split(random.key(0), 400)
    on = jax.vmap(lambda key: intensity.sample_missing(key, 3, 1, 0.5)["on"])(keys)
    assert on.sum(1).max() == 1 and not on[:, 1].any()
    assert on.any(1).mean() == pytest.approx(0.5, abs=0.1)
    assert on[:, 0].mean() == pytest.approx(0.25, abs=0.1)


def test_missing_loses_up_to_so_many_sequences_each_number_as_often():
    keys = random.split(random.key(0), 900)
    on = jax.vmap(lambda key: intensity.sample_missing(key, 4, -1, 0.75, most=3)["on"])(keys)
    shares = np.bincount(on.sum(1), minlength=5) / len(keys)
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.25, 0.25, 0], atol=0.06)
    np.testing.assert_allclose(on.mean(0), 0.375, atol=0.06)
    kept = jax.vmap(lambda key: intensity.sample_missing(key, 3, 2, 1.0, most=2)["on"])(keys)
    assert not kept[:, 2].any() and kept.sum(1).max() == 2
