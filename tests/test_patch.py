"""Patches of volumes: where they lie, that image and mask stay together, that the key decides."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax import augment
from brainjax.augment import PatchAugment
from brainjax.types import ConfigError

SHAPE = (19, 24, 13)
CUT = PatchAugment(
    patch=(6, 8, 4),
    foreground=1.0,
    flip=(0.0, 0.0, 0.0),
    p_affine=0.0,
    p_elastic=0.0,
    p_intensity=0.0,
    p_degrade=0.0,
)


def index_image(count):
    """[B X Y Z 3] float32: every voxel holds its own index."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).astype(np.float32)
    return jnp.asarray(np.broadcast_to(grid, (count, *grid.shape)))


def run(made, mask, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(mask))
    return jax.device_get(jax.jit(made.batch)(keys, index_image(len(mask)), jnp.asarray(mask)))


def test_a_patch_is_a_piece_of_the_volume_and_lies_anywhere_in_it():
    mask = np.random.default_rng(0).integers(0, 2, (200, *SHAPE, 1)).astype(np.float32)
    image, found = run(dataclasses.replace(CUT, foreground=0.0), mask)
    start = image[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(start.min(0), 0)
    np.testing.assert_array_equal(start.max(0), np.subtract(SHAPE, CUT.patch))
    for i, (x, y, z) in enumerate(start):
        expected = mask[i, x : x + 6, y : y + 8, z : z + 4]
        np.testing.assert_array_equal(found[i], expected)


@pytest.mark.parametrize("at", [(0, 0, 0), (18, 23, 12), (9, 11, 6), (7, 8, 0), (16, 16, 8)])
def test_a_patch_is_centred_on_the_mask_as_far_as_the_volume_goes(at):
    mask = np.zeros((8, *SHAPE, 2), np.float32)
    mask[:, *at, 1] = 1
    image, found = run(CUT, mask)
    centre = np.clip(np.subtract(at, (3, 4, 2)), 0, np.subtract(SHAPE, CUT.patch))
    np.testing.assert_array_equal(image[:, 0, 0, 0], np.broadcast_to(centre, (8, 3)))
    assert (found.sum((1, 2, 3)) == (0, 1)).all()


def test_small_regions_get_as_many_patches_as_large_ones_and_every_voxel_its_share():
    mask = np.zeros((600, *SHAPE, 3), np.float32)
    mask[:, 4:14, 6:18, 3:8, 0] = 1
    mask[:, 15, 20, 9:11, 2] = 1
    image, _ = run(CUT, mask)
    start = image[:, 0, 0, 0].astype(int)
    small = start[:, 0] == 12  # 15 - 3, which no voxel of the large region reaches
    assert 0.42 < small.mean() < 0.58
    assert 0.4 < (start[small, 2] == 7).mean() < 0.6
    large = start[~small]
    for axis, (low, high) in enumerate([(1, 10), (2, 13)]):
        values, counts = np.unique(large[:, axis], return_counts=True)
        np.testing.assert_array_equal(values, np.arange(low, high + 1))
        assert counts.max() < 3 * counts.min()


def test_the_share_of_centred_patches_is_the_one_asked_for():
    mask = np.zeros((400, *SHAPE, 1), np.float32)
    mask[:, 9, 12, 6] = 1
    image, _ = run(dataclasses.replace(CUT, foreground=0.4), mask)
    centred = (image[:, 0, 0, 0] == (6, 8, 4)).all(1).mean()
    assert 0.3 < centred < 0.5


@pytest.mark.parametrize("channels", [0, 2])
def test_without_a_mask_patches_still_lie_anywhere(channels):
    image, found = run(CUT, np.zeros((50, *SHAPE, channels), np.float32))
    assert found.shape == (50, 6, 8, 4, channels)
    assert len(np.unique(image[:, 0, 0, 0], axis=0)) > 20


def test_image_and_mask_are_distorted_together_by_what_lies_around_the_patch():
    made = dataclasses.replace(
        CUT, rotate=25.0, scale=0.2, p_affine=1.0, elastic=0.2, p_elastic=1.0
    )
    grid = np.asarray(index_image(6))
    mask = (grid[..., :1] > 9).astype(np.float32)
    image, found = run(made, mask)
    # Where the whole index was read between two voxels, the mask may fall on either side.
    sure = np.abs(image[..., 0] - 9.5) > 0.6
    np.testing.assert_array_equal(found[..., 0][sure], image[..., 0][sure] > 9.5)
    # A patch that repeated its own border would hold no more than its own 6 x 8 x 4 indices.
    spans = np.ptp(image, axis=(1, 2, 3)) + 1
    assert (spans[:, 2] > 4).any()
    inside = (image > 0) & (image < np.subtract(SHAPE, 1))
    assert (np.diff(image[..., 2], axis=3)[inside[..., 2][..., 1:]] != 0).all()


def test_an_example_depends_on_its_key_alone():
    made = dataclasses.replace(
        CUT, foreground=0.5, p_affine=1.0, p_degrade=1.0, blur=0.0, lowres=0.0
    )
    mask = np.random.default_rng(0).integers(0, 2, (4, *SHAPE, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(3), 4)
    whole = jax.jit(made.batch)(keys, index_image(4), mask)
    last = jax.jit(made.batch)(keys[3:], index_image(1), mask[3:])
    for a, b in zip(whole, last, strict=True):
        np.testing.assert_allclose(a[3:], b, atol=2e-4)
    image, one = made(keys[2], index_image(1)[0], mask[2])
    np.testing.assert_allclose(image, whole[0][2], atol=2e-4)
    np.testing.assert_array_equal(one, whole[1][2])


def test_options_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="three sizes above 0"):
        PatchAugment(patch=(8, 8))
    with pytest.raises(ConfigError, match="is a share"):
        PatchAugment(foreground=1.5)
    with pytest.raises(ConfigError, match="larger than the volumes"):
        run(dataclasses.replace(CUT, patch=(6, 30, 4)), np.zeros((1, *SHAPE, 1)))
    assert augment.get("PatchAugment") is PatchAugment
    with pytest.raises(ConfigError, match="did you mean 'PatchAugment'"):
        augment.get("PatchAugmnt")
