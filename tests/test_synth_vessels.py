"""Veins and plexus: where they are, what they look like, and that nothing else changes for them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.datasets import SyntheticVolumes
from brainjax.synth import anatomy, contrast, vessels

SHAPE = (6, 20, 20)
HEAD = SyntheticVolumes(subjects=1, slices=32, size=64, healthy=1.0, seed=3)


@pytest.fixture(scope="module")
def plain():
    return HEAD.load()


@pytest.fixture(scope="module")
def veined():
    return dataclasses.replace(HEAD, vessels=True).load()


@pytest.mark.parametrize("tissue", [anatomy.CSF, anatomy.WHITE, anatomy.SKULL])
def test_vessels_take_the_place_of_fluid_and_a_little_of_the_brain(tissue):
    drawn = vessels.sample_vessels(jax.random.key(0))._replace(deep=jnp.float32(0.3))
    head = jnp.zeros((len(anatomy.TISSUES), *SHAPE)).at[tissue].set(1.0)
    points = jnp.broadcast_to(jnp.array([0.0, 60.0, 40.0])[:, None, None, None], (3, *SHAPE))
    noise = vessels.fields(drawn, shape=SHAPE)
    found = vessels.apply_vessels(drawn, points, noise, head)
    np.testing.assert_allclose(found.sum(0), 1.0, atol=1e-6)
    share = float(found[anatomy.VEIN].max())
    if tissue == anatomy.SKULL:
        assert share == 0
    elif tissue == anatomy.CSF:
        assert share > 0.5
    else:
        assert 0 < share <= 0.3


def test_plexus_hangs_in_the_ventricles_alone():
    drawn = vessels.sample_vessels(jax.random.key(0))
    head = jnp.zeros((len(anatomy.TISSUES), 2)).at[anatomy.CSF].set(1.0)
    points = jnp.array([[15.0, 15.0], [-30.0, 60.0], [12.0, 12.0]])
    noise = jnp.array([[9.0, 9.0], [9.0, 9.0], [0.0, 0.0], [3.0, 3.0]])  # no vessel here; clumps
    inside, outside = vessels.apply_vessels(drawn, points, noise, head)[anatomy.VEIN]
    assert inside > 0.25 and outside < 1e-3


def test_blood_is_bright_after_contrast_agent_alone():
    drawn = contrast.sample_contrast(jax.random.key(1))
    signal = contrast.signals(vessels.of_blood(vessels.sample_vessels(jax.random.key(0)), drawn))
    t1, t1ce, t2, flair = (
        signal[anatomy.VEIN, c] / signal[anatomy.WHITE, c] for c in range(len(contrast.CHANNELS))
    )
    assert t1ce > 1.3 and max(t1, t2, flair) < 1.0


def test_the_head_is_the_same_with_and_without(plain, veined):
    np.testing.assert_array_equal(plain.mask, veined.mask)
    t1, t1ce = (contrast.CHANNELS.index(name) for name in ("t1", "t1ce"))
    # Sinuses beside the brain stay, and they are the brightest there is.
    kept = (veined.image[..., t1ce] > 0) & (plain.image[..., t1ce] == 0)
    assert kept.sum() > 100
    inside = plain.image[..., t1] > 0
    brain = np.median(veined.image[inside][:, t1ce])
    assert np.median(veined.image[kept][:, t1ce]) > 1.3 * brain
