"""Whether a classifier's probabilities mean what they say, and one number that corrects them.

Both after Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599). The confidence of a
prediction is the probability of the class it names. In host numpy, float64: a test set of images is small, and
sums by `math.fsum` come out the same in every order.
"""

import math
from typing import Any

import numpy as np

from brainjax.types import NotFinite, check_shape

BINS = 15
TEMPERATURES = (0.05, 20.0)  # where `fit_temperature` looks
_HALVINGS = 60  # of an interval of about 6 in log temperature: down to float64's last digits


def checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N K] as float64 and labels [N] as int64, found fit to be scored.

    Raises:
        NotFinite: probabilities that are not finite.
        ValueError: rows that are no probabilities of K >= 2 classes, or labels that are not their indices.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    check_shape("probabilities", p, (None, None))
    check_shape("labels", y, (len(p),))
    if p.shape[1] < 2:
        raise ValueError("probabilities of one class: give those of both, [N 2], as 1 - p and p")
    if not np.isfinite(p).all():
        bad = int((~np.isfinite(p).all(1)).sum())
        raise NotFinite(
            f"{bad} of {len(p)} predictions are not finite: the network has diverged; lower the learning rate"
        )
    if (p < 0).any() or (abs(p.sum(1) - 1) > 1e-3).any():
        raise ValueError("rows of probabilities must be 0 or more and add up to 1: use softmax")
    if (y != y.astype(np.int64)).any() or (y < 0).any() or (y >= p.shape[1]).any():
        raise ValueError(f"labels must be whole numbers from 0 to {p.shape[1] - 1}")
    return p, y.astype(np.int64)


def reliability(probabilities: Any, labels: Any, bins: int = BINS) -> dict[str, Any]:
    """Confidence against accuracy, in bins of equal width: the reliability diagram and its one number.

    The expected calibration error is sum_b n_b / N |accuracy_b - confidence_b| over the bins.

    Args:
        probabilities: [N K].
        labels: [N] in 0 .. K - 1.
        bins: into which (0, 1] is divided; each holds its upper end.

    Returns:
        `ece`, and `bins`, a list of dicts of `low`, `high`, `n`, and the means `confidence` and `accuracy`. Plain
        numbers, ready for JSON: None where there is nothing to average.

    Raises:
        NotFinite, ValueError: as `checked`; or no bins.
    """
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    p, y = checked(probabilities, labels)
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.arange(bins + 1) / bins
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    rows, gaps = [], []
    for b in range(bins):
        inside = place == b
        n, hits, sure = int(inside.sum()), int(right[inside].sum()), math.fsum(confidence[inside])
        gaps.append(abs(hits - sure))  # n |accuracy - confidence|
        rows.append(
            {
                "low": float(edges[b]),
                "high": float(edges[b + 1]),
                "n": n,
                "confidence": sure / n if n else None,
                "accuracy": hits / n if n else None,
            }
        )
    return {"ece": math.fsum(gaps) / len(y) if len(y) else None, "bins": rows}


def softmax(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """exp(z / T), divided by its sum over the classes: logits [N K] -> probabilities [N K] float64."""
    z = np.asarray(logits, np.float64) / temperature
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def fit_temperature(logits: Any, labels: Any) -> float:
    """The temperature T at which softmax(logits / T) has the least negative log-likelihood.

    Of images that the network was not trained on and will not be scored on: those of validation. It changes the
    confidence of a prediction, never the prediction.

    The likelihood is convex in 1 / T, so its slope has one sign change, which halving the interval cannot miss.

    Args:
        logits: [N K]; logarithms of probabilities above 0 serve as well.
        labels: [N] in 0 .. K - 1.

    Returns:
        T within `TEMPERATURES`: its upper end where the logits do worse than chance. 1 where the images cannot tell:
        where T changes nothing, without images or with the same logit for all classes, and where every image is
        classified right. There the likelihood grows forever as T falls, and would make a network certain of
        everything because it made no mistake in a few images.

    Raises:
        NotFinite, ValueError: as `checked`, of the logits.
    """
    z = np.asarray(logits, np.float64)
    _, y = checked(softmax(np.where(np.isfinite(z), z, np.nan)), labels)
    z = z - z.max(1, keepdims=True)
    excess = z - z[np.arange(len(z)), y][:, None]  # [N K] over the true class's

    if not (excess > 0).any():
        return 1.0

    def slope(log_inverse: float) -> float:
        """Sign of the derivative by 1 / T: the mean logit, less the true one."""
        p = softmax(z, math.exp(-log_inverse))
        return math.fsum((p * excess).ravel())

    low, high = (-math.log(t) for t in reversed(TEMPERATURES))
    if slope(high) <= 0:
        return TEMPERATURES[0]
    if slope(low) >= 0:
        return TEMPERATURES[1]
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return math.exp(-(low + high) / 2)
