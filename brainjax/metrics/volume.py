"""All scores of a volume's masks in one call, and what they amount to over many volumes. On the host.

Of several regions (whole tumour, core, enhancing core) each has its own scores, named `dice_WT`, and `dice` is the
mean over them. Empty masks count by one rule throughout, see `overlap` and `surface`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainjax.metrics import overlap
from brainjax.metrics.components import bounding_box, crop
from brainjax.metrics.lesion import Dilated, OneToOne, lesion_scores
from brainjax.metrics.mean import mean
from brainjax.metrics.surface import WORST_MM, checked, hd95, surface_dice, surface_distances

_RESAMPLES = 2000  # of the bootstrap
_COUNTS = ("tp", "fp", "fn", "lesion_tp", "lesion_fp", "lesion_fn", "volume_ml", "true_volume_ml")


@dataclasses.dataclass(frozen=True)
class Scoring:
    """The choices that move the scores; `BRATS` and `PANOPTICA` are two sets of them.

    Attributes:
        empty: 'one', 'zero' or 'skip': what is worth what where both masks are empty.
        worst: mm, HD95 where one of the two is; None where that is not to be counted.
        tolerance: mm, of the surface Dice.
        pooled: HD95 as one percentile of both ways' distances, instead of the larger of two.
        lesions: which component is which lesion; None leaves lesions out.
    """

    empty: str = "one"
    worst: float | None = WORST_MM
    tolerance: float = 1.0
    pooled: bool = False
    lesions: Dilated | OneToOne | None = Dilated()

    def __post_init__(self) -> None:
        """Raises ConfigError for an unknown rule."""
        overlap.check_rule(self.empty)


BRATS = Scoring()
# Its distance to an empty mask is infinite, which no mean survives.
PANOPTICA = Scoring(empty="skip", worst=None, pooled=True, lesions=OneToOne())
MASK = Scoring(lesions=None)  # of one organ, such as a brain


def scores(
    pred: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float] | None = None,
    *,
    regions: Sequence[str] = (),
    scoring: Scoring = BRATS,
) -> dict[str, Any]:
    """Scores of one volume.

    Args:
        pred: [X Y Z], or [X Y Z K] for K regions; bool or {0, 1} (cut at 0.5).
        truth: likewise.
        spacing: mm between voxels along X, Y and Z; None for 1 mm.
        regions: K names; none for [X Y Z].
        scoring: the conventions.

    Returns:
        `dice`, `jaccard`, `precision`, `recall`, `hd95` in mm, `nsd` (the normalised surface Dice), with the counts
        `tp`, `fp`, `fn` in voxels, `volume_ml` and `true_volume_ml`, and what `lesion_scores` gives. With regions all
        of these as `dice_WT` and so on, and the mean over regions of what is no count or volume as `dice`. Plain
        numbers, ready for JSON; None where not counted.

    Raises:
        ConfigError: unknown connectivity.
        ValueError: the shapes differ or do not fit `regions`, or `spacing` is not 3 numbers above 0.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if not regions:
        return _scores(pred, truth, spacing, scoring)
    if not pred.shape[3:] == truth.shape[3:] == (len(regions),):
        raise ValueError(
            f"pred {pred.shape} and truth {truth.shape} must be [X Y Z {len(regions)}] for {len(regions)} regions"
        )
    each = [_scores(pred[..., k], truth[..., k], spacing, scoring) for k in range(len(regions))]
    out = {key: mean(s[key] for s in each) for key in each[0] if key not in _COUNTS}
    for name, own in zip(regions, each, strict=True):
        out |= {f"{key}_{name}": value for key, value in own.items()}
    return out


def summarize(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the scores of many volumes amount to; their order changes none.

    Args:
        cases: name of the volume -> what `scores` gave for it.

    Returns:
        For each score m: `m_volume_mean`, `m_volume_median`, `m_volume_std` (population), `m_volume_ci95`, [low, high] of
        the mean, and `m_volume_n`, how many volumes count. Then `n_volumes`, and `per_volume`, a list of dicts with
        `group`, the name, and the scores. None where there is nothing to average. Names as from `overlap.summarize`.

        The interval is of the percentile bootstrap (Efron 1979), too narrow for fewer than some 20 volumes; of one
        volume it is None.

    Raises:
        ValueError: volumes with different scores.
    """
    keys = list(next(iter(cases.values()), {}))
    if any(set(c) != set(keys) for c in cases.values()):
        raise ValueError("the volumes must all have the same scores: same regions, same scoring")
    out: dict[str, Any] = {"n_volumes": len(cases)}
    for key in keys:
        # Sorted, so that the bootstrap draws the same whatever the order of the volumes.
        kept = np.sort([float(c[key]) for c in cases.values() if c[key] is not None])
        some = len(kept) > 0
        out[f"{key}_volume_mean"] = mean(kept)
        out[f"{key}_volume_median"] = float(np.median(kept)) if some else None
        out[f"{key}_volume_std"] = float(np.std(kept)) if some else None
        out[f"{key}_volume_ci95"] = _interval(kept)
        out[f"{key}_volume_n"] = len(kept)
    out["per_volume"] = [{"group": name, **cases[name]} for name in sorted(cases)]
    return out


def _scores(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float] | None, scoring: Scoring
) -> dict[str, Any]:
    """Of one region, [X Y Z]."""
    pred, truth, steps = checked(pred, truth, spacing)
    box = bounding_box(pred | truth, getattr(scoring.lesions, "dilation", 0))
    pred, truth = crop(pred, box), crop(truth, box)
    tp = int((pred & truth).sum())
    called, true = int(pred.sum()), int(truth.sum())
    counts = overlap.Counts(*(np.array([c]) for c in (tp, called - tp, true - tp)))
    out: dict[str, Any] = {
        key: values[0] for key, values in overlap.each(counts, empty=scoring.empty).items()
    }
    away = surface_distances(pred, truth, steps)
    out["hd95"] = hd95(away, pooled=scoring.pooled, empty=scoring.empty, worst=scoring.worst)
    out["nsd"] = surface_dice(away, tolerance=scoring.tolerance, empty=scoring.empty)
    ml = float(steps.prod()) / 1000
    out |= {"tp": tp, "fp": called - tp, "fn": true - tp}
    out |= {"volume_ml": called * ml, "true_volume_ml": true * ml}
    if scoring.lesions is not None:
        out |= lesion_scores(
            pred,
            truth,
            steps,
            rule=scoring.lesions,
            empty=scoring.empty,
            worst=scoring.worst,
            pooled=scoring.pooled,
        )
    return out


def _interval(values: np.ndarray) -> list[float] | None:
    """Bootstrap interval [low, high] of the mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    draws = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return [float(low), float(high)]
