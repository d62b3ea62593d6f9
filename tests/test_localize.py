"""Lesions of known shape, found and measured on grids in every position; and the outlines of masks."""

import csv
import io
import json

import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from volumes import CENTRE, CODES, KINDS, make_grid, world

from brainjax.infer.localize import contours, measure, rows, volumes_ml

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def ball(grid, centre, radius):
    return np.linalg.norm(world(grid) - centre, axis=-1) <= radius


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES[::6])
def test_a_ball_is_where_it_is_and_as_large_as_it_is(codes, kind):
    grid = make_grid(codes, kind)
    centre = CENTRE + (2, -1, 1)
    whole, core = ball(grid, centre, 9), ball(grid, centre, 5)
    (lesion,) = measure({"WT": whole, "TC": core}, grid.affine)
    np.testing.assert_allclose(lesion.centroid_mm, centre, atol=0.5)
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.05)
    assert lesion.regions_ml["WT"] == lesion.volume_ml
    assert lesion.regions_ml["TC"] == pytest.approx(4 / 3 * np.pi * 5**3 / 1000, rel=0.15)
    voxel = np.linalg.norm(grid.spacing)
    assert abs(lesion.diameters.longest_mm - 18) < voxel
    assert abs(lesion.region_diameters["TC"].longest_mm - 10) < voxel
    box = tuple(slice(a, b) for a, b in zip(*lesion.box, strict=True))
    assert whole[box].sum() == whole.sum()
    assert all(whole[box].any(axis=tuple({0, 1, 2} - {axis}))[[0, -1]].all() for axis in range(3))
    corners = np.array(lesion.box_mm)
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(corners.mean(0), centre, atol=voxel)
    edge = np.linalg.norm(corners[1] - corners[0])  # the last axis is the fastest
    assert edge == pytest.approx((lesion.box[1][2] - lesion.box[0][2]) * grid.spacing[2])


def test_the_ends_of_diameters_are_told_in_voxels_of_the_whole_grid():
    grid = make_grid("LIA", "oblique")
    (lesion,) = measure({"WT": ball(grid, CENTRE, 8)}, grid.affine)
    found = lesion.diameters
    for voxels, mm in zip(found.longest, found.longest_world, strict=True):
        np.testing.assert_allclose(grid.affine[:3, :3] @ voxels + grid.affine[:3, 3], mm, atol=1e-6)
        assert voxels[found.axis] == pytest.approx(found.slice)
        np.testing.assert_allclose(np.linalg.norm(np.subtract(mm, CENTRE)), 8, atol=1.5)


def test_lesions_come_largest_first_and_specks_not_at_all():
    mask = np.zeros((40, 40, 40), bool)
    mask[2:4, 2:4, 2:4] = True  # 8 voxels
    mask[20:30, 20:30, 20:30] = True
    mask[35, 35, 35] = True
    mask[10:13, 10:13, 10:13] = True
    regions = {"WT": mask}
    found = measure(regions, np.diag([2.0, 2.0, 2.0, 1.0]), least_ml=0.05)
    assert [lesion.index for lesion in found] == [1, 2, 3]
    assert [lesion.volume_ml for lesion in found] == pytest.approx([8.0, 0.216, 0.064])
    assert found[2].box == ((2, 2, 2), (4, 4, 4)) and found[2].centroid_mm == (5.0, 5.0, 5.0)
    assert len(measure(regions, np.eye(4), least_ml=0)) == 4
    assert volumes_ml(regions, np.eye(4)) == {"WT": pytest.approx(1.036)}


def test_a_region_beside_the_others_is_a_lesion_too_and_lacks_theirs():
    whole, core = np.zeros((2, 12, 12, 12), bool)
    whole[:4, :4, :4] = True
    core[8:11, 8:11, 8:11] = True
    large, small = measure({"WT": whole, "TC": core}, np.eye(4), least_ml=0.01)
    assert large.regions_ml == {"WT": pytest.approx(0.064), "TC": 0}
    assert set(large.region_diameters) == {"WT"} and set(small.region_diameters) == {"TC"}


def test_nothing_found_is_no_lesion():
    assert measure({"WT": np.zeros((4, 4, 4), bool)}, np.eye(4)) == ()
    with pytest.raises(ValueError, match="one region"):
        measure({}, np.eye(4))
    with pytest.raises(ValueError, match="TC"):
        measure({"WT": np.zeros((4, 4, 4)), "TC": np.zeros((4, 4, 5))}, np.eye(4))


def test_facts_are_json_and_rows_a_table():
    grid = make_grid("RAS", "anisotropic")
    whole = ball(grid, CENTRE, 8) | ball(grid, CENTRE + (12, 0, 0), 2)
    lesions = measure({"WT": whole, "ET": ball(grid, CENTRE, 3)}, grid.affine, least_ml=0.01)
    assert len(lesions) == 2
    (facts, _) = json.loads(json.dumps([lesion.facts() for lesion in lesions], allow_nan=False))
    assert facts["diameters"]["longest_mm"] == lesions[0].diameters.longest_mm
    assert facts["region_diameters"]["ET"]["product_mm2"] > 0
    table = rows(lesions)
    assert table[0].keys() == table[1].keys() and table[1]["ET_longest_mm"] is None
    text = io.StringIO()
    writer = csv.DictWriter(text, table[0])
    writer.writeheader()
    writer.writerows(table)
    back = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert float(back[0]["ET_ml"]) == pytest.approx(lesions[0].regions_ml["ET"])


def area(line):
    """Of a closed line, with its sign."""
    y, x = line.T
    return 0.5 * np.sum(y[:-1] * x[1:] - y[1:] * x[:-1])


@hypothesis.given(masks)
@hypothesis.settings(deadline=None, max_examples=150)
def test_outlines_are_closed_and_part_inside_from_outside(mask):
    lines = contours(mask)
    assert bool(lines) == mask.any()
    crossings = np.zeros(mask.shape, int)
    rows_, columns = np.indices(mask.shape)
    for line in lines:
        np.testing.assert_array_equal(line[0], line[-1])
        for (y0, x0), (y1, x1) in zip(line[:-1], line[1:], strict=True):
            # A ray from each pixel's centre to the right; edges never pass through a centre.
            spans = (y0 <= rows_) != (y1 <= rows_)
            with np.errstate(divide="ignore", invalid="ignore"):
                at = x0 + (rows_ - y0) * (x1 - x0) / (y1 - y0)
            crossings += spans & (at > columns)
    np.testing.assert_array_equal(crossings % 2 == 1, mask)


def test_the_outline_of_a_disc_is_a_circle():
    y, x = np.indices((80, 90))
    (line,) = contours(np.hypot(y - 40, x - 45) <= 30)
    radius = np.hypot(*(line - (40, 45)).T)
    assert abs(radius - 30).max() < 1 and abs(area(line)) == pytest.approx(np.pi * 900, rel=0.01)


def test_a_hole_has_an_outline_of_its_own():
    mask = np.ones((9, 9), bool)
    mask[3:6, 3:6] = False
    lines = contours(mask)
    assert len(lines) == 2
    sizes = sorted(abs(area(line)) for line in lines)
    assert sizes == pytest.approx([9 - 0.5 + 0, 81 - 0.5], abs=1)


def test_contours_are_of_planes():
    with pytest.raises(ValueError, match="mask has shape"):
        contours(np.zeros((3, 3, 3), bool))
