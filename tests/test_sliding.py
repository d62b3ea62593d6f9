"""The sliding window gives what the network gives, whatever the volume's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.infer.sliding import mirrors, sliding_window, starts
from brainjax.types import ConfigError

SIZES = st.tuples(*[st.integers(1, 13)] * 3)
PATCHES = st.tuples(*[st.integers(1, 7)] * 3)
OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.8])


def noise(shape, channels=2, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(*shape, channels)).astype(dtype)


@settings(max_examples=60, deadline=None)
@given(SIZES, PATCHES, OVERLAPS, st.integers(1, 4))
def test_the_identity_gives_the_volume(shape, patch, overlap, batch_size):
    volume = noise(shape)
    found = sliding_window(lambda x: x, volume, patch, overlap=overlap, batch_size=batch_size)
    assert found.shape == volume.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, volume, rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(SIZES, PATCHES, OVERLAPS)
def test_a_constant_stays_a_constant(shape, patch, overlap):
    def constant(x):
        return np.full((*x.shape[:-1], 3), 0.7, np.float32)

    found = sliding_window(constant, noise(shape), patch, overlap=overlap)
    np.testing.assert_allclose(found, np.full((*shape, 3), 0.7), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_a_pointwise_network_gives_the_same_as_on_the_whole_volume(dtype):
    volume = (20 * noise((11, 9, 14))).astype(dtype)

    @jax.jit
    def network(x):
        x = x.astype(jnp.float32)
        return jnp.stack([x[..., 0] * x[..., 1], jnp.sin(x[..., 0])], -1)

    found = sliding_window(network, volume, (4, 4, 6), batch_size=3)
    np.testing.assert_allclose(found, network(volume[None])[0], rtol=1e-5, atol=1e-4)


def test_the_middle_of_a_patch_counts_most():
    """A network that is wrong at its borders does little harm where another patch knows better."""
    size = 8

    def wrong_at_the_border(x):
        at = np.arange(size)
        border = (at == 0) | (at == size - 1)
        return np.broadcast_to(border[:, None, None, None], (*x.shape[:-1], 1)).astype(np.float32)

    found = sliding_window(wrong_at_the_border, noise((20, 8, 8)), (size,) * 3)
    assert found[1:-1].max() < 0.05 and found[0].min() > 0.999


def test_one_shape_whatever_the_volume():
    shapes = set()

    def network(x):
        shapes.add(x.shape)
        return x

    for shape in ((16, 16, 16), (5, 30, 7), (3, 2, 1), (9, 9, 9)):
        sliding_window(network, noise(shape), (8, 8, 8), batch_size=4)
    assert shapes == {(4, 8, 8, 8, 2)}


def test_no_more_than_two_batches_are_under_way():
    """And nothing is predicted before the host has added up the batch before the last."""
    alive, most = [], []

    class Pending:
        def __init__(self, x):
            self.x = x
            alive.append(self)
            most.append(len(alive))

        def __array__(self, dtype=None, copy=None):
            alive.remove(self)
            return self.x

    sliding_window(Pending, noise((20, 20, 20)), (8, 8, 8), batch_size=2)
    assert max(most) == 2 and not alive


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(1, 60), st.floats(0, 0.95))
def test_patches_cover_the_axis_with_the_overlap_asked_for(length, patch, overlap):
    patch = min(length, patch)
    found = starts(length, patch, overlap)
    assert found[0] == 0 and found[-1] == length - patch
    steps = np.diff(found)
    assert (steps > 0).all()
    assert steps.max(initial=0) <= max(1, patch * (1 - overlap))


def test_mirrors_are_every_combination_once():
    assert mirrors(()) == [()]
    assert mirrors((0,)) == [(), (0,)]
    assert mirrors((2, 0, 0)) == [(), (0,), (2,), (0, 2)]
    assert len(mirrors((0, 1, 2))) == 8


def test_the_check_ends_it():
    class Enough(Exception):
        pass

    def check():
        raise Enough

    with pytest.raises(Enough):
        sliding_window(lambda x: x, noise((9, 9, 9)), (4, 4, 4), check=check)


@pytest.mark.parametrize(
    "options", [{"patch": (0, 4, 4)}, {"overlap": 1.0}, {"overlap": -0.1}, {"batch_size": 0}]
)
def test_what_is_no_window_is_refused(options):
    with pytest.raises(ConfigError, match="make no sliding window"):
        sliding_window(lambda x: x, noise((9, 9, 9)), **{"patch": (4, 4, 4), **options})
