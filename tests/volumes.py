"""Volumes in every position a scanner can leave them in, of a shape that has no symmetry."""

import itertools

import numpy as np

from brainjax.io.volume import Grid, Volume

CODES = tuple(
    "".join(pair[flip] for pair, flip in zip(pairs, flips, strict=True))
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for flips in itertools.product((0, 1), repeat=3)
)
KINDS = {  # spacing along the file's axes in mm, and degrees about x, y and z
    "isotropic": ((1.0, 1.0, 1.0), (0, 0, 0)),
    "anisotropic": ((0.8, 1.1, 2.5), (0, 0, 0)),
    "oblique": ((0.9, 1.2, 1.0), (12, -9, 20)),
}
CENTRE = np.array([5.0, -20.0, 33.0])  # of every field of view, mm


def rotation(degrees) -> np.ndarray:
    """[3 3], about x, then y, then z."""
    out = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        turn[[i, i, j, j], [i, j, i, j]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        out = turn @ out
    return out


def make_grid(codes: str, kind: str, edge: float = 30.0) -> Grid:
    """A field of view of about `edge` mm around `CENTRE`, longer along some axes."""
    spacing, degrees = KINDS[kind]
    axes = np.zeros((3, 3))
    for column, code in enumerate(codes):
        row = ["RL", "AP", "SI"].index(next(p for p in ("RL", "AP", "SI") if code in p))
        axes[row, column] = 1 if code in "RAS" else -1
    shape = tuple(int(edge * (1 + 0.1 * i) / s) for i, s in enumerate(spacing))
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ axes * spacing
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def world(grid: Grid) -> np.ndarray:
    """[X Y Z 3] mm, where each voxel is."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def brain(grid: Grid) -> np.ndarray:
    """[X Y Z] bool: an ellipsoid with a bump in front, on the right and above."""
    x, y, z = np.moveaxis(world(grid) - CENTRE, -1, 0)
    body = (x / 9) ** 2 + (y / 12) ** 2 + (z / 10) ** 2 < 1
    return body | ((x - 6) ** 2 + (y - 7) ** 2 + (z - 5) ** 2 < 25)


def scan(grid: Grid, seed: int = 0) -> Volume:
    """The brain in noise, int16."""
    noise = np.random.default_rng(seed).integers(0, 100, grid.shape)
    return Volume((200 * brain(grid) + noise).astype(np.int16), grid.affine)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
