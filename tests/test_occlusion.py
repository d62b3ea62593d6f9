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
    image[0, place, 8] = 3.0  # a dot of a plane picture, a line of a volume
    heat = np.asarray(occlusion(Brightest(), {}, image, 0, places=8))
    assert heat.shape == image.shape[:-1] and heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() == pytest.approx(1.0)
    top = np.unravel_index(heat.argmax(), heat.shape)[1:]
    assert abs(top[0] - place) <= 4 and (rank == 3 or abs(top[1] - 8) <= 4)


def test_no_evidence_is_no_heat_and_an_ensemble_averages():
    image = np.zeros((2, 16, 16, 1), np.float32)
    image[:, 3, 3] = 2.0
    assert not np.asarray(occlusion(Brightest(), {}, image, 1, places=4)).any()
    one = np.asarray(occlusion(Brightest(), {}, image, [0, 0], places=4))
    np.testing.assert_allclose(occlusion(Brightest(), ({}, {}), image, 0, places=4), one, atol=1e-6)
