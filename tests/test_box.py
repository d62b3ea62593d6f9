"""Boxes: what is cut out goes back where it was."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from volumes import brain, make_grid, world

from brainjax.preprocess.box import Box, bounding_box
from brainjax.types import ConfigError

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=3, max_dims=3, max_side=9))


@hypothesis.given(masks, st.integers(0, 3), st.integers(1, 5))
@hypothesis.settings(deadline=None, max_examples=100)
def test_the_box_holds_the_mask_and_gives_it_back(mask, margin, multiple):
    box = bounding_box(mask, margin, multiple)
    part = box.cut(mask)
    assert part.shape == box.size and not np.mod(box.size, multiple).any()
    np.testing.assert_array_equal(box.paste(part), mask)


def test_the_box_is_tight():
    mask = np.zeros((10, 12, 14), bool)
    mask[2:5, 3:4, 13] = True
    assert bounding_box(mask) == Box((2, 3, 13), (5, 4, 14), mask.shape)
    assert bounding_box(mask, (0, 1, 2)) == Box((2, 2, 11), (5, 5, 14), mask.shape)
    assert bounding_box(mask, 0, 4) == Box((2, 2, 10), (6, 6, 14), mask.shape)
    assert bounding_box(mask, 0, 16).start == (-3, -2, -1)


def test_an_empty_mask_gives_everything():
    assert bounding_box(np.zeros((3, 4, 5))) == Box((0, 0, 0), (3, 4, 5), (3, 4, 5))


def test_channels_come_along_and_padding_is_filled():
    array = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    box = Box((-1, 0, 2), (2, 2, 6), (2, 3, 4))
    part = box.cut(array, fill=-5)
    assert part.shape == (3, 2, 4, 2) and (part[0] == -5).all() and (part[:, :, 2:] == -5).all()
    back = box.paste(part, fill=9)
    np.testing.assert_array_equal(back[:, :2, 2:], array[:, :2, 2:])
    assert (back[:, 2] == 9).all() and (back[:, :, :2] == 9).all()


def test_a_box_beside_the_array_is_all_padding():
    box = Box((5, 0, 0), (7, 2, 2), (3, 2, 2))
    assert (box.cut(np.ones((3, 2, 2)), fill=4) == 4).all()
    assert (box.paste(np.ones((2, 2, 2))) == 0).all()


def test_without_padding_nothing_is_copied():
    array = np.zeros((4, 4, 4))
    assert np.shares_memory(Box((1, 1, 1), (3, 3, 3), array.shape).cut(array), array)


def test_voxels_stay_where_they_are():
    grid = make_grid("LIA", "oblique")
    box = bounding_box(brain(grid), 2, 8)
    np.testing.assert_allclose(box.cut(world(grid)), world(box.grid(grid)), atol=1e-9)


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="margin"):
        bounding_box(np.ones((2, 2, 2)), -1)
    with pytest.raises(ValueError, match="array has shape"):
        Box((0, 0, 0), (1, 1, 1), (2, 2, 2)).cut(np.ones((3, 2, 2)))
