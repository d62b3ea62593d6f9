"""A segmenter of slices, trained on whole heads, moved through a volume from bottom to top.

What `checkpoints/lgg_unet` and `lgg_t1_unet` learned from: axial slices of some 5 mm, and heads with their skulls. The
one takes three sequences, of which a missing one is replaced by FLAIR, the other the two without FLAIR, of which a
missing one is black. A scan that was stripped gets a bright rim in the place of its skull: the
network takes brightness relative to the head, of which the skull is the brightest part.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from brainjax.infer.scan import MissingContrast, Scan
from brainjax.infer.segmenter import Segmenter
from brainjax.io import Volume
from brainjax.preprocess.conform import conform

Progress = Callable[[float], None] | None

CONTRASTS = {"pre_contrast": "t1", "flair": "flair", "post_contrast": "t1ce"}
_PIXEL, _STEP = 0.9375, 5.0  # mm, of the training slices
_SIDE = 256  # pixels of theirs; smaller slices get air around them
_ENDS = (0.5, 99.8)  # percentiles of the brain between which intensities are told apart
_DARK, _SPAN, _SKULL = (
    20.0,
    200.0,
    200.0,
)  # grey levels: of the darkest brain, from there to the brightest, of the rim
_RIM = (5.0, 13.0)  # mm outside the brain
_BARE = (
    0.9  # share of black among the voxels about a brain, from which a scan is taken for stripped
)


def halves(progress: Progress) -> tuple[Progress, Progress]:
    """What the two views of a scan report to, the scan itself and its mirror image: one half of the way each."""
    if progress is None:
        return None, None
    return lambda done: progress(done / 2), lambda done: progress((1 + done) / 2)


def probabilities(
    model: Segmenter, scan: Scan, brain: np.ndarray, *, progress: Progress = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The tumour by slices.

    Args:
        model: of slices, its channels those of `CONTRASTS` or called as contrasts are.
        scan: with FLAIR, or with any of the contrasts of a model that does without.
        brain: [X Y Z] bool, on the scan's grid.
        progress: called with the share of it that is done.

    Returns:
        Mean probability of the scan and its mirror image, and how far they lie apart, both [X Y Z] float32; and the
        contrasts that are missing.

    Raises:
        MissingContrast: there is none that the model can do with.
    """
    wanted = _contrasts(model)
    enough = [c for c in required(model) if c in scan.volumes]
    if not enough:
        names = [c.upper() for c in required(model)]
        raise MissingContrast(
            f"the tumour is looked for in {' or '.join(names)}, and there is only {', '.join(scan.volumes)}"
        )
    missing = tuple(c for c in wanted if c not in scan.volumes)
    rim = _rim(scan.volumes[enough[0]], brain)
    image = np.zeros((*scan.grid.shape, len(wanted)), np.float32)
    for k, contrast in enumerate(wanted):
        instead = scan.volumes.get("flair") if "flair" in wanted else None
        volume = scan.volumes.get(contrast, instead)
        if volume is not None:
            image[..., k] = _grey(volume.data, brain, rim)
    working, undo = conform(
        Volume(image, scan.grid.affine), (_PIXEL, _PIXEL, _STEP), multiple=1, fill=0.0
    )
    # Slices from below, the nose up and the patient's right on the left, as they were trained on.
    slices = np.clip(working.data, 0, 255).astype(np.uint8).transpose(2, 1, 0, 3)[:, ::-1, ::-1]
    height, width = slices.shape[1:3]
    top, left = max(0, _SIDE - height) // 2, max(0, _SIDE - width) // 2
    around = ((0, 0), (top, max(0, _SIDE - height) - top), (left, max(0, _SIDE - width) - left))
    slices = np.pad(slices, (*around, (0, 0)))
    first, second = halves(progress)
    views = [
        model.probabilities(slices, progress=first),
        model.probabilities(slices[:, :, ::-1], progress=second)[:, :, ::-1],
    ]
    found = np.stack([(views[0] + views[1]) / 2, np.abs(views[0] - views[1])], -1)[..., 0, :]
    found = found[:, top : top + height, left : left + width][:, ::-1, ::-1].transpose(2, 1, 0, 3)
    native = np.clip(undo(np.ascontiguousarray(found)), 0.0, 1.0)
    native *= brain[..., None]
    return native[..., 0], native[..., 1], missing


def required(model: Segmenter) -> tuple[str, ...]:
    """The contrasts of which a scan must have one: FLAIR for a model that knows it, else any that the model knows."""
    known = _contrasts(model)
    return ("flair",) if "flair" in known else known


def _contrasts(model: Segmenter) -> tuple[str, ...]:
    """What the model's channels are called in a scan; other names than LGG's are those of contrasts, or of none."""
    return tuple(CONTRASTS.get(channel, channel) for channel in model.facts["channels"])


def _rim(volume: Volume, brain: np.ndarray) -> np.ndarray | None:
    """[X Y Z] bool, where a stripped scan's skull was; None of a scan that has its own."""
    distance = ndimage.distance_transform_edt(~brain, sampling=volume.spacing)
    rim = (distance > _RIM[0]) & (distance <= _RIM[1])
    data = volume.data
    black = data[rim] == data[0, 0, 0]
    return rim if black.size and black.mean() > _BARE else None


def _grey(data: np.ndarray, brain: np.ndarray, rim: np.ndarray | None) -> np.ndarray:
    """[X Y Z] float32 in 0 to 255."""
    values = data[brain].astype(np.float32)
    low, high = np.percentile(values, _ENDS) if values.size else (0.0, 0.0)
    if not high > low:
        return np.zeros(data.shape, np.float32)
    scaled = _DARK + _SPAN * (data.astype(np.float32) - low) / (high - low)
    if rim is None:
        return np.clip(scaled, 0.0, 255.0)
    scaled = np.where(brain, np.clip(scaled, _DARK, _DARK + _SPAN), 0.0)
    return np.where(rim, _SKULL, scaled).astype(np.float32)
