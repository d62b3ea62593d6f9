"""Both drivers on eight simulated devices do what one device does."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import SMALL, TinyNet, make_dataset

from brainjax import losses
from brainjax.augment import Augment
from brainjax.data.source import Source
from brainjax.models import UNet
from brainjax.models.layers import Dropout
from brainjax.train import parallel
from brainjax.train.state import create
from brainjax.train.step import make_step
from brainjax.types import ConfigError

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))
# Every draw belongs to its example; a few operations show it, and compile faster than all.
AUGMENT = Augment(blur=0.0, lowres=0.0, elastic=0.0, bias=0.0, gamma=0.0)


@functools.cache
def driver(how, net=None, augment=None):
    """The step of a network with BatchNorm and averaged weights under a driver."""
    axis = parallel.axis_name(how)
    net = (net or TinyNet()).clone(axis_name=axis)
    step = make_step(net, losses.bce_dice, TX, size=0, augment=augment, ema=0.9, axis_name=axis)
    return parallel.parallelize(step, how)


@functools.cache
def initial(net):
    return jax.device_get(create(net, TX, jax.random.key(0), (1, 16, 16, 2)))


def start(net=None):
    """Fresh arrays: the drivers donate them."""
    return jax.tree.map(jnp.array, initial(net or TinyNet()))


def train(how, net, source, rows, *, augment=None, steps=3):
    """State and metrics after some steps under a driver, from the same weights."""
    step, state = driver(how, net, augment), start(net)
    history = []
    for _ in range(steps):
        state, metrics = step(state, source.gather(rows), jax.random.key(1))
        history.append({k: np.asarray(v) for k, v in metrics.items()})
    return jax.device_get(state), history


@pytest.fixture(scope="module")
def source():
    return Source(make_dataset((9, 7)), 1, "zscore")


ROWS = {
    "all valid": np.arange(16),
    # Two devices have padding only, others one of two: shares of 0, 1 and 2 valid examples.
    "uneven": np.array([1, -1, -1, -1, 2, 4, 5, 7, -1, -1, 8, -1, -1, 10, 11, 13]),
}


@pytest.mark.parametrize("case", ROWS)
def test_both_drivers_agree_with_one_device(source, case):
    """With BatchNorm, augmentation, clipping, momentum and averaged weights."""
    run = [
        train(h, TinyNet(), source, ROWS[case], augment=AUGMENT) for h in ("none", "pmap", "jit")
    ]
    (one, history), *others = run
    assert history[-1]["loss"] < history[0]["loss"]
    for state, other in others:
        for a, b in zip(history, other, strict=True):
            for name in a:
                np.testing.assert_allclose(a[name], b[name], rtol=2e-5, err_msg=name)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-6), one, state
        )


class DropNet(nn.Module):
    """Dropout and nothing else to disagree about."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        x = Dropout(0.5, self.axis_name)(nn.Conv(4, (1, 1))(x), train=train)
        return nn.Conv(1, (1, 1))(x)


def test_dropout_does_not_depend_on_the_number_of_devices(source):
    losses = [
        [float(m["loss"]) for m in train(how, DropNet(), source, ROWS["all valid"])[1]]
        for how in ("none", "pmap", "jit")
    ]
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)
    x = jnp.ones((3, 500))
    drawn = Dropout(0.25).apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    assert set(np.unique(drawn)) == {0.0, np.float32(1 / 0.75)}
    assert (drawn > 0).mean() == pytest.approx(0.75, abs=0.05)
    assert (drawn[0] != drawn[1]).any()


@pytest.mark.slow
def test_a_real_network_agrees_too(source):
    net = UNet(**SMALL)
    one, history = train("none", net, source, ROWS["uneven"], steps=1)
    many, other = train("pmap", net, source, ROWS["uneven"], steps=1)
    np.testing.assert_allclose(history[0]["loss"], other[0]["loss"], rtol=1e-5)
    np.testing.assert_allclose(history[0]["grad_norm"], other[0]["grad_norm"], rtol=1e-4)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6),
        one.variables["batch_stats"],
        many.variables["batch_stats"],
    )


@pytest.mark.parametrize("how", ["pmap", "jit"])
def test_one_bad_device_makes_the_step_bad_on_all(source, how):
    state = start()
    before = jax.device_get(state.variables)
    raw = source.gather(np.arange(16))
    raw["scale"] = raw["scale"].copy()
    raw["scale"][11] = np.nan
    state, metrics = driver(how)(state, raw, jax.random.key(1))
    assert metrics["skipped"] == 1 and metrics["streak"] == 1
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(state.variables))


@pytest.mark.parametrize("how", ["none", "pmap", "jit"])
def test_steps_compile_once(source, how):
    """The second step must not meet other shardings than the first, nor the device feed's batches."""
    traces = []

    def step(state, batch, key):
        traces.append(1)
        return jax.tree.map(lambda x: x * 2, state), {"sum": batch["valid"].sum()}

    run, state, key = parallel.parallelize(step, how), {"w": jnp.ones(3)}, jax.random.key(0)
    for _ in range(3):
        state, _ = run(state, source.gather(np.arange(16)), key)
    np.testing.assert_array_equal(state["w"], 8.0)
    if how != "none":  # there a batch that is on the device is another program, for that feed alone
        run(state, jax.device_put(source.gather(np.arange(16)), jax.devices()[0]), key)
    assert len(traces) == 1


@pytest.mark.parametrize("how", ["none", "pmap", "jit"])
def test_the_state_is_donated(source, how):
    raw, key = source.gather(np.arange(16)), jax.random.key(1)
    state, _ = driver(how)(start(), raw, key)
    after, metrics = driver(how)(state, raw, key)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.variables["params"]))
    # A step's metrics outlive its state: the loop reads them one step late.
    driver(how)(after, raw, key)
    assert all(np.isfinite(np.asarray(v)) for v in metrics.values())


@pytest.mark.parametrize("how", ["none", "pmap", "jit"])
def test_batches_may_live_on_a_device(source, how):
    """As those of the device-resident feed do."""
    raw, key = source.gather(np.arange(16)), jax.random.key(1)
    held = jax.device_put(raw, jax.devices()[0])
    _, metrics = driver(how)(start(), held, key)
    _, expected = driver(how)(start(), raw, key)
    assert metrics["loss"] == expected["loss"]


def test_names_and_counts():
    assert parallel.resolve("auto") == "pmap" and parallel.device_count("auto") == 8
    assert parallel.device_count("none") == 1 and parallel.device_count("jit") == 8
    assert parallel.axis_name("pmap") == "data"
    assert parallel.axis_name("jit") is None and parallel.axis_name("none") is None
    with pytest.raises(ConfigError, match="did you mean 'pmap'"):
        parallel.resolve("pmp")


def test_a_batch_that_does_not_divide_is_refused_with_one_that_does():
    parallel.check_batch(24, "pmap")
    parallel.check_batch(3, "none")
    with pytest.raises(ConfigError, match=r"8 devices; set --config.train.batch_size=24 or") as e:
        parallel.check_batch(20, "auto")
    assert "\n" not in str(e.value)


def test_one_device_means_no_driver(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert parallel.resolve("auto") == "none" and parallel.axis_name("auto") is None


def test_a_tree_on_many_devices_comes_to_one():
    mesh = parallel.data_mesh()
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    tree = jax.device_put({"a": jnp.arange(3.0)}, everywhere)
    one = parallel.on_one_device(tree)
    assert one["a"].devices() == {jax.devices()[0]}
    np.testing.assert_array_equal(one["a"], [0, 1, 2])
