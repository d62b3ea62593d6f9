"""Scores of a classifier of whole images, from its probabilities, in host numpy.

The predicted class is the most probable one, the first of equals. Two choices move averages, and are these:

- A class without images in the truth has no scores: they are None, and averages over classes leave it out (what is
  wrongly called by its name still costs the other classes recall). AUROC also needs an image of another class.
- A class that has images but is never predicted has precision 0 and F1 0, not an undefined one, so that every score
  of a class averages over the same classes. The same rule as for masks in `overlap`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainjax.metrics.calibration import checked, reliability
from brainjax.metrics.mean import mean
from brainjax.types import check_shape

FLOOR = 1e-12  # the least probability that `nll` takes the logarithm of: a sure mistake costs 27.6, not infinity
_Z95 = 1.959963984540054  # the normal distribution's 97.5th percentile


def accuracy(
    logits: jax.Array, label: jax.Array, valid: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Share of the images whose class is found, on device.

    Args:
        logits: [B K], or probabilities.
        label: [B K], one-hot.
        valid: [B], 0 for padding, which is not counted.

    Returns:
        (sum, count) over the batch, float32 scalars.
    """
    check_shape("label", label, logits.shape)
    keep = jnp.ones(len(logits), bool) if valid is None else valid > 0
    right = logits.argmax(-1) == label.argmax(-1)
    return (right & keep).sum(dtype=jnp.float32), keep.sum(dtype=jnp.float32)


def confusion_matrix(predicted: Any, labels: Any, classes: int) -> np.ndarray:
    """Counts images by true class (row) and predicted class (column).

    Args:
        predicted, labels: [N] in 0 .. classes - 1.
        classes: K.

    Returns:
        [K K] int64.
    """
    pair = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pair, minlength=classes**2).reshape(classes, classes)


def roc(scores: Any, positive: Any) -> tuple[np.ndarray, np.ndarray]:
    """The receiver operating characteristic: what each cut at a score lets through.

    Args:
        scores: [N], higher for positives.
        positive: [N] bool, with at least one of either kind.

    Returns:
        False and true positive rates, from (0, 0) to (1, 1): one point a distinct score, so that equal scores are
        one straight piece.
    """
    scores, positive = np.asarray(scores), np.asarray(positive, bool)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # of a run of equal scores
    rates = []
    for kind in (~positive, positive):
        passed = np.cumsum(kind[order])[last]
        rates.append(np.concatenate([[0.0], passed / kind.sum()]))
    return rates[0], rates[1]


def auroc(scores: Any, positive: Any) -> float | None:
    """Area under the ROC: how often a positive scores above a negative, ties counting half.

    From the ranks (Mann & Whitney 1947), in whole numbers up to the one division.

    Args:
        scores: [N].
        positive: [N] bool.

    Returns:
        In [0, 1]; None without positives or without negatives.
    """
    positive = np.asarray(positive, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return None
    _, place, count = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    end = np.cumsum(count)
    twice_rank = (2 * end - count + 1)[place]  # equal scores share the mean of their ranks, from 1
    return (int(twice_rank[positive].sum()) - n * (n + 1)) / (2 * n * m)


def wilson(successes: int, n: int) -> list[float] | None:
    """95 % interval [low, high] of a proportion (Wilson 1927), sound for few trials and near 0 and 1; None for n = 0."""
    if not n:
        return None
    p, z2 = successes / n, _Z95**2
    centre = p + z2 / (2 * n)
    half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # At p = 0 and 1 an end is p itself, but for rounding.
    return [low if successes else 0.0, high if successes < n else 1.0]


def summarize(probabilities: Any, labels: Any, classes: Sequence[str]) -> dict[str, Any]:
    """All numbers of a classifier over a data set; the order of the images changes none.

    Args:
        probabilities: [N K].
        labels: [N] in 0 .. K - 1.
        classes: K names.

    Returns:
        - `n_images`
        - `accuracy`, and `accuracy_ci95`, its Wilson interval [low, high]: of images drawn one by one, so it is too
          narrow where several are of one patient.
        - `balanced_accuracy`, `f1_macro`, `auroc_macro`: means of recall, F1 and AUROC (one class against the rest)
          over the classes that have one.
        - `nll`: mean of -log p of the true class, with p at least `FLOOR`.
        - `brier`: mean of sum_k (p_k - [k is true])^2, from 0 to 2.
        - `ece`: expected calibration error in 15 bins, see `calibration.reliability`.
        - `per_class`: a list of dicts of `class`, `n`, `precision`, `recall`, `f1`, `auroc`.
        - `confusion`: K lists of K counts, true class by predicted class.

        Plain Python numbers, ready for JSON; a mean over nothing is None.

    Raises:
        NotFinite: probabilities that are not finite.
        ValueError: rows that are no probabilities of these classes, or labels that are not their indices.
    """
    p, y = checked(probabilities, labels)
    check_shape("probabilities", p, (None, len(classes)))
    n, predicted = len(y), p.argmax(1)
    matrix = confusion_matrix(predicted, y, len(classes))
    per_class = [_one_class(name, k, p[:, k], y, matrix) for k, name in enumerate(classes)]
    hits = int(matrix.trace())
    true = np.eye(len(classes))[y]  # [N K]
    return {
        "n_images": n,
        "accuracy": hits / n if n else None,
        "accuracy_ci95": wilson(hits, n),
        "balanced_accuracy": mean(c["recall"] for c in per_class),
        "f1_macro": mean(c["f1"] for c in per_class),
        "auroc_macro": mean(c["auroc"] for c in per_class),
        "nll": mean(-np.log(np.clip(p[np.arange(n), y], FLOOR, 1))),
        "brier": mean(((p - true) ** 2).sum(1)),
        "ece": reliability(p, y)["ece"],
        "per_class": per_class,
        "confusion": matrix.tolist(),
    }


def _one_class(name: str, k: int, p: np.ndarray, y: np.ndarray, matrix: np.ndarray) -> dict:
    """The scores of class k with probabilities p [N]."""
    found, true, called = (int(x) for x in (matrix[k, k], matrix[k].sum(), matrix[:, k].sum()))
    if not true:
        return {"class": name, "n": 0, **dict.fromkeys(("precision", "recall", "f1", "auroc"))}
    return {
        "class": name,
        "n": true,
        "precision": found / called if called else 0.0,
        "recall": found / true,
        "f1": 2 * found / (called + true),
        "auroc": auroc(p, y == k),
    }
