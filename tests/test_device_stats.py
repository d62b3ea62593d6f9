"""Normalisation inside a compiled program: the numbers of the host's, whatever the volume."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.preprocess.device_stats import percentile, stats
from brainjax.preprocess.normalize import METHODS, volume_stats
from brainjax.types import ConfigError

_stats = jax.jit(stats, static_argnums=1)


def head(shape, dtype, seed=0):
    """Air of level 7, and a head of noise off the middle."""
    rng = np.random.default_rng(seed)
    x = 7 + rng.integers(0, 3, shape)
    inner = tuple(slice(n // 4, n) for n in shape[1:-1])
    x[:, *inner] = rng.integers(30, 220, x[:, *inner].shape)
    return x.astype(dtype)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_device_finds_what_the_host_finds(method, dtype):
    for shape in ((5, 20, 33, 2), (1, 12, 18, 17, 1)):
        x = head(shape, dtype)
        for found, wanted in zip(_stats(x, method), volume_stats(x, method), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=2e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 1e5]), st.booleans())
def test_of_any_noise(seed, scale, flat):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(3, 1, (3, 17, 16, 1)) * scale, 3).astype(np.float32)
    if flat:
        x[:] = x[0, 0, 0]
    for found, wanted in zip(_stats(x, "percentile"), volume_stats(x, "percentile"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 50, 99, 100]))
def test_a_percentile_is_one_of_the_values_chosen(seed, q):
    rng = np.random.default_rng(seed)
    x = rng.choice([-3.5, -1e-30, 0.0, 2.0, 7e8], (4, 5, 5, 2)).astype(np.float32)
    among = rng.random(x.shape) < 0.5
    among[0, 0, 0] = True
    found = jax.jit(percentile, static_argnums=2)(x, among, q)
    for c in range(2):
        values = np.sort(x[..., c][among[..., c]])
        assert found[c] == values[-(-q * len(values) // 100) - 1]


def test_a_large_volume_keeps_its_digits():
    x = head((8, 256, 256, 1), np.uint8)
    for found, wanted in zip(_stats(x, "zscore"), volume_stats(x, "zscore"), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_unknown_method_is_named():
    with pytest.raises(ConfigError, match="'zscoer'"):
        stats(np.zeros((1, 4, 4, 1)), "zscoer")
