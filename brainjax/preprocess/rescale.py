"""One scan's intensities to a common range, on the device."""

import math

import jax.numpy as jnp
from jax import Array

LOW, HIGH = 0.2, 99.5  # percentiles that become 0 and 1
CEILING = 1.25  # values above are cut
_STRIDE = 3  # percentiles are taken from every third voxel along each axis: sorting all is slow


def rescale(image: Array) -> Array:
    """Percentiles 0.2 and 99.5 of a box to 0 and 1; lower values become 0, higher ones at most 1.25.

    The same function makes what a network sees of synthetic heads in training and of scans afterwards.

    Args:
        image: [X Y Z] float32, finite.

    Returns:
        [X Y Z] float32; all 0 where the image is constant.
    """
    few = image[::_STRIDE, ::_STRIDE, ::_STRIDE].reshape(-1)
    ordered = jnp.sort(few)
    places = [min(len(few) - 1, math.floor(q / 100 * len(few))) for q in (LOW, HIGH)]
    low, high = ordered[places[0]], ordered[places[1]]
    width = high - low
    return jnp.where(
        width > 0, jnp.clip((image - low) / jnp.maximum(width, 1e-20), 0.0, CEILING), 0.0
    )
