"""The tumour in a scan of whichever contrasts there are: labels, probability and uncertainty on the scan's own grid."""

import dataclasses
from typing import NamedTuple

import numpy as np

from brainjax.datasets.regions import REGIONS, to_labels
from brainjax.infer import tumour_slices
from brainjax.infer.scan import MissingContrast, Scan
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.tumour_slices import Progress, halves
from brainjax.io import Volume
from brainjax.preprocess.box import bounding_box
from brainjax.preprocess.conform import conform

_FAINTEST = 0.05  # of the range of a volume, so that no brain is taken for the air around it
_ENDS = (0.1, 99.9)  # percentiles of the brain between which intensities are told apart
_MARGIN = 4  # voxels around the brain


class Tumour(NamedTuple):
    """What a segmenter found.

    Attributes:
        labels: uint8 on the scan's grid: of BraTS where the model knows the three regions, else 1 for tumour.
        regional: whether they are those of BraTS.
        probability: float32, of whole tumour (the model's first class).
        uncertainty: float32 in 0 to 1: how far the probabilities of the scan and its mirror image lie apart.
        missing: contrasts the model knows and the scan has not; a model of slices that knows FLAIR was
            shown that in their place.
    """

    labels: Volume
    regional: bool
    probability: Volume
    uncertainty: Volume
    missing: tuple[str, ...]


def can_do(model: Segmenter, scan: Scan) -> bool:
    """Whether the scan has a contrast that the model can do with."""
    known = tumour_slices.required(model) if model.rank == 2 else model.facts["channels"]
    return any(contrast in scan.volumes for contrast in known)


def segment(
    model: Segmenter,
    scan: Scan,
    brain: np.ndarray | None,
    *,
    progress: Progress = None,
) -> Tumour:
    """Finds the tumour.

    Contrasts that the model knows and the scan has not are left constant, as networks trained with
    `augment.missing` have met it.

    Args:
        model: of whole volumes, its channels named as contrasts are, or of slices (see `tumour_slices`); without mirror
            averaging of its own.
        scan: at least one of its contrasts is a channel of the model.
        brain: [X Y Z] bool on the scan's grid; all else is made black, as in the training data. None where there is
            nothing but brain.
        progress: called with the share of it that is done, 0 to 1.

    Raises:
        MissingContrast: the model does not know any of the scan's, or needs another.
    """
    inside = np.ones(scan.grid.shape, bool) if brain is None else brain
    if model.rank == 2:
        found, apart, missing = tumour_slices.probabilities(model, scan, inside, progress=progress)
        clean = dataclasses.replace(model.predictor.options.postprocess(), per_slice=False)
        mask = clean(found >= model.predictor.options.threshold)
        volumes = (scan.first.with_data(x) for x in (mask.astype(np.uint8), found, apart))
        labels, probability, uncertainty = volumes
        return Tumour(labels, False, probability, uncertainty, missing)
    channels = tuple(model.facts["channels"])
    known = [c for c in channels if c in scan.volumes]
    if not known:
        raise MissingContrast(
            f"{', '.join(scan.volumes)} is none of the contrasts that the model knows, {', '.join(channels)}; "
            f"say which it is, as in --t1 FILE"
        )
    box = bounding_box(inside, margin=_MARGIN)
    image = np.zeros((*box.size, len(channels)), np.float32)
    for k, contrast in enumerate(channels):
        if contrast in scan.volumes:
            image[..., k] = _scaled(box.cut(scan.volumes[contrast].data), box.cut(inside))
    grid = box.grid(scan.grid)
    working, undo = conform(
        Volume(image, grid.affine), tuple(model.facts["spacing_mm"]), multiple=1
    )
    seen = np.ascontiguousarray(working.data)
    first, second = halves(progress)
    views = [
        model.probabilities(seen, progress=first),
        model.probabilities(seen[::-1], progress=second)[::-1],
    ]
    mean = (views[0] + views[1]) / 2
    apart = np.abs(views[0][..., :1] - views[1][..., :1])
    native = np.clip(undo(np.concatenate([mean, apart], -1)), 0.0, 1.0)
    mask = model.clean(native[..., :-1] >= model.predictor.options.threshold)
    mask &= box.cut(inside)[..., None]
    regional = tuple(model.facts["classes"]) == REGIONS
    labels = to_labels(mask) if regional else mask.any(-1).astype(np.uint8)

    def whole(part: np.ndarray) -> Volume:
        return scan.first.with_data(box.paste(part))

    missing = tuple(c for c in channels if c not in scan.volumes)
    return Tumour(whole(labels), regional, whole(native[..., 0]), whole(native[..., -1]), missing)


def _scaled(data: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """[X Y Z] to `_FAINTEST` .. 1 in the brain and 0 around it, whatever the file's numbers are."""
    values = data[inside].astype(np.float32)
    low, high = np.percentile(values, _ENDS) if values.size else (0.0, 0.0)
    if not high > low:
        return np.zeros(data.shape, np.float32)
    scaled = np.clip((data.astype(np.float32) - low) / (high - low), 0.0, 1.0)
    return np.where(inside, _FAINTEST + (1 - _FAINTEST) * scaled, 0.0).astype(np.float32)
