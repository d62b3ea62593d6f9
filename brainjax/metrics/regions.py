"""Overlap numbers of several classes or regions side by side, and their mean."""

import re
from collections.abc import Sequence
from typing import Any

from brainjax.metrics import overlap
from brainjax.metrics.mean import mean


def slug(name: str) -> str:
    """A class as part of a metric's name: 'whole tumour' -> 'whole_tumour'."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def summarize(
    counts: overlap.Counts,
    group: Any,
    classes: Sequence[str],
    *,
    empty: str = "one",
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """`overlap.summarize` of each class.

    Args:
        counts: of [N C].
        group: [N] integers, the volume of each row.
        classes: C names.
        empty: 'one', 'zero' or 'skip'.
        names: of the volumes, by group id.

    Returns:
        Of a single class, what `overlap.summarize` gives. Of several, for each of its numbers `m` the mean over the
        classes as `m`, beside `m_<class>` of each; and so in `per_volume`. A class whose number is None is not
        counted. Counts of voxels and of slices with tumour are those of each class alone.

    Raises:
        ConfigError: unknown `empty`.
    """
    parts = [
        overlap.summarize(counts, group, empty=empty, channel=k, names=names)
        for k in range(len(classes))
    ]
    if len(parts) == 1:
        return parts[0]
    slugs = [slug(name) for name in classes]
    volumes = zip(*(part.pop("per_volume") for part in parts), strict=True)
    return {**_beside(parts, slugs), "per_volume": [_beside(of_one, slugs) for of_one in volumes]}


def _beside(parts: Sequence[dict[str, Any]], slugs: Sequence[str]) -> dict[str, Any]:
    """Dicts of the same keys as one: what is the same in all, means of floats, and `key_class` of each."""
    merged: dict[str, Any] = {}
    for key in parts[0]:
        values = [part[key] for part in parts]
        if key in ("group", "n_slices", "n_volumes"):
            merged[key] = values[0]
            continue
        if key not in ("tp", "fp", "fn", "n_foreground_slices"):
            merged[key] = mean(values)
        merged |= {f"{key}_{name}": value for name, value in zip(slugs, values, strict=True)}
    return merged
