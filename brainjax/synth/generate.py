"""From a key to a patient: draws a head with a tumour and scans it, in one compiled function."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from brainjax.synth import anatomy, artefacts, contrast, deform, masses, tumour
from brainjax.synth import vessels as blood

_SUBSLICES = 2  # planes averaged into one thick slice


class Patient(NamedTuple):
    """All parameters of one scan; small, whatever the size of the image."""

    pose: deform.Pose
    warp: deform.Warp
    fluid: Array  # [] how wide ventricles and sulci are: 1 as in the template
    tumour: tumour.Tumour
    contrast: contrast.Contrast
    artefacts: artefacts.Artefacts
    mass: masses.Mass | None = None  # what is no glioma
    vessels: blood.Vessels | None = None  # beside the sinuses of the map


class Scan(NamedTuple):
    """What the scanner and an ideal reader return.

    Attributes:
        image: [S H W 4] uint8, `contrast.CHANNELS`, each scaled over the volume.
        mask: [S H W 1] uint8 in {0, 1}, whole tumour: necrosis, rim and oedema.
        labels: [S H W] uint8, index into `contrast.CLASSES` of the commonest tissue of each voxel.
        enhancing: [] float32 in {0, 1}: whether a glioma's rim takes up contrast agent; drawn for every head, and
            without meaning in one that has no glioma.
        step: [] float32 mm from slice to slice.
    """

    image: Array
    mask: Array
    labels: Array
    enhancing: Array
    step: Array


def sample(
    key: Array,
    *,
    sites: Array,
    slices: int,
    healthy: Array | float = 0.1,
    band: deform.Band = deform.SLICES,
    vessels: bool = False,
) -> Patient:
    """Draws a patient.

    Args:
        key: PRNG key.
        sites: [N 4] float32 where tumours start, `Anatomy.sites`.
        slices: how many slices the scan has.
        healthy: how often there is no tumour.
        band: what part of the head the slices cover.
        vessels: whether there are veins and choroid plexus, and blood is bright; all else is drawn alike.
    """
    keys = jax.random.split(key, 6)
    lesions = tumour.sample_tumour(keys[3], sites=sites, healthy=healthy)
    patient = Patient(
        pose=deform.sample_pose(keys[0], slices=slices, band=band),
        warp=deform.sample_warp(keys[1]),
        fluid=jnp.exp(jax.random.uniform(keys[2], minval=-0.7, maxval=1.2)),
        tumour=lesions,
        contrast=contrast.sample_contrast(keys[4], enhancing=lesions.high_grade),
        artefacts=artefacts.sample_artefacts(keys[5], channels=len(contrast.CHANNELS)),
    )
    if not vessels:
        return patient
    drawn = blood.sample_vessels(jax.random.fold_in(key, 6))
    return patient._replace(vessels=drawn, contrast=blood.of_blood(drawn, patient.contrast))


def sample_kind(
    key: Array,
    kind: Array | int,
    *,
    sites: Array,
    dural: Array,
    slices: int,
    band: deform.Band = deform.WHOLE,
) -> Patient:
    """Draws a patient with one kind of tumour.

    Args:
        key: PRNG key.
        kind: index into `masses.KINDS`.
        sites, slices, band: as of `sample`.
        dural: [N 6] float32 where meningiomas sit, `masses.dural_sites`.
    """
    own, other = jax.random.split(key)
    healthy = jnp.where(jnp.asarray(kind) == masses.GLIOMA, 0.0, 1.0)
    patient = sample(own, sites=sites, slices=slices, healthy=healthy, band=band)
    mass = masses.sample_mass(other, kind=kind, sites=dural)
    return patient._replace(mass=mass, contrast=masses.of_kind(mass, patient.contrast))


def _slices(patient: Patient, shape: tuple[int, int, int]) -> tuple[Array, ...]:
    """What differs from slice to slice: world mm [S 3 H W], the tumour's surface noise and the vessels' [S 4 H W]."""
    fields = [
        deform.world_points(patient.pose, patient.warp, shape=shape),
        tumour.surface_noise(patient.tumour, shape=shape),
    ]
    if patient.vessels is not None:
        fields.append(blood.fields(patient.vessels, shape=shape))
    return tuple(jnp.moveaxis(field, 1, 0) for field in fields)


def tissues(
    patient: Patient,
    packed: Array,
    affine: np.ndarray,
    points: Array,
    noise: Array,
    flow: Array | None = None,
) -> Array:
    """Fractions of each of `contrast.CLASSES` at given points, on a grid of any rank.

    Args:
        patient: the drawn parameters.
        packed: [X Y Z] uint32 map from `anatomy.pack_corners`.
        affine: [4 4] of the map, voxel index to world mm.
        points: [3 *shape] world mm.
        noise: [4 *shape] from `tumour.surface_noise`.
        flow: [4 *shape] from `vessels.fields`, where the patient has vessels.

    Returns:
        [classes *shape] float32 that sum to 1.
    """
    lift = (...,) + (None,) * (points.ndim - 1)
    inverse = np.linalg.inv(affine).astype(np.float32)
    source = tumour.push(patient.tumour, points)
    if patient.mass is not None:
        source = masses.push(patient.mass, source)
    voxels = jnp.tensordot(inverse[:3, :3], source, axes=1, precision="highest")
    voxels = voxels + inverse[:3, 3][lift]
    across = (
        inverse[:3, :3] @ patient.pose.matrix[:, 0] * patient.pose.thickness
    )  # through a slice, in voxels
    weight = jnp.ones(len(anatomy.TISSUES)).at[anatomy.CSF].set(patient.fluid)[lift]

    total = 0.0
    for plane in range(_SUBSLICES):
        offset = across * ((plane + 0.5) / _SUBSLICES - 0.5)
        found = anatomy.tissue_fractions(packed, voxels + offset[lift])
        # Squares sharpen the map's voxels into smooth outlines; the weight moves the outlines of the fluid.
        found = found**2 * weight
        total = total + found / found.sum(0)
    found = total / _SUBSLICES
    if patient.vessels is not None:
        found = blood.apply_vessels(patient.vessels, points, flow, found)
    found = tumour.apply_tumour(patient.tumour, points, noise, found)
    return found if patient.mass is None else masses.apply_mass(patient.mass, points, noise, found)


def apply(
    patient: Patient, packed: Array, affine: np.ndarray, *, shape: tuple[int, int, int]
) -> Scan:
    """Scans a patient.

    Args:
        patient: the drawn parameters.
        packed: [X Y Z] uint32 map from `anatomy.pack_corners`.
        affine: [4 4] of the map, voxel index to world mm.
        shape: S, H, W of the scan.
    """
    # Gain as a scanner's: the brightest healthy tissue, fat or fluid, comes to 1; lesions may exceed it.
    healthy = contrast.signals(patient.contrast)[: len(anatomy.TISSUES)]

    def one(inputs: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        fractions = tissues(patient, packed, affine, *inputs)  # [classes H W]
        image = contrast.apply_contrast(patient.contrast, fractions) / healthy.max(0)[:, None, None]
        lesion = fractions[len(anatomy.TISSUES) :].sum(0) > 0.5
        return image, lesion.astype(jnp.uint8), jnp.argmax(fractions, axis=0).astype(jnp.uint8)

    # Slice by slice: the fractions of one slice stay in cache, those of all would be 15 MB a pass.
    image, mask, labels = jax.lax.map(one, _slices(patient, shape))
    image = jnp.moveaxis(image, 1, 0)  # [C S H W]
    image = artefacts.apply_artefacts(
        patient.artefacts, image, pixel=deform.FIELD_OF_VIEW / shape[1]
    )
    # Window each volume at its 99.6th percentile, from every fourth voxel of the plane: sorting all is slow.
    few = image[:, :, ::4, ::4].reshape(len(contrast.CHANNELS), -1)
    top = jnp.quantile(few, 0.996, axis=1).reshape(-1, 1, 1, 1)
    image = jnp.round(255 * jnp.clip(image / top, 0.0, 1.0)).astype(jnp.uint8)
    return Scan(
        image=jnp.moveaxis(image, 0, -1),
        mask=mask[..., None],
        labels=labels,
        enhancing=patient.tumour.high_grade,
        step=patient.pose.step,
    )


@functools.lru_cache(maxsize=4)
def scanner(
    *, slices: int, size: int, band: deform.Band = deform.SLICES, vessels: bool = False
) -> Callable[..., Scan]:
    """Returns the compiled generator of the packaged head: `scan(key, healthy=0.1)`, a pure function.

    Args:
        slices: S of the scan.
        size: H and W of the scan in pixels, over 240 mm.
        band: what part of the head the slices cover, `deform.SLICES` or `deform.WHOLE`.
        vessels: whether there are veins and choroid plexus.

    Example: `scan = scanner(slices=16, size=128)(jax.random.key(0))`.
    """
    head = anatomy.load_anatomy()
    packed = jnp.asarray(anatomy.pack_corners(head.labels))
    sites = jnp.asarray(head.sites)

    # The map is an argument of the compiled function, not a constant of 9 MB inside it.
    @jax.jit
    def compiled(key: Array, packed: Array, sites: Array, healthy: Array) -> Scan:
        patient = sample(
            key, sites=sites, slices=slices, healthy=healthy, band=band, vessels=vessels
        )
        return apply(patient, packed, head.affine, shape=(slices, size, size))

    def scan(key: Array, healthy: float = 0.1) -> Scan:
        return compiled(key, packed, sites, jnp.float32(healthy))

    return scan


@functools.lru_cache(maxsize=4)
def kind_scanner(
    *, slices: int, size: int, band: deform.Band = deform.WHOLE
) -> Callable[..., Scan]:
    """Returns the compiled generator of heads with a tumour of a given kind: `scan(key, kind)`, a pure function.

    Args:
        slices, size, band: as of `scanner`.

    Example: `scan = kind_scanner(slices=64, size=96)(jax.random.key(0), masses.MENINGIOMA)`.
    """
    head = anatomy.load_anatomy()
    packed = jnp.asarray(anatomy.pack_corners(head.labels))
    sites, dural = jnp.asarray(head.sites), jnp.asarray(masses.dural_sites())

    @jax.jit
    def compiled(key: Array, kind: Array, packed: Array, sites: Array, dural: Array) -> Scan:
        patient = sample_kind(key, kind, sites=sites, dural=dural, slices=slices, band=band)
        return apply(patient, packed, head.affine, shape=(slices, size, size))

    def scan(key: Array, kind: int) -> Scan:
        return compiled(key, jnp.int32(kind), packed, sites, dural)

    return scan
