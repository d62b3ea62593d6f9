"""Normalisation: what each method promises holds for the normalised volume."""

import numpy as np
import pytest

from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.preprocess import normalize
from brainjax.types import ConfigError

MEASURED = [m for m in normalize.METHODS if m not in normalize.PUBLISHED]  # by what is in a volume


def _head(air=0.0, noise=2.0, size=48):
    """[S H W 1] float: a disc of tissue in air, and the disc as [S H W]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] - size // 2
    disc = np.broadcast_to(np.hypot(y, x) < size // 3, (4, size, size))
    tissue = rng.normal(air + 90, 12, disc.shape)
    volume = np.where(disc, tissue, air + np.abs(rng.normal(0, noise, disc.shape)))
    return np.clip(volume, 0, 255)[..., None], disc


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("air", [0.0, 80.0])
def test_zscore_standardises_the_head_whatever_the_air(dtype, air):
    volume, disc = _head(air)
    volume = volume.astype(dtype)
    shift, scale = normalize.volume_stats(volume, "zscore")
    assert shift.dtype == scale.dtype == np.float32
    head = ((volume - shift) * scale)[disc]
    assert abs(head.mean()) < 0.05 and abs(head.std() - 1) < 0.05


@pytest.mark.parametrize("method", MEASURED)
def test_uint8_and_float_volumes_agree(method):
    volume = _head()[0].astype(np.uint8)
    exact = normalize.volume_stats(volume, method)
    for a, b in zip(exact, normalize.volume_stats(volume.astype(np.float32), method), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("method", ["zscore", "percentile", "minmax"])
def test_units_do_not_matter(method):
    volume = _head()[0]
    shift, scale = normalize.volume_stats(volume, method)
    shift2, scale2 = normalize.volume_stats(volume * 7 + 100, method)
    a, b = (volume - shift) * scale, (volume * 7 + 100 - shift2) * scale2
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_percentile_and_minmax_reach_their_range():
    volume, disc = _head()
    shift, scale = normalize.volume_stats(volume, "percentile")
    head = ((volume - shift) * scale)[disc]
    assert abs((head < 0).mean() - 0.01) < 0.005 and abs((head > 1).mean() - 0.01) < 0.005
    shift, scale = normalize.volume_stats(volume, "minmax")
    scaled = (volume - shift) * scale
    np.testing.assert_allclose([scaled.min(), scaled.max()], [0, 1], atol=1e-6)


def test_more_air_changes_nothing():
    volume = _head(noise=0.0)[0].astype(np.uint8)
    padded = np.pad(volume, ((2, 2), (40, 40), (40, 40), (0, 0)))
    for method in ("zscore", "percentile"):
        a, b = (normalize.volume_stats(v, method) for v in (volume, padded))
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", MEASURED)
@pytest.mark.parametrize(
    "volume",
    [
        np.zeros((2, 4, 4, 2), np.uint8),
        np.full((2, 4, 4, 2), 255, np.uint8),
        np.full((2, 4, 4, 2), 1e4, np.float32),
        np.zeros((0, 4, 4, 2), np.uint8),
        np.full((1, 1, 1, 2), 3, np.uint8),
        np.full((2, 4, 4, 2), np.nan, np.float32),
    ],
)
def test_volumes_without_contrast_stay_finite(volume, method):
    shift, scale = normalize.volume_stats(volume, method)
    assert shift.shape == scale.shape == (2,)
    assert np.isfinite(shift).all() and np.isfinite(scale).all()
    if method != "none" and not np.isnan(volume).any():
        assert not ((volume - shift) * scale).any()


def test_channels_and_patients_have_statistics_of_their_own():
    a, b = _head()[0].astype(np.uint8), _head(air=60.0)[0].astype(np.uint8)
    one, two = np.concatenate([a, b], axis=-1), np.concatenate([b, b // 2], axis=-1)
    dataset = ArrayDataset(
        DatasetInfo("t", ("x", "y"), ("z",), "-", "-"),
        np.concatenate([one, two]),
        np.zeros((8, 48, 48, 1), np.uint8),
        np.repeat(np.arange(2, dtype=np.int32), 4),
        np.tile(np.arange(4, dtype=np.int32), 2),
        ("p", "q"),
    )
    shift, scale = normalize.dataset_stats(dataset, "zscore")
    assert shift.shape == scale.shape == (2, 2)
    for g, volume in enumerate((one, two)):
        expected = normalize.volume_stats(volume, "zscore")
        np.testing.assert_array_equal(shift[g], expected[0])
        np.testing.assert_array_equal(scale[g], expected[1])
    assert shift[0, 0] != shift[0, 1] and shift[0, 1] == shift[1, 0]


def test_unknown_method_lists_the_known():
    with pytest.raises(ConfigError, match="zscore, percentile, minmax, none"):
        normalize.volume_stats(np.zeros((1, 2, 2, 1), np.uint8), "z-score")
