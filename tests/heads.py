"""A made-up head: an egg of brain in a bright shell, with a dark bubble low in front, on any grid."""

import numpy as np

from brainjax.io.volume import Volume
from brainjax.preprocess.orient import reorient

CENTRE = np.array([4.0, -12.0, 10.0])  # world mm of the brain's middle


def head(shape=(80, 96, 84), spacing=(2.5, 2.5, 2.5), codes="RAS", shift=(0.0, 0.0, 0.0)) -> Volume:
    """The head as a scan: the brain at 100, the shell at 220, air near 0; `codes` turns it."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = CENTRE - affine[:3, :3] @ (np.array(shape) - 1) / 2 + shift
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3] - CENTRE
    radius = np.linalg.norm(world / [65.0, 85.0, 75.0], axis=-1)
    data = np.random.default_rng(0).uniform(0, 4, shape)
    data[radius < 1.12], data[radius < 1.0] = 220, 100
    data[np.linalg.norm(world - [0, 40, -30], axis=-1) < 15] = 20
    data = (data + 8 * np.sin(world[..., 0] / 6) * (radius < 1.0)).astype(np.float32)
    volume = Volume(data, affine)
    return volume if codes == "RAS" else reorient(volume, codes)
