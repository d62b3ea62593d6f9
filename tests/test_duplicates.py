"""Copies and near copies: found whatever was done to them, and nothing else is merged."""

import tracemalloc

import numpy as np
import pytest
from pictures import head
from scipy import ndimage

from brainjax.datasets import duplicates
from brainjax.preprocess import crop
from brainjax.types import ConfigError

DIFFERENT = 30


def _thumbnails(pictures) -> np.ndarray:
    small = duplicates.THUMBNAIL
    return np.stack([crop.to_square(p, small, crop.head_box(p)) for p in pictures])


def _changed(kind: str, picture: np.ndarray) -> np.ndarray:
    if kind == "noise":
        return head(0, noise=1)
    if kind == "larger":
        return np.clip(ndimage.zoom(picture, 1.7, order=1), 0, 255)
    if kind == "framed":
        return np.pad(picture, ((40, 3), (20, 10)))
    if kind == "brighter":
        return np.minimum(255, picture * 1.1).astype(np.uint8)
    return picture[:, ::-1]


def test_different_heads_are_no_pairs():
    assert duplicates.near_pairs(_thumbnails([head(i) for i in range(DIFFERENT)])).shape == (0, 2)


@pytest.mark.parametrize("kind", ["noise", "larger", "framed", "brighter", "mirrored"])
def test_a_changed_copy_is_a_pair(kind):
    pictures = [head(i) for i in range(DIFFERENT)]
    pairs = duplicates.near_pairs(_thumbnails([*pictures, _changed(kind, pictures[0])]))
    assert pairs.tolist() == [[0, DIFFERENT]]


def test_pairs_are_the_same_in_blocks(monkeypatch):
    pictures = _thumbnails([head(i // 2, noise=i) for i in range(24)])
    whole = duplicates.near_pairs(pictures)
    assert whole.tolist() == [[i, i + 1] for i in range(0, 24, 2)]
    monkeypatch.setattr(duplicates, "_ROWS", 5)
    monkeypatch.setattr(duplicates, "_PAIRS", 1)
    np.testing.assert_array_equal(duplicates.near_pairs(pictures), whole)


def test_memory_stays_small_where_all_are_alike():
    """Every pair of 200 is proposed, 20,000: their thumbnails together would take hundreds of megabytes."""
    pictures = np.repeat(_thumbnails([head(0)]), 200, axis=0)
    tracemalloc.start()
    pairs = duplicates.near_pairs(pictures)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pairs) == 200 * 199 // 2 and peak < 150e6


def test_blank_pictures_are_copies_only_if_they_are_equal():
    blank = np.zeros((3, duplicates.THUMBNAIL, duplicates.THUMBNAIL), np.uint8)
    blank[2] = 9
    assert not len(duplicates.near_pairs(blank))
    assert duplicates.components(["a", "a", "b"], blank).tolist() == [0, 0, 1]


def test_components_are_numbered_by_first_appearance_and_joined_by_way_of_others():
    pictures = [head(7), head(0), head(0, noise=1), head(7), head(3), head(0)]
    content = [duplicates.content_hash(p) for p in pictures]
    small = _thumbnails(pictures)
    assert duplicates.components(content, small).tolist() == [0, 1, 1, 0, 2, 1]
    assert duplicates.components(content, small, "exact").tolist() == [0, 1, 2, 0, 3, 1]
    assert duplicates.components(content, small, "none").tolist() == list(range(6))
    assert duplicates.components([], small[:0]).tolist() == []
    with pytest.raises(ConfigError, match="near, exact, none"):
        duplicates.components(content, small, "all")


def test_the_hash_is_of_pixels_and_shape_alone():
    picture = head(1)
    assert duplicates.content_hash(picture) == duplicates.content_hash(np.asfortranarray(picture))
    assert duplicates.content_hash(picture) != duplicates.content_hash(picture.reshape(48, 192))
    changed = picture.copy()
    changed[5, 5] ^= 1
    assert duplicates.content_hash(picture) != duplicates.content_hash(changed)
    assert len(duplicates.content_hash(picture)) == 16


def test_codes_ignore_brightness_and_contrast():
    small = _thumbnails([head(i) for i in range(4)])
    codes = duplicates.perceptual_hash(small)
    assert codes.shape == (4, 4) and codes.dtype == np.uint64
    dimmed = duplicates.perceptual_hash(small // 2 + 40)
    assert np.bitwise_count(codes ^ dimmed).sum(1).max() < 20
    assert np.bitwise_count(codes[:-1] ^ codes[1:]).sum(1).min() > duplicates.BITS_APART
