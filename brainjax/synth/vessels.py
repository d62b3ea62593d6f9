"""What takes up contrast agent in a healthy head, beside the sinuses of the map: veins in the furrows, choroid plexus.

A network that has never seen them calls them enhancing tumour. A vessel runs where two smooth random fields are both
zero, which is a curve; its calibre follows a third. The plexus hangs in the lateral ventricles.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from brainjax.synth import anatomy, contrast, deform

KEPT = 5.0  # mm from brain and fluid, to which a stripped scan keeps sinuses and veins
_FIELDS = 4
# mm between the control points of the fields in plane; along S too in a stack as long as the band, closer in others.
_CONTROL = 13.0
_BAND = 160.0
# Half sizes and middle of the box that holds the bodies and the atria of the lateral ventricles, world mm.
_VENTRICLES, _MIDDLE = (30.0, 30.0, 20.0), (0.0, -22.0, 14.0)
_DENSITY = (0.7, 1.0)  # of protons, seen by sequences in which flow does not void


class Vessels(NamedTuple):
    """Of one head.

    Attributes:
        control: [4 *coarse] control points of the fields: two that are zero where a vessel is, calibre, plexus.
        radius: [] mm, of a vessel of middle calibre.
        deep: [] how much of a vessel is to be seen within the brain, 0 to 1.
        plexus: [] how much of a ventricle's voxel the plexus fills at most.
        density: [] of protons in blood.
    """

    control: Array
    radius: Array
    deep: Array
    plexus: Array
    density: Array


def sample_vessels(key: Array) -> Vessels:
    """Draws the vessels of one head."""
    u = jax.random.uniform(key, (4,))
    coarse = (round(_BAND / _CONTROL), *(round(deform.FIELD_OF_VIEW / _CONTROL),) * 2)
    return Vessels(
        control=jax.random.normal(jax.random.fold_in(key, 1), (_FIELDS, *coarse)),
        radius=1.1 + 0.9 * u[0],
        deep=0.35 * u[1],
        plexus=0.3 + 0.7 * u[2],
        density=_DENSITY[0] + (_DENSITY[1] - _DENSITY[0]) * u[3],
    )


def fields(vessels: Vessels, *, shape: tuple[int, int, int]) -> Array:
    """The four fields [4 S H W] on the grid of a scan."""
    return deform.smooth_field(vessels.control, shape)


def of_blood(vessels: Vessels, drawn: contrast.Contrast) -> contrast.Contrast:
    """The contrast of a scanner in which flowing blood is bright after contrast agent, as in gradient echoes."""
    table = drawn.relaxation.at[anatomy.VEIN, 0].set(vessels.density)
    return drawn._replace(relaxation=table)


def apply_vessels(vessels: Vessels, points: Array, noise: Array, fractions: Array) -> Array:
    """Puts vessels and plexus into a head, on a grid of any rank.

    Args:
        vessels: the vessels.
        points: [3 *shape] world mm.
        noise: [4 *shape] from `fields`.
        fractions: [tissues *shape] of the head.

    Returns:
        [tissues *shape] float32 that sum to what they did before.
    """
    lift = (...,) + (None,) * (points.ndim - 1)
    first, second, calibre, clumps = noise
    # The fields change by about 1.2 between control points.
    distance = jnp.hypot(first, second) * _CONTROL / 1.2
    tube = jax.nn.sigmoid((vessels.radius * jnp.exp(0.4 * calibre) - distance) / 0.4)
    away = (points - jnp.array(_MIDDLE)[lift]) / jnp.array(_VENTRICLES)[lift]
    within = jax.nn.sigmoid(20.0 * (1.0 - jnp.abs(away).max(0)))
    # The plexus lies on the ventricle's floor and side, never fills it.
    plexus = vessels.plexus * within * jax.nn.sigmoid(6.0 * (clumps - 0.2))

    fluid = fractions[anatomy.CSF] * jnp.maximum(tube * (1 - within), plexus)
    fractions = fractions.at[anatomy.CSF].add(-fluid).at[anatomy.VEIN].add(fluid)
    for tissue in anatomy.BRAIN:
        taken = fractions[tissue] * tube * vessels.deep
        fractions = fractions.at[tissue].add(-taken).at[anatomy.VEIN].add(taken)
    return fractions
