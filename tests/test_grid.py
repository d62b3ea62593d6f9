"""Resampling: values are right in the world, whatever the two grids; the fast path is the slow one, faster."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from volumes import CENTRE, CODES, KINDS, brain, dice, make_grid, rotation, scan, world

from brainjax.io.volume import Grid, Volume
from brainjax.preprocess import linear
from brainjax.preprocess.grid import resample
from brainjax.types import ConfigError

SLOPE = np.array([0.7, -1.3, 2.1])


def _ramp(grid: Grid) -> np.ndarray:
    """A linear function of the world, which linear interpolation reproduces on any grid."""
    return (world(grid) - CENTRE) @ SLOPE


def _deep(grid: Grid, within: Grid, margin: float) -> np.ndarray:
    """Which voxels lie further inside another grid than `margin` of its voxels."""
    index = (world(grid) - within.affine[:3, 3]) @ np.linalg.inv(within.affine[:3, :3]).T
    return ((index >= margin) & (index <= np.array(within.shape) - 1 - margin)).all(axis=-1)


grids = st.builds(
    make_grid, st.sampled_from(CODES), st.sampled_from(sorted(KINDS)), st.floats(8, 20)
)


@hypothesis.given(grids, grids, st.booleans())
@hypothesis.settings(deadline=None, max_examples=60)
def test_a_ramp_in_the_world_stays_that_ramp(old, new, antialias):
    out = resample(Volume(_ramp(old), old.affine), new, antialias=antialias)
    assert out.data.shape == new.shape and out.data.dtype == np.float32
    assert out.grid.matches(new)
    # A wide filter sees the edge, where the ramp ends; sampled, its centre of mass is off by up to 0.086 of a voxel.
    deep = _deep(new, old, 6.0 if antialias else 0.0)
    bound = 0.09 * np.abs(old.affine[:3, :3].T @ SLOPE).sum() if antialias else 1e-3
    np.testing.assert_allclose(out.data[deep], _ramp(new)[deep], atol=bound)


@pytest.mark.parametrize("codes", CODES)
def test_coinciding_voxels_are_copied_bit_for_bit(codes):
    old = make_grid("LIA", "anisotropic", edge=12)
    index = np.stack(np.meshgrid(*map(np.arange, old.shape), indexing="ij"), axis=-1)
    axes = np.rint(old.affine[:3, :3].T @ make_grid(codes, "isotropic").affine[:3, :3])
    axes = np.sign(axes)  # [old new]: -1, 0 or 1
    affine = np.eye(4)
    affine[:3, :3] = old.affine[:3, :3] @ axes
    # A grid of the same voxels, turned and shifted by whole ones.
    corner = np.where(axes.sum(axis=1) > 0, -2, np.array(old.shape) + 2)
    affine[:3, 3] = (old.affine @ [*corner, 1])[:3]
    affine[:3] *= 1 + 1e-8  # as float32 headers have it
    shape = tuple(int(n) + 5 for n in np.abs(axes.T) @ old.shape)
    values = np.random.default_rng(0).normal(size=old.shape).astype(np.float32)
    out = resample(Volume(values, old.affine), Grid(shape, affine), fill=-7.0)
    place = (index - corner) @ axes
    place = tuple(np.moveaxis(place.astype(int), -1, 0))
    np.testing.assert_array_equal(out.data[place], values)
    rest = np.ones(shape, bool)
    rest[place] = False
    assert (out.data[rest] == -7).all() and rest.any()


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kind", ["isotropic", "anisotropic"])
def test_both_paths_agree(monkeypatch, kind, order):
    volume, new = scan(make_grid("LIA", kind, edge=14)), make_grid("PRS", "isotropic", edge=19.3)
    fast = resample(volume, new, order=order, antialias=False, fill=3)
    monkeypatch.setattr("brainjax.preprocess.grid._parallel", lambda *_: None)
    slow = resample(volume, new, order=order, antialias=False, fill=3)
    assert fast.data.dtype == slow.data.dtype
    # Half way between two voxels either is the nearest.
    assert (np.abs(fast.data - slow.data) > 2e-3).mean() < (0.02 if order == 0 else 1e-9)
    assert (fast.data == 3).any()


@pytest.mark.parametrize("codes", ["RAS", "SPL"])
@pytest.mark.parametrize("kind", ["isotropic", "oblique"])
def test_memory_order_and_number_type_do_not_matter(codes, kind):
    volume, new = scan(make_grid(codes, "anisotropic", edge=12)), make_grid("RAS", kind, edge=13)
    expected = resample(volume, new).data
    for data in (np.asfortranarray(volume.data), volume.data[::-1, :, ::-1].copy()[::-1, :, ::-1]):
        for number in (np.uint16, np.float32, np.float64, ">i4"):
            out = resample(volume.with_data(data.astype(number)), new)
            np.testing.assert_allclose(out.data, expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["isotropic", "oblique"])
def test_channels_are_resampled_each_for_itself(kind):
    volume, new = scan(make_grid("LPS", "anisotropic", edge=10)), make_grid("RAS", kind, edge=9)
    stack = volume.with_data(np.stack([volume.data, 2 * volume.data], axis=-1))
    for order in (0, 1):
        out = resample(stack, new, order=order).data
        for channel in (0, 1):
            one = resample(volume.with_data(stack.data[..., channel]), new, order=order).data
            np.testing.assert_array_equal(out[..., channel], one)


@pytest.mark.parametrize("number", [bool, np.uint8, np.int32, np.float16, np.float32])
@pytest.mark.parametrize("kind", ["isotropic", "oblique"])
def test_the_nearest_voxel_keeps_type_and_labels(kind, number):
    grid = make_grid("LIA", "anisotropic", edge=12)
    labels = np.random.default_rng(0).integers(0, 2, grid.shape).astype(number)
    out = resample(Volume(labels, grid.affine), make_grid("RAS", kind, edge=12), order=0)
    assert out.data.dtype == number and set(np.unique(out.data)) <= {0, 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES[::5])
def test_a_mask_goes_to_an_oblique_grid_and_back(codes, kind):
    old, new = make_grid(codes, kind), make_grid("RAS", "oblique", edge=45)
    new = Grid(new.shape, new.affine @ np.diag([*np.divide(0.8, new.spacing), 1]))
    new.affine[:3, 3] = CENTRE - new.affine[:3, :3] @ ((np.array(new.shape) - 1) / 2)
    truth = brain(old)
    there = resample(Volume(truth, old.affine), new, antialias=False)
    back = resample(there, old, antialias=False).data >= 0.5
    assert dice(back, truth) >= 0.99


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 0, 30)])
def test_shrinking_averages_instead_of_skipping(degrees):
    """Noise of mean 0 all but vanishes in voxels of 6 mm."""
    affine = np.eye(4)
    noise = np.random.default_rng(0).normal(size=(48, 48, 48))
    affine[:3, :3] = rotation(degrees) * 6
    affine[:3, 3] = 24 - affine[:3, :3] @ [1.5, 1.5, 1.5]
    volume, coarse = Volume(noise, np.eye(4)), Grid((4, 4, 4), affine)
    assert resample(volume, coarse).data.std() < 0.15
    assert resample(volume, coarse, antialias=False).data.std() > 0.25


def test_edges_take_the_nearest_and_far_away_is_filled():
    volume = Volume(np.full((4, 4, 4), 5.0), np.diag([2.0, 2.0, 2.0, 1.0]))
    for degrees in ((0, 0, 0), (0, 0, 5)):
        affine = np.eye(4)
        affine[:3, :3] = rotation(degrees)
        affine[:3, 3] = 3 - affine[:3, :3] @ [9.5, 9.5, 9.5]
        out = resample(volume, Grid((20, 20, 20), affine), fill=-1).data
        inside = (np.abs(world(Grid((20, 20, 20), affine)) - 3) < 4).all(axis=-1)
        assert (out[inside] == 5).all()
        assert set(np.unique(out)) == {-1, 5} and (out == -1).mean() > 0.5


def test_grids_apart_from_each_other_give_fill_alone():
    volume = scan(make_grid("RAS", "isotropic", edge=8))
    for kind in ("isotropic", "oblique"):
        grid = make_grid("LPS", kind, edge=8)
        grid.affine[:3, 3] += 100
        assert (resample(volume, grid, fill=2).data == 2).all()


def test_other_orders_are_not_offered():
    grid = make_grid("RAS", "isotropic", edge=8)
    with pytest.raises(ConfigError, match="order 3"):
        resample(scan(grid), grid, order=3)


@hypothesis.given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(-1e12, 1e12).filter(lambda x: abs(x) > 1e-9),
    st.floats(-60, 60),
    st.booleans(),
)
@hypothesis.settings(deadline=None, max_examples=200)
def test_shares_are_shares(old, new, scale, offset, antialias):
    """Also of pixels a billion times larger: the weights take no memory that the scale decides."""
    w = linear.weights.__wrapped__(old, new, scale, offset, antialias).toarray()
    _, inside = linear.centres(old, new, scale, offset)
    np.testing.assert_allclose(w.sum(axis=1), inside, atol=1e-5)
    assert w.shape == (new, old) and w.min() >= 0


@hypothesis.given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=3, max_dims=3, max_side=6),
                  elements=st.floats(-100, 100, width=32)),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.permutations(range(3)),
)  # fmt: skip
@hypothesis.settings(deadline=None, max_examples=60)
def test_slice_by_slice_is_a_product_along_each_axis(array, size, order):
    pairs = list(zip(array.shape, size, strict=True))
    by_axis = [linear.weights(a, b, a / b, a / b / 2 - 0.5) for a, b in pairs]
    expected = np.einsum("xyz,ax,by,cz->abc", array, *(w.toarray() for w in by_axis))
    laid_out = array.transpose(order).copy().transpose(np.argsort(order))
    np.testing.assert_allclose(linear.apply(laid_out, by_axis), expected, atol=1e-3)


def test_scipy_zooms_the_same():
    data = np.random.default_rng(0).normal(size=(9, 9, 9)).astype(np.float32)
    fine = Grid((17, 17, 17), np.diag([0.5, 0.5, 0.5, 1.0]))
    expected = ndimage.zoom(data, 17 / 9, order=1)
    np.testing.assert_allclose(resample(Volume(data, np.eye(4)), fine).data, expected, atol=1e-5)
