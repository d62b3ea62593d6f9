"""Masses beside the brain: where they sit, what they look like after contrast agent, what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.datasets.synthetic_volumes import to_ras
from brainjax.synth import anatomy, contrast, generate, masses

# Compiled as one: operation by operation, these tests would spend their time compiling.
_sample = jax.jit(masses.sample_mass)
_apply = jax.jit(masses.apply_mass)
_push = jax.jit(masses.push)
RIM = contrast.CLASSES.index("rim")
SIZE, SLICES = 64, 48


@pytest.fixture(scope="module")
def heads():
    """Kind -> three scans of it, (image [X Y Z 4], labels [X Y Z])."""
    scan = generate.kind_scanner(slices=SLICES, size=SIZE)

    def three(kind):
        made = [scan(jax.random.fold_in(jax.random.key(3), i), kind) for i in range(3)]
        return [(to_ras(np.asarray(m.image)), to_ras(np.asarray(m.labels))) for m in made]

    return {kind: three(k) for k, kind in enumerate(masses.KINDS)}


def test_dural_sites_lie_at_the_edge_of_the_cranium_and_point_into_it():
    head, sites = anatomy.load_anatomy(), masses.dural_sites()
    inside = np.isin(head.labels, (*anatomy.BRAIN, anatomy.CSF, anatomy.VEIN))

    def at(points):
        voxel = np.round((points - head.affine[:3, 3]) / np.diag(head.affine)[:3]).astype(int)
        return inside[tuple(np.clip(voxel, 0, np.array(inside.shape) - 1).T)]

    np.testing.assert_allclose(np.linalg.norm(sites[:, 3:], axis=1), 1, atol=1e-4)
    vault = sites[: int(0.9 * len(sites))]
    assert at(sites[:, :3]).all()
    assert at(vault[:, :3] + 8 * vault[:, 3:]).mean() > 0.9
    assert at(vault[:, :3] - 8 * vault[:, 3:]).mean() < 0.1


def test_only_heads_with_a_mass_or_a_glioma_have_tumour_tissue(heads):
    parts = range(len(anatomy.TISSUES), len(contrast.CLASSES))
    for kind, made in heads.items():
        found = [np.isin(labels, list(parts)).sum() for _, labels in made]
        assert (max(found) == 0) if kind == "none" else (min(found) > 3), kind


@pytest.mark.parametrize("kind", ["meningioma", "pituitary"])
def test_a_mass_takes_up_contrast_agent_all_through(heads, kind):
    for image, labels in heads[kind]:
        solid = labels == RIM
        grey = np.isin(labels, (anatomy.GREY, anatomy.WHITE))
        t1, t1ce = (image[..., c].astype(float) for c in (0, 1))
        assert np.median(t1ce[solid]) > 1.3 * np.median(t1[solid])
        assert np.median(t1ce[solid]) > 1.2 * np.median(t1ce[grey])


def test_an_adenoma_lies_low_in_the_midline_and_a_meningioma_at_the_edge(heads):
    for image, labels in heads["pituitary"]:
        x, y, z = np.argwhere(labels == RIM).mean(0)
        head = np.argwhere(image[..., 0] > 60)
        assert abs(x - (SIZE - 1) / 2) < 4
        assert abs(y - np.median(head[:, 1])) < 0.2 * SIZE
        brain = np.argwhere(np.isin(labels, anatomy.BRAIN))
        assert z < np.quantile(brain[:, 2], 0.4)
    outside = (anatomy.SKULL, anatomy.MARROW, anatomy.SCALP, anatomy.MUSCLE, anatomy.VEIN)
    for _, labels in heads["meningioma"]:
        solid = labels == RIM
        grown = np.zeros_like(solid)
        for axis in range(3):
            for step in (-1, 1):
                grown |= np.roll(solid, step, axis)
        falcine = abs(np.argwhere(solid)[:, 0].mean() - (SIZE - 1) / 2) < 8
        assert np.isin(labels[grown & ~solid], outside).mean() > 0.05 or falcine


def test_tissues_sum_to_one_and_bone_is_eroded_by_an_adenoma_alone():
    index = jnp.stack(jnp.meshgrid(*(jnp.linspace(-30, 30, 21),) * 3, indexing="ij"))
    low = jnp.array([0.0, 3.0, -27.0]).reshape(3, 1, 1, 1)
    points, noise = index + low, jnp.zeros((4, 21, 21, 21))
    bone = jnp.zeros((len(contrast.CLASSES), 21, 21, 21)).at[anatomy.SKULL].set(1.0)
    sites = jnp.array([[0.0, 3.0, -27.0, 0.0, 0.0, 1.0]])
    away = jnp.linalg.norm(index, axis=0) > 6.0  # the gland is no bone
    for kind, eroded in ((masses.PITUITARY, True), (masses.MENINGIOMA, False)):
        mass = _sample(jax.random.key(0), kind=kind, sites=sites)
        found = _apply(mass, points, noise, bone)
        np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-5)
        assert bool(found.min() >= 0) and bool(found[RIM][away].max() > 0.9) is eroded


def test_push_leaves_what_is_behind_the_dura_and_far_away():
    sites = jnp.array([[60.0, 0.0, 20.0, -1.0, 0.0, 0.0]])
    mass = _sample(jax.random.key(1), kind=masses.MENINGIOMA, sites=sites)
    behind = mass.centre - 1.5 * mass.radius * mass.inward
    far = mass.centre + 150.0 * mass.inward
    beside = mass.centre + 1.2 * mass.radius * mass.inward
    points = jnp.stack([behind, far, beside], 1)
    moved = np.linalg.norm(np.asarray(_push(mass, points) - points), axis=0)
    assert moved[0] < 1e-4 and moved[1] < 0.01 and moved[2] > 1.0
    absent = _sample(jax.random.key(1), kind=masses.NONE, sites=sites)
    np.testing.assert_array_equal(_push(absent, points), points)


def test_a_glioma_keeps_its_own_relaxation_times():
    drawn = contrast.sample_contrast(jax.random.key(0))
    sites = jnp.zeros((1, 6)).at[0, 3].set(1.0)
    same = masses.of_kind(_sample(jax.random.key(0), kind=0, sites=sites), drawn)
    other = masses.of_kind(_sample(jax.random.key(0), kind=1, sites=sites), drawn)
    np.testing.assert_array_equal(same.relaxation, drawn.relaxation)
    changed = np.asarray(other.relaxation != drawn.relaxation).any(1)
    assert changed[RIM] and changed.sum() == 1
