"""Overlap metrics: brute force, padding, order, and the rules for empty masks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.metrics import Counts, Mean, overlap
from brainjax.types import ConfigError

METRICS = ("dice", "jaccard", "precision", "recall")


def scans(seed=0, n=12, classes=1):
    """Random masks, some empty in truth, prediction or both; and the patient of each."""
    rng = np.random.default_rng(seed)
    true = rng.random((n, 6, 5, classes)) < 0.3
    pred = true ^ (rng.random(true.shape) < 0.2)
    for some in (1, 2, 5):
        true[some::12] = False
    for some in (2, 3, 5):
        pred[some::12] = False
    return pred, true, rng.integers(0, 4, n)


def brute(pred, true, when_empty):
    """The four metrics of two boolean arrays, by sets of voxels."""
    p, t = set(np.flatnonzero(pred)), set(np.flatnonzero(true))
    if not p and not t:
        return dict.fromkeys(METRICS, when_empty)
    if not p or not t:
        return dict.fromkeys(METRICS, 0.0)
    both = len(p & t)
    return {
        "dice": 2 * both / (len(p) + len(t)),
        "jaccard": both / len(p | t),
        "precision": both / len(p),
        "recall": both / len(t),
    }


def mean(values):
    kept = [v for v in values if v is not None]
    return sum(kept) / len(kept) if kept else None


def host_counts(pred, true, valid=None):
    return Counts(*(np.asarray(c) for c in overlap.counts(pred, true, valid)))


@pytest.mark.parametrize(("rule", "value"), [("one", 1.0), ("zero", 0.0), ("skip", None)])
def test_device_metrics_and_summary_agree_with_brute_force(rule, value):
    pred, true, group = scans(n=200)
    counts = overlap.counts(jnp.asarray(pred, jnp.float32), jnp.asarray(true, jnp.float32))
    assert counts.tp.dtype == jnp.int32 and counts.tp.shape == (200, 1)
    slices = [brute(p, t, value) for p, t in zip(pred, true, strict=True)]
    volumes = [brute(pred[group == g], true[group == g], value) for g in np.unique(group)]
    summary = overlap.summarize(counts, group, empty=rule)
    for m in METRICS:
        expected = [s[m] for s in slices]
        total, count = getattr(overlap, m)(counts, empty=rule)
        assert total.shape == count.shape == (1,)
        assert count[0] == sum(v is not None for v in expected)
        np.testing.assert_allclose(total[0] / count[0], mean(expected), rtol=1e-5)
        np.testing.assert_allclose(summary[f"{m}_slice_mean"], mean(expected), rtol=1e-12)
        expected = [v[m] for v in volumes]
        np.testing.assert_allclose(summary[f"{m}_volume_mean"], np.mean(expected), rtol=1e-12)
        np.testing.assert_allclose(summary[f"{m}_volume_median"], np.median(expected), rtol=1e-12)
        np.testing.assert_allclose(summary[f"{m}_volume_std"], np.std(expected), rtol=1e-12)
        np.testing.assert_allclose([v[m] for v in summary["per_volume"]], expected, rtol=1e-12)
        np.testing.assert_allclose(summary[f"{m}_pooled"], brute(pred, true, value)[m])
    foreground = [s["dice"] for s, t in zip(slices, true, strict=True) if t.any()]
    np.testing.assert_allclose(summary["dice_foreground_slice_mean"], mean(foreground))
    assert summary["n_slices"] == 200 and summary["n_volumes"] == len(np.unique(group))
    assert summary["n_foreground_slices"] == len(foreground)
    assert sum(v["n_slices"] for v in summary["per_volume"]) == 200


def test_one_side_empty_is_zero_under_every_rule():
    none, some = np.zeros((1, 3, 3, 1), bool), np.ones((1, 3, 3, 1), bool)
    for pred, true in ((none, some), (some, none)):
        for rule in overlap.EMPTY_RULES:
            for m in METRICS:
                total, count = getattr(overlap, m)(overlap.counts(pred, true), empty=rule)
                assert (total[0], count[0]) == (0.0, 1.0)
                assert (
                    overlap.summarize(host_counts(pred, true), [0], empty=rule)[f"{m}_volume_mean"]
                    == 0.0
                )


@pytest.mark.parametrize("rule", overlap.EMPTY_RULES)
def test_padding_changes_nothing(rule):
    pred, true, group = scans(classes=2)
    rng = np.random.default_rng(1)
    junk = rng.random((5, *pred.shape[1:])) < 0.5
    junk[0] = False  # an empty padded slice must not count as a perfect one
    padded = [np.concatenate([a, junk]) for a in (pred, true)]
    valid = np.array([1.0] * 12 + [0.0] * 5, np.float32)
    plain, more = overlap.counts(pred, true), overlap.counts(*padded, valid)
    assert all((np.asarray(c[12:]) == 0).all() for c in more)
    for m in METRICS:
        a = getattr(overlap, m)(plain, empty=rule)
        b = getattr(overlap, m)(more, valid, empty=rule)
        np.testing.assert_allclose(a[0], b[0], rtol=1e-6)
        np.testing.assert_array_equal(a[1], b[1])
    ids = np.concatenate([group, [0, 99, -1, 0, 1]])
    unmasked = overlap.counts(*padded)
    for channel in (0, 1):
        assert overlap.summarize(
            unmasked, ids, valid=valid, empty=rule, channel=channel
        ) == overlap.summarize(plain, group, empty=rule, channel=channel)
    assert overlap.per_group(unmasked, ids, valid).keys() == overlap.per_group(plain, group).keys()


@pytest.mark.parametrize("seed", range(5))
def test_order_and_batching_change_no_digit(seed):
    pred, true, group = scans(n=40)
    expected = overlap.summarize(host_counts(pred, true), group)
    rng = np.random.default_rng(seed)
    order = rng.permutation(40)
    parts = [host_counts(pred[i], true[i]) for i in np.array_split(order, rng.integers(1, 6))]
    merged = Counts(*(np.concatenate(c) for c in zip(*parts, strict=True)))
    assert overlap.summarize(merged, group[order]) == expected


def test_per_group_is_exact_beyond_32_bits():
    big = np.full((3, 1), 2**31 - 1, np.int32)
    sums = overlap.per_group(Counts(big, big, big), [7, 7, 3])
    assert list(sums) == [3, 7]
    assert sums[7].tp[0] == 2 * (2**31 - 1) and sums[7].fn.dtype == np.int64
    total, _ = overlap.dice(Counts(big, big * 0, big * 0))
    np.testing.assert_allclose(total, 3.0, rtol=1e-6)


def test_volume_dice_is_that_of_the_stack_not_the_mean_of_slices():
    true = np.zeros((2, 4, 4, 1), bool)
    true[0, :, :, 0] = True  # 16 voxels, all found
    true[1, 0, 0, 0] = True  # 1 voxel, missed
    pred = true.copy()
    pred[1] = False
    s = overlap.summarize(host_counts(pred, true), [5, 5], names=["x"] * 5 + ["patient"])
    assert s["dice_slice_mean"] == 0.5
    assert s["dice_volume_mean"] == 32 / 33
    assert s["per_volume"][0]["group"] == "patient" and s["per_volume"][0]["fn"] == 1


def test_nothing_to_average_is_none():
    none = np.zeros((2, 3, 3, 1), bool)
    s = overlap.summarize(host_counts(none, none), [0, 1], empty="skip")
    assert s["dice_slice_mean"] is None and s["dice_volume_median"] is None
    assert s["recall_volume_std"] is None and s["jaccard_pooled"] is None
    assert overlap.summarize(host_counts(none, none), [0, 1])["dice_foreground_slice_mean"] is None
    s = overlap.summarize(host_counts(none, none), [0, 1], valid=np.zeros(2), empty="skip")
    assert s["n_slices"] == s["n_volumes"] == 0 and s["per_volume"] == []


def test_mean():
    empty = Mean()
    assert empty.result() is None and empty.per_class() == [None]
    pairs = [(np.array([0.5, 0.0]), np.array([1.0, 0.0])), (jnp.array([2.0, 0]), jnp.array([4, 0]))]
    results = []
    for ordered in (pairs, pairs[::-1]):
        m = Mean()
        for pair in ordered:
            m.add(*pair)
        results.append((m.result(), m.per_class()))
    assert results[0] == results[1] == (0.5, [0.5, None])
    scalar = Mean()
    scalar.add(jnp.float32(3.0), jnp.float32(2.0))
    assert scalar.result() == 1.5 and math.isclose(scalar.per_class()[0], 1.5)


def test_works_under_jit_and_rejects_nonsense():
    pred, true, _ = scans()
    jitted = jax.jit(lambda p, t: overlap.dice(overlap.counts(p, t), empty="skip"))
    expected = overlap.dice(overlap.counts(pred, true), empty="skip")
    np.testing.assert_allclose(jitted(pred, true), expected, rtol=1e-6)
    with pytest.raises(ConfigError, match="'one', 'zero', 'skip'"):
        overlap.dice(overlap.counts(pred, true), empty="nan")
    with pytest.raises(ConfigError, match="'one', 'zero', 'skip'"):
        overlap.summarize(host_counts(pred, true), np.zeros(12, int), empty="nan")
    with pytest.raises(ValueError, match="must both be"):
        overlap.counts(pred, true[..., 0])
    with pytest.raises(ValueError, match="one group id a row"):
        overlap.per_group(host_counts(pred, true), [0, 1])
