"""Brain and tumour in 3D, the brain like glass: pictures from the four sides, and meshes for the page to turn.

The masks are brought to one grid of cubes and smoothed a little. For a picture the grid is turned about the
patient's long axis; the first place along a ray where a mask is half filled is its surface, and the slope of the
filling there is what the light falls on. Meshes are marching cubes of the same (Lewiner et al. 2003).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from brainjax.io import Grid, Volume
from brainjax.preprocess.box import bounding_box
from brainjax.preprocess.grid import resample

MARGIN = 4  # cubes around it all
_SMOOTH = 0.8  # cubes, standard deviation
_CORNERS = 65535  # the most that 16 bits number
_LIGHT = np.array([-0.35, 0.8, 0.5])  # where it comes from: to the right, to the viewer, up
_GROUND = np.array([11, 13, 16], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """One thing to draw.

    Attributes:
        mask: [X Y Z] bool, in RAS+.
        colour: of its lit side.
        opacity: seen from the front; a rim is denser.
    """

    mask: np.ndarray
    colour: tuple[int, int, int]
    opacity: float


@dataclasses.dataclass(frozen=True, eq=False)
class Shell:
    """A closed surface of triangles.

    Attributes:
        place: [n 3] uint16, RAS+ directions, 0 to 65535 along the longest edge of what all meshes of a scene are in.
        normal: [n 3] int8, outward, of length 127.
        face: [m 3] uint16, corners, counter-clockwise seen from outside.
    """

    place: np.ndarray
    normal: np.ndarray
    face: np.ndarray


def bodies(grid: Grid, surfaces: Sequence[Surface], cells: int) -> list[np.ndarray]:
    """Each mask, smoothed, on one grid of cubes with room around it.

    Args:
        grid: of the masks, in RAS+; oblique ones are drawn as if they were not.
        surfaces: none of them empty.
        cells: cubes along the longest edge; less where they would be smaller than voxels.

    Returns:
        [x y z] float32 in 0 to 1, all of one size.
    """
    box = bounding_box(np.logical_or.reduce([s.mask for s in surfaces]), 1)
    extent = np.array(box.size) * grid.spacing
    edge = max(float(extent.max() / cells), min(grid.spacing))
    count = np.ceil(extent / edge).astype(int) + 2 * MARGIN
    flat = np.diag([*grid.spacing, 1.0])
    cubes = np.diag([edge, edge, edge, 1.0])
    cubes[:3, 3] = (extent - np.array(grid.spacing)) / 2 - edge * (count - 1) / 2
    made = []
    for surface in surfaces:
        mask = Volume(box.cut(surface.mask).view(np.uint8), flat)
        small = resample(mask, Grid(tuple(count), cubes)).data
        made.append(ndimage.gaussian_filter(np.ascontiguousarray(small, np.float32), _SMOOTH))
    return made


def mesh(body: np.ndarray) -> Shell | None:
    """The surface of a body [x y z]; None of one too thin to be half filled anywhere, or too large to number."""
    if body.max() <= 0.5:
        return None
    place, face, normal, _ = marching_cubes(body, 0.5, gradient_direction="ascent")
    if len(place) > _CORNERS:
        return None
    scale = _CORNERS / (max(body.shape) - 1)
    return Shell(
        np.rint(place * scale).astype(np.uint16),
        np.rint(normal * 127).astype(np.int8),
        face.astype(np.uint16),
    )


def views(shown: Sequence[np.ndarray], surfaces: Sequence[Surface], count: int = 4) -> np.ndarray:
    """Pictures from all sides.

    Args:
        shown: the body of each surface.
        surfaces: outer ones first; inner ones are seen through them.
        count: pictures; the first from the front, then the viewer goes around by the patient's right.

    Returns:
        [count H W 3] uint8.
    """
    size = shown[0].shape
    # Wide enough for every angle.
    side = int(np.ceil(np.hypot(size[0], size[1])))
    pictures = []
    for view in range(count):
        angle = 2 * np.pi * view / count
        picture = np.broadcast_to(_GROUND, (size[2], side, 3)).copy()
        for body, surface in zip(reversed(shown), reversed(surfaces), strict=True):
            _draw(picture, body, surface, angle, side)
        pictures.append(picture[::-1])
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def _draw(picture: np.ndarray, body: np.ndarray, surface: Surface, angle: float, side: int) -> None:
    """One surface over a picture [z side 3], in place."""
    # Where each cell of the picture's own grid, across it and into it, is in the body.
    offset = np.arange(side, dtype=np.float32) - (side - 1) / 2
    across, depth = np.meshgrid(offset, offset, indexing="ij")
    centre = (np.array(body.shape[:2]) - 1) / 2
    # From the front (angle 0) the patient's right is on the left of the picture, and depth runs to the back.
    x = centre[0] - np.cos(angle) * across - np.sin(angle) * depth
    y = centre[1] + np.sin(angle) * across - np.cos(angle) * depth
    columns = _columns(body, x, y)  # [side side z]
    solid = columns >= 0.5
    first = solid.argmax(axis=1)  # [side z]
    u, z = np.nonzero(np.take_along_axis(solid, first[:, None], 1)[:, 0])
    if not len(u):
        return
    hit = first[u, z]
    behind, before = columns[u, hit, z], columns[u, np.maximum(hit - 1, 0), z]
    back = np.where(behind > before, (behind - 0.5) / np.maximum(behind - before, 1e-6), 0.0)
    d = np.maximum(hit - np.minimum(back, 1), 0) - (side - 1) / 2
    a = u - (side - 1) / 2
    px = centre[0] - np.cos(angle) * a - np.sin(angle) * d
    py = centre[1] + np.sin(angle) * a - np.cos(angle) * d
    normal = _normal(body, np.stack([px, py, z.astype(float)]))
    # In the picture's own directions: to the right, to the viewer, up.
    right = -np.cos(angle) * normal[0] + np.sin(angle) * normal[1]
    front = np.sin(angle) * normal[0] + np.cos(angle) * normal[1]
    facing = np.clip(front, 0, 1)
    direction = _LIGHT / np.linalg.norm(_LIGHT)
    light = np.clip(np.stack([right, front, normal[2]]).T @ direction, 0, 1)
    shade = 0.35 + 0.65 * light
    shine = 60 * light**24
    colour = np.array(surface.colour) * shade[:, None] + shine[:, None]
    rim = (1 - facing) ** 2
    opacity = (surface.opacity + (1 - surface.opacity) * 0.6 * rim)[:, None]
    picture[z, u] = (1 - opacity) * picture[z, u] + opacity * colour


def _columns(body: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The body's columns [z] at places between its own, [a b] -> [a b z]: linear."""
    x = np.clip(x, 0, body.shape[0] - 1.001)
    y = np.clip(y, 0, body.shape[1] - 1.001)
    i, j = x.astype(int), y.astype(int)
    s, t = (x - i)[..., None].astype(np.float32), (y - j)[..., None].astype(np.float32)
    near = body[i, j] * (1 - s) + body[i + 1, j] * s
    far = body[i, j + 1] * (1 - s) + body[i + 1, j + 1] * s
    return near * (1 - t) + far * t


def _normal(body: np.ndarray, at: np.ndarray) -> np.ndarray:
    """[3 n] places -> [3 n], outward and of length 1."""
    slope = np.empty_like(at)
    for axis in range(3):
        step = np.zeros((3, 1))
        step[axis] = 1.0
        ends = [
            ndimage.map_coordinates(body, at + sign * step, order=1, mode="nearest")
            for sign in (-1, 1)
        ]
        slope[axis] = ends[0] - ends[1]
    return slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-6)
