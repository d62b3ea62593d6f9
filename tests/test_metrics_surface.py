"""Surface distances: all pairs of voxels, scipy's transform, and what must not change them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainjax.metrics import surface
from brainjax.metrics.components import bounding_box, label
from brainjax.metrics.surface import WORST_MM, hd95, surface_dice, surface_distances
from brainjax.types import ConfigError

STEPS = [d for d in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, d)) == 1]


def pair(seed):
    """Two random masks, from specks to solid, one often close to the other; and a spacing."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 8, 3)
    truth = rng.random(shape) < rng.choice([0.03, 0.3, 0.9])
    pred = truth ^ (rng.random(shape) < rng.choice([0.02, 0.3]))
    if seed % 7 == 0:
        pred = rng.random(shape) < 0.05
    return pred, truth, rng.uniform(0.5, 3.0, 3)


def brute_surface(mask):
    inside = set(zip(*(i.tolist() for i in np.nonzero(mask)), strict=True))
    return [
        v
        for v in sorted(inside)
        if any(tuple(a + b for a, b in zip(v, d, strict=True)) not in inside for d in STEPS)
    ]


def brute_distances(one, other, spacing):
    """From each surface voxel of `one` to the nearest of `other`, by looking at all."""
    return [
        min(math.dist(np.multiply(a, spacing), np.multiply(b, spacing)) for b in other) for a in one
    ]


def percentile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


# The four ways to the nearest voxel: the tree near by, the tree far off, the transform of what is far off or of all.
WAYS = [(0, 0, 100), (0, 0, 0.9), (0, 1e9, 0.9), (1e9, 0, 8)]


@pytest.mark.parametrize("block", range(4))
def test_200_random_masks_against_all_pairs_of_voxels(monkeypatch, block):
    for name, value in zip(("_POINT", "_PAIR", "_NEAR"), WAYS[block], strict=True):
        monkeypatch.setattr(surface, name, value)
    for seed in range(50 * block, 50 * block + 50):
        pred, truth, spacing = pair(seed)
        distances = surface_distances(pred, truth, spacing)
        one, other = brute_surface(pred), brute_surface(truth)
        assert [len(d) for d in distances] == [len(one), len(other)]
        if not one or not other:
            assert all(np.isinf(d).all() for d in distances)
            both = not one and not other
            assert hd95(distances) == (0.0 if both else WORST_MM)
            assert surface_dice(distances) == (1.0 if both else 0.0)
            continue
        ways = brute_distances(one, other, spacing), brute_distances(other, one, spacing)
        for found, expected in zip(distances, ways, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-9)
        by_scipy = ndimage.distance_transform_edt(~surface.surface(truth), sampling=spacing)
        expected = by_scipy[surface.surface(pred)]
        np.testing.assert_allclose(distances.to_truth, expected, atol=1e-9)
        expected = max(percentile(w, 0.95) for w in ways)
        np.testing.assert_allclose(hd95(distances), expected, atol=1e-6)
        together = percentile(ways[0] + ways[1], 0.95)
        np.testing.assert_allclose(hd95(distances, pooled=True), together, atol=1e-6)
        for tolerance in (0.4, 1.7):
            within = sum(d <= tolerance for w in ways for d in w)
            assert surface_dice(distances, tolerance=tolerance) == within / (len(one) + len(other))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.5, 2.0, 3.7]), data=st.data())
def test_what_changes_nothing(seed, factor, data):
    pred, truth, spacing = pair(seed)
    score = hd95(surface_distances(pred, truth, spacing))
    dice = surface_dice(surface_distances(pred, truth, spacing))

    def same(pred, truth, spacing):
        distances = surface_distances(pred, truth, spacing)
        np.testing.assert_allclose(hd95(distances), score, rtol=1e-9)
        assert surface_dice(distances) == pytest.approx(dice)

    same(truth, pred, spacing)
    order = data.draw(st.permutations(range(3)))
    same(pred.transpose(order)[::-1], truth.transpose(order)[::-1], spacing[list(order)])
    same(*(np.pad(m, ((2, 0), (1, 3), (0, 1))) for m in (pred, truth)), spacing)
    same(np.asfortranarray(pred), truth.astype(np.float32), spacing)
    if pred.any() and truth.any():
        wider = surface_distances(pred, truth, spacing * factor)
        np.testing.assert_allclose(hd95(wider), factor * score, rtol=1e-9)
        assert surface_dice(wider, tolerance=np.concatenate(wider).max()) == 1.0
    perfect = surface_distances(truth, truth, spacing)
    assert (hd95(perfect), surface_dice(perfect, tolerance=0.0)) == (0.0, 1.0)


def test_concentric_balls_are_as_far_apart_as_their_radii():
    grid = np.indices((41, 41, 41)) - 20
    radius = np.sqrt((grid**2).sum(0))
    distances = surface_distances(radius < 17, radius < 13)
    assert 3.5 < hd95(distances) < 4.6 and hd95(distances, percentile=100) < 5
    assert surface_dice(distances, tolerance=3.0) == 0 and surface_dice(distances, tolerance=5) == 1


def test_pictures_have_outlines():
    assert surface.surface(np.ones((4, 5), bool)).sum() == 14
    mask = np.zeros((6, 6), bool)
    mask[1:4, 1:4] = True
    distances = surface_distances(mask, np.roll(mask, 1, 0), (2.0, 1.0))
    assert hd95(distances, percentile=100) == 2.0


@pytest.mark.parametrize(
    ("empty", "both", "one"),
    [
        ("one", (0.0, 1.0), (7.0, 0.0)),
        ("zero", (7.0, 0.0), (7.0, 0.0)),
        ("skip", (None, None), (7.0, 0.0)),
    ],
)
def test_empty_masks(empty, both, one):
    none, some = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    for pred, truth, expected in ((none, none, both), (some, none, one), (none, some, one)):
        distances = surface_distances(pred, truth)
        found = hd95(distances, empty=empty, worst=7.0), surface_dice(distances, empty=empty)
        assert found == expected
    assert hd95(surface_distances(some, none), worst=None) is None
    assert math.dist((0, 0, 0), (240, 240, 155)) == pytest.approx(WORST_MM, abs=1e-4)


def test_wrong_arguments():
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(ValueError, match="on one grid"):
        surface_distances(mask, mask[:2])
    for spacing in ((1, 1), (1, 1, 0), (1, 1, np.nan)):
        with pytest.raises(ValueError, match="3 numbers of mm"):
            surface_distances(mask, mask, spacing)
    for metric in (hd95, surface_dice):
        with pytest.raises(ConfigError, match="'one', 'zero', 'skip'"):
            metric(surface_distances(mask, mask), empty="nan")
    with pytest.raises(ConfigError, match="6, 18 or 26"):
        label(mask, 8)


def test_bounding_box():
    mask = np.zeros((6, 7, 8), bool)
    assert bounding_box(mask) is None and bounding_box(mask[:0]) is None
    mask[2, 3, 4] = mask[4, 3, 6] = True
    assert bounding_box(mask) == (slice(2, 5), slice(3, 4), slice(4, 7))
    assert bounding_box(mask, 2) == (slice(0, 6), slice(1, 6), slice(2, 8))
