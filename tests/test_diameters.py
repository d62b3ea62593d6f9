"""Diameters on axial slices: known shapes on grids in every position, and a search by brute force."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from volumes import CENTRE, CODES, KINDS, make_grid, rotation, world

from brainjax.infer.diameters import bidirectional

planes = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7))


def affine(spacing, degrees=(0, 0, 0), origin=(3.0, -4.0, 5.0)):
    out = np.eye(4)
    out[:3, :3] = rotation(degrees) * np.asarray(spacing, float)
    out[:3, 3] = origin
    return out


def length(segment):
    return np.linalg.norm(np.subtract(*map(np.asarray, segment)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES[::5])
def test_a_sphere_is_as_wide_as_it_is_in_any_orientation(codes, kind):
    grid = make_grid(codes, kind)
    mask = np.linalg.norm(world(grid) - CENTRE, axis=-1) <= 9
    found = bidirectional(mask, grid.affine)
    voxel = np.linalg.norm(grid.spacing)
    assert abs(found.longest_mm - 18) < voxel and abs(found.perpendicular_mm - 18) < voxel
    up = [i for i, code in enumerate(codes) if code in "SI"]
    assert [found.axis] == up and mask.take(found.slice, found.axis).any()


@pytest.mark.parametrize("codes", CODES[::7])
def test_an_ellipsoid_along_the_world_s_axes(codes):
    grid = make_grid(codes, "isotropic", edge=50)
    mask = (((world(grid) - CENTRE) / (10, 18, 22)) ** 2).sum(-1) <= 1
    found = bidirectional(mask, grid.affine)
    # The longest axis of all is not on an axial slice.
    assert abs(found.longest_mm - 36) < 1.5 and abs(found.perpendicular_mm - 20) < 1.5
    a, b = np.asarray(found.longest_world)
    np.testing.assert_allclose(np.abs(b - a) / found.longest_mm, (0, 1, 0), atol=0.2)
    np.testing.assert_array_less(
        np.abs((a + b) / 2 - CENTRE), (1, 1, 2)
    )  # slices beside it are as wide


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -7, 25)])
def test_a_bar_one_voxel_wide_is_measured_from_edge_to_edge(degrees):
    mask = np.zeros((9, 8, 7), bool)
    mask[2:8, 3, 5] = True
    found = bidirectional(mask, affine((2.0, 0.7, 4.0), degrees))
    assert found.longest_mm == pytest.approx(12) and found.perpendicular_mm == pytest.approx(0.7)
    assert found.product_mm2 == pytest.approx(8.4)
    assert (found.axis, found.slice) == (2, 5)
    np.testing.assert_allclose(sorted(found.longest), [(1.5, 3, 5), (7.5, 3, 5)])


def test_a_box_is_measured_along_its_diagonal():
    mask = np.zeros((60, 60, 4), bool)
    mask[5:35, 10:50, 1:3] = True
    found = bidirectional(mask, np.eye(4))
    assert found.longest_mm == pytest.approx(np.hypot(29, 40))  # corners are cut by half a voxel
    # Across the diagonal the widest is where it leaves by two opposite sides of 30.
    assert abs(found.perpendicular_mm - 30 / (40 / 50)) < 1


def test_the_longest_diameter_is_on_its_own_slice_and_of_one_piece():
    mask = np.zeros((40, 40, 6), bool)
    mask[0:4, 0:4, 1] = mask[30:34, 30:34, 1] = True  # far apart, but two pieces
    mask[10:22, 10:13, 4] = True
    found = bidirectional(mask, np.eye(4))
    assert found.slice == 4 and 12 <= found.longest_mm <= np.hypot(12, 3)


def test_of_nothing_there_is_none():
    assert bidirectional(np.zeros((3, 4, 5), bool), np.eye(4)) is None


@hypothesis.given(
    planes,
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.tuples(*[st.floats(-12, 12)] * 3),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_it_is_the_longest_by_brute_force_and_both_meet_at_a_right_angle(plane, spacing, degrees):
    hypothesis.assume(plane.any())
    place = affine(spacing, degrees)
    found = bidirectional(plane[:, :, None], place)
    best = 0.0
    for piece in pieces(plane):
        points = np.concatenate(
            [piece + half for half in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))]
        )
        mm = points @ place[:3, :2].T
        best = max(best, np.linalg.norm(mm[:, None] - mm[None], axis=-1).max())
    assert found.longest_mm == pytest.approx(best)
    assert length(found.longest_world) == pytest.approx(found.longest_mm)
    assert length(found.perpendicular_world) == pytest.approx(found.perpendicular_mm)
    assert found.perpendicular_mm <= found.longest_mm * (1 + 1e-9)
    a, b = (
        np.subtract(*map(np.asarray, s)) for s in (found.longest_world, found.perpendicular_world)
    )
    assert abs(a @ b) < 1e-6 * max(1, length(found.longest_world) ** 2)
    for voxels, mm in zip(found.perpendicular, found.perpendicular_world, strict=True):
        np.testing.assert_allclose(place[:3, :3] @ voxels + place[:3, 3], mm, atol=1e-6)


def pieces(plane):
    """[n 2] pixels of each piece that hangs together at edges and corners, by growing it."""
    left = {tuple(p) for p in np.argwhere(plane)}
    while left:
        piece, new = set(), {left.pop()}
        while new:
            piece |= new
            around = {(x + i, y + j) for x, y in new for i in (-1, 0, 1) for j in (-1, 0, 1)}
            new = around & left
            left -= new
        yield np.array(sorted(piece), float)


@hypothesis.given(planes)
@hypothesis.settings(deadline=None, max_examples=40)
def test_no_chord_at_a_right_angle_is_longer(plane):
    """Sampled across the hull of the whole piece: none is longer than what was found, and one is as long."""
    hypothesis.assume(len(list(pieces(plane))) == 1)
    found = bidirectional(plane[:, :, None], np.eye(4))
    (piece,) = pieces(plane)
    points = np.concatenate([piece + half for half in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
    a, b = np.asarray(found.longest)[:, :2]
    along = (b - a) / np.linalg.norm(b - a)
    t, s = points @ along, points @ np.array([-along[1], along[0]])
    widths = [width(t, s, x) for x in np.unique(t.round(9))]
    assert found.perpendicular_mm == pytest.approx(max(widths), abs=1e-6)


def width(t, s, at):
    """Of the convex hull at one t: over all pairs of points on either side, where their line crosses it."""
    i, j = np.meshgrid(range(len(t)), range(len(t)), indexing="ij")
    ok = (t[i] <= at + 1e-9) & (t[j] >= at - 1e-9)
    i, j = i[ok], j[ok]
    gap = t[j] - t[i]
    share = np.where(gap > 1e-9, (at - t[i]) / np.where(gap > 1e-9, gap, 1), 0)
    crossing = np.concatenate([s[i] + share * (s[j] - s[i]), s[j][gap <= 1e-9]])
    return crossing.max() - crossing.min()
