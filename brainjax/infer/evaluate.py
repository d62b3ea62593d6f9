"""Scores a predictor on rows of a dataset: masks on the native grid, per slice and per volume, or classes."""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from brainjax.data.source import Source
from brainjax.infer.predictor import Predictor
from brainjax.metrics import classification, lesion, overlap, volume


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `evaluate` found.

    Attributes:
        metrics: flat numbers for `result.json`; the names ending in `_post` are after clean-up.
        details: what else goes there: `per_volume`, one dict a patient; or, of classes, `per_class` and `confusion`.
        probabilities: [n K] of classes; None for masks, which would not fit.
    """

    metrics: dict[str, Any]
    details: dict[str, Any]
    probabilities: np.ndarray | None = None

    @property
    def per_volume(self) -> list[dict[str, Any]]:
        """Scores of each patient; none of a classifier."""
        return self.details.get("per_volume", [])


def evaluate(
    predictor: Predictor,
    variables: Any,
    source: Source,
    rows: np.ndarray,
    *,
    clean: bool = True,
    progress: bool = False,
    check: Callable[[], None] | None = None,
) -> Scores:
    """Predicts `rows` and compares with their masks, in bounded memory; or with their labels.

    Args:
        predictor: the network with its preprocessing.
        variables: its variables.
        source: the dataset.
        rows: ascending row numbers; a patient's slices are stacked into one volume.
        clean: also score the masks after the 3D clean-up of `predictor.options`.
        progress: show a progress bar on stderr.
        check: called after every batch, of slices or patches; what it raises ends the evaluation.
    """
    if source.dataset.target == "label":
        return _classes(predictor, variables, source, rows, progress, check)
    if source.dataset.rank == 3:
        return _whole(predictor, variables, source, rows, clean, progress, check)
    data, options = source.dataset, predictor.options
    cleanup = options.postprocess()
    raw: list[overlap.Counts] = []
    cleaned: list[overlap.Counts] = []
    for patient, mask in _volumes(predictor, variables, source, rows, progress, check):
        truth = data.mask[patient]
        raw.append(_counts(mask, truth))
        if clean:
            channels = [cleanup(mask[..., k]) for k in range(mask.shape[-1])]
            cleaned.append(_counts(np.stack(channels, -1), truth))
    group = data.group[rows]

    def summary(parts: list[overlap.Counts]) -> dict[str, Any]:
        total = overlap.Counts(*(np.concatenate(c) for c in zip(*parts, strict=True)))
        return overlap.summarize(total, group, empty=options.empty, names=data.groups)

    metrics = summary(raw)
    per_volume = metrics.pop("per_volume")
    if clean:
        after = summary(cleaned)
        for one, other in zip(per_volume, after.pop("per_volume"), strict=True):
            one["dice_post"] = other["dice"]
        metrics |= {f"{k}_post": v for k, v in after.items() if not k.startswith("n_")}
    return Scores(metrics, {"per_volume": per_volume})


def _whole(
    predictor: Predictor,
    variables: Any,
    source: Source,
    rows: np.ndarray,
    clean: bool,
    progress: bool,
    check: Callable[[], None] | None,
) -> Scores:
    """Scores of rows that are whole volumes, each by itself, whoever's it is; of several regions of each too."""
    data, options = source.dataset, predictor.options
    cleanup = dataclasses.replace(options.postprocess(), per_slice=False)
    scoring = volume.Scoring(
        empty=options.empty,
        lesions=lesion.RULES[options.lesion_rule]() if clean and options.lesions else None,
    )
    regions = data.info.classes if len(data.info.classes) > 1 else ()
    raw: dict[str, Any] = {}
    cleaned: dict[str, Any] = {}

    def scores(mask: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        if not regions:
            mask, truth = mask[..., 0], truth[..., 0]
        return volume.scores(mask, truth, data.info.spacing_mm, regions=regions, scoring=scoring)

    bar = tqdm(
        total=len(rows), unit="volume", desc="scoring", disable=not progress, file=sys.stderr
    )
    for (row,), (probability,) in predictor.batches(variables, source, rows, check=check):
        mask, truth, name = probability >= options.threshold, data.mask[row], data.name(row)
        raw[name] = scores(mask, truth)
        if clean:
            channels = [cleanup(mask[..., k]) for k in range(mask.shape[-1])]
            after = np.stack(channels, -1)
            # Measuring surfaces takes longer than finding out that there is nothing new to measure.
            cleaned[name] = raw[name] if (after == mask).all() else scores(after, truth)
        bar.update()
    bar.close()
    metrics = _told(volume.summarize(raw))
    per_volume = metrics.pop("per_volume")
    if clean:
        after = _told(volume.summarize(cleaned))
        for one, other in zip(per_volume, after.pop("per_volume"), strict=True):
            one |= {f"{k}_post": v for k, v in other.items() if k.split("_")[0] == "dice"}
        metrics |= {f"{k}_post": v for k, v in after.items() if not k.startswith("n_")}
    return Scores(metrics, {"per_volume": per_volume})


def _told(summary: dict[str, Any]) -> dict[str, Any]:
    """Of a summary over volumes what is worth printing: means of scores, not of counts, medians, and intervals."""
    kinds = ("_volume_mean", "_volume_median", "_volume_ci95")
    counted = re.compile(r"(lesion_)?[tf][pn](_|$)|(true_)?volume_ml")
    return {
        key: value
        for key, value in summary.items()
        if key in ("n_volumes", "per_volume") or (key.endswith(kinds) and not counted.match(key))
    }


def _classes(
    predictor: Predictor,
    variables: Any,
    source: Source,
    rows: np.ndarray,
    progress: bool,
    check: Callable[[], None] | None,
) -> Scores:
    """Scores of single images with a class each."""
    bar = tqdm(total=len(rows), unit="image", desc="scoring", disable=not progress, file=sys.stderr)
    parts = []
    for part, probability in predictor.batches(variables, source, rows, check=check):
        bar.update(len(part))
        parts.append(probability)
    bar.close()
    data, probabilities = source.dataset, np.concatenate(parts)
    metrics = classification.summarize(probabilities, data.label[rows], data.info.classes)
    details = {key: metrics.pop(key) for key in ("per_class", "confusion")}
    return Scores(metrics, details, probabilities)


def _volumes(
    predictor: Predictor,
    variables: Any,
    source: Source,
    rows: np.ndarray,
    progress: bool,
    check: Callable[[], None] | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (rows, masks [S H W K] bool) a patient at a time, though batches straddle patients."""
    group = source.dataset.group[rows]
    ends = (np.flatnonzero(np.diff(group)) + 1).tolist() + [len(rows)]
    held: list[np.ndarray] = []  # masks of the patient in hand
    first = start = 0  # its first row; the first row of the batch
    bar = tqdm(total=len(rows), unit="slice", desc="scoring", disable=not progress, file=sys.stderr)
    for part, probability in predictor.batches(variables, source, rows, check=check):
        bar.update(len(part))
        masks = probability >= predictor.options.threshold
        while ends and ends[0] <= start + len(part):
            cut = ends[0] - max(start, first)
            yield rows[first : ends[0]], np.concatenate([*held, masks[:cut]])
            held, masks, first = [], masks[cut:], ends.pop(0)
        if len(masks):
            held.append(masks)
        start += len(part)
    bar.close()


def _counts(mask: np.ndarray, truth: np.ndarray) -> overlap.Counts:
    """Counts of [S C] for a patient's stacked slices, on the host: [S H W C] each."""
    truth = truth > 0
    tp = (mask & truth).sum((1, 2), dtype=np.int64)
    return overlap.Counts(
        tp, mask.sum((1, 2), dtype=np.int64) - tp, truth.sum((1, 2), dtype=np.int64) - tp
    )
