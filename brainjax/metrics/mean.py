"""Means: of a list with gaps, and a running one from (sum, count) pairs."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None, the same in every order; None of nothing."""
    kept = [float(v) for v in values if v is not None]
    return math.fsum(kept) / len(kept) if kept else None


class Mean:
    """Accumulates (sum, count) pairs in float64 on the host and divides once, at the end.

    Losses (`losses.reduce`) give scalars, metrics give one entry per class, [C]; either works, as
    long as all pairs added to one `Mean` have the same shape.

    Example:
        mean = Mean()
        for batch in batches:
            mean.add(*overlap.dice(counts(...), batch["valid"]))
        mean.result()
    """

    def __init__(self) -> None:
        """Starts with nothing counted."""
        self.sum = np.float64(0)
        self.count = np.float64(0)

    def add(self, total: Any, count: Any) -> None:
        """Adds a pair of scalars or of [C] arrays, from device or host."""
        total, count = jax.device_get((total, count))
        self.sum = self.sum + np.asarray(total, np.float64)
        self.count = self.count + np.asarray(count, np.float64)

    def result(self) -> float | None:
        """Total sum over total count, classes pooled; None when nothing was counted."""
        count = np.sum(self.count)
        return float(np.sum(self.sum) / count) if count else None

    def per_class(self) -> list[float | None]:
        """The mean of each class; None for a class where nothing was counted."""
        pairs = zip(np.ravel(self.sum), np.ravel(self.count), strict=True)
        return [float(s / n) if n else None for s, n in pairs]
