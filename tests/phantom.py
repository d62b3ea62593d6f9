"""A head of balls and the simplest models that see something in it: for the tests of the pipeline."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
from tiny import make_volume_config

from brainjax.datasets.regions import REGIONS
from brainjax.infer import Inference, Predictor, Segmenter
from brainjax.infer.scan import Scan
from brainjax.io import Volume

CENTRE, BRAIN, SKULL = np.array([4.0, -6.0, 10.0]), 40.0, 50.0  # mm, world
LESION, RADIUS = np.array([16.0, 0.0, 16.0]), 14.0


def affine(orientation: str = "RAS", spacing=(3.0, 3.0, 3.0), shape=(40, 40, 40)) -> np.ndarray:
    """A grid of that orientation, its middle at `CENTRE`."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(orientation)
    )
    axes = np.zeros((3, 3))
    for world, (axis, sign) in enumerate(turn):
        axes[world, int(axis)] = sign * spacing[int(axis)]
    made = np.eye(4)
    made[:3, :3] = axes
    made[:3, 3] = CENTRE - axes @ (np.array(shape) - 1) / 2
    return made


def ball(grid: np.ndarray, shape: tuple[int, ...], centre: np.ndarray, radius: float) -> np.ndarray:
    """[X Y Z] bool."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    world = index @ grid[:3, :3].T + grid[:3, 3]
    return np.linalg.norm(world - centre, axis=-1) <= radius


def head(
    contrasts=("t1", "t1ce", "t2", "flair"), orientation="RAS", spacing=(3.0, 3.0, 3.0), skull=True
) -> Scan:
    """A scan: grey brain, bright skull, and a lesion that is bright in FLAIR, its inner half bright in T1ce."""
    shape = tuple(round(120 / s) for s in spacing)
    at = affine(orientation, spacing, shape)
    brain, rng = ball(at, shape, CENTRE, BRAIN), np.random.default_rng(0)
    volumes = {}
    for contrast in contrasts:
        image = np.where(brain, 300.0, 0.0)
        if skull:
            image += 500.0 * (ball(at, shape, CENTRE, SKULL) & ~ball(at, shape, CENTRE, BRAIN + 4))
        if contrast == "flair":
            image += 600.0 * ball(at, shape, LESION, RADIUS)
        if contrast == "t1ce":
            image += 600.0 * ball(at, shape, LESION, RADIUS / 2)
        image += (image > 0) * rng.normal(0, 10, shape)
        volumes[contrast] = Volume(image.astype(np.float32), at)
    return Scan("phantom", volumes)


class Bright(nn.Module):
    """Whole tumour where FLAIR is bright, core and enhancing tumour where T1ce is; blind where its input is."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        t1ce, flair = x[..., 1], x[..., 3]
        return 20 * (jnp.stack([flair, t1ce, t1ce], -1) - 3.0)


def segmenter(spacing: float = 3.0) -> Segmenter:
    """`Bright` as a released model would be opened."""
    facts: dict[str, Any] = {
        "task": "segmentation",
        "channels": ["t1", "t1ce", "t2", "flair"],
        "classes": list(REGIONS),
        "rank": 3,
        "spacing_mm": [spacing] * 3,
        "dataset": "phantom",
    }
    made = Segmenter(make_volume_config().to_dict(), facts, {})
    made.predictor = Predictor(
        Bright(), made.predictor.input, Inference(batch_size=1, patch=(24, 24, 24), overlap=0.25)
    )
    return made
