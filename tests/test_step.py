"""The pure step: padding, bad steps, the averaged weights, keys."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TinyNet

from brainjax import losses
from brainjax.augment import Augment
from brainjax.data.source import Source
from brainjax.train.state import count_parameters, create
from brainjax.train.step import make_step

TX = optax.sgd(0.1, momentum=0.9)


def model(norm="instance"):
    return TinyNet(norm)


@functools.cache
def start(net):
    return create(net, TX, jax.random.key(0), (1, 16, 16, 2))


@pytest.fixture(scope="module")
def source(dataset):
    return Source(dataset, 1, "zscore")


@pytest.fixture(scope="module")
def plain_step():
    return jax.jit(make_step(model(), losses.bce_dice, TX, size=0, ema=0.9))


def close(a, b, tolerance=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=tolerance), a, b)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_padding_changes_neither_loss_nor_gradient(source, plain_step):
    state, key = start(model()), jax.random.key(1)
    after, metrics = plain_step(state, source.gather(np.array([1, 2, 4])), key)
    padded_after, padded = plain_step(state, source.gather(np.array([1, 2, 4, -1, -1])), key)
    assert metrics["loss"] == pytest.approx(float(padded["loss"]), rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(float(padded["grad_norm"]), rel=1e-5)
    close(after.variables, padded_after.variables)


def test_the_content_of_padding_is_irrelevant(source, plain_step):
    state, key = start(model()), jax.random.key(1)
    raw = source.gather(np.array([1, 2, -1]))
    other = {**raw, "image": raw["image"].copy(), "mask": raw["mask"].copy()}
    other["image"][2], other["mask"][2] = 7, 1
    same(plain_step(state, raw, key), plain_step(state, other, key))


def test_a_batch_of_padding_alone_moves_nothing_but_the_momentum(source, plain_step):
    state = start(model())
    after, metrics = plain_step(state, source.gather(np.array([-1, -1, -1])), jax.random.key(1))
    assert metrics["loss"] == 0 and metrics["grad_norm"] == 0
    same(after.variables, state.variables)


def test_loss_and_gradient_are_those_of_the_mean_over_examples(source, plain_step):
    """Against an independent, undifferentiated-by-step computation on prepared arrays."""
    net, state, rows = model(), start(model()), np.array([1, 2, 4])
    raw = source.gather(rows)
    image = (raw["image"] - raw["shift"][:, None, None]) * raw["scale"][:, None, None]

    def mean_loss(params):
        logits = net.apply({"params": params}, jnp.asarray(image), train=True)
        return losses.bce_dice(logits, jnp.asarray(raw["mask"], jnp.float32)).mean()

    value, grads = jax.value_and_grad(mean_loss)(state.variables["params"])
    after, metrics = plain_step(state, raw, jax.random.key(1))
    assert metrics["loss"] == pytest.approx(float(value), rel=1e-5)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.variables["params"], grads)
    close(after.variables["params"], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_only_its_counters(source, bad):
    net = model("batch")
    step = jax.jit(make_step(net, losses.bce_dice, TX, size=0, ema=0.9))
    state, key = start(net), jax.random.key(1)
    good = source.gather(np.array([1, 2, 4]))
    state, _ = step(state, good, key)
    broken = {**good, "scale": np.full_like(good["scale"], bad)}
    after, metrics = step(state, broken, key)
    same(after.variables, state.variables)  # batch statistics included
    same(after.ema, state.ema)
    same(after.opt_state, state.opt_state)
    assert (after.step, after.skipped, after.streak) == (2, 1, 1)
    assert not np.isfinite(metrics["loss"]) or not np.isfinite(metrics["grad_norm"])
    after, _ = step(after, broken, key)
    assert (after.step, after.skipped, after.streak) == (3, 2, 2)
    after, _ = step(after, good, key)
    assert (after.step, after.skipped, after.streak) == (4, 2, 0)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))


def test_a_gradient_that_is_not_finite_skips_the_step_though_the_loss_is(source):
    def loss(logits, target):  # sqrt has an infinite slope at 0
        return jnp.sqrt(jnp.abs(logits - jax.lax.stop_gradient(logits))).mean((1, 2, 3))

    step = jax.jit(make_step(model(), loss, TX, size=0))
    state = start(model())
    after, metrics = step(state, source.gather(np.array([1, 2])), jax.random.key(1))
    assert metrics["loss"] == 0 and after.skipped == 1
    same(after.variables, state.variables)


def test_an_update_that_is_not_finite_skips_the_step_though_the_gradient_is(source):
    tx = optax.chain(TX, optax.scale(jnp.inf))
    step = jax.jit(make_step(model(), losses.bce_dice, tx, size=0))
    state = create(model(), tx, jax.random.key(0), (1, 16, 16, 2))
    after, metrics = step(state, source.gather(np.array([1, 2])), jax.random.key(1))
    assert np.isfinite(metrics["grad_norm"]) and after.skipped == 1
    same(after.variables, state.variables)


def test_averaged_weights_follow_the_formula_and_are_the_weights_when_off(source, plain_step):
    state, key, raw = start(model()), jax.random.key(1), source.gather(np.array([1, 2, 4]))
    expected = state.variables
    for i in range(3):
        state, _ = plain_step(state, raw, key)
        decay = min(0.9, (1 + i) / (10 + i))
        expected = jax.tree.map(
            lambda e, p, d=decay: d * e + (1 - d) * p, expected, state.variables
        )
    close(state.ema, expected)
    off = jax.jit(make_step(model(), losses.bce_dice, TX, size=0, ema=0.0), donate_argnums=0)
    state = jax.tree.map(jnp.copy, start(model()))
    for _ in range(2):  # donating a state that holds the same weights twice must work
        state, _ = off(state, raw, key)
    same(state.ema, state.variables)


def test_batch_statistics_are_averaged_too(source):
    net = model("batch")
    step = jax.jit(make_step(net, losses.bce_dice, TX, size=0, ema=0.9))
    state, _ = step(start(net), source.gather(np.array([1, 2])), jax.random.key(0))
    now, mean = state.variables["batch_stats"], state.ema["batch_stats"]
    assert any(
        (a != b).any() for a, b in zip(jax.tree.leaves(now), jax.tree.leaves(mean), strict=True)
    )


class Recorder:
    """An augmentation that shows its keys: it adds a number drawn from each to the example."""

    def batch(self, keys, image, mask):
        return image + jax.vmap(jax.random.normal)(keys)[:, None, None, None], mask


def test_augmentation_keys_differ_by_example_and_step_and_repeat_with_the_seed(source):
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            self.param("w", nn.initializers.ones, ())
            return x

    seen = []
    net = Mean()
    state = create(net, TX, jax.random.key(0), (1, 16, 16, 2))
    raw = source.gather(np.array([1, 1, 1, 1]))

    def step(state, key):
        def loss(logits, target):
            jax.debug.callback(lambda x: seen.append(np.asarray(x)), logits.mean((1, 2, 3)))
            return logits.mean((1, 2, 3))

        return make_step(net, loss, TX, size=0, augment=Recorder())(state, raw, key)

    first, _ = step(state, jax.random.key(5))
    step(first, jax.random.key(5))
    step(state, jax.random.key(5))
    step(state, jax.random.key(6))
    jax.effects_barrier()
    draws = np.stack(seen)
    assert len(np.unique(draws[0])) == 4
    np.testing.assert_array_equal(draws[0], draws[2])
    assert not np.isin(draws[1], draws[0]).any() and not np.isin(draws[3], draws[0]).any()


def test_working_grid_and_augmentation_run_inside_the_step(source):
    step = jax.jit(make_step(model(), losses.bce_dice, TX, size=8, augment=Augment(), ema=0.5))
    state, metrics = step(start(model()), source.gather(np.array([1, 2, 4])), jax.random.key(0))
    assert state.step == 1 and np.isfinite(metrics["loss"]) and state.skipped == 0


def test_the_state_starts_at_zero_with_the_average_equal_to_the_weights():
    state = start(model("batch"))
    assert (state.step, state.skipped, state.streak) == (0, 0, 0)
    same(state.ema, state.variables)
    leaves = jax.tree.leaves(state.variables["params"])
    assert count_parameters(state.variables) == sum(np.prod(x.shape) for x in leaves)
