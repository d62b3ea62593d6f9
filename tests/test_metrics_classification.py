"""Scores of classes: brute force, ties, absent classes, extremes, order."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.metrics import Mean, classification
from brainjax.metrics.classification import FLOOR, auroc, confusion_matrix, roc, summarize, wilson
from brainjax.types import DataError

NAMES = ("glioma", "meningioma", "none", "pituitary", "other")


@st.composite
def predictions(draw, most=25):
    """(probabilities [N K], labels [N]): coarse, so that scores tie, and classes are often absent."""
    n, k = draw(st.integers(1, most)), draw(st.integers(2, 5))
    weights = draw(
        st.lists(st.lists(st.integers(0, 4), min_size=k, max_size=k), min_size=n, max_size=n)
    )
    p = np.array(weights, float)
    p[p.sum(1) == 0] = 1
    labels = draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))
    return p / p.sum(1, keepdims=True), np.array(labels)


def brute(p, labels, k):
    """Precision, recall, F1 and AUROC of class k, by sets of images and pairs of scores."""
    called, true = set(np.flatnonzero(p.argmax(1) == k)), set(np.flatnonzero(labels == k))
    rest = set(range(len(labels))) - true
    if not true:
        return dict.fromkeys(("precision", "recall", "f1", "auroc"))
    both = len(called & true)
    pairs = [(p[i, k] > p[j, k]) + (p[i, k] == p[j, k]) / 2 for i in true for j in rest]
    return {
        "precision": both / len(called) if called else 0.0,
        "recall": both / len(true),
        "f1": 2 * both / (len(called) + len(true)),
        "auroc": sum(pairs) / len(pairs) if rest else None,
    }


def same(a, b):
    assert (a is None) == (b is None)
    if a is not None:
        np.testing.assert_allclose(a, b, rtol=1e-12)


@given(predictions())
@settings(deadline=None)
def test_summary_agrees_with_brute_force(case):
    p, labels = case
    k = p.shape[1]
    out = summarize(p, labels, NAMES[:k])
    expected = [brute(p, labels, i) for i in range(k)]
    for i, (got, want) in enumerate(zip(out["per_class"], expected, strict=True)):
        assert got["class"] == NAMES[i] and got["n"] == (labels == i).sum()
        for key in want:
            same(got[key], want[key])
    for key, of in (("balanced_accuracy", "recall"), ("f1_macro", "f1"), ("auroc_macro", "auroc")):
        kept = [e[of] for e in expected if e[of] is not None]
        same(out[key], np.mean(kept) if kept else None)
    same(out["accuracy"], np.mean(p.argmax(1) == labels))
    same(
        out["nll"],
        np.mean([-math.log(max(row[y], FLOOR)) for row, y in zip(p, labels, strict=True)]),
    )
    same(
        out["brier"],
        np.mean(
            [
                sum((q - (j == y)) ** 2 for j, q in enumerate(r))
                for r, y in zip(p, labels, strict=True)
            ]
        ),
    )
    for i in range(k):
        for j in range(k):
            assert out["confusion"][i][j] == ((labels == i) & (p.argmax(1) == j)).sum()
    json.dumps(out, allow_nan=False)


@given(predictions(), st.randoms())
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_images_changes_no_digit(case, random):
    p, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    names = NAMES[: p.shape[1]]
    assert summarize(p[order], labels[order], names) == summarize(p, labels, names)


@given(predictions())
@settings(deadline=None)
def test_the_area_under_the_roc_is_its_auroc(case):
    p, labels = case
    area = auroc(p[:, 0], labels == 0)
    if area is None:
        assert len(set(labels == 0)) == 1
        return
    x, y = roc(p[:, 0], labels == 0)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    assert len(x) == len(np.unique(p[:, 0])) + 1
    np.testing.assert_allclose(np.trapezoid(y, x), area, atol=1e-12)
    np.testing.assert_allclose(auroc(-p[:, 0], labels == 0), 1 - area, atol=1e-12)


@pytest.mark.parametrize(("right", "score"), [(True, 1.0), (False, 0.0)])
def test_sure_and_right_or_sure_and_wrong(right, score):
    """Probabilities of exactly 0 and 1: every number is finite, and at its end."""
    labels = np.array([0, 1, 1, 0, 1])
    p = np.eye(2)[labels if right else 1 - labels]
    out = summarize(p, labels, ("no", "yes"))
    for key in ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro"):
        assert out[key] == score
    assert out["ece"] == 1 - score and out["brier"] == 2 * (1 - score)
    assert out["nll"] == (0 if right else pytest.approx(-math.log(FLOOR)))
    low, high = out["accuracy_ci95"]
    assert (high == 1 and 0.5 < low < 0.6) if right else (low == 0 and 0.4 < high < 0.5)


def test_one_image():
    out = summarize([[0.2, 0.5, 0.3]], [1], NAMES[:3])
    assert out["n_images"] == 1 and out["accuracy"] == out["f1_macro"] == 1
    assert out["ece"] == 0.5 and out["auroc_macro"] is None
    assert out["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert out["per_class"][0] == {
        **{"class": "glioma", "n": 0},
        **dict.fromkeys(("precision", "recall", "f1", "auroc")),
    }


def test_one_class_present_has_scores_but_no_auroc():
    out = summarize([[0.9, 0.1], [0.4, 0.6]], [0, 0], ("no", "yes"))
    assert out["balanced_accuracy"] == out["accuracy"] == 0.5
    assert out["f1_macro"] == pytest.approx(2 / 3)
    assert out["auroc_macro"] is None and out["per_class"][1]["precision"] is None
    json.dumps(out, allow_nan=False)


def test_no_images_give_none_not_an_error():
    out = summarize(np.zeros((0, 3)), np.zeros(0, int), NAMES[:3])
    assert out["n_images"] == 0 and out["confusion"] == [[0] * 3] * 3
    flat = {k: v for k, v in out.items() if k not in ("n_images", "confusion", "per_class")}
    assert set(flat.values()) == {None}


def test_equal_probabilities_name_the_first_class():
    out = summarize(np.full((4, 2), 0.5), [0, 0, 0, 1], ("no", "yes"))
    assert out["confusion"] == [[3, 0], [1, 0]]
    assert [c["auroc"] for c in out["per_class"]] == [0.5, 0.5]


def test_a_present_class_that_is_never_named_counts_as_zero():
    out = summarize([[0.9, 0.1], [0.8, 0.2]], [0, 1], ("no", "yes"))
    assert out["per_class"][1]["precision"] == 0.0 and out["per_class"][1]["f1"] == 0.0
    assert out["f1_macro"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.93])
def test_the_wilson_interval_holds_the_truth_95_times_in_100(p):
    hits = np.random.default_rng(0).binomial(60, p, 4000)
    inside = [low <= p <= high for low, high in map(wilson, hits.tolist(), [60] * 4000)]
    assert 0.93 < np.mean(inside) < 0.975


@given(st.integers(1, 400), st.data())
def test_the_wilson_interval_solves_its_equation(n, data):
    """Its ends are where |p - proportion| is 1.96 standard errors of p, and it is mirrored by 1 - p."""
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for end in (low, high):
        assert abs(end - k / n) == pytest.approx(
            1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6
        )
    np.testing.assert_allclose(wilson(n - k, n), [1 - high, 1 - low], atol=1e-12)


@pytest.mark.parametrize(
    ("p", "labels", "error", "words"),
    [
        ([[np.nan, 0.5], [0.5, 0.5]], [0, 1], DataError, "1 of 2 .* not finite"),
        ([[2.0, -1.0]], [0], ValueError, "softmax"),
        ([[0.9, 0.9]], [0], ValueError, "softmax"),
        ([[0.5, 0.5]], [2], ValueError, "0 to 1"),
        ([[0.5, 0.5]], [0.5], ValueError, "whole"),
        ([[0.5, 0.5]], [0, 1], ValueError, "labels has shape"),
        ([[1.0]], [0], ValueError, "both"),
    ],
)
def test_what_cannot_be_scored_is_refused(p, labels, error, words):
    with pytest.raises(error, match=words):
        summarize(p, labels, ("no", "yes"))


def test_confusion_matrix_keeps_classes_that_nobody_names():
    np.testing.assert_array_equal(confusion_matrix([1, 1], [0, 1], 3)[:2, 1], [1, 1])
    assert confusion_matrix([], [], 3).shape == (3, 3)


def test_accuracy_on_device_leaves_padding_out():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(10, 4)), rng.integers(0, 4, 10)
    valid = (np.arange(10) < 7).astype(np.float32)
    mean = Mean()
    for rows in (slice(0, 4), slice(4, 10)):
        one_hot = jnp.eye(4)[labels[rows]]
        mean.add(*classification.accuracy(jnp.asarray(logits[rows]), one_hot, valid[rows]))
    assert mean.result() == pytest.approx((logits.argmax(1) == labels)[:7].mean())
    total, count = classification.accuracy(jnp.asarray(logits), jnp.eye(4)[labels])
    assert total.dtype == count.dtype == jnp.float32 and count == 10
