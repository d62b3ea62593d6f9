"""A batch computed in parts makes the update of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TinyNet, make_dataset

from brainjax import losses
from brainjax.augment import Augment
from brainjax.data.source import Source
from brainjax.train import parallel
from brainjax.train.accumulate import mapped, summed
from brainjax.train.options import TrainOptions
from brainjax.train.state import create
from brainjax.train.step import make_step
from brainjax.types import ConfigError

TX = optax.sgd(0.1, momentum=0.9)
AUGMENT = Augment(blur=0.0, lowres=0.0, elastic=0.0, bias=0.0, gamma=0.0)
# Of two parts, even places and odd ones, with 5 and 3 valid examples.
ROWS = np.array([1, 2, 4, -1, 5, 7, 8, -1, 10, 11, 13, -1, -1, -1, -1, -1])


@pytest.fixture(scope="module")
def source():
    return Source(make_dataset((9, 7)), 1, "zscore")


def steps(source, norm, how="none", accumulate=1, augment=AUGMENT, count=2):
    axis = parallel.axis_name(how)
    net = TinyNet(norm, axis)
    step = make_step(
        net,
        losses.bce_dice,
        TX,
        size=0,
        augment=augment,
        axis_name=axis,
        accumulate=accumulate,
    )
    run = parallel.parallelize(step, how)
    state = create(TinyNet(norm), TX, jax.random.key(0), (1, 16, 16, 2))
    state = jax.tree.map(jnp.copy, state)  # given away
    for _ in range(count):
        state, metrics = run(state, source.gather(ROWS), jax.random.key(1))
    return state, metrics


def close(a, b, tolerance=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=1e-6)


@pytest.fixture(scope="module")
def whole(source):
    return steps(source, "instance")


@pytest.mark.parametrize("how, accumulate", [("none", 4), ("pmap", 2), ("jit", 2)])
def test_parts_make_the_update_of_the_whole(source, whole, how, accumulate):
    """With padding, augmentation and momentum: the mean is over valid examples, whichever part they are in."""
    state, metrics = steps(source, "instance", how, accumulate)
    close(state, whole[0])
    close(metrics, whole[1])


def test_batch_statistics_are_those_of_the_parts_and_move_once_each(source):
    """The same with eight devices as with one; against statistics taken part by part."""
    one, _ = steps(source, "batch", "none", 2, augment=None, count=1)
    many, _ = steps(source, "batch", "pmap", 2, augment=None, count=1)
    close(one.variables, many.variables)
    net, raw = TinyNet("batch"), source.gather(ROWS)
    variables = create(net, TX, jax.random.key(0), (1, 16, 16, 2)).variables
    lift = (slice(None), None, None)
    image = (raw["image"] - raw["shift"][lift]) * raw["scale"][lift]
    for k in range(2):
        _, moved = net.apply(variables, image[k::2], train=True, mutable=["batch_stats"])
        variables = {**variables, **moved}
    close(one.variables["batch_stats"], variables["batch_stats"], 1e-4)


def test_the_state_is_donated_and_one_bad_part_spoils_the_step(source):
    step = make_step(TinyNet("batch"), losses.bce_dice, TX, size=0, accumulate=2)
    run = parallel.parallelize(step, "none")
    state = jax.tree.map(jnp.copy, create(TinyNet("batch"), TX, jax.random.key(0), (1, 16, 16, 2)))
    before = jax.device_get(state.variables)
    raw = source.gather(ROWS)
    raw["scale"][1] = np.nan
    after, metrics = run(state, raw, jax.random.key(1))
    assert all(x.is_deleted() for x in jax.tree.leaves(state.opt_state))
    assert metrics["skipped"] == 1
    jax.tree.map(np.testing.assert_array_equal, after.variables, before)


def test_memory_is_that_of_a_part(source):
    """Three quarters of what a part does not need are gone."""
    state = create(TinyNet("instance"), TX, jax.random.key(0), (1, 16, 16, 2))

    def bytes_of(accumulate):
        step = make_step(TinyNet("instance"), losses.bce_dice, TX, size=0, accumulate=accumulate)
        compiled = jax.jit(step).lower(state, source.gather(ROWS), jax.random.key(1)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(8) < bytes_of(1) / 2


def test_examples_keep_their_order_and_every_part_its_key():
    x = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(mapped(lambda x: x * 2, (x,), 3), x * 2)

    def f(seen, part, key):
        return part.sum(), seen.at[part[0, 0].astype(int) // 2].set(jax.random.uniform(key))

    total, seen = summed(f, jnp.zeros(6), x, jax.random.key(0), 3)
    assert total == x.sum()
    assert len(np.unique(seen[:3])) == 3 and (seen[3:] == 0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 6, "accumulate": 4}, "into 4 parts; set --config.train.batch_size=8"),
        (
            {"batch_size": 24, "accumulate": 2, "parallel": "pmap"},
            "8 devices, 2 parts on each; set --config.train.batch_size=32 or",
        ),
        ({"accumulate": 0}, "accumulate must be 1 or more"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused(options, message):
    with pytest.raises(ConfigError, match=message) as error:
        TrainOptions(**{"parallel": "none", **options})
    assert "\n" not in str(error.value)
