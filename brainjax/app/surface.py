"""Brain and tumour as surfaces to turn around: coarse enough to be sent and drawn at once."""

import dataclasses
import math

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import block_reduce, marching_cubes

from brainjax.app.view import COLOURS
from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import Scan

_BRAIN_MM, _TUMOUR_MM = 3.0, 1.5  # between vertices, about
_FINEST = 64  # coarse voxels along an axis, at most, about
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
        mm: size of the voxels that it is made from, about; never finer than the mask's.

    Returns:
        Vertices [V 3] float32 in world mm and faces [F 3] int32; None for an empty mask.
    """
    if not mask.any():
        return None
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    extent = max((b.stop - b.start) * s for b, s in zip(box, spacing.tolist(), strict=True))
    block = tuple(max(1, round(max(mm, extent / _FINEST) / s)) for s in spacing.tolist())
    coarse = block_reduce(mask[box].astype(np.float32), block, np.mean)
    coarse = ndimage.gaussian_filter(np.pad(coarse, 2), _SMOOTH)
    # What is thinner than the smoothing would vanish at one half.
    vertices, faces, _, _ = marching_cubes(coarse, min(0.5, 0.5 * float(coarse.max())))
    start = [b.start for b in box]
    # Coarse index 0 is the middle of the first block.
    index = (vertices - 2) * block + (np.array(block) - 1) / 2 + start
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return world.astype(np.float32), faces.astype(np.int32)


def _head(scan: Scan) -> np.ndarray:
    """What is not air, in the first volume: [X Y Z] bool."""
    data = scan.first.data
    step = max(1, math.ceil((data.size / 2e6) ** (1 / 3)))
    sample = data[::step, ::step, ::step].astype(np.float32)
    if sample.min() == sample.max():
        return np.zeros(data.shape, bool)
    # Otsu's split of the darker half is that of air and skin; of all voxels, often that of fat and the rest.
    first = threshold_otsu(sample)
    inside = sample > threshold_otsu(sample[sample <= first]) if (sample <= first).any() else sample
    labels, count = ndimage.label(inside)
    if count > 1:
        inside = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    inside = ndimage.binary_fill_holes(inside)
    whole = inside.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return whole[tuple(slice(0, n) for n in data.shape)]
