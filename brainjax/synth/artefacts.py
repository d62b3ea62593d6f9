"""What the scanner adds: tissue texture, coil shading, point spread and noise."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from brainjax.synth import deform


class Artefacts(NamedTuple):
    """Imperfections of one scan of C channels.

    Attributes:
        shading: [C 3 4 4] control points of the logarithm of the coil's sensitivity.
        blur: [C 2] standard deviation of the point spread along H and W, in mm.
        noise: [C] standard deviation of the noise in each of the two receiver channels, in units of the image.
        texture: [] relative size of the tissue's own unevenness.
        key: PRNG key of the noise; white noise as large as the scan is drawn when applied, not carried about.
    """

    shading: Array
    blur: Array
    noise: Array
    texture: Array
    key: Array


def sample_artefacts(key: Array, *, channels: int) -> Artefacts:
    """Draws artefacts as strong as in routine clinical scans; noise is for images of maximum about 1."""
    now, later = jax.random.split(key)
    draw = jax.random.uniform(now, (channels + 1, 51))
    shading = (2 * draw[:, :48] - 1).reshape(channels + 1, 3, 4, 4)
    return Artefacts(
        shading=0.1 * shading[:-1] + 0.2 * shading[-1],  # one coil for all sequences
        blur=0.7 + 0.65 * draw[:channels, 48:50],
        noise=jnp.exp(-5.0 + 1.3 * draw[:channels, 50]),
        texture=jnp.float32(0.035),
        key=later,
    )


def gaussian_blur(image: Array, sigma: Array, *, axis: int, reach: int = 3) -> Array:
    """Blurs along one axis by a Gaussian cut off at `reach` voxels; edges repeat.

    Args:
        image: [C ...] float32.
        sigma: [C] standard deviation in voxels.
        axis: which axis to blur, not 0.
        reach: taps on either side.
    """
    taps = jnp.exp(-0.5 * (jnp.arange(reach + 1) / jnp.maximum(sigma, 1e-3)[:, None]) ** 2)
    taps = taps / (2 * taps.sum(1, keepdims=True) - taps[:, :1])
    taps = taps.reshape(taps.shape + (1,) * (image.ndim - 1))  # [C taps 1 ...]
    padding = [(reach, reach) if a == axis else (0, 0) for a in range(image.ndim)]
    padded = jnp.pad(image, padding, mode="edge")

    def shifted(offset: int) -> Array:
        return jax.lax.slice_in_dim(
            padded, reach + offset, reach + offset + image.shape[axis], axis=axis
        )

    total = taps[:, 0] * image
    for tap in range(1, reach + 1):
        total = total + taps[:, tap] * (shifted(tap) + shifted(-tap))
    return total


def apply_artefacts(artefacts: Artefacts, image: Array, *, pixel: float) -> Array:
    """Degrades a perfect image.

    Args:
        artefacts: what to add.
        image: [C S H W] float32, 0 and above.
        pixel: size of a voxel along H and W in mm.

    Returns:
        [C S H W] float32, 0 and above, with Rician noise (Gudbjartsson and Patz, 1995).
    """
    shape = image.shape[1:]
    half = (shape[0], -(-shape[1] // 2), -(-shape[2] // 2))
    draw = jax.random.normal(artefacts.key, (math.prod(half) + 2 * image.size,))
    grain, real, imaginary = jnp.split(draw, [math.prod(half), math.prod(half) + image.size])
    grain = jax.image.resize(grain.reshape(half), shape, "linear")
    image = image * (1 + artefacts.texture * grain)
    for axis in (0, 1):
        image = gaussian_blur(image, artefacts.blur[:, axis] / pixel, axis=axis + 2)
    image = image * jnp.exp(
        jax.vmap(lambda c: deform.smooth_field(c[None], shape)[0])(artefacts.shading)
    )
    sigma = artefacts.noise.reshape(-1, 1, 1, 1)
    real, imaginary = sigma * real.reshape(image.shape), sigma * imaginary.reshape(image.shape)
    return jnp.sqrt((image + real) ** 2 + imaginary**2)
