"""Turning: every voxel stays where it was in the world, and nothing is lost."""

import numpy as np
import pytest
from volumes import CODES, KINDS, brain, make_grid, scan, world

from brainjax.io.volume import Volume
from brainjax.preprocess import orient
from brainjax.types import ConfigError


def test_there_are_48_orientations():
    assert len(set(CODES)) == 48


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES)
def test_voxels_stay_where_they_are(codes, kind):
    grid = make_grid(codes, kind, edge=10)
    assert grid.orientation == codes
    turn = orient.turn_to(grid)
    turned = turn.grid(grid)
    assert turned.orientation == "RAS"
    np.testing.assert_allclose(turn.apply(world(grid)), world(turned), atol=1e-5)
    np.testing.assert_array_equal(turn.invert(turn.apply(world(grid))), world(grid))
    there = orient.turn_to(turned, codes).grid(turned)
    assert there.shape == grid.shape
    np.testing.assert_allclose(there.affine, grid.affine, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES)
def test_the_brain_is_the_one_that_would_have_been_scanned_so(codes, kind):
    grid = make_grid("LIA", kind)
    turned = orient.reorient(Volume(brain(grid), grid.affine), codes)
    assert turned.orientation == codes
    np.testing.assert_array_equal(turned.data, brain(turned.grid))


def test_a_turn_is_a_view_and_leaves_channels_alone():
    volume = scan(make_grid("PSR", "isotropic", edge=8))
    volume = volume.with_data(np.stack([volume.data, -volume.data], axis=-1))
    turned = orient.reorient(volume, "las")
    assert turned.orientation == "LAS" and np.shares_memory(turned.data, volume.data)
    np.testing.assert_array_equal(turned.data[..., 0], -turned.data[..., 1])


@pytest.mark.parametrize("codes", ["", "RA", "RAR", "RLS", "XYZ", "RASS", "RRAS"])
def test_what_is_no_orientation_is_refused(codes):
    with pytest.raises(ConfigError, match="try RAS"):
        orient.turn_to(make_grid("RAS", "isotropic"), codes)
