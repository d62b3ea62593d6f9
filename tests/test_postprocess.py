"""3D post-processing against brute force on small volumes."""

import itertools

import numpy as np
import pytest

from brainjax.infer.postprocess import Postprocess, fill_holes, hysteresis, keep_components
from brainjax.types import ConfigError

REACH = {6: 1, 18: 2, 26: 3}


def flood(mask, connectivity, in_plane=False):
    """Connected components as sets of voxels, by a plain search."""
    steps = [
        d
        for d in itertools.product((-1, 0, 1), repeat=3)
        if 0 < sum(map(abs, d)) <= REACH[connectivity] and not (in_plane and d[0])
    ]
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        stack = [left.pop()]
        component = set(stack)
        while stack:
            voxel = stack.pop()
            for d in steps:
                near = tuple(a + b for a, b in zip(voxel, d, strict=True))
                if near in left:
                    left.remove(near)
                    component.add(near)
                    stack.append(near)
        found.append(component)
    return found


def paint(shape, components):
    out = np.zeros(shape, bool)
    for component in components:
        for voxel in component:
            out[voxel] = True
    return out


def random_mask(seed, density=0.25, shape=(4, 7, 6)):
    """On every other seed in one corner of a larger grid: what is done in a box must not show."""
    mask = np.random.default_rng(seed).random(shape) < density
    return np.pad(mask, ((2, 1), (0, 3), (1, 0))) if seed % 2 else mask


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("seed", range(3))
def test_keep_components(connectivity, seed):
    mask = random_mask(seed, 0.15)
    components = flood(mask, connectivity)
    largest = max(map(len, components))
    assert len(components) > 2

    def check(kept, **options):
        result = keep_components(mask, connectivity=connectivity, **options)
        assert result.dtype == bool
        np.testing.assert_array_equal(result, paint(mask.shape, kept))

    check(components)
    check([c for c in components if len(c) >= 3], min_voxels=3)
    check([c for c in components if len(c) >= 0.5 * largest], min_fraction=0.5)
    check([], min_voxels=mask.size + 1)
    result = keep_components(mask, keep_largest=True, connectivity=connectivity)
    assert result.sum() == largest and len(flood(result, connectivity)) == 1
    assert not (result & ~mask).any()


def test_equal_components_leave_one():
    mask = np.zeros((3, 5, 5), bool)
    mask[0, 0, 0] = mask[2, 4, 4] = True
    np.testing.assert_array_equal(
        np.argwhere(keep_components(mask, keep_largest=True)), [[0, 0, 0]]
    )


@pytest.mark.parametrize("per_slice", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_fill_holes(per_slice, seed):
    mask = random_mask(seed, 0.65)
    slices, h, w = mask.shape

    def reaches_out(component):
        return any(
            y in (0, h - 1) or x in (0, w - 1) or (not per_slice and s in (0, slices - 1))
            for s, y, x in component
        )

    holes = [c for c in flood(~mask, 6, in_plane=per_slice) if not reaches_out(c)]
    filled = fill_holes(mask, per_slice=per_slice)
    np.testing.assert_array_equal(filled, mask | paint(mask.shape, holes))
    np.testing.assert_array_equal(fill_holes(filled, per_slice=per_slice), filled)
    if not per_slice:
        assert not (filled & ~fill_holes(mask)).any()


def test_a_tunnel_is_a_hole_of_slices_only():
    mask = np.zeros((3, 5, 5), bool)
    mask[:, 1:4, 1:4] = True
    mask[:, 2, 2] = False
    assert fill_holes(mask)[:, 2, 2].all()
    assert not fill_holes(mask, per_slice=False)[:, 2, 2].any()


@pytest.mark.parametrize("seed", range(3))
def test_hysteresis(seed):
    prob = np.random.default_rng(seed).random((4, 7, 6))
    prob = np.pad(prob, ((0, 2), (1, 0), (3, 1))) if seed % 2 else prob
    result = hysteresis(prob, 0.8, 0.95, connectivity=6)
    kept = [c for c in flood(prob > 0.8, 6) if any(prob[v] > 0.95 for v in c)]
    np.testing.assert_array_equal(result, paint(prob.shape, kept))
    assert result.any() and (prob > 0.8)[~result].any()
    np.testing.assert_array_equal(hysteresis(prob, 0.8, 0.8), prob > 0.8)
    assert not hysteresis(prob, 0.8, 1.0).any()


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 4, 4), (1, 1, 1), (0, 4, 4)])
def test_empty_full_and_thin_masks(shape):
    options = [
        Postprocess(),
        Postprocess(min_voxels=2, fill=True),
        Postprocess(min_fraction=1.0, keep_largest=True, connectivity=6, fill=True),
    ]
    for process in options:
        for mask in (np.zeros(shape, bool), np.zeros(shape, np.uint8)):
            result = process(mask)
            assert result.shape == shape and result.dtype == bool and not result.any()
        full = np.ones(shape, np.float32)
        if full.size != 1:  # one voxel is fewer than two
            assert process(full).all()
    for per_slice in (True, False):
        assert not fill_holes(np.zeros(shape, bool), per_slice=per_slice).any()
    assert not hysteresis(np.zeros(shape), 0.3, 0.6).any()
    assert hysteresis(np.ones(shape), 0.3, 0.6).all()


def test_postprocess_is_components_then_holes():
    mask = np.zeros((3, 7, 7), bool)
    mask[:, 1:6, 1:6] = True
    mask[:, 2:5, 2:5] = False
    mask[1, 3, 3] = True  # a speck inside the hole
    before = mask.copy()
    np.testing.assert_array_equal(Postprocess()(mask), mask)
    assert not Postprocess(min_voxels=2)(mask)[1, 3, 3]
    filled = Postprocess(min_voxels=2, fill=True)(mask)
    assert filled.sum() == 3 * 25
    assert not Postprocess(min_voxels=2, fill=True, per_slice=False)(mask)[1, 3, 3]  # a tunnel
    np.testing.assert_array_equal(mask, before)  # the input is left alone
    result = Postprocess()(mask)
    result[:] = False
    np.testing.assert_array_equal(mask, before)


def test_wrong_options():
    with pytest.raises(ConfigError, match="connectivity must be"):
        Postprocess(connectivity=8)
    with pytest.raises(ConfigError, match="min_voxels"):
        Postprocess(min_voxels=-1)
    with pytest.raises(ConfigError, match="min_fraction"):
        Postprocess(min_fraction=1.5)
    with pytest.raises(ConfigError, match="low <= high"):
        hysteresis(np.zeros((1, 2, 2)), 0.7, 0.3)
    with pytest.raises(ValueError, match="expected"):
        keep_components(np.zeros((4, 4), bool))
