"""Gliomas: a necrotic core in an enhancing rim, in oedema that runs along the white matter.

A lesion is an ellipsoid in world mm, along the axes of the head, whose surfaces are moved by smooth noise, so the same
parameters give the same lesion on any grid. It pushes the brain around it aside, never the skull.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from brainjax.synth import anatomy, deform

PARTS = ("necrosis", "rim", "oedema")
_LESIONS = 2  # at most, in one head
_MULTIFOCAL = 0.12  # how often a head has both
_BROAD, _NARROW = (7, 12, 12), (10, 26, 26)  # control points of the surfaces along S H W
_LOW_GRADE = 0.3  # how often a tumour has no necrosis and takes up no contrast agent


class Tumour(NamedTuple):
    """The lesions K of one head; an absent lesion has `present` 0.

    Attributes:
        present: [K] float32 in {0, 1}.
        centre: [K 3] world mm.
        room: [K] mm from the centre to the skull.
        shape: [K 3 3] takes an offset in mm to one whose length is that of a sphere of equal volume.
        radius: [K] mm, of core and rim together.
        rim: [K] mm, thickness of the rim; at least `radius` where there is no necrosis.
        oedema: [K] mm, width of the oedema around the rim.
        mass: [K] how strongly the lesion pushes, 0 to 1.
        high_grade: [] float32 in {0, 1}: whether the rim takes up contrast agent.
        broad: [4 7 12 12] control points of the surfaces' noise: rim, necrosis, two of oedema.
        narrow: [4 10 26 26] the same, finer.
    """

    present: Array
    centre: Array
    room: Array
    shape: Array
    radius: Array
    rim: Array
    oedema: Array
    mass: Array
    high_grade: Array
    broad: Array
    narrow: Array


def sample_tumour(key: Array, *, sites: Array, healthy: Array | float) -> Tumour:
    """Draws the lesions of one head.

    Args:
        key: PRNG key.
        sites: [N 4] float32 possible centres, from `Anatomy.sites`.
        healthy: how often a head has no tumour.
    """
    place, surface = jax.random.split(key)
    draw = jax.random.uniform(place, (13, _LESIONS))
    drawn = draw[0] < jnp.array([1.0 - healthy, _MULTIFOCAL])
    present = jnp.cumprod(drawn.astype(jnp.float32))  # no second lesion without a first
    site = sites[jnp.minimum(draw[1] * sites.shape[0], sites.shape[0] - 1).astype(jnp.int32)]
    high_grade = (draw[2, 0] >= _LOW_GRADE).astype(jnp.float32)

    radius = (7 + 18 * draw[3]) * jnp.array([1.0, 0.6])
    radius = jnp.minimum(radius, site[:, 3] + 3.0)
    rim = (0.18 + 0.32 * draw[4]) * radius + 1.0
    rim = jnp.where(high_grade > 0, rim, 2 * radius)
    width = 5 + 19 * draw[5]
    width = jnp.where(high_grade > 0, width, 0.5 * width)

    axes = jnp.exp(0.6 * draw[6:9].T)
    axes = axes / jnp.prod(axes, axis=1, keepdims=True) ** (1 / 3)
    # The turn comes after the stretch and changes no length, so ellipsoids lie along the axes of the head. It stays:
    # without it heads would differ in their last bits from those that the documented scores are of.
    turn = jax.vmap(deform.rotation)(2 * jnp.pi * draw[9:12].T)
    broad, narrow = math.prod(_BROAD), math.prod(_NARROW)
    noise = jax.random.normal(surface, (4, broad + narrow))
    return Tumour(
        present=present,
        centre=site[:, :3],
        room=site[:, 3],
        shape=turn / axes[:, None, :],
        radius=radius,
        rim=rim,
        oedema=width,
        mass=0.1 + 0.4 * draw[12],
        high_grade=high_grade,
        broad=noise[:, :broad].reshape(4, *_BROAD),
        narrow=noise[:, broad:].reshape(4, *_NARROW),
    )


def push(tumour: Tumour, points: Array) -> Array:
    """Mass effect: where in the undisturbed head each point's tissue comes from.

    Args:
        tumour: the lesions.
        points: [3 *shape] world mm.

    Returns:
        [3 *shape] world mm, nearer to the lesions' centres; unmoved beyond the skull.
    """
    moved = points
    lift = (...,) + (None,) * (points.ndim - 1)
    for k in range(_LESIONS):
        offset = points - tumour.centre[k][lift]
        square = jnp.sum(offset**2, axis=0)
        near = jnp.exp(-square / (1.6 * tumour.radius[k]) ** 2)
        bounded = jnp.clip(1 - square / tumour.room[k] ** 2, 0.0, 1.0) ** 2
        moved = moved - tumour.present[k] * tumour.mass[k] * near * bounded * offset
    return moved


def surface_noise(tumour: Tumour, *, shape: tuple[int, int, int]) -> Array:
    """Returns the unevenness [4 S H W] of the surfaces: rim, necrosis, two of oedema."""
    return deform.smooth_field(tumour.broad, shape) + 0.5 * deform.smooth_field(
        tumour.narrow, shape
    )


def apply_tumour(tumour: Tumour, points: Array, noise: Array, fractions: Array) -> Array:
    """Replaces tissue by tumour, on a grid of any rank.

    Args:
        tumour: the lesions.
        points: [3 *shape] world mm.
        noise: [4 *shape] from `surface_noise`.
        fractions: [tissues *shape] of the head without the tumour, mass effect included.

    Returns:
        [tissues+3 *shape] summing to 1: the tissues, then `PARTS`.
    """
    shape = points.shape[1:]
    lift = (...,) + (None,) * len(shape)
    white = fractions[anatomy.WHITE] + 0.6 * fractions[anatomy.DEEP_GREY]
    parenchyma = sum(fractions[t] for t in anatomy.BRAIN)
    intracranial = parenchyma + fractions[anatomy.CSF]

    necrosis, solid, oedema = jnp.zeros((3, *shape))
    for k in range(_LESIONS):
        offset = points - tumour.centre[k][lift]
        offset = jnp.tensordot(tumour.shape[k], offset, axes=1, precision="highest")
        distance = jnp.linalg.norm(offset, axis=0)  # mm
        radius, width = tumour.radius[k], tumour.oedema[k]
        edge = radius * (1 + 0.16 * noise[0])
        inner = edge - tumour.rim[k] * (1 + 0.35 * noise[1])
        # Grey matter holds the oedema back: it reaches out in fingers between the folds.
        reach = (
            radius
            + width * (0.55 + 0.4 * noise[2] + 0.9 * (white - 0.4))
            + 0.08 * radius * noise[3]
        )
        # The falx lets little across the midline.
        reach = reach - 1.5 * jnp.maximum(-points[0] * jnp.sign(tumour.centre[k, 0]), 0.0)
        here = tumour.present[k]
        solid = jnp.maximum(solid, here * jax.nn.sigmoid((edge - distance) / 0.7) * intracranial)
        necrosis = jnp.maximum(necrosis, here * jax.nn.sigmoid((inner - distance) / 0.7))
        oedema = jnp.maximum(oedema, here * jax.nn.sigmoid((reach - distance) / 1.3) * parenchyma)
    necrosis = jnp.minimum(necrosis, solid)
    oedema = jnp.maximum(oedema - solid, 0.0) * (
        0.7 + 0.3 * jax.nn.sigmoid(2 * noise[3])
    )  # never uniform
    parts = jnp.stack([necrosis, solid - necrosis, oedema])
    return jnp.concatenate([fractions * (1 - solid - oedema), parts])
