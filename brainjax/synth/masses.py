"""Tumours that are not gliomas: meningiomas, which sit on the dura, and pituitary adenomas, which rise out of the sella.

Both are round, of one tissue, and take up contrast agent all through. Neither grows inside the brain: they push it away.
As gliomas (`brainjax.synth.tumour`) they are drawn in world mm, so the same parameters give the same mass on any grid.
Their tissue is imaged as the class `rim`, with relaxation times of its own.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from brainjax.synth import anatomy, contrast, deform, tumour

KINDS = ("glioma", "meningioma", "none", "pituitary")
GLIOMA, MENINGIOMA, NONE, PITUITARY = range(len(KINDS))

# Proton density, T1 and T2 in ms, uptake in 1/s, as in `contrast`: both are near grey matter before contrast agent.
_RELAXATION = {"meningioma": (0.82, 1250, 100, 2.8), "pituitary": (0.82, 1350, 115, 1.7)}
_SELLA = (0.0, 3.0, -27.0)  # world mm, the floor of the packaged head's skull base in the midline
_RIM = len(anatomy.TISSUES) + tumour.PARTS.index("rim")
_OEDEMA = len(anatomy.TISSUES) + tumour.PARTS.index("oedema")
_FALCINE = 0.1  # share of meningiomas that sit on the falx instead of the skull
_CLEFT = 2.0  # mm of fluid between a mass and the brain


class Mass(NamedTuple):
    """The mass of one head, and its pituitary gland, which takes up contrast agent in health too.

    Attributes:
        present: [] float32 in {0, 1}; the gland is always there.
        centre: [3] world mm.
        inward: [3] unit vector away from the bone or the falx that it sits on.
        shape: [3 3] takes an offset in mm to one whose length is that of a sphere of equal volume.
        radius: [] mm.
        oedema: [] mm, width of the oedema in the brain beside it; often 0.
        push: [] how strongly it pushes the brain, 0 to 1.
        waist: [] how much narrower it is where it passes the diaphragm of the sella, 0 to 1.
        erodes: [] 1 where it replaces bone too, 0 where it stays inside the skull.
        gland: [] mm, the radius of the gland.
        relaxation: [4] proton density, T1 and T2 in ms, uptake in 1/s.
    """

    present: Array
    centre: Array
    inward: Array
    shape: Array
    radius: Array
    oedema: Array
    push: Array
    waist: Array
    erodes: Array
    gland: Array
    relaxation: Array


@functools.cache
def dural_sites() -> np.ndarray:
    """Where meningiomas may sit in the packaged head: [N 6] float32, a place in world mm and the way inwards.

    The inner side of the skull, from the tentorium up, and for a tenth of them the falx.
    """
    head = anatomy.load_anatomy()
    inside = np.isin(head.labels, (*anatomy.BRAIN, anatomy.CSF, anatomy.VEIN))
    index = np.stack(np.meshgrid(*map(np.arange, inside.shape), indexing="ij"), -1)
    world = index @ head.affine[:3, :3].T + head.affine[:3, 3]
    # The gradient of the smoothed inside points inwards.
    smooth = inside.astype(np.float32)
    for _ in range(4):
        for axis in range(3):
            smooth = (np.roll(smooth, 1, axis) + smooth + np.roll(smooth, -1, axis)) / 3
    inward = np.stack(np.gradient(smooth), -1)
    length = np.linalg.norm(inward, axis=-1)
    surface = inside & (smooth < 0.6) & (length > 0.05) & (world[..., 2] > -40)
    vault = np.concatenate([world, inward / np.maximum(length, 1e-6)[..., None]], -1)[surface]
    middle = inside & (np.abs(world[..., 0]) < 1) & (world[..., 2] > 35)
    side = np.where(index[middle].sum(-1, keepdims=True) % 2, 1.0, -1.0) * [1.0, 0.0, 0.0]
    falx = np.concatenate([world[middle], side], -1)
    draw, count = np.random.default_rng(152), 4000
    few = int(_FALCINE * count)
    picked = draw.choice(vault, count - few, replace=False), draw.choice(falx, few, replace=True)
    return np.concatenate(picked).astype(np.float32)


def sample_mass(key: Array, *, kind: Array | int, sites: Array) -> Mass:
    """Draws the mass of one head.

    Args:
        key: PRNG key.
        kind: index into `KINDS`; without a mass for a glioma's head and for a healthy one.
        sites: [N 6] from `dural_sites`.
    """
    u = jax.random.uniform(key, (20,))
    site = sites[jnp.minimum(u[0] * sites.shape[0], sites.shape[0] - 1).astype(jnp.int32)]
    pituitary = jnp.asarray(kind) == PITUITARY

    def either(adenoma: Array, meningioma: Array) -> Array:
        return jnp.where(pituitary, adenoma, meningioma)

    radius = either(6.5 + 10.5 * u[1], 8.0 + 16.0 * u[1])
    # A meningioma's base is on the dura and most of it inside; an adenoma fills the sella and rises from there.
    depth = radius * either(0.1 + 0.7 * u[2], 0.3 + 0.5 * u[2])
    inward = either(jnp.array([0.0, 0.0, 1.0]), site[3:])
    aside = (2 * u[3:6] - 1) * jnp.array([2.5, 2.5, 0.0])
    centre = either(jnp.array(_SELLA) + aside, site[:3]) + depth * inward
    spread = either(0.15, 0.35)
    axes = jnp.exp(spread * (2 * u[6:9] - 1))
    axes = axes.at[2].multiply(either(1.0 + 0.3 * u[9], 1.0))
    axes = axes / jnp.prod(axes) ** (1 / 3)
    turn = deform.rotation(either(0.1, 2 * jnp.pi) * u[10:13])
    table = jnp.array([_RELAXATION["pituitary"], _RELAXATION["meningioma"]], jnp.float32)
    amount = 0.12 * jnp.array([0.3, 1.0, 1.0, 2.0])
    return Mass(
        present=((kind == MENINGIOMA) | pituitary).astype(jnp.float32),
        centre=centre,
        inward=inward,
        shape=turn / axes[:, None],
        radius=radius,
        oedema=either(0.0, 14.0 * jnp.maximum(u[13] - 0.5, 0.0)),
        push=0.35 + 0.25 * u[14],
        waist=either(0.35 * u[15], 0.0),
        erodes=either(1.0, 0.0),
        gland=2.5 + 1.5 * u[16],
        relaxation=either(table[0], table[1])
        * jnp.exp(amount * (2 * jax.random.uniform(jax.random.fold_in(key, 1), (4,)) - 1)),
    )


def of_kind(mass: Mass, drawn: contrast.Contrast) -> contrast.Contrast:
    """The contrast of a head whose mass has its own relaxation times; a glioma's head keeps those it has."""
    rim = contrast.CLASSES.index("rim")
    row = jnp.where(mass.present > 0, mass.relaxation, drawn.relaxation[rim])
    return drawn._replace(relaxation=drawn.relaxation.at[rim].set(row))


def push(mass: Mass, points: Array) -> Array:
    """Where in the undisturbed head each point's tissue comes from: the brain gives way inwards, bone does not.

    Args:
        mass: the mass.
        points: [3 *shape] world mm.

    Returns:
        [3 *shape] world mm.
    """
    lift = (...,) + (None,) * (points.ndim - 1)
    offset = points - mass.centre[lift]
    square = jnp.sum(offset**2, axis=0)
    near = jnp.exp(-square / (1.6 * mass.radius) ** 2)
    side = jnp.clip(jnp.sum(offset * mass.inward[lift], axis=0) / mass.radius + 0.2, 0.0, 1.0)
    return points - mass.present * mass.push * near * side * offset


def apply_mass(mass: Mass, points: Array, noise: Array, fractions: Array) -> Array:
    """Puts the mass and the gland into a head, on a grid of any rank.

    Args:
        mass: the mass.
        points: [3 *shape] world mm.
        noise: [4 *shape] from `tumour.surface_noise`.
        fractions: [classes *shape], `contrast.CLASSES`, mass effect included.

    Returns:
        [classes *shape] float32 that sum to 1.
    """
    lift = (...,) + (None,) * (points.ndim - 1)
    sella = jnp.linalg.norm(points - jnp.array(_SELLA)[lift], axis=0)
    gland = jax.nn.sigmoid((mass.gland - sella) / 0.7)
    fractions = (fractions * (1 - gland)).at[anatomy.VEIN].add(gland)

    parenchyma = sum(fractions[t] for t in anatomy.BRAIN)
    inside = parenchyma + fractions[anatomy.CSF] + fractions[anatomy.VEIN]
    room = inside + mass.erodes * (1 - inside)
    offset = points - mass.centre[lift]
    offset = jnp.tensordot(mass.shape, offset, axes=1, precision="highest")
    distance = jnp.linalg.norm(offset, axis=0)  # mm
    waist = mass.waist * jnp.exp(-(((points[2] - _SELLA[2] - 6.0) / 4.0) ** 2))
    edge = mass.radius * (1 + 0.06 * noise[0]) * (1 - waist)
    solid = mass.present * room * jax.nn.sigmoid((edge - distance) / 0.7)
    cleft = mass.present * parenchyma * jax.nn.sigmoid((edge + _CLEFT - distance) / 0.7)
    cleft = jnp.maximum(0.7 * cleft - solid, 0.0)
    white = fractions[anatomy.WHITE]
    reach = edge + mass.oedema * (0.6 + 0.4 * noise[2] + 0.8 * (white - 0.4))
    oedema = mass.present * parenchyma * jax.nn.sigmoid((reach - distance) / 1.3)
    oedema = jnp.where(mass.oedema > 0, jnp.maximum(oedema - solid - cleft, 0.0), 0.0)
    fractions = fractions * (1 - solid - cleft - oedema)
    fractions = fractions.at[anatomy.CSF].add(cleft)
    return fractions.at[_RIM].add(solid).at[_OEDEMA].add(oedema)
