"""Skull stripping as one function of jax: what `Stripper` does, without the parts that need connected components."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from brainjax.infer.strip import ROUNDS, SETTLED, THRESHOLD, Stripper
from brainjax.preprocess.device_stats import percentile
from brainjax.preprocess.head import AIR, BRIGHT, HEAD, HEIGHT, UPPER


def find_brain(model: Stripper, image: jax.Array, spacing: jax.Array) -> jax.Array:
    """Where the brain is.

    The box that the network sees is placed about the head's likely middle and then about what was found, until it
    stays; unlike `Stripper`'s it need not lie on whole voxels.

    Args:
        model: the network.
        image: [X Y Z] float32 in RAS+, of any shape.
        spacing: [3] float32, mm.

    Returns:
        [X Y Z] float32, probability.
    """
    size = np.array(model.shape, np.float32)
    ratio = spacing / model.spacing  # the box's voxels per voxel of the scan
    air = image.min()

    def cut(centre: jax.Array) -> jax.Array:
        # Beyond the scan there is air, whatever number that is in this scan.
        start = size / 2 - ratio * (centre + 0.5)
        return _resampled(image - air, model.shape, ratio, start, antialias=True) + air

    def look(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        rounds, centre, *_ = state
        found = model.in_box(model.variables, cut(centre))
        weight = jnp.where(found >= THRESHOLD, found, 0.0)
        away = (_middle(weight) - (size - 1) / 2) / ratio
        away = jnp.where(weight.sum() > 0, away, 0.0)
        return rounds + 1, centre + away, centre, jnp.abs(away * spacing).max(), found

    def unsettled(state: tuple[jax.Array, ...]) -> jax.Array:
        return (state[0] < ROUNDS) & (state[3] >= SETTLED)

    begin = likely_centre(image, spacing)
    nothing = jnp.zeros(model.shape, jnp.float32)
    state = (jnp.int32(0), begin, begin, jnp.float32(jnp.inf), nothing)
    *_, centre, _, found = lax.while_loop(unsettled, look, state)
    start = centre + 0.5 - size / (2 * ratio)
    found = _resampled(found, image.shape, 1 / ratio, start, antialias=False)
    return jnp.clip(found, 0.0, 1.0)


def likely_centre(image: jax.Array, spacing: jax.Array) -> jax.Array:
    """[3] the voxel where a brain's middle likely is, as `brainjax.preprocess.head.middle` has it.

    Args:
        image: [X Y Z] float32, RAS+.
        spacing: [3] float32, mm.
    """
    last = jnp.array([n - 1 for n in image.shape], jnp.float32)
    everywhere = jnp.ones((*image.shape, 1), bool)
    air, bright = (percentile(image[..., None], everywhere, q)[0] for q in (AIR, BRIGHT))
    head = image > air + HEAD * (bright - air)
    area = head.sum((0, 1))
    z = jnp.arange(image.shape[2], dtype=jnp.float32)
    top = jnp.where(area > 0.1 * area.max(), z, 0.0).max()
    upper = head & (z >= top - UPPER / spacing[2])
    x, y, _ = _middle(upper.astype(jnp.float32))
    centre = jnp.stack([x, y, top - HEIGHT / spacing[2]])
    return jnp.clip(jnp.where(head.any(), centre, last / 2), 0.0, last)


def _middle(weight: jax.Array) -> jax.Array:
    """[3] centre of mass of weights [X Y Z], 0 where there are none."""
    total = jnp.maximum(weight.sum(), 1e-6)
    sums = (weight.sum(tuple({0, 1, 2} - {axis})) for axis in range(3))
    return jnp.stack([(s * jnp.arange(s.shape[0])).sum() / total for s in sums])


def _resampled(
    x: jax.Array, shape: tuple[int, ...], scale: jax.Array, start: jax.Array, *, antialias: bool
) -> jax.Array:
    """Linear along each axis, 0 beyond x: edge e of a voxel of x comes to lie at scale * e + start."""
    return jax.image.scale_and_translate(
        x, shape, (0, 1, 2), scale, start, "linear", antialias=antialias
    )
