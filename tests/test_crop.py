"""Crop to the head: wherever it is, whatever surrounds it, and harmless where there is none."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays
from pictures import head

from brainjax.preprocess import crop


def _placed(top: int, left: int, shape=(300, 260), level=0) -> np.ndarray:
    """A head of 96 x 96 pixels, of which it fills 74 to 82 by 56 to 66, at a place of a larger picture."""
    picture = np.full(shape, level, np.uint8)
    inner = head(3)
    view = picture[top : top + 96, left : left + 96]
    view[inner > 0] = inner[inner > 0]
    return picture


def _true_box(picture: np.ndarray, level: int = 0) -> tuple[int, int, int, int]:
    y, x = np.nonzero(picture != level)
    return y.min(), y.max() + 1, x.min(), x.max() + 1


@pytest.mark.parametrize("top, left", [(10, 10), (150, 20), (190, 160), (0, 0), (100, 90)])
@pytest.mark.parametrize("level", [0, 25])
def test_the_box_is_that_of_the_extreme_points(top, left, level):
    picture = _placed(top, left, level=level)
    np.testing.assert_allclose(crop.head_box(picture), _true_box(picture, level), atol=8)


def test_captions_noise_and_a_ruler_do_not_widen_the_box():
    plain = _placed(100, 90)
    noisy = plain + np.random.default_rng(0).integers(0, 6, plain.shape, dtype=np.uint8)
    noisy[8:14, 10:60:3] = 255  # a line of text
    noisy[280:290, 200:250:3] = 255
    noisy[40:260:10, 254:257] = 255
    np.testing.assert_allclose(crop.head_box(noisy), _true_box(plain), atol=8)


@pytest.mark.parametrize("thickness", [1, 2, 20])
@pytest.mark.parametrize("level", [255, 120])
def test_a_frame_is_taken_off(thickness, level):
    framed = np.pad(_placed(60, 50), thickness, constant_values=level)
    np.testing.assert_allclose(
        crop.head_box(framed), _true_box(_placed(60, 50)) + np.int64(thickness), atol=8
    )
    square = crop.to_square(framed, 64, crop.head_box(framed))
    assert square[:, 0].max() < 30  # padded with black, not with the frame


def test_a_head_on_white_is_found():
    picture = np.full((200, 200), 255, np.uint8)
    picture[60:160, 40:120] = head(5)[:80, :80].mean().astype(np.uint8)
    np.testing.assert_allclose(crop.head_box(picture), (60, 160, 40, 120), atol=8)


def test_a_head_that_fills_the_picture_stays_whole():
    tight = head(1)[12:-12, 20:-20]
    box = crop.head_box(tight)
    np.testing.assert_allclose(box, (0, tight.shape[0], 0, tight.shape[1]), atol=3)


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_a_picture_of_one_grey_is_taken_whole(level):
    blank = np.full((40, 60), level, np.uint8)
    assert crop.head_box(blank) == (0, 40, 0, 60)
    assert (crop.as_input(blank, size=32) == level).all()


def test_a_speck_is_no_head():
    picture = np.zeros((200, 200), np.uint8)
    picture[100:112, 100:112] = 200
    assert crop.head_box(picture) == (0, 200, 0, 200)


@hypothesis.given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))), st.integers(1, 48)
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_any_picture_gives_a_square_within_its_range(picture, size):
    box = crop.head_box(picture)
    height, width = picture.shape
    assert 0 <= box[0] < box[1] <= height and 0 <= box[2] < box[3] <= width
    square = crop.to_square(picture, size, box)
    assert square.shape == (size, size) and square.dtype == np.uint8
    assert square.max() <= picture.max()


def test_proportions_are_kept_and_the_middle_stays_in_the_middle():
    picture = np.zeros((50, 100), np.uint8)
    picture[20:30, 40:60] = 200  # twice as wide as high
    square = crop.to_square(picture, 100).astype(float)
    y, x = np.nonzero(square > 100)
    assert (y.min(), y.max(), x.min(), x.max()) == (45, 54, 40, 59)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.tile(np.array([0, 200], np.uint8), (64, 32))
    assert np.ptp(crop.resize(stripes, (8, 8))[:, 1:-1]) < 1
    np.testing.assert_allclose(crop.resize(stripes, (8, 8)).mean(), 100, atol=1)


@pytest.mark.parametrize("size", [(7, 5), (64, 48), (32, 100)])
def test_resizing_is_what_jax_does(size):
    import jax

    picture = head(2).astype(np.float32)[:64, :48]
    expected = jax.image.resize(picture, size, "linear", antialias=True)
    np.testing.assert_allclose(crop.resize(picture, size), expected, atol=1e-3)


def test_grey_is_repeated_for_networks_of_three_channels():
    picture = head(4)
    one, three = crop.as_input(picture, size=32), crop.as_input(picture, size=32, channels=3)
    assert one.shape == (32, 32, 1) and three.shape == (32, 32, 3)
    np.testing.assert_array_equal(np.repeat(one, 3, axis=2), three)
    assert not np.array_equal(one, crop.as_input(picture, size=32, crop=False))
