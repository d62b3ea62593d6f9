"""Whole volumes in pictures: one axial slice of each, hung as radiologists do, with every region in a colour."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainjax.data.source import Source
from brainjax.report import canvas, figures
from brainjax.report.overlay import COLOURS, contour, enlarge, grey
from brainjax.report.pictures import ground_channel, montage

_SCALE = 2  # contours thinner than a voxel
_EXAMPLES = 5


def axial(volume: np.ndarray, z: int) -> np.ndarray:
    """Slice z of [X Y Z ..] in RAS+ -> [H W ..]: the nose up, the patient's right on the left."""
    return volume[::-1, ::-1, z].swapaxes(0, 1)


def telling(mask: np.ndarray) -> int:
    """The slice with most of a mask [X Y Z K], innermost regions counting for themselves; the middle of an empty one."""
    area = mask.sum((0, 1, 3), dtype=np.int64)
    return int(area.argmax()) if area.any() else mask.shape[2] // 2


def drawn(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """[H W] under the contours of [H W K], later regions above earlier ones: [2 H 2 W 3] uint8."""
    out = np.repeat(enlarge(grey(image), _SCALE)[..., None], 3, axis=-1)
    for k in range(mask.shape[-1]):
        out[contour(enlarge(mask[..., k] > 0, _SCALE))] = COLOURS[k % len(COLOURS)]
    return out


def regions(
    path: str | os.PathLike | None,
    images: Sequence[np.ndarray],
    masks: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str],
    channels: Sequence[str],
    classes: Sequence[str],
    *,
    title: str = "",
) -> np.ndarray:
    """Slices with regions, a row each: the channels, then every kind of mask.

    Args:
        path: PNG to write, or None.
        images: n of [H W C] of any scale, of one size.
        masks: what they are, such as 'truth' and 'prediction' -> n of [H W K] in {0, 1}.
        names: n texts.
        channels: C names.
        classes: K names.
        title: in the line below.

    Returns:
        [h w 3] uint8.
    """
    under, panels, labels = ground_channel(channels), [], []
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        panels += [
            np.repeat(enlarge(grey(image[..., c]), _SCALE)[..., None], 3, axis=-1)
            for c in range(len(channels))
        ]
        panels += [drawn(image[..., under], kind[row]) for kind in masks.values()]
        labels += [name, *[""] * (len(channels) + len(masks) - 1)]
    picture = montage(
        panels,
        columns=len(channels) + len(masks),
        labels=labels,
        headers=[*(name.replace("_", " ") for name in channels), *masks],
        legend=[(name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(classes)],
        title=title,
    )
    return canvas.write(path, picture)


def scores(
    workdir: pathlib.Path,
    predictor: Any,
    variables: Any,
    source: Source,
    rows: np.ndarray,
    per_volume: Sequence[Mapping[str, Any]],
    *,
    warning: str = "",
) -> np.ndarray:
    """`samples.png`, some of the volumes spread over the list, and `volumes.png`, the Dice of all.

    Args:
        workdir: where they go.
        predictor, variables: the network with its preprocessing, and its weights.
        source: the volumes.
        rows: [n] those that were scored.
        per_volume: their scores.
        warning: for the pictures; a split that leaks must be named here.

    Returns:
        The samples, [h w 3] uint8.
    """
    data = source.dataset
    spread = np.linspace(0, len(rows) - 1, min(_EXAMPLES, len(rows))).round().astype(int)
    images, truths, predictions, names = [], [], [], []
    for row in rows[spread]:
        (found,) = predictor.masks(variables, source, np.array([row]))
        z = telling(data.mask[row])
        images.append(axial(data.image[row], z))
        truths.append(axial(data.mask[row], z))
        predictions.append(axial(found, z))
        names.append(f"{data.name(row)} z {z}")
    masks = {"truth": truths, "prediction": predictions}
    info, path = data.info, workdir / "samples.png"
    picture = regions(path, images, masks, names, info.channels, info.classes, title=warning)
    figures.volumes(workdir / "volumes.png", per_volume, warning=warning)
    return picture
