"""Metrics: (sum, count) pairs on device, exact integer counts per patient on host.

What is named here is of masks, and needs jax alone. Whole volumes have `volume`, with `surface` and `lesion` below it,
which need scipy; classes have `classification` and `calibration`.
"""

from brainjax.metrics.mean import Mean
from brainjax.metrics.overlap import (
    Counts,
    counts,
    dice,
    jaccard,
    per_group,
    precision,
    recall,
    summarize,
)

__all__ = [
    "Counts",
    "Mean",
    "counts",
    "dice",
    "jaccard",
    "per_group",
    "precision",
    "recall",
    "summarize",
]
