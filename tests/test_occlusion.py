"""Evidence by occlusion: what a class needs lights up, wherever it is; nothing where nothing is needed."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from brainjax.infer.occlusion import occlusion


class Brightest(nn.Module):
    """Class 0 for the brightest spot anywhere in channel 0, class 1 for its absence."""

    @nn.compact
    def __call__(self, x, *, train):
        bright = x[..., 0].reshape(len(x), -1).max(-1)
        return jnp.stack([bright, -bright], -1)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("place", [4, 16, 27])
def test_what_a_class_needs_lights_up(rank, place):
    image = np.full((1, *(32,) * rank, 1), 0.5, np.float32)
    image[(0, place, *(8,) * (rank - 1))] = 3.0
    heat = np.asarray(occlusion(Brightest(), {}, image, 0, places=8))
    assert heat.shape == image.shape[:-1] and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() == pytest.approx(1.0)
    top = np.unravel_index(heat.argmax(), heat.shape)[1:]
    assert np.abs(np.array(top) - [place, *(8,) * (rank - 1)]).max() <= 4


def test_the_air_around_a_head_explains_nothing():
    image = np.zeros((1, 32, 32, 1), np.float32)
    image[0, 8:24, 8:24] = 1.0
    image[0, 14:18, 14:18] = 0.0  # a ventricle is no air
    image[0, 8, 8] = 3.0
    heat = np.asarray(occlusion(Brightest(), {}, image, 0, places=8))[0]
    outside = np.ones((32, 32), bool)
    outside[8:24, 8:24] = False
    assert not heat[outside].any() and heat[15, 15] > 0


def test_no_evidence_is_no_heat_and_an_ensemble_averages():
    image = np.zeros((2, 16, 16, 1), np.float32)
    image[:, 3, 3] = 2.0
    assert not np.asarray(occlusion(Brightest(), {}, image, 1, places=4)).any()
    one = np.asarray(occlusion(Brightest(), {}, image, [0, 0], places=4))
    np.testing.assert_allclose(occlusion(Brightest(), ({}, {}), image, 0, places=4), one, atol=1e-6)
