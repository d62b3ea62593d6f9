"""Slices as radiologists hang them, whatever way the file has its axes."""

import base64
import io

import analyses
import numpy as np
import pytest
from PIL import Image
from volumes import CENTRE, CODES, make_grid

from brainjax.infer.localize import contours
from brainjax.io import Volume
from brainjax.report.hanging import Hanging
from brainjax.report.svg import data_uri, path


@pytest.mark.parametrize("codes", CODES[::5])
def test_a_place_in_the_world_is_found_on_every_slice(codes):
    analysis = analyses.make(codes, "anisotropic")
    hanging = Hanging.of(analysis)
    grid = analysis.scan.grid
    spot = np.zeros(grid.shape)
    voxel = np.rint(np.linalg.inv(grid.affine) @ [*analyses.LESION, 1])[:3].astype(int)
    spot[tuple(voxel)] = 1
    world = (grid.affine @ [*voxel, 1])[:3]
    brought = hanging.bring(spot)
    for axis in range(3):
        index = hanging.nearest(world)[axis]
        shown = hanging.slice(brought, axis, index)
        assert shown.shape == hanging.size(axis)
        place = np.unravel_index(shown.argmax(), shown.shape)
        np.testing.assert_allclose(hanging.place(world, axis), place, atol=1e-6)
        assert hanging.level(axis, index) == pytest.approx(world[axis], abs=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
def test_up_is_up_and_the_right_is_on_the_left(codes):
    hanging = Hanging.of(analyses.make(codes, "isotropic"))
    for axis, across, up in ((2, 0, 1), (1, 0, 2), (0, 1, 2)):
        row, column = hanging.place(CENTRE, axis)
        higher, aside = CENTRE.copy(), CENTRE.copy()
        higher[up] += 5
        aside[across] += 5  # to the right, or to the front
        assert hanging.place(higher, axis)[0] < row
        assert (hanging.place(aside, axis)[1] < column) == (axis != 0)


def test_it_is_cropped_to_brain_and_tumour_and_the_window_is_of_the_brain():
    analysis = analyses.make("RAS", "isotropic")
    full = Hanging.of(analyses.make("RAS", "isotropic", brain=None, tumour=None, lesions=()))
    assert full.grid.shape == analysis.scan.grid.shape and full.regions == {}
    bright = analysis.scan.volumes["flair"].data.copy()
    bright[analysis.brain.data == 0] = 5000
    analysis.scan.volumes["flair"] = Volume(bright, analysis.scan.grid.affine)
    hanging = Hanging.of(analysis)
    assert hanging.limits["flair"][1] < 200
    assert hanging.sizes_ml["brain"] == pytest.approx(4 / 3 * np.pi * 16**3 / 1000, rel=0.03)
    assert hanging.sizes_ml["WT"] == pytest.approx(sum(x.volume_ml for x in analysis.lesions))


def test_slices_are_spread_over_the_brain():
    hanging = Hanging.of(analyses.make("RAS", "isotropic"))
    for axis in range(3):
        chosen = hanging.spread(axis, 6)
        assert len(chosen) == 6 and (chosen == sorted(chosen)) == (axis == 0)
        assert all(np.moveaxis(hanging.brain, axis, 0)[i].any() for i in chosen)
        assert np.ptp(np.diff(chosen)) <= 1
    assert Hanging.of(analyses.make("RAS", "isotropic")).spread(2, 500)[::-1] == sorted(
        set(hanging.spread(2, 500))
    )


def test_a_picture_has_one_plane():
    hanging = Hanging.of(analyses.flat())
    assert hanging.planes == (2,) and hanging.spread(2, 12) == [0]
    assert Hanging.of(analyses.flat((5, 5, 5))).planes == ()


def test_large_pictures_are_reduced():
    picture = np.zeros((300, 600, 3), np.uint8)
    for pixels, size in ((None, (600, 300)), (200, (200, 100)), (900, (600, 300))):
        stored = base64.b64decode(data_uri(picture, pixels).partition(",")[2])
        assert Image.open(io.BytesIO(stored)).size == size


def test_a_flat_or_broken_image_is_drawn_all_the_same():
    analysis = analyses.flat((12, 12, 12))
    for fill in (7.0, np.nan):
        data = np.full((12, 12, 12), fill, np.float32)
        analysis.scan.volumes["unknown"] = Volume(data, np.eye(4))
        assert not Hanging.of(analysis).picture("unknown", 2, 5).any()


def test_a_path_is_the_outline_in_half_pixels():
    mask = np.zeros((12, 15), bool)
    mask[2:9, 3:11] = True
    mask[4:6, 5:8] = False
    mask[10, 13] = True
    lines = path(mask).removesuffix("z").split("z")
    wanted = contours(mask)
    assert len(lines) == len(wanted) == 3
    for text, line in zip(lines, wanted, strict=True):
        start, steps = text.removeprefix("M").split("l")
        points = np.cumsum(np.array(f"{start} {steps}".split(), int).reshape(-1, 2), axis=0)
        assert len(points) < len(line) or len(line) == 5  # straight runs are one step
        corners = {tuple(p) for p in (2 * (line[:, ::-1] + 0.5)).astype(int)}
        assert {tuple(p) for p in points} <= corners
        np.testing.assert_array_equal(points[0], points[-1])
        np.testing.assert_allclose(points.max(0), 2 * (line[:, ::-1] + 0.5).max(0))


def test_grids_of_one_shape_need_not_be_one_grid():
    """The crop keeps every voxel where it is in the world."""
    analysis = analyses.make("PIR", "oblique")
    hanging, grid = Hanging.of(analysis), make_grid("PIR", "oblique", analyses.SIDE)
    where = np.argwhere(hanging.regions["ET"]).mean(0)
    mask = np.argwhere(analysis.regions["ET"]).mean(0)
    np.testing.assert_allclose(
        (hanging.grid.affine @ [*where, 1])[:3], (grid.affine @ [*mask, 1])[:3], atol=1e-6
    )
