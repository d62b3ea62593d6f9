"""Maps of evidence over the scan, as pictures for people: black to red to yellow where a network looked."""

import numpy as np

from brainjax.io.volume import Volume
from brainjax.preprocess.conform import conform
from brainjax.preprocess.head import windowed

_OPACITY = 0.6  # of a map where it is 1
_PIXEL = 1.5  # mm
_PLANES = (2, 1, 0)  # axial, coronal, sagittal


def hung(volume: np.ndarray, axis: int, at: int) -> np.ndarray:
    """Slice `at` of [X Y Z] in RAS+ as radiologists hang it, [H W].

    Axial with the nose up and coronal with the crown up, both with the patient's right on the left; sagittal with the
    crown up and the nose on the left.
    """
    return np.take(volume, at, axis)[::-1, ::-1].T


def lit(image: np.ndarray, *heats: np.ndarray) -> np.ndarray:
    """A picture beside itself under each of the maps.

    Args:
        image: [H W] of any scale.
        heats: each [H W] in [0, 1].

    Returns:
        [H W + W * maps 3] uint8.
    """
    low, high = float(image.min()), float(image.max())
    plain = np.repeat((image - low)[..., None] / max(high - low, 1e-6), 3, axis=-1)
    parts = [plain]
    for heat in heats:
        colour = np.stack([np.minimum(2 * heat, 1), np.maximum(2 * heat - 1, 0), 0 * heat], -1)
        opacity = _OPACITY * heat[..., None]
        parts.append((1 - opacity) * plain + opacity * colour)
    return np.rint(255 * np.concatenate(parts, axis=1)).astype(np.uint8)


def planes(volume: Volume, heat: Volume) -> np.ndarray:
    """Axial, coronal and sagittal through the middle of the strongest evidence, each plain and under the map.

    Args:
        volume: [X Y Z] of any orientation and voxel size.
        heat: [X Y Z] in [0, 1] on the same grid.

    Returns:
        [H W 3] uint8, one plane under another; black beside the narrower ones.
    """
    seen = windowed(np.asarray(conform(volume, _PIXEL, multiple=1)[0].data, np.float32))
    found = np.clip(np.asarray(conform(heat, _PIXEL, multiple=1)[0].data, np.float32), 0.0, 1.0)
    top = np.argwhere(found >= 0.9 * found.max())
    at = top[((top - top.mean(0)) ** 2).sum(-1).argmin()]  # in it, also where it has two parts
    rows = [lit(hung(seen, axis, at[axis]), hung(found, axis, at[axis])) for axis in _PLANES]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0))) for r in rows])
