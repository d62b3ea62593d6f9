"""Scores of whole volumes: what they are made of, regions, and summaries over cases."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.metrics import overlap, volume
from brainjax.metrics.lesion import OneToOne, lesion_scores
from brainjax.metrics.surface import WORST_MM, hd95, surface_dice, surface_distances
from brainjax.metrics.volume import BRATS, MASK, PANOPTICA, Scoring, scores, summarize
from brainjax.types import ConfigError

SPACING = (1.0, 1.5, 2.0)


def case(seed, shape=(9, 8, 7, 3)):
    rng = np.random.default_rng(seed)
    truth = np.cumprod(rng.random(shape) < 0.5, axis=-1).astype(bool)  # nested
    return truth ^ (rng.random(shape) < 0.1), truth


@pytest.mark.parametrize("scoring", [BRATS, PANOPTICA, MASK, Scoring(tolerance=2.0)])
def test_scores_are_those_of_the_single_metrics(scoring):
    pred, truth = (m[..., 0] for m in case(0))
    found = scores(pred, truth, SPACING, scoring=scoring)
    counts = overlap.counts(pred[None, ..., None], truth[None, ..., None])
    for name in ("dice", "jaccard", "precision", "recall"):
        total, n = getattr(overlap, name)(counts)
        np.testing.assert_allclose(found.pop(name), total[0] / n[0], rtol=1e-6)
    for name in ("tp", "fp", "fn"):
        assert found.pop(name) == getattr(counts, name)[0, 0]
    distances = surface_distances(pred, truth, SPACING)
    assert found.pop("hd95") == hd95(distances, pooled=scoring.pooled)
    assert found.pop("nsd") == surface_dice(distances, tolerance=scoring.tolerance)
    assert found.pop("volume_ml") == pytest.approx(pred.sum() * 3 / 1000)
    assert found.pop("true_volume_ml") == pytest.approx(truth.sum() * 3 / 1000)
    lesions = {}
    if scoring.lesions:
        lesions = lesion_scores(
            pred, truth, SPACING, rule=scoring.lesions, worst=scoring.worst, pooled=scoring.pooled
        )
    assert found == lesions


def test_regions_have_their_own_scores_and_a_mean():
    pred, truth = case(1)
    names = ("WT", "TC", "ET")
    found = scores(pred, truth, SPACING, regions=names)
    means = {}
    for k, name in enumerate(names):
        own = scores(pred[..., k], truth[..., k], SPACING)
        assert {key: found.pop(f"{key}_{name}") for key in own} == own
        for key, value in own.items():
            means.setdefault(key, []).append(value)
    assert set(found) == set(means) - set(volume._COUNTS)
    for key, value in found.items():
        assert value == pytest.approx(np.mean(means[key]))


@pytest.mark.parametrize(
    ("scoring", "both", "missed"),
    [(BRATS, (1.0, 0.0, 1.0), (0.0, WORST_MM, 0.0)), (PANOPTICA, (None,) * 3, (0.0, None, 0.0))],
)
def test_empty_masks_by_either_convention(scoring, both, missed):
    none, some = np.zeros((6, 6, 6), bool), np.ones((6, 6, 6), bool)
    keys = ("dice", "hd95", "nsd")
    for pred, truth, expected in ((none, none, both), (none, some, missed), (some, none, missed)):
        found = scores(pred, truth, scoring=scoring)
        assert tuple(found[k] for k in keys) == expected
        assert (found["lesion_dice"], found["lesion_hd95"]) == expected[:2]
    pair = np.stack([some, none], -1)
    found = scores(pair, pair, regions=("a", "b"), scoring=scoring)
    assert found["dice"] == 1.0 and found["dice_b"] == both[0]


def test_lesions_are_dilated_beyond_the_box_of_the_masks():
    """Two lesions that only meet in the dilation around the box of both: cropping must not part them."""
    truth = np.zeros((20, 20, 20), bool)
    truth[5, 5:10, 5:10] = truth[11, 5:10, 5:10] = True
    for scoring in (BRATS, PANOPTICA):
        found = scores(truth, truth, (2, 2, 2), scoring=scoring)
        whole = lesion_scores(truth, truth, (2, 2, 2), rule=scoring.lesions)
        assert {k: v for k, v in found.items() if k.startswith("lesion")} == whole
    assert scores(truth, truth, (2, 2, 2))["lesion_tp"] == 1


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=12),
    seed=st.integers(0, 100),
)
def test_summaries(values, seed):
    cases = {f"case{i}": {"dice": v, "tp": i} for i, v in enumerate(values)}
    found = summarize(cases)
    json.dumps(found, allow_nan=False)
    kept = [v for v in values if v is not None]
    assert found["n_volumes"] == len(values)
    if values:
        assert found["dice_volume_n"] == len(kept)
        for name, formula in (("mean", np.mean), ("median", np.median), ("std", np.std)):
            value = found[f"dice_volume_{name}"]
            assert value is None if not kept else value == pytest.approx(formula(kept), abs=1e-9)
        interval = found["dice_volume_ci95"]
        assert (interval is None) == (len(kept) < 2)
        if interval:
            low, high = interval
            assert min(kept) - 1e-9 <= low <= found["dice_volume_mean"] + 1e-9
            assert found["dice_volume_mean"] - 1e-9 <= high <= max(kept) + 1e-9
    order = np.random.default_rng(seed).permutation(len(values))
    names = list(cases)
    assert summarize({names[i]: cases[names[i]] for i in order}) == found


def test_the_interval_holds_the_mean_nearly_95_times_in_100():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = volume._interval(rng.uniform(0, 1, 40))
        hits += low <= 0.5 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_summaries_are_named_as_those_of_stacked_slices():
    pred, truth = (m[..., :1] for m in case(2))
    slices = overlap.summarize(overlap.counts(pred, truth), np.zeros(9, int), names=["one"])
    found = summarize({"one": scores(pred[..., 0], truth[..., 0], scoring=MASK)})
    for name in ("dice", "jaccard", "precision", "recall"):
        for kind in ("mean", "median", "std"):
            key = f"{name}_volume_{kind}"
            assert found[key] == pytest.approx(slices[key])
        assert found["per_volume"][0][name] == pytest.approx(slices["per_volume"][0][name])
    assert found["per_volume"][0]["group"] == "one"


def test_wrong_arguments():
    pred, truth = case(3)
    with pytest.raises(ValueError, match=r"\[X Y Z 2\] for 2 regions"):
        scores(pred, truth, regions=("WT", "TC"))
    with pytest.raises(ValueError, match="on one grid"):
        scores(pred[..., 0], truth[:2, ..., 0])
    with pytest.raises(ConfigError, match="'one', 'zero', 'skip'"):
        Scoring(empty="nan")
    with pytest.raises(ValueError, match="same scores"):
        summarize({"a": {"dice": 1.0}, "b": {"dice": 1.0, "nsd": 1.0}})
    assert PANOPTICA.lesions == OneToOne()
