"""Optimizers by name, schedules, clipping, decay masks and the weight average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainjax import optim
from brainjax.types import ConfigError


def run(tx, steps=60, start=1.0):
    """Minimises |w|^2 over a matrix and a bias; returns both after `steps` updates."""
    params = {"kernel": jnp.full((2, 2), start), "bias": jnp.full(2, start)}

    def step(carry, _):
        params, state = carry
        grads = jax.tree.map(lambda w: 2 * w, params)
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=steps))(
        (params, tx.init(params))
    )
    return params


# rprop, sm3 and fromage take no optax schedule as learning rate; here every optimizer takes ours.
@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("sgd", 0.05),
        ("adam", 0.05),
        ("adamw", 0.05),
        ("nadam", 0.05),
        ("lion", 0.02),
        ("rmsprop", 0.02),
        ("adafactor", 0.05),
        ("lars", 10.0),
        ("rprop", 0.01),
        ("sm3", 0.1),
        ("fromage", 0.05),
    ],
)
def test_optimizers_descend(name, rate):
    tx = optim.make(name, {"learning_rate": rate}, optim.cosine(60), clip_norm=1.0)
    params = run(tx)
    assert float(jnp.abs(params["kernel"]).max()) < 0.7


@pytest.mark.filterwarnings("ignore")  # optax lists deprecated optimizers too
def test_every_listed_optimizer_is_made_or_refused_with_a_reason():
    names = optim.names()
    assert {"adam", "adamw", "nadam", "sgd", "lion", "lamb"} <= set(names)
    assert not any(n.startswith(("scale_by_", "_")) for n in names)
    refused = []
    for name in names:
        try:
            optim.make(name, {"learning_rate": 0.1})
        except ConfigError as error:
            assert f"optax.{name}" in str(error)
            refused.append(name)
    # These want the loss at every step, or keep a random key.
    assert set(refused) <= {"lbfgs", "polyak_sgd", "noisy_sgd"}
    assert {"lbfgs", "noisy_sgd"} <= set(refused)


def test_rate_is_the_option_times_the_schedule():
    scheduled = optim.make("adamw", {"learning_rate": 0.1, "weight_decay": 0.3}, optim.cosine(20))
    multiplier = optim.cosine(20)
    reference = optax.adamw(
        lambda step: 0.1 * multiplier(step), weight_decay=0.3, mask=optim.decay_mask
    )
    a, b = run(scheduled, steps=20), run(reference, steps=20)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


def test_clip():
    tx = optim.make("sgd", {"learning_rate": 1.0}, clip_norm=0.5)
    params = {"w": jnp.zeros(3)}
    big, small = {"w": jnp.array([0.0, 30.0, 40.0])}, {"w": jnp.array([0.1, 0.0, 0.2])}
    update, _ = tx.update(big, tx.init(params), params)
    np.testing.assert_allclose(update["w"], [0.0, -0.3, -0.4], rtol=1e-6)
    update, _ = tx.update(small, tx.init(params), params)
    np.testing.assert_allclose(update["w"], -small["w"], rtol=1e-6)
    tx = optim.make("sgd", {"learning_rate": 1.0})
    update, _ = tx.update(big, tx.init(params), params)
    np.testing.assert_allclose(update["w"], -big["w"])


def test_decay_mask():
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
        "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)},
        "attention": {"kernel": jnp.ones((8, 2, 4)), "bias": jnp.ones((2, 4))},
    }
    assert optim.decay_mask(params) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "attention": {"kernel": True, "bias": False},
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adamw", {"weight_decay": 0.5}),
        ("lion", {"weight_decay": 0.5}),
        ("lamb", {"weight_decay": 0.5}),
        ("adadelta", {"weight_decay": 0.5}),  # its option is called weight_decay_mask
        ("adamw", {"weight_decay": 0.5, "mask": None}),
        ("lars", {"weight_decay": 0.5, "weight_decay_mask": True}),
    ],
)
def test_weight_decay_spares_biases(name, options):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)

    def update(**more):
        tx = optim.make(name, {"learning_rate": 0.1, **options}, **more)
        return tx.update(zero, tx.init(params), params)[0]

    spared = update()
    assert float(spared["kernel"].max()) < 0 and float(jnp.abs(spared["bias"]).max()) == 0
    decayed = update(mask=lambda p: jax.tree.map(lambda _: True, p))
    assert float(decayed["bias"].max()) < 0


def test_wrong_names_and_options():
    with pytest.raises(ConfigError, match="did you mean 'adamw'"):
        optim.make("adamww", {"learning_rate": 0.1})
    with pytest.raises(ConfigError, match="unknown optimizer"):
        optim.get("scale_by_rprop")  # a part, which would climb
    with pytest.raises(ConfigError, match="unknown optimizer"):
        optim.get("apply_updates")
    with pytest.raises(ConfigError, match="did you mean 'momentum'"):
        optim.make("sgd", {"learning_rate": 0.1, "momentun": 0.9})
    with pytest.raises(ConfigError, match="learning_rate must be a number above 0"):
        optim.make("sgd", {})
    with pytest.raises(ConfigError, match="the schedule's"):
        optim.make("sgd", {"learning_rate": optim.cosine(10)})
    with pytest.raises(ConfigError, match="noisy_sgd .*a random key, which no checkpoint can hold"):
        optim.make("noisy_sgd", {"learning_rate": 0.1, "seed": 1})
    with pytest.raises(ConfigError, match="clip_norm"):
        optim.make("sgd", {"learning_rate": 0.1}, clip_norm=-1.0)
    with pytest.raises(ConfigError, match=r"did you mean 'cosine'.*polynomial"):
        optim.make_schedule("cosin", 10)
    with pytest.raises(ConfigError, match="did you mean 'power'"):
        optim.make_schedule("polynomial", 10, pover=2.0)
    with pytest.raises(ConfigError, match="steps >= 1"):
        optim.make_schedule("constant", 0)
    with pytest.raises(ConfigError, match="warmup"):
        optim.make_schedule("cosine", 10, warmup=1.0)
    with pytest.raises(ConfigError, match="step 30 of 100 is 0.3"):
        optim.make_schedule("step_decay", 100, boundaries=(30, 60))


@pytest.mark.parametrize("steps", [1, 7, 1000])
@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_schedules_stay_in_range_and_waste_no_step(name, steps):
    schedule = optim.make_schedule(name, steps)
    values = np.asarray(schedule(np.arange(steps)))
    assert (values > 0).all() and (values <= 1).all()
    assert np.isclose(values.max(), 1.0) or steps == 1
    traced = jax.jit(schedule)(jnp.int32(steps // 2))
    np.testing.assert_allclose(traced, values[steps // 2], rtol=1e-5)
    assert traced.shape == ()
    np.testing.assert_allclose(schedule(steps), schedule(10 * steps), atol=1e-7)


@pytest.mark.parametrize("name", ["cosine", "polynomial", "one_cycle"])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_schedule_endpoints(name, final):
    schedule = optim.make_schedule(name, 200, warmup=0.25, final=final)
    assert 0 < schedule(0) < 0.05
    np.testing.assert_allclose(schedule(50), 1.0, rtol=1e-6)
    np.testing.assert_allclose(schedule(200), final, atol=1e-6)
    values = np.asarray(schedule(np.arange(201)))
    assert (np.diff(values[:51]) > 0).all() and (np.diff(values[50:]) < 0).all()


def test_schedule_shapes():
    np.testing.assert_allclose(optim.cosine(100, warmup=0.0)(50), 0.5, atol=1e-6)
    np.testing.assert_allclose(optim.cosine(100, warmup=0.0)(0), 1.0)
    np.testing.assert_allclose(optim.polynomial(100, power=0.9)(40), 0.6**0.9, rtol=1e-6)
    np.testing.assert_allclose(optim.constant(100)(np.array([0, 50, 500])), 1.0)
    np.testing.assert_allclose(optim.constant(100, warmup=0.1)(4), 5 / 11, rtol=1e-6)
    np.testing.assert_allclose(
        optim.step_decay(100)(np.array([0, 49, 50, 74, 75, 100])),
        [1, 1, 0.1, 0.1, 0.01, 0.01],
        rtol=1e-5,
    )
    np.testing.assert_allclose(optim.one_cycle(100)(0), 0.04, rtol=1e-6)


def test_ema_update():
    start, params = {"w": jnp.float32(1.0)}, {"w": jnp.float32(3.0)}
    first = optim.ema_update(start, params, 0, 0.999)
    np.testing.assert_allclose(first["w"], 0.1 * 1.0 + 0.9 * 3.0, rtol=1e-6)
    late = jax.jit(optim.ema_update)(start, params, jnp.int32(10**6), 0.999)
    np.testing.assert_allclose(late["w"], 0.999 * 1.0 + 0.001 * 3.0, rtol=1e-6)
    ema = {"w": jnp.bfloat16(1.0)}
    assert optim.ema_update(ema, params, 3, 0.9)["w"].dtype == jnp.bfloat16
    constant = {"w": jnp.float32(0.3)}
    np.testing.assert_array_equal(optim.ema_update(constant, constant, 5, 0.9)["w"], constant["w"])


def test_every_optimizer_has_the_name_that_configs_call_it_by():
    """optax.nadam is a partial of adam, without a name of its own."""
    assert [optim.get(name).__name__ for name in ("adam", "nadam")] == ["adam", "nadam"]
    assert {"nadam", "nadamw"} <= set(optim.names())
