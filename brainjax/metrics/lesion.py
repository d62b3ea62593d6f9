"""Lesion-wise scores: each connected component for itself, so that a small metastasis counts like a large one.

Which component of the prediction is which lesion of the truth is a choice that moves the scores by a lot, and the
two in use differ. Both are here:

- `Dilated`, BraTS's since 2023. The truth is dilated, and what of it touches then is one lesion; all of the predicted
  components that touch a lesion's dilation are its prediction together (one component may serve several lesions),
  and those that touch none are false alarms. Lesions up to a volume are not scored, nor is what is predicted there a
  false alarm. Every missed lesion and every false alarm enters the means, with Dice 0 and the worst distance.
- `OneToOne`, panoptica's. Components are paired by their overlap, best first, each at most once, and count as found
  from some overlap on. Dice and distance are means over the found; F1 tells of the rest.

Where neither side has a lesion (that is scored), `empty` says what the scores are worth, as in `overlap` and
`surface`; where nothing was found though there is something, they are 0 and the distance is `worst`.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from brainjax.metrics.components import bounding_box, crop, label
from brainjax.metrics.mean import mean
from brainjax.metrics.overlap import check_rule
from brainjax.metrics.surface import WORST_MM, checked, hd95, surface_distances
from brainjax.types import ConfigError


class Match(NamedTuple):
    """Which predicted components stand for which lesion.

    Attributes:
        lesion: [*spatial] int32, the lesions of the truth, from 1.
        component: [*spatial] int32, the components of the prediction, from 1.
        found: lesion -> its components, of every lesion that is scored and found.
        missed: lesions that are scored and not found.
        false_alarms: components that stand for none.
    """

    lesion: np.ndarray
    component: np.ndarray
    found: dict[int, list[int]]
    missed: int
    false_alarms: int


@dataclasses.dataclass(frozen=True)
class Dilated:
    """BraTS's rule, see the top of this file: https://github.com/rachitsaluja/BraTS-2023-Metrics.

    Attributes:
        dilation: voxels, by 18 neighbours. BraTS has 3 for gliomas and 1 for metastases and meningiomas.
        min_mm3: lesions of this volume and less are not scored. BraTS has 50, and 2 for metastases.
        connectivity: 6, 18 or 26 neighbours.
    """

    dilation: int = 3
    min_mm3: float = 50.0
    connectivity: int = 26
    charges_mistakes = True  # whether missed lesions and false alarms enter the means

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range."""
        if self.dilation < 0 or self.min_mm3 < 0:
            raise ConfigError(
                f"dilation={self.dilation}, min_mm3={self.min_mm3}: give numbers from 0 on."
            )

    def match(self, pred: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> Match:
        """Matches two masks, [*spatial] bool each."""
        box = bounding_box(pred | truth, self.dilation)  # the dilation stays within
        pred, truth = crop(pred, box), crop(truth, box)
        extent = truth
        if self.dilation:
            reach = ndimage.generate_binary_structure(truth.ndim, min(2, truth.ndim))
            extent = ndimage.binary_dilation(truth, reach, iterations=self.dilation)
        # A lesion's own dilation is the component of `extent` that it is in: so one pass finds all that touch.
        extent, lesions = label(extent, self.connectivity)
        component, components = label(pred, self.connectivity)
        lesion = np.where(truth, extent, 0)
        size = np.bincount(lesion.ravel(), minlength=lesions + 1)
        touching = _pairs(extent, component)[0]
        scored = [i for i in range(1, lesions + 1) if size[i] * voxel_mm3 > self.min_mm3]
        of: dict[int, list[int]] = {}
        for i, j in touching.tolist():
            of.setdefault(i, []).append(j)
        found = {i: of[i] for i in scored if i in of}
        false_alarms = components - len(np.unique(touching[:, 1]))
        return Match(lesion, component, found, len(scored) - len(found), false_alarms)


@dataclasses.dataclass(frozen=True)
class OneToOne:
    """panoptica's rule, see the top of this file: Kofler et al. 2023 (https://arxiv.org/abs/2312.02608).

    Attributes:
        iou: intersection over union from which a lesion counts as found. Above 0.5 a lesion has one partner at most.
        connectivity: 6, 18 or 26 neighbours.
    """

    iou: float = 0.5
    connectivity: int = 26
    charges_mistakes = False

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range."""
        if not 0 < self.iou <= 1:
            raise ConfigError(f"iou={self.iou}: give a share above 0, up to 1.")

    def match(self, pred: np.ndarray, truth: np.ndarray, voxel_mm3: float) -> Match:
        """Matches two masks, [*spatial] bool each; `voxel_mm3` plays no part."""
        box = bounding_box(pred | truth)
        pred, truth = crop(pred, box), crop(truth, box)
        lesion, lesions = label(truth, self.connectivity)
        component, components = label(pred, self.connectivity)
        pairs, overlap = _pairs(lesion, component)
        sizes = [np.bincount(x.ravel()) for x in (lesion, component)]
        iou = overlap / (sizes[0][pairs[:, 0]] + sizes[1][pairs[:, 1]] - overlap)
        found: dict[int, list[int]] = {}
        taken: set[int] = set()
        for k in np.argsort(-iou, kind="stable"):
            i, j = pairs[k].tolist()
            if iou[k] >= self.iou and i not in found and j not in taken:
                found[i] = [j]
                taken.add(j)
        return Match(lesion, component, found, lesions - len(found), components - len(found))


RULES = {"brats": Dilated, "panoptica": OneToOne}


def lesion_scores(
    pred: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float] | None = None,
    *,
    rule: Dilated | OneToOne | None = None,
    empty: str = "one",
    worst: float | None = WORST_MM,
    pooled: bool = False,
) -> dict[str, float | int | None]:
    """Scores of the lesions of one mask.

    Args:
        pred: [*spatial], bool or {0, 1} (cut at 0.5).
        truth: [*spatial], likewise.
        spacing: mm between voxels along each axis; None for 1 mm.
        rule: which component is which lesion; None for `Dilated()`.
        empty: 'one', 'zero' or 'skip'.
        worst: mm, the distance of a mistake; None where it is not to be counted.
        pooled: as in `surface.hd95`.

    Returns:
        `lesion_dice` and `lesion_hd95`, means as the rule has them; `lesion_precision` tp / (tp + fp),
        `lesion_recall` tp / (tp + fn) and `lesion_f1`; and what they are made of: `lesion_tp` and `lesion_fn`, lesions
        of the truth that were found and missed, and `lesion_fp`, components of the prediction that are none.
        None where not counted.

    Raises:
        ConfigError: unknown `empty` or connectivity.
        ValueError: the shapes differ, or `spacing` is not a number above 0 for each axis.
    """
    check_rule(empty)
    pred, truth, steps = checked(pred, truth, spacing)
    rule = rule or Dilated()
    match = rule.match(pred, truth, float(steps.prod()))
    scored = list(_found(match, steps, pooled))
    tp, fn, fp = len(scored), match.missed, match.false_alarms
    mistakes = fn + fp if rule.charges_mistakes or not tp else 0
    if not tp + fn + fp:
        value = {"one": 1.0, "zero": 0.0, "skip": None}[empty]
        score, recall, precision, f1 = value, value, value, value
        distance = {"one": 0.0, "zero": worst, "skip": None}[empty]
    else:
        score = mean([d for d, _ in scored] + [0.0] * mistakes)
        distance = mean([h for _, h in scored] + [worst] * mistakes)
        precision, recall = (tp / n if n else 0.0 for n in (tp + fp, tp + fn))
        f1 = 2 * tp / (2 * tp + fp + fn)
    return {
        "lesion_dice": score,
        "lesion_hd95": distance,
        "lesion_precision": precision,
        "lesion_recall": recall,
        "lesion_f1": f1,
        "lesion_tp": tp,
        "lesion_fn": fn,
        "lesion_fp": fp,
    }


def _found(match: Match, steps: np.ndarray, pooled: bool) -> Iterator[tuple[float, float | None]]:
    """Yields Dice and HD95 in mm of each found lesion and its components."""
    lesion_box, component_box = (ndimage.find_objects(x) for x in (match.lesion, match.component))
    for lesion, components in match.found.items():
        boxes = [lesion_box[lesion - 1], *(component_box[c - 1] for c in components)]
        box = tuple(
            slice(min(s.start for s in axis), max(s.stop for s in axis))
            for axis in zip(*boxes, strict=True)
        )
        mine = match.lesion[box] == lesion
        theirs = np.isin(match.component[box], components)
        both = 2 * int((mine & theirs).sum()) / (int(mine.sum()) + int(theirs.sum()))
        yield both, hd95(surface_distances(theirs, mine, steps), pooled=pooled)


def _pairs(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels that meet in a voxel, in order, [n 2]; and in how many, [n]."""
    meet = (one > 0) & (other > 0)
    base = int(other.max(initial=0)) + 1
    code, count = np.unique(one[meet].astype(np.int64) * base + other[meet], return_counts=True)
    return np.stack([code // base, code % base], 1), count
