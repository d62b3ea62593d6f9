"""Loss, optimizer and schedule as data: the same numbers as when they are compiled in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainjax import losses, optim
from brainjax.train.choice import Choices, Wish

STEPS = 5
PARAMS = {"dense": {"kernel": jnp.linspace(-1, 1, 6).reshape(3, 2), "bias": jnp.ones(2)}}


def wish(name="adam", loss="bce", schedule="cosine", **options):
    return Wish(
        getattr(losses, loss),
        {"name": loss},
        {"name": name, "learning_rate": 0.1, **options},
        optim.make_schedule(schedule, STEPS),
    )


GRADS = jax.tree.map(
    lambda p: np.random.default_rng(0).normal(size=(STEPS, *p.shape)).astype(np.float32), PARAMS
)


def descend(tx):
    """The parameters after `STEPS` steps."""

    def step(carry, grads):
        params, state = carry
        moves, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, moves), state), None

    return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), GRADS)[0][0]


def stack(trees):
    return jax.tree.map(lambda *x: np.stack(x), *trees)


WISHES = [
    wish("adamw", weight_decay=0.1),
    wish("adamw", weight_decay=0.2, schedule="constant"),
    wish("sgd", momentum=0.9),
    wish("sgd", momentum=0.5, learning_rate=0.3),
    wish("sgd"),
    wish("adagrad", schedule="step_decay", initial_accumulator_value=0.3),
]


def test_every_trial_moves_as_its_own_optimizer_would():
    choices = Choices(WISHES, steps=STEPS, clip_norm=1.0)

    encoded = [choices.encode(w) for w in WISHES]
    alone = jax.jit(lambda choice: descend(choices.optimizer(choice)))
    together = jax.jit(jax.vmap(lambda choice: descend(choices.optimizer(choice))))(stack(encoded))
    for i, w in enumerate(WISHES):
        options = {k: v for k, v in w.optimizer_section.items() if k != "name"}
        tx = optim.make(w.optimizer_section["name"], options, w.schedule, clip_norm=1.0)
        expected = jax.jit(lambda: descend(tx))()  # noqa: B023
        for found in (jax.tree.map(lambda x: x[i], together), alone(encoded[i])):  # noqa: B023
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), found, expected)
    assert alone._cache_size() == 1


def test_numbers_that_vary_are_arguments_and_the_others_stay_constants():
    choices = Choices(WISHES, steps=STEPS, clip_norm=0.0)
    found = {(f.name, tuple(f.free)) for f in choices.families}
    assert ("adamw", ("weight_decay",)) in found and ("sgd", ("learning_rate", "momentum")) in found
    assert len(choices.families) == 4  # sgd without momentum is another computation
    lone = Choices(WISHES[:1], steps=STEPS, clip_norm=0.0).families
    assert len(lone) == 1 and not lone[0].free and lone[0].fixed["weight_decay"] == 0.1


def test_an_option_that_python_looks_at_makes_families():
    """lamb's own code asks whether there is weight decay."""

    def picky(learning_rate, eps=1.0):
        return optim.bare("sgd", {"learning_rate": learning_rate if eps > 0.5 else 0.0})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            optim, "get", lambda name, get=optim.get: picky if name == "picky" else get(name)
        )
        wishes = [wish("picky", eps=e, learning_rate=r) for e in (0.1, 0.9) for r in (0.1, 0.2)]
        families = Choices(wishes, steps=STEPS, clip_norm=0.0).families
    assert [(f.fixed, list(f.free)) for f in families] == [
        ({"eps": e}, ["learning_rate"]) for e in (0.1, 0.9)
    ]


def test_optimizers_share_the_room_for_their_state():
    def size(*wishes):
        choices = Choices(wishes, steps=STEPS, clip_norm=0.0)
        tx = choices.optimizer(choices.encode(wishes[0]))
        return sum(x.size for x in jax.tree.leaves(jax.eval_shape(tx.init, PARAMS)))

    adam, sgd = wish("adam"), wish("sgd", momentum=0.9)
    assert size(adam, sgd) == size(sgd, adam) == size(adam) > size(sgd)
    assert size(adam, wish("nadam"), sgd) == size(adam)


def test_the_chosen_loss_and_its_gradient_whatever_the_others_do():
    def exploding(logits, target):  # infinite, and so is its slope
        return jnp.exp(1e3 * jnp.abs(logits) + 1).sum((1, 2))

    wishes = [wish(loss="bce"), wish(loss="dice")]
    wishes.append(
        Wish(exploding, {"name": "exploding"}, wishes[0].optimizer_section, wishes[0].schedule)
    )
    choices = Choices(wishes, steps=STEPS, clip_norm=0.0)
    logits = jax.random.normal(jax.random.key(0), (4, 5, 1)) * 3
    target = (jax.random.uniform(jax.random.key(1), logits.shape) > 0.5).astype(jnp.float32)

    def value(choice, x):
        return choices.loss(choice, x, target).sum()

    both = jax.jit(jax.vmap(jax.value_and_grad(value, argnums=1), in_axes=(0, None)))
    found = both(stack([choices.encode(w) for w in wishes]), logits)
    for i, w in enumerate(wishes[:2]):
        expected = jax.jit(jax.value_and_grad(lambda x: w.loss(x, target).sum()))(logits)  # noqa: B023
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a[i], b, 1e-5, 1e-6)
    assert not np.isfinite(found[0][2])


@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_a_schedule_is_its_table(name):
    own = wish(schedule=name)
    table = Choices([own], steps=STEPS, clip_norm=0.0).encode(own)["schedule"]
    np.testing.assert_allclose(table, [own.schedule(jnp.int32(s)) for s in range(STEPS)], 1e-6)
