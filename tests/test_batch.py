"""The device's half of preprocessing: what resampling, normalising and going back must preserve."""

import jax
import numpy as np
import pytest

from brainjax.preprocess import batch as preprocess


def _raw(image, mask=None, shift=0.0, scale=1.0):
    b, c = image.shape[0], image.shape[-1]
    raw = {
        "image": image,
        "shift": np.broadcast_to(np.float32(shift), (b, c)),
        "scale": np.broadcast_to(np.float32(scale), (b, c)),
        "valid": np.ones(b, np.float32),
    }
    return raw if mask is None else raw | {"mask": mask}


def _uint8(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("factors", [(2, 2), (4, 2), (1, 3)])
def test_where_the_grid_divides_it_is_the_area_mean(factors):
    f, g = factors
    x = np.random.default_rng(0).normal(size=(2, 4 * f, 3 * g, 2)).astype(np.float32)
    expected = np.empty((2, 4, 3, 2), np.float32)
    for i in range(4):
        for j in range(3):
            expected[:, i, j] = x[:, i * f : i * f + f, j * g : j * g + g].mean((1, 2))
    np.testing.assert_allclose(preprocess.resample(x, (4, 3)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (6, 6), (4, 8), (5, 7)])
def test_resampling_keeps_constants_centres_and_channels(size):
    ramp = np.arange(12, dtype=np.float32) - 5.5  # zero at the image's centre
    x = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.float32(3)), -1)[None]
    y = np.asarray(preprocess.resample(x, size))[0]
    assert y.shape == (*size, 3)
    np.testing.assert_allclose(y[..., 2], 3, atol=1e-5)
    # A half-pixel shift, the usual mistake, would break the antisymmetry about the centre.
    np.testing.assert_allclose(y[..., 0], -y[::-1, :, 0], atol=1e-4)
    np.testing.assert_allclose(y[..., 1], -y[:, ::-1, 1], atol=1e-4)
    middle = (np.arange(size[0]) + 0.5) * 12 / size[0] - 6
    np.testing.assert_allclose(y[1:-1, 0, 0], middle[1:-1], atol=0.1)


@pytest.mark.parametrize("size", [0, 4, 6])
def test_normalising_before_or_after_resampling_is_the_same(size):
    image = _uint8(2, 8, 8, 2)
    shift, scale = np.array([[10.0, 90.0]] * 2), np.array([[0.5, 0.01], [0.02, 2.0]])
    after = preprocess.prepare(_raw(image, shift=shift, scale=scale), size)["image"]
    ready = (image - shift[:, None, None]) * scale[:, None, None]
    before = preprocess.prepare(_raw(ready.astype(np.float32)), size)["image"]
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_native_grid_is_untouched():
    image, mask = _uint8(2, 6, 10, 3), _uint8(2, 6, 10, 1) % 2
    out = jax.jit(preprocess.prepare, static_argnums=1)(_raw(image, mask), 0)
    np.testing.assert_array_equal(out["image"], image)
    np.testing.assert_array_equal(out["mask"], mask)
    assert out["image"].dtype == out["mask"].dtype == np.float32


def test_masks_are_thresholded_at_half_coverage():
    mask = np.zeros((1, 4, 4, 2), np.uint8)
    mask[0, :2, 0, 0] = 1  # half of the first pixel: in
    mask[0, 0, 2, 0] = 1  # a quarter: out
    mask[0, 2:, 2:, 1] = 1  # all of the last, in the other channel
    image = np.zeros((1, 4, 4, 1), np.uint8)
    out = np.asarray(preprocess.prepare(_raw(image, mask), 2)["mask"])[0]
    np.testing.assert_array_equal(out[..., 0], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(out[..., 1], [[0, 0], [0, 1]])
    # An uneven grid averages too; the mask stays binary.
    odd = preprocess.prepare(_raw(image, mask), 3)["mask"]
    assert set(np.unique(odd)) <= {0.0, 1.0}


def test_valid_passes_and_images_without_masks_do():
    raw = _raw(_uint8(3, 4, 4, 1)) | {"valid": np.array([1, 1, 0], np.float32)}
    out = preprocess.prepare(raw, 2)
    assert out.keys() == {"image", "valid"}
    assert out["valid"].tolist() == [1, 1, 0]


@pytest.mark.parametrize(("size", "native"), [(4, (8, 8)), (4, (12, 8)), (6, (8, 10)), (0, (7, 5))])
def test_restore_returns_to_the_native_grid(size, native):
    image = np.zeros((2, *native, 1), np.uint8)
    small = preprocess.prepare(_raw(image), size)["image"]
    assert small.shape[1:3] == preprocess.working_size(size, native)
    assert preprocess.restore(small, native).shape == (2, *native, 1)


def test_restore_puts_things_back_where_they_were():
    # A plane is linear, so away from the border there and back is the identity, without any shift.
    y, x = np.mgrid[:16, :24].astype(np.float32)
    plane = np.stack([3 * y + x, y - 2 * x], -1)[None]
    back = preprocess.restore(preprocess.prepare(_raw(plane), 8)["image"], (16, 24))
    np.testing.assert_allclose(back[:, 2:-2, 3:-3], plane[:, 2:-2, 3:-3], atol=1e-3)
