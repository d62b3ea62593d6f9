"""Calibration: bins by brute force; temperatures that are found again, and ends that are safe."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.metrics import calibration
from brainjax.metrics.calibration import TEMPERATURES, fit_temperature, reliability, softmax
from brainjax.types import DataError


def likelihood(logits, labels, t):
    p = softmax(logits, t)
    with np.errstate(divide="ignore"):  # infinite where a sharp softmax excludes the truth
        return -np.log(p[np.arange(len(labels)), labels]).mean()


def draw(n, k, scale, temperature, seed=0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, k))
    sums = softmax(logits, temperature).cumsum(1)
    return logits, (rng.random((n, 1)) > sums).sum(1).clip(0, k - 1)


@given(st.integers(1, 40), st.integers(2, 5), st.integers(1, 20), st.integers(0, 10**6))
@settings(deadline=None)
def test_bins_agree_with_brute_force(n, k, bins, seed):
    rng = np.random.default_rng(seed)
    p, labels = softmax(rng.normal(0, 2, (n, k))), rng.integers(0, k, n)
    out = reliability(p, labels, bins)
    error = 0.0
    for b, row in enumerate(out["bins"]):
        own = [i for i in range(n) if b / bins < p[i].max() <= (b + 1) / bins]
        assert row["n"] == len(own) and (row["low"], row["high"]) == (b / bins, (b + 1) / bins)
        if not own:
            assert row["confidence"] is None and row["accuracy"] is None
            continue
        sure, right = np.mean(p[own].max(1)), np.mean(p[own].argmax(1) == labels[own])
        assert row["confidence"] == pytest.approx(sure) and row["accuracy"] == pytest.approx(right)
        error += len(own) / n * abs(sure - right)
    assert out["ece"] == pytest.approx(error, abs=1e-12)
    json.dumps(out, allow_nan=False)


def test_fifteen_bins_hold_their_upper_ends():
    out = reliability([[0.6, 0.4], [1.0, 0.0], [0.5, 0.5]], [0, 0, 0])
    assert len(out["bins"]) == calibration.BINS == 15
    assert {b: row["n"] for b, row in enumerate(out["bins"]) if row["n"]} == {7: 1, 8: 1, 14: 1}
    assert out["ece"] == pytest.approx((0.4 + 0 + 0.5) / 3)


def test_labels_drawn_from_the_probabilities_are_calibrated():
    logits, labels = draw(20_000, 4, 2.0, 1.0)
    assert reliability(softmax(logits), labels)["ece"] < 0.015
    assert reliability(softmax(logits, 0.4), labels)["ece"] > 0.1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("k", [2, 4])
def test_a_known_temperature_is_found_again(temperature, k):
    logits, labels = draw(20_000, k, 3.0 * temperature, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    before, after = (reliability(softmax(logits, t), labels)["ece"] for t in (1.0, found))
    assert after < 0.02 and after < before + 0.005


@given(st.integers(2, 60), st.integers(2, 5), st.integers(0, 10**6), st.floats(0.1, 10))
@settings(deadline=None)
def test_no_other_temperature_is_likelier(n, k, seed, scale):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, scale, (n, k)), rng.integers(0, k, n)
    labels[0] = logits[0].argmin()  # with no mistake at all, there is no likeliest
    found = fit_temperature(logits, labels)
    low, high = TEMPERATURES
    assert low <= found <= high
    best = likelihood(logits, labels, found)
    for t in np.geomspace(low, high, 40):
        assert best <= likelihood(logits, labels, t) + 1e-9


@given(st.integers(0, 10**6), st.floats(0.5, 2))
@settings(deadline=None, max_examples=25)
def test_scaled_logits_scale_the_temperature_and_offsets_do_nothing(seed, factor):
    logits, labels = draw(200, 3, 3.0, 1.5, seed)
    found = fit_temperature(logits, labels)
    offset = np.random.default_rng(seed).normal(0, 50, (200, 1))
    np.testing.assert_allclose(fit_temperature(logits * factor, labels), found * factor, rtol=1e-6)
    np.testing.assert_allclose(fit_temperature(logits + offset, labels), found, rtol=1e-6)
    log_p = np.log(softmax(logits))
    np.testing.assert_allclose(fit_temperature(log_p, labels), found, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 40.0, 1e6])
def test_perfect_and_hopeless_logits_stay_in_the_range(size):
    labels = np.array([0, 1, 2, 1])
    logits = size * np.eye(3)[labels]
    assert fit_temperature(logits, labels) == 1.0
    assert fit_temperature(logits, (labels + 1) % 3) == TEMPERATURES[1]
    assert np.isfinite(softmax(logits, TEMPERATURES[0])).all()


def test_where_temperature_changes_nothing_it_is_one():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert fit_temperature(np.full((5, 3), 7.0), [0, 1, 2, 0, 0]) == 1.0


def test_a_few_images_without_a_mistake_make_no_network_certain():
    """22 of 22 right at 0.9 would be likeliest at T = 0.05, where 0.7 becomes 0.99999996."""
    logits = np.log([[0.9, 0.1]] * 22)
    assert fit_temperature(logits, np.zeros(22, int)) == 1.0
    found = fit_temperature(logits, [0] * 21 + [1])
    assert found == pytest.approx(math.log(9) / math.log(21), rel=1e-6)  # confidence 21 / 22


def test_one_image():
    assert fit_temperature([[0.0, 1.0]], [1]) == 1.0
    assert fit_temperature([[0.0, 1.0]], [0]) == TEMPERATURES[1]


def test_softmax_of_a_temperature():
    p = softmax([[1.0, 3.0]], 2.0)
    assert p[0, 1] / p[0, 0] == pytest.approx(math.e)
    np.testing.assert_allclose(softmax([[1000.0, 0.0]]), [[1, 0]])


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="not finite"):
        fit_temperature([[np.nan, 0.0]], [0])
    with pytest.raises(DataError, match="not finite"):
        fit_temperature(np.log([[1.0, np.finfo(float).tiny], [0.5, 0.5]]) * [1, np.inf], [0, 1])
    with pytest.raises(ValueError, match="bins"):
        reliability([[0.5, 0.5]], [0], 0)
