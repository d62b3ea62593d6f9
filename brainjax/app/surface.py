"""Brain and tumour as surfaces to turn around: coarse enough to be sent and drawn at once."""

import dataclasses
import itertools
import math

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import marching_cubes

from brainjax.app.view import COLOURS
from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import Scan

_BRAIN_MM, _TUMOUR_MM = 3.0, 1.5  # between vertices, about
_FINEST = 64  # coarse voxels along the longest axis, at most, about
_COARSEST = 8  # at least, where the mask has them: of what its header calls tiny too there is something to see
_SAMPLES = 2e6  # voxels in which the head is looked for, at most
_SMOOTH = 0.8  # of the coarse voxels
_HEAD = (150, 160, 175)


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh.

    Attributes:
        name: for people.
        vertices: [V 3] float32, world mm, RAS+.
        faces: [F 3] int32, indices of vertices.
        colour: red, green, blue, 0 to 255.
        opacity: 0 to 1.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    colour: tuple[int, int, int]
    opacity: float


def surfaces(scan: Scan, analysis: Analysis | None = None) -> tuple[Surface, ...]:
    """What there is to show: brain and tumour, or the head where nothing was found yet; the innermost first."""
    found = []
    if analysis is not None:
        regions = analysis.regions
        parts = (
            ("Enhancing", "ET", "enhancing", 1.0),
            ("Tumour core", "TC", "core", 0.5),
            ("Whole tumour", "WT", "oedema" if analysis.regional else "tumour", 0.35),
        )
        found += [
            (title, regions[name], COLOURS[colour], opacity, _TUMOUR_MM)
            for title, name, colour, opacity in parts
            if name in regions
        ]
        if analysis.brain is not None:
            found.append(("Brain", analysis.brain.data > 0, COLOURS["brain"], 0.18, _BRAIN_MM))
    if not any(mask.any() for _, mask, *_ in found):
        found = [("Head", _head(scan), _HEAD, 1.0, _BRAIN_MM)]
    made = []
    for name, mask, colour, opacity, mm in found:
        mesh = surface(mask, scan.grid.affine, mm)
        if mesh is not None:
            made.append(Surface(name, *mesh, colour, opacity))
    return tuple(made)


def surface(
    mask: np.ndarray, affine: np.ndarray, mm: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """The surface of a mask.

    Args:
        mask: [X Y Z] bool.
        affine: [4 4], voxel index -> world mm.
        mm: size of the voxels that it is made from, about; never finer than the mask's, and finer than this where the
            mask is but a few of them.

    Returns:
        Vertices [V 3] float32 in world mm and faces [F 3] int32; None for an empty mask.
    """
    if not mask.any():
        return None
    box = ndimage.find_objects(mask.view(np.uint8))[0]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    extent = max((b.stop - b.start) * s for b, s in zip(box, spacing.tolist(), strict=True))
    size = min(max(mm, extent / _FINEST), extent / _COARSEST)
    block = tuple(
        max(1, round(min(size / s, b.stop - b.start)))
        for b, s in zip(box, spacing.tolist(), strict=True)
    )
    coarse = ndimage.gaussian_filter(np.pad(_means(mask[box], block), 2), _SMOOTH)
    # What is thinner than the smoothing would vanish at one half.
    vertices, faces, _, _ = marching_cubes(coarse, min(0.5, 0.5 * float(coarse.max())))
    start = [b.start for b in box]
    # Coarse index 0 is the middle of the first block.
    index = (vertices - 2) * block + (np.array(block) - 1) / 2 + start
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return world.astype(np.float32), faces.astype(np.int32)


def _means(mask: np.ndarray, block: tuple[int, int, int]) -> np.ndarray:
    """How much of each block is inside, 0 to 1, [x y z] float32; beyond the mask nothing is.

    One axis after the other, that of the longest blocks first, so that no large copy is made.
    """
    means = mask.view(np.uint8)
    for axis in np.argsort(block)[::-1].tolist():
        if block[axis] == 1:
            break
        starts = np.arange(0, mask.shape[axis], block[axis])
        means = np.add.reduceat(means, starts, axis, dtype=np.float32) / np.float32(block[axis])
    return means.astype(np.float32, copy=False)


def _head(scan: Scan) -> np.ndarray:
    """What is not air, in the first volume: [X Y Z] bool."""
    data = scan.first.data
    step = next(
        s for s in itertools.count(1) if math.prod(-(-n // s) for n in data.shape) <= _SAMPLES
    )
    # The squares that Otsu's method takes of the largest float32 are beyond float32.
    sample = data[::step, ::step, ::step].astype(np.float64)
    if sample.min() == sample.max():
        return np.zeros(data.shape, bool)
    # Otsu's split of the darker half is that of air and skin; of all voxels, often that of fat and the rest.
    first = threshold_otsu(sample)
    inside = sample > threshold_otsu(sample[sample <= first])
    labels, count = ndimage.label(inside)
    if count > 1:
        inside = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    inside = ndimage.binary_fill_holes(inside)
    for axis, n in enumerate(data.shape):
        inside = inside.repeat(step, axis)[(slice(None),) * axis + (slice(n),)]
    return inside
