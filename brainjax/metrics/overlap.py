"""Overlap of two binary masks: voxel counts on device, and the usual four metrics from them.

Counts are integers, so they add up exactly in any order. From the counts of single slices come both
averages in use: over slices, and over patients, where a patient's slices are one volume and its
Dice is that of the stack. The two differ much (most slices of a scan hold no tumour), so
`summarize` reports both and says which.

What a metric is worth where it would be 0 / 0 is a choice that moves averages by a lot, hence
`empty`:

    prediction  truth      'one'   'zero'  'skip'
    empty       empty      1       0       not counted
    one of the two empty   0       0       0
    neither                the formula

The middle line holds for all four metrics: a missed tumour has precision 0, not an undefined one,
and a false alarm has recall 0, so that every metric averages over the same examples.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from brainjax.metrics.mean import mean
from brainjax.types import ConfigError

EMPTY_RULES = ("one", "zero", "skip")


class Counts(NamedTuple):
    """True positives, false positives and false negatives: voxels per example and class, [B C]."""

    tp: Any
    fp: Any
    fn: Any


def counts(pred_mask: jax.Array, mask: jax.Array, valid: jax.Array | None = None) -> Counts:
    """Counts voxels, exactly.

    Args:
        pred_mask: [B *spatial C], bool or {0, 1} (cut at 0.5).
        mask: [B *spatial C], the truth, likewise.
        valid: [B], 0 for padding, whose counts become 0.

    Returns:
        Counts of [B C] int32, good for 2^31 voxels per example.

    Raises:
        ValueError: the shapes differ or have no channel axis.
    """
    if pred_mask.shape != mask.shape or mask.ndim < 2:
        raise ValueError(
            f"pred_mask {pred_mask.shape} and mask {mask.shape} must both be [B *spatial C]"
        )
    predicted, true = pred_mask > 0.5, mask > 0.5
    if valid is not None:
        keep = (valid > 0).reshape((-1,) + (1,) * (mask.ndim - 1))
        predicted, true = predicted & keep, true & keep
    space = tuple(range(1, mask.ndim - 1))
    tp = (predicted & true).sum(space, dtype=jnp.int32)  # [B *spatial C] -> [B C]
    fp = predicted.sum(space, dtype=jnp.int32) - tp
    fn = true.sum(space, dtype=jnp.int32) - tp
    return Counts(tp, fp, fn)


def dice(
    counts: Counts, valid: jax.Array | None = None, *, empty: str = "one"
) -> tuple[jax.Array, jax.Array]:
    """Dice coefficient, 2 TP / (2 TP + FP + FN).

    Args:
        counts: of [B C].
        valid: [B], 0 for padding, which is not counted.
        empty: 'one', 'zero' or 'skip', see the top of this file.

    Returns:
        (sum, count) over the batch, [C] float32 each.

    Raises:
        ConfigError: unknown `empty`.
    """
    return _reduce(_dice, counts, valid, empty)


def jaccard(
    counts: Counts, valid: jax.Array | None = None, *, empty: str = "one"
) -> tuple[jax.Array, jax.Array]:
    """Jaccard index (IoU), TP / (TP + FP + FN). Arguments, result and errors as in `dice`."""
    return _reduce(_jaccard, counts, valid, empty)


def precision(
    counts: Counts, valid: jax.Array | None = None, *, empty: str = "one"
) -> tuple[jax.Array, jax.Array]:
    """Precision, TP / (TP + FP). Arguments, result and errors as in `dice`."""
    return _reduce(_precision, counts, valid, empty)


def recall(
    counts: Counts, valid: jax.Array | None = None, *, empty: str = "one"
) -> tuple[jax.Array, jax.Array]:
    """Recall (sensitivity), TP / (TP + FN). Arguments, result and errors as in `dice`."""
    return _reduce(_recall, counts, valid, empty)


def per_group(counts: Counts, group_ids: Any, valid: Any | None = None) -> dict[int, Counts]:
    """Sums counts per group, exactly: the counts of each patient's stacked slices.

    Args:
        counts: of [N C], slices in any order.
        group_ids: [N] integers.
        valid: [N], 0 for padding, which is dropped whatever its counts and group.

    Returns:
        Group id -> Counts of [C] int64, in order of id.
    """
    host, ids = _on_host(counts, group_ids, valid)
    unique, row = np.unique(ids, return_inverse=True)
    sums = []
    for c in host:
        total = np.zeros((len(unique), c.shape[-1]), np.int64)
        np.add.at(total, row, c)
        sums.append(total)
    return {int(g): Counts(*(s[i] for s in sums)) for i, g in enumerate(unique)}


def each(counts: Counts, *, empty: str = "one") -> dict[str, list[float | None]]:
    """All four metrics of every example, on the host in float64.

    Args:
        counts: of [N] integers.
        empty: 'one', 'zero' or 'skip', see the top of this file.

    Returns:
        `dice`, `jaccard`, `precision` and `recall`: N numbers each, None where not counted.

    Raises:
        ConfigError: unknown `empty`.
    """
    check_rule(empty)
    return {name: _values(formula, counts, empty) for name, formula in _FORMULAS.items()}


def summarize(
    counts: Counts,
    group: Any,
    *,
    empty: str = "one",
    valid: Any | None = None,
    channel: int = 0,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """All overlap numbers of one class over a data set; the order of the slices changes none.

    Args:
        counts: of [N C], one row a slice.
        group: [N] integers, the patient of each slice.
        empty: 'one', 'zero' or 'skip', see the top of this file; for slices and volumes alike.
        valid: [N], 0 for padding.
        channel: the class to report.
        names: patient names by group id, for `per_volume`.

    Returns:
        For each m of dice, jaccard, precision, recall: `m_slice_mean`, `m_volume_mean`,
        `m_volume_median`, `m_volume_std` (population), and `m_pooled`, of all voxels taken as one
        volume. Also `dice_foreground_slice_mean`, over slices with tumour in the truth; `n_slices`,
        `n_foreground_slices`, `n_volumes`; and `per_volume`, a list of dicts with `group`,
        `n_slices`, `tp`, `fp`, `fn` and the four metrics. A mean over nothing is None. Plain Python
        numbers, ready for JSON.

    Raises:
        ConfigError: unknown `empty`.
    """
    check_rule(empty)
    host, ids = _on_host(counts, group, valid)
    slices = Counts(*(c[:, channel] for c in host))  # [N]
    groups = per_group(Counts(*(c[:, None] for c in slices)), ids)
    volumes = Counts(*(np.array([c[i][0] for c in groups.values()], np.int64) for i in range(3)))
    pooled = Counts(*(c.sum(keepdims=True) for c in slices))
    foreground = slices.tp + slices.fn > 0

    out: dict[str, Any] = {
        "n_slices": len(ids),
        "n_foreground_slices": int(foreground.sum()),
        "n_volumes": len(groups),
    }
    per_volume: list[dict[str, Any]] = [
        {
            "group": names[g] if names is not None else g,
            "n_slices": int((ids == g).sum()),
            "tp": int(c.tp[0]),
            "fp": int(c.fp[0]),
            "fn": int(c.fn[0]),
        }
        for g, c in groups.items()
    ]
    by_slice, by_volume, all_pooled = (each(c, empty=empty) for c in (slices, volumes, pooled))
    for name, values in by_volume.items():
        out[f"{name}_slice_mean"] = mean(by_slice[name])
        kept = [v for v in values if v is not None]
        out[f"{name}_volume_mean"] = mean(values)
        out[f"{name}_volume_median"] = float(np.median(kept)) if kept else None
        out[f"{name}_volume_std"] = float(np.std(kept)) if kept else None
        out[f"{name}_pooled"] = all_pooled[name][0]
        for volume, value in zip(per_volume, values, strict=True):
            volume[name] = value
    out["dice_foreground_slice_mean"] = mean(
        _values(_dice, Counts(*(c[foreground] for c in slices)), empty)
    )
    out["per_volume"] = per_volume
    return out


# Numerator and denominator; each works for jax and numpy arrays alike.
def _dice(c: Counts) -> tuple[Any, Any]:
    return 2 * c.tp, 2 * c.tp + c.fp + c.fn


def _jaccard(c: Counts) -> tuple[Any, Any]:
    return c.tp, c.tp + c.fp + c.fn


def _precision(c: Counts) -> tuple[Any, Any]:
    return c.tp, c.tp + c.fp


def _recall(c: Counts) -> tuple[Any, Any]:
    return c.tp, c.tp + c.fn


_FORMULAS = {"dice": _dice, "jaccard": _jaccard, "precision": _precision, "recall": _recall}


def check_rule(empty: str) -> None:
    """Raises ConfigError unless `empty` is one of `EMPTY_RULES`."""
    if empty not in EMPTY_RULES:
        raise ConfigError(f"empty={empty!r}: use one of {', '.join(map(repr, EMPTY_RULES))}.")


def _reduce(
    formula: Callable[[Counts], tuple[Any, Any]],
    counts: Counts,
    valid: jax.Array | None,
    empty: str,
) -> tuple[jax.Array, jax.Array]:
    """(sum, count) over B of a metric on device."""
    check_rule(empty)
    # float32 before the sums in the formulas: twice the voxels of a large volume would overflow
    # int32.
    counts = Counts(*(jnp.asarray(c, jnp.float32) for c in counts))
    numerator, denominator = formula(counts)
    both_empty = counts.tp + counts.fp + counts.fn == 0
    value = numerator / jnp.maximum(denominator, 1)  # TP = 0 where the denominator is
    if empty == "one":
        value = jnp.where(both_empty, 1.0, value)
    keep = jnp.ones_like(both_empty) if valid is None else (valid > 0)[:, None]
    if empty == "skip":
        keep = keep & ~both_empty
    keep = jnp.broadcast_to(keep, value.shape)
    return jnp.where(keep, value, 0.0).sum(0), keep.sum(0, dtype=jnp.float32)  # [B C] -> [C]


def _values(
    formula: Callable[[Counts], tuple[Any, Any]], counts: Counts, empty: str
) -> list[float | None]:
    """A metric of each of [N] integer counts, in float64 on host; None where not counted."""
    numerator, denominator = formula(counts)
    both_empty = counts.tp + counts.fp + counts.fn == 0
    value = numerator / np.maximum(denominator, 1)
    when_empty = {"one": 1.0, "zero": 0.0, "skip": None}[empty]
    return [when_empty if e else float(v) for v, e in zip(value, both_empty, strict=True)]


def _on_host(counts: Counts, group: Any, valid: Any | None) -> tuple[Counts, np.ndarray]:
    """Counts of [N C] int64 and ids [N], padding dropped."""
    tp, fp, fn, ids = (np.asarray(a) for a in jax.device_get((*counts, group)))
    if tp.ndim != 2 or len(tp) != len(ids):
        raise ValueError(
            f"counts {tp.shape} must be [N C], with one group id a row, got {len(ids)}"
        )
    keep = np.ones(len(ids), bool) if valid is None else np.asarray(jax.device_get(valid)) > 0
    return Counts(*(c[keep].astype(np.int64) for c in (tp, fp, fn))), ids[keep]
