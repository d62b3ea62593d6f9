"""What a reader must know before believing an answer: checks of a scan and of its brain mask against what is usual."""

import numpy as np

from brainjax.infer.scan import Scan
from brainjax.types import DataError

BRAIN_ML = (
    250.0,
    2200.0,
)  # newborns have some 350 ml with the fluid around the brain, large adults 1900
_FIELD, _WIDEST = 90.0, 400.0  # mm; less along an axis shows part of a brain, more is no head
_NO_HEAD = (
    30.0,
    600.0,
)  # mm along the longest axis: voxels said to be metres or microns, and memory without end
_THICK = 6.0  # mm
_FEW = 16  # slices
_FLAT = 8  # different values; a mask or a map of labels has so few
_TOUCHES = (
    0.15  # share of the brain's largest cross-section that lies on the border of the field of view
)


def require_head(scan: Scan) -> None:
    """Raises DataError where the scan is of a size that no head has, so that its voxel size must be wrong."""
    size = [n * s for n, s in zip(scan.grid.shape, scan.spacing, strict=True)]
    low, high = _NO_HEAD
    if not low <= max(size) <= high:
        raise DataError(
            f"{scan.name}: the field of view is {_times(size)} mm, that of no head; is the voxel size in the file's "
            f"header, {_times(scan.spacing)}, in mm?"
        )


def of_scan(scan: Scan) -> list[str]:
    """Warnings about the voxels: too few, too thick, or no intensities of a scan. One line each."""
    found = []
    size = [n * s for n, s in zip(scan.grid.shape, scan.spacing, strict=True)]
    if min(size) < _FIELD:
        found.append(
            f"the field of view is {_times(size)} mm: part of a head; what is said of volumes and classes counts for that part"
        )
    if max(size) > _WIDEST:
        found.append(
            f"the field of view is {_times(size)} mm, beyond a head's: is the voxel size right?"
        )
    if max(scan.spacing) > _THICK:
        found.append(
            f"voxels of {_times(scan.spacing)} mm are thicker than those the models were trained on, up to {_THICK:g} mm"
        )
    if min(scan.grid.shape) < _FEW:
        found.append(f"{min(scan.grid.shape)} slices along an axis are few for models of volumes")
    for contrast, volume in scan.volumes.items():
        part = volume.data[tuple(slice(None, None, max(1, n // 64)) for n in volume.data.shape)]
        if len(np.unique(part)) < _FLAT:
            found.append(
                f"{contrast} has hardly any different values: is it a mask or a label map?"
            )
    return found


def of_brain(scan: Scan, brain: np.ndarray) -> list[str]:
    """Warnings about the mask [X Y Z] bool: its size, and whether the field of view cuts it. One line each."""
    found = []
    volume = float(brain.sum()) * scan.grid.voxel_ml
    low, high = BRAIN_ML
    if not low <= volume <= high:
        found.append(
            f"the brain found has {volume:.0f} ml, outside {low:.0f} to {high:.0f} ml: look at the mask"
        )
    for axis in range(3):
        # Brains go on below: the lowest slices always have stem or cord in them.
        counts = np.count_nonzero(brain, axis=tuple(a for a in range(3) if a != axis))
        if max(counts[0], counts[-1]) > _TOUCHES * counts.max() > 0:
            found.append("the field of view cuts the brain off: volumes are those of what was seen")
            break
    return found


def _times(numbers) -> str:
    return " x ".join(f"{n:.3g}" for n in numbers)
