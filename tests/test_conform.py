"""Conforming: any scan to one grid, and masks back to the scan's own."""

import nibabel
import numpy as np
import pytest
from tiny import ROOT
from volumes import CODES, KINDS, brain, dice, make_grid, scan, world

from brainjax.io import read_volume, write_volume
from brainjax.io.volume import Volume
from brainjax.preprocess.conform import conform
from brainjax.types import ConfigError, DataError

HEADS = ROOT / ".." / "shared" / "data" / "heads"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES)
def test_at_its_own_spacing_the_way_back_is_exact(codes, kind):
    grid = make_grid(codes, kind)
    truth = brain(grid)
    working, undo = conform(Volume(truth, grid.affine), None, multiple=8)
    assert working.orientation == "RAS" and not np.mod(working.data.shape, 8).any()
    assert set(np.unique(working.data)) == {0, 1}
    assert working.data.sum() == truth.sum()  # nothing lies outside
    for order in (0, 1):
        back = undo.volume(working.data, order)
        np.testing.assert_array_equal(back.data, truth)
        np.testing.assert_allclose(back.affine, grid.affine, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES)
def test_at_another_spacing_the_way_back_is_close(codes, kind):
    grid = make_grid(codes, kind)
    truth = brain(grid)
    working, undo = conform(Volume(truth, grid.affine), 0.9, multiple=16)
    np.testing.assert_allclose(working.spacing, 0.9, atol=1e-9)
    assert dice(working.data >= 0.5, brain(working.grid)) >= 0.93
    assert dice(undo(working.data) >= 0.5, truth) >= 0.99


@pytest.mark.parametrize("codes", CODES[::7])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_found_on_the_working_grid_lands_in_its_place(codes, kind):
    """Not only there and back: what a network sees in the world is where the scan has it."""
    grid = make_grid(codes, kind)
    working, undo = conform(scan(grid), 1.0)
    assert dice(undo(brain(working.grid)) >= 0.5, brain(grid)) >= 0.96


def test_all_of_the_field_of_view_is_covered():
    grid = make_grid("LIA", "oblique", edge=11)
    for spacing in (0.7, 1.0, 2.0, 3.3, 40.0, (2.0, 1.0, 5.0)):
        working, undo = conform(Volume(np.ones(grid.shape), grid.affine), spacing, 4)
        index = (world(grid) - working.affine[:3, 3]) @ np.linalg.inv(working.affine[:3, :3]).T
        assert (index > -0.5).all() and (index < np.array(working.data.shape) - 0.5).all()
        back = undo(np.ones(working.data.shape, np.float32))
        np.testing.assert_allclose(back, 1, atol=1e-6)


def test_channels_and_labels():
    volume = scan(make_grid("SPL", "anisotropic", edge=12))
    stack = volume.with_data(np.stack([volume.data % 3, volume.data % 2], -1).astype(np.uint8))
    working, undo = conform(stack, 1.5, order=0)
    assert working.data.dtype == np.uint8 and working.data.shape[-1] == 2
    back = undo(working.data, order=0)
    assert back.shape == stack.data.shape and set(np.unique(back)) <= {0, 1, 2}


@pytest.mark.parametrize("shape", [(1, 1, 1), (20, 24, 1), (1, 30, 30), (300, 2, 1)])
def test_slices_and_needles_go_through(shape):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    affine = np.diag([-1.0, 1.0, 5.0, 1.0])
    working, undo = conform(Volume(data, affine), 1.0)
    assert np.isfinite(working.data).all()
    assert undo(working.data).shape == shape


def test_the_scans_header_comes_back_with_the_mask(tmp_path):
    image = nibabel.Nifti1Image(np.ones((6, 7, 8), np.int16), np.diag([-2.0, 2.0, 2.0, 1.0]))
    image.header["descrip"] = b"of this scan"
    image.set_qform(image.affine, 1)
    nibabel.save(image, tmp_path / "scan.nii")
    working, undo = conform(read_volume(tmp_path / "scan.nii"), 1.0)
    write_volume(tmp_path / "mask.nii.gz", undo.volume(working.data > 0.5, order=0))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert bytes(mask.header["descrip"]).startswith(b"of this scan")
    assert mask.get_data_dtype() == np.uint8 and int(mask.header["qform_code"]) == 1


@pytest.mark.parametrize("spacing", [0, -1.0, np.nan, (1.0, 0.0, 1.0)])
def test_spacings_that_are_none_are_refused(spacing):
    with pytest.raises(ConfigError, match="above 0"):
        conform(scan(make_grid("RAS", "isotropic", edge=8)), spacing)


@pytest.mark.parametrize("size", [1e3, 1e8])
def test_absurd_voxel_sizes_are_refused_before_memory_is_asked_for(size):
    volume = Volume(np.zeros((100, 100, 100), np.uint8), np.diag([size, size, size, 1]))
    with pytest.raises(DataError, match="repair the voxel size"):
        conform(volume, 1.0)


def test_tiny_voxels_become_one():
    volume = Volume(np.ones((50, 50, 50), np.uint8), np.diag([1e-8, 1e-8, 1e-8, 1]))
    working, undo = conform(volume, 1.0, 4)
    assert working.data.shape == (4, 4, 4)
    np.testing.assert_allclose(working.data.sum(), 1, rtol=1e-5)
    assert undo(working.data).shape == (50, 50, 50)


def test_an_array_of_another_grid_is_refused():
    _, undo = conform(scan(make_grid("RAS", "isotropic", edge=8)))
    with pytest.raises(DataError, match="conformed grid"):
        undo(np.zeros((3, 3, 3)))


def test_a_real_head_comes_back_as_it_was(tmp_path):
    path = HEADS / "t1_adult"
    if not path.is_dir():
        pytest.skip("needs the heads in ../shared/data/heads")
    head, mask = read_volume(path / "image.nii.gz"), read_volume(path / "mask.nii.gz")
    assert head.orientation == "LIA" and head.grid.matches(mask.grid)
    working, undo = conform(head, 1.0)
    assert working.orientation == "RAS" and working.data.shape == (256, 256, 256)
    np.testing.assert_array_equal(undo(working.data), head.data)
    half, undo = conform(head.with_data(mask.data > 0), 2.0)
    found = undo(half.data) >= 0.5
    assert dice(found, mask.data > 0) >= 0.98
    write_volume(tmp_path / "mask.nii", head.with_data(found))
    written = read_volume(tmp_path / "mask.nii")
    np.testing.assert_array_equal(written.affine, head.affine)
    np.testing.assert_array_equal(written.data, found)
