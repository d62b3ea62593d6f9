"""Post-processing of a volume's mask, or of a patient's stacked slices: drop specks, fill holes, hysteresis.

All functions take and return [S H W] bool (S slices, in order of position; or any volume's X Y Z) and never turn an
empty mask into a non-empty one. Sizes are in voxels of the grid the mask is on. The work is done in the box that
holds the mask, mostly a small part of the grid.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from brainjax.metrics.components import STEPS, Box, bounding_box, crop, label
from brainjax.types import ConfigError


@dataclasses.dataclass(frozen=True)
class Postprocess:
    """`keep_components`, then `fill_holes`: mask [S H W] -> mask [S H W] bool.

    The defaults change nothing. Attributes are the options of `keep_components`, and

    Attributes:
        fill: fill the holes afterwards.
        per_slice: of each slice; False for what is enclosed in 3D alone.
    """

    min_voxels: int = 0
    min_fraction: float = 0.0
    keep_largest: bool = False
    connectivity: int = 26
    fill: bool = False
    per_slice: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for an option out of range."""
        _check_options(self.min_voxels, self.min_fraction, self.connectivity)

    def __call__(self, mask: np.ndarray) -> np.ndarray:
        """Cleans one patient's mask, [S H W] -> [S H W] bool; the input is left as it is."""
        mask = keep_components(
            mask,
            min_voxels=self.min_voxels,
            min_fraction=self.min_fraction,
            keep_largest=self.keep_largest,
            connectivity=self.connectivity,
        )
        return fill_holes(mask, per_slice=self.per_slice) if self.fill else mask


def keep_components(
    mask: np.ndarray,
    *,
    min_voxels: int = 0,
    min_fraction: float = 0.0,
    keep_largest: bool = False,
    connectivity: int = 26,
) -> np.ndarray:
    """Removes connected components that are too small to be believed.

    Args:
        mask: [S H W], bool or {0, 1}.
        min_voxels: components with fewer voxels go, the largest one included.
        min_fraction: components smaller than this share, in [0, 1], of the largest one go.
        keep_largest: only the largest stays (of equal ones, the first in scan order).
        connectivity: 6, 18 or 26 neighbours.

    Returns:
        [S H W] bool, a subset of `mask`.

    Raises:
        ConfigError: an option out of range.
    """
    _check_options(min_voxels, min_fraction, connectivity)
    mask = _as_volume(mask)
    box = bounding_box(mask)
    if box is None or not (min_voxels > 1 or min_fraction > 0 or keep_largest):
        return mask.copy()
    component, sizes = _components(crop(mask, box), connectivity)
    largest = int(sizes.argmax())
    keep = (sizes >= min_voxels) & (sizes >= min_fraction * sizes[largest])
    if keep_largest:
        keep &= np.arange(len(sizes)) == largest
    keep[0] = False  # the background
    return _placed(keep[component], box, mask.shape)


def fill_holes(mask: np.ndarray, *, per_slice: bool = True) -> np.ndarray:
    """Fills background that the mask encloses.

    Args:
        mask: [S H W], bool or {0, 1}.
        per_slice: True fills what is enclosed within its slice; False fills only what is enclosed
            in 3D, a subset of that (a tunnel through all slices stays open, and so does any hole in
            the first or last).

    Returns:
        [S H W] bool, a superset of `mask`; empty when `mask` is.
    """
    mask = _as_volume(mask)
    box = bounding_box(mask)
    if box is None:
        return mask.copy()
    # All beyond the box is background, and of one piece: what reaches a face of the box reaches out.
    inside = crop(mask, box)
    # Background leaks through faces only, so that a mask joined at corners still encloses.
    structure = ndimage.generate_binary_structure(3, 1)
    if per_slice:
        structure[0] = structure[2] = False
    gap, n = ndimage.label(~inside, structure)
    outside = np.zeros(n + 1, bool)
    for axis in (1, 2) if per_slice else (0, 1, 2):
        outside[gap.take([0, -1], axis)] = True
    outside[0] = True  # the mask itself is no hole
    return _placed(inside | ~outside[gap], box, mask.shape)


def hysteresis(prob: np.ndarray, low: float, high: float, *, connectivity: int = 26) -> np.ndarray:
    """Two thresholds: regions above `low` stay if they hold at least one voxel above `high`.

    Keeps the full extent of what the model is sure of somewhere, and drops what it is sure of
    nowhere (Canny 1986, https://doi.org/10.1109/TPAMI.1986.4767851).

    Args:
        prob: [S H W] probabilities.
        low: threshold of extent.
        high: threshold of evidence, at least `low`.
        connectivity: 6, 18 or 26 neighbours.

    Returns:
        [S H W] bool; prob > high is a subset, prob > low a superset.

    Raises:
        ConfigError: low > high, or another connectivity.
    """
    _check_options(0, 0.0, connectivity)
    if not low <= high:
        raise ConfigError(f"hysteresis needs low <= high, got low={low}, high={high}")
    weak = _as_volume(prob > low)
    box = bounding_box(weak)
    if box is None:
        return weak
    component, n = label(crop(weak, box), connectivity)
    keep = np.zeros(n + 1, bool)
    keep[component[prob[box] > high]] = True
    return _placed(keep[component], box, weak.shape)


def _components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [S H W], 0 for background, and voxels per label, with 0 for the background."""
    component, n = label(mask, connectivity)
    sizes = np.bincount(component.ravel(), minlength=n + 1)
    sizes[0] = 0
    return component, sizes


def _placed(part: np.ndarray, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """A part back in its place on the grid, with nothing around it."""
    out = np.zeros(shape, bool)
    out[box] = part
    return out


def _as_volume(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 3:
        raise ValueError(f"mask has shape {mask.shape}, expected [S H W]")
    return mask.astype(bool, copy=False)


def _check_options(min_voxels: int, min_fraction: float, connectivity: int) -> None:
    if min_voxels < 0:
        raise ConfigError(f"min_voxels must be 0 or above, got {min_voxels}")
    if not 0.0 <= min_fraction <= 1.0:
        raise ConfigError(f"min_fraction must be in [0, 1], got {min_fraction}")
    if connectivity not in STEPS:
        raise ConfigError(f"connectivity must be 6, 18 or 26, got {connectivity}")
