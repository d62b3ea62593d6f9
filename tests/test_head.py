"""The box about a head: the same whatever way the file is stored, and errors where there is no head."""

import dataclasses

import numpy as np
import pytest
from heads import CENTRE, head
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import CODES

from brainjax.preprocess.head import cut_head, head_box, likely_centres, middle, windowed
from brainjax.preprocess.reach import within_reach
from brainjax.types import DataError

BOX = (32, 40, 32), 6.0


@pytest.fixture(scope="module")
def upright():
    return head_box(head(), *BOX)


@settings(max_examples=12, deadline=None)
@given(codes=st.sampled_from(CODES))
def test_the_orientation_of_the_file_changes_nothing(upright, codes):
    found = head_box(head(codes=codes), *BOX)
    assert found.shape == BOX[0] and found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), upright.astype(int), atol=2)


def test_the_box_is_about_the_head_wherever_it_lies_in_the_file(upright):
    moved = head_box(head(shift=(18.0, -12.0, 6.0)), *BOX)
    assert np.mean(np.abs(moved.astype(int) - upright) > 40) < 0.03


def test_the_middle_is_found_in_mm():
    scan = head()
    voxel = middle(scan.data, 2.5)
    world = scan.affine[:3, :3] @ voxel + scan.affine[:3, 3]
    # From the top of the head, as that of an adult: its brain's middle is where the shell's is, but for some mm.
    np.testing.assert_allclose(world, CENTRE, atol=15)


def test_a_bright_spot_does_not_hide_the_head():
    scan = head()
    spot = scan.data.copy()
    spot[10:16, 60:70, 20:30] = 3000
    np.testing.assert_allclose(middle(spot, 2.5), middle(scan.data, 2.5), atol=3)


def test_the_way_back_puts_the_box_where_it_was():
    scan = head(codes="LPI")
    found, box, undo = cut_head(scan, *BOX)
    back = undo(box.paste(found.astype(np.float32)))
    assert back.shape == scan.data.shape
    brain = (scan.data > 90) & (scan.data < 110)
    assert np.corrcoef(back.ravel(), scan.data.ravel())[0, 1] > 0.9 and back[brain].mean() > 60


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 80, 80), (80, 96, 2)])
def test_scans_that_are_tiny_or_thin_make_a_box(shape):
    start = [(n - s) // 2 for n, s in zip((80, 96, 84), shape, strict=True)]
    data = head().data[tuple(slice(a, a + s) for a, s in zip(start, shape, strict=True))]
    scan = dataclasses.replace(head(), data=data)
    if data.size == 1:
        with pytest.raises(DataError, match="every voxel"):
            head_box(scan, *BOX)
    else:
        assert head_box(scan, *BOX).any()


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e36])
def test_the_unit_of_the_scan_changes_nothing(upright, scale):
    scan = head()
    scaled = scan.with_data(scan.data * np.float32(scale))
    found = head_box(scaled, *BOX)
    np.testing.assert_allclose(found.astype(int), upright.astype(int), atol=1)
    np.testing.assert_array_equal(likely_centres(scaled.data, 2.5), likely_centres(scan.data, 2.5))


def test_a_head_is_found_where_the_range_itself_is_no_float32():
    scan = head()
    wide = ((scan.data - 110) / 110 * 2.5e38).astype(np.float32)
    np.testing.assert_allclose(likely_centres(wide, 2.5), likely_centres(scan.data, 2.5), atol=1)
    assert np.isfinite(middle(within_reach(wide), 2.5)).all()


def test_numbers_within_reach_stay_and_others_keep_their_ratios():
    usual = np.array([-3.0, 0.0, 1e5], np.float32)
    assert within_reach(usual) is usual
    for largest in (1e-300, 1e-12, 1e20, 3e38, 1e300, 1.7e308):
        data = np.array([-1.0, 0.25, 0.0]) * largest
        found = within_reach(data)
        assert found.dtype == np.float32 and 0.5 <= -found[0] <= 1
        np.testing.assert_allclose(found / -found[0], [-1, 0.25, 0], rtol=1e-6)
    assert within_reach(np.zeros((2, 2), np.int16)).dtype == np.float32


def test_nothing_and_no_numbers_are_named():
    scan = head()
    with pytest.raises(DataError, match="every voxel of the scan is 7"):
        head_box(scan.with_data(np.full(scan.data.shape, 7.0)), *BOX)
    with pytest.raises(DataError, match="NaN"):
        head_box(scan.with_data(np.where(scan.data > 200, np.nan, scan.data)), *BOX)
    with pytest.raises(DataError, match="one sequence"):
        head_box(scan.with_data(np.stack([scan.data] * 2, -1)), *BOX)


def test_black_to_white_and_black_where_constant():
    assert (
        windowed(np.linspace(-5, 5, 1000)).min() == 0
        and windowed(np.linspace(-5, 5, 1000)).max() == 255
    )
    assert not windowed(np.ones((4, 4))).any()
    assert len(likely_centres(np.zeros((8, 8, 8), np.float32), 1.0)) == 1
