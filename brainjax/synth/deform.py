"""Where each voxel of a scan lies in the head: pose, slices, smooth warp. All in mm, of any grid rank of voxels."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

FIELD_OF_VIEW = 240.0  # mm, in plane
# The template is an average stretched to its largest members: 0.92 brings its brain to a usual adult's volume.
_SIZE = 0.92
Band = tuple[tuple[float, float], tuple[float, float]]
# World mm and its spread: where the lowest and the highest slice lie.
SLICES: Band = ((-37.0, 7.0), (61.0, 7.0))  # from the skull base to the vertex
WHOLE: Band = ((-66.0, 4.0), (90.0, 4.0))  # from below the cerebellum to above the skull
_PIVOT = (0.0, -15.0)  # x, y in mm: the middle of the template's head
_COARSE, _FINE = (4, 5, 5), (8, 16, 16)  # control points of the warp along S H W


class Pose(NamedTuple):
    """Where the slices cut the head.

    Attributes:
        matrix: [3 3] takes scan axes S H W in mm to world axes X Y Z in mm (rotation, scale, flip).
        centre: [3] world mm of the middle of the scan.
        step: [] mm between the centres of neighbouring slices.
        thickness: [] mm, of one slice.
    """

    matrix: Array
    centre: Array
    step: Array
    thickness: Array


class Warp(NamedTuple):
    """Control displacements in world mm: `coarse` [3 4 5 5] the head's shape, `fine` [3 8 16 16] its folds."""

    coarse: Array
    fine: Array


def smooth_field(control: Array, shape: tuple[int, ...]) -> Array:
    """Interpolates control points to a grid by Keys' cubic convolution.

    Args:
        control: [C *coarse] float32.
        shape: the grid, of the rank of `coarse`.

    Returns:
        [C *shape] float32.
    """
    # antialias would average control points away where the grid is coarser than they are
    return jax.image.resize(control, control.shape[:1] + shape, "cubic", antialias=False)


def rotation(angles: Array) -> Array:
    """Returns the matrix [3 3] that turns about x, then y, then z by `angles` [3] in radians."""
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
    about_x = jnp.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = jnp.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def sample_pose(key: Array, *, slices: int, band: Band = SLICES) -> Pose:
    """Draws head size (6 %), tilt (up to 7 degrees), position (some mm) and the band the slices cover."""
    # Few large draws instead of many small ones, here and in the other rooms: each call costs 0.2 s of compilation.
    draw = 2 * jax.random.uniform(key, (12,)) - 1
    scale = _SIZE * jnp.exp(0.06 * draw[0] + 0.03 * draw[1:4])
    angles = jnp.array([0.12, 0.06, 0.10]) * draw[4:7]
    shift = jnp.array([5.0, 7.0]) * draw[7:9]
    low, high = (mid + half * d for (mid, half), d in zip(band, draw[9:11], strict=True))
    # S runs up; H runs from front to back and W from the patient's right to left, as radiologists look at it.
    flip = jnp.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    step = (high - low) * scale[2] / max(slices - 1, 1)
    thickness = jnp.minimum(step, 5.0) * (0.8 + 0.2 * draw[11])
    centre = jnp.concatenate([jnp.array(_PIVOT) + shift, jnp.array([(low + high) / 2])])
    return Pose((rotation(angles) / scale) @ flip, centre, step, thickness)


def sample_warp(key: Array) -> Warp:
    """Draws a smooth warp: control points displaced by up to 6 mm, and finer ones by up to 1.9 mm.

    They are 48 and 15 mm apart in plane. Along S they share out the stack: in `SLICES` they are about 25 and 12 mm
    apart, in `WHOLE` 37 and 18. About one head in thirty of `SLICES` folds somewhere, in two voxels of 10 000 at most;
    of a hundred of `WHOLE` none did.
    """
    coarse, fine = math.prod(_COARSE), math.prod(_FINE)
    draw = 2 * jax.random.uniform(key, (3, coarse + fine)) - 1  # bounded, so that it hardly folds
    return Warp(
        6.0 * draw[:, :coarse].reshape(3, *_COARSE), 1.9 * draw[:, coarse:].reshape(3, *_FINE)
    )


def world_points(pose: Pose, warp: Warp, *, shape: tuple[int, int, int]) -> Array:
    """Maps the scan's voxels into the head.

    Args:
        pose: where the slices cut.
        warp: how this head differs from the template.
        shape: S, H, W of the scan; H and W span `FIELD_OF_VIEW`.

    Returns:
        [3 S H W] float32 world mm at the middle of each voxel.
    """
    steps = (pose.step, FIELD_OF_VIEW / shape[1], FIELD_OF_VIEW / shape[2])
    axes = [(jnp.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, steps, strict=True)]
    scan = jnp.stack(jnp.meshgrid(*axes, indexing="ij"))  # [3 S H W]
    points = jnp.einsum("ij,jshw->ishw", pose.matrix, scan, precision="highest")
    points = points + pose.centre.reshape(3, 1, 1, 1)
    return points + smooth_field(warp.coarse, shape) + smooth_field(warp.fine, shape)
