"""A volume or slice that is split over devices gives the logits, loss and gradients of one device."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import SMALL, make_volume_config, make_volumes

from brainjax import losses
from brainjax.models import UNet
from brainjax.report import runs
from brainjax.train import parallel
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.types import ConfigError


def scoring(net, split=lambda x: x):
    """A step that changes nothing: the state in, its gradients out, logits and loss beside them."""

    def step(variables, batch, _):
        def objective(params):
            image = split(batch["image"])
            logits, moved = net.apply(
                {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
            )
            return losses.bce_dice(logits, batch["mask"]).mean(), (logits, moved)

        (loss, (logits, moved)), grads = jax.value_and_grad(objective, has_aux=True)(
            variables["params"]
        )
        return {"params": grads, **moved}, {"logits": logits, "loss": loss}

    return step


def example(shape, seed=0):
    keys = jax.random.split(jax.random.key(seed))
    mask = jax.random.bernoulli(keys[1], 0.3, (*shape[:-1], 1)).astype(jnp.float32)
    return jax.device_get({"image": jax.random.normal(keys[0], shape) + mask, "mask": mask})


def case(norm, space, shape, *marks):
    name = f"{'slices' if len(shape) == 4 else 'volumes'}-{norm}"
    return pytest.param(norm, space, shape, id=name, marks=marks)


CASES = [
    case("batch", 8, (2, 32, 24, 2), pytest.mark.slow),
    case("group", 8, (2, 32, 24, 2)),
    # Three positions a device, and one and a half on the coarse floor.
    case("instance", 4, (2, 12, 8, 2), pytest.mark.slow),
    case("batch", 4, (2, 16, 8, 8, 2)),
    case("group", 4, (2, 16, 8, 8, 2), pytest.mark.slow),
    case("instance", 4, (2, 16, 8, 8, 2), pytest.mark.slow),
]


@pytest.mark.parametrize("norm, space, shape", CASES)
def test_logits_loss_and_gradients_are_those_of_one_device(norm, space, shape):
    """On CPU, whose convolutions fold the depth into the batch."""
    net = UNet(**SMALL, norm=norm)
    batch = example(shape)
    variables = jax.jit(lambda k: net.init(k, batch["image"][:1], train=False))(jax.random.key(1))
    found = []
    for how, n in (("none", 1), ("jit", space)):
        step = parallel.parallelize(scoring(net, parallel.splitter(how, n)), how, n)
        found.append(step(jax.tree.map(jnp.copy, variables), batch, jax.random.key(2)))
    for one, many in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-5)


def test_elsewhere_than_on_cpu_neighbours_swap_their_seams_and_nobody_gathers(monkeypatch):
    """The program that GPU and TPU get, of plain convolutions, compiled here."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, default, **others: default(*x))
    net, batch = UNet(**SMALL, norm="group"), example((2, 32, 16, 16, 2))
    variables = jax.jit(lambda k: net.init(k, batch["image"][:1], train=False))(jax.random.key(1))

    def compiled(space):
        step = scoring(net, parallel.splitter("jit", space))
        return jax.jit(step).lower(variables, batch, None).compile()

    whole, split = compiled(1), compiled(8)
    text = split.as_text()
    assert text.count(" collective-permute") > 10
    assert not re.search(r"\ball-gather", text)
    memory = [x.memory_analysis().temp_size_in_bytes for x in (whole, split)]
    assert memory[1] < memory[0] / 4


def test_a_run_on_split_patches_is_that_on_one_device(tmp_path):
    """Patches, cut and augmented in the step, from volumes whose 18 voxels do not divide."""
    history, dataset = [], make_volumes()
    for name, train in (("one", {}), ("split", {"parallel": "jit", "space": 4})):
        recipe = make_recipe(make_volume_config(train={"steps": 2, **train}, split={"val": 0}))
        workdir = tmp_path / name
        Trainer(recipe, dataset, recipe.split(dataset), workdir, seed=0, quiet=True).run()
        history.append(runs.read(workdir).lines)
    for one, split in zip(*history, strict=True):
        assert one["loss"] == pytest.approx(split["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(split["grad_norm"], rel=1e-4)


REFUSED = [
    ({"parallel": "pmap", "space": 2}, "set --config.train.parallel=jit"),
    ({"parallel": "none", "space": 2}, "set --config.train.parallel=jit"),
    ({"parallel": "jit", "space": 3}, "does not divide the 8 devices; use a divisor of 8"),
    ({"parallel": "jit", "space": 0}, "train.space must be 1 or more"),
    (
        {"parallel": "jit", "space": 2},
        "2 does not divide among 4 devices; set --config.train.batch_size=4",
    ),
]


@pytest.mark.parametrize("train, message", REFUSED)
def test_what_cannot_be_split_is_refused_in_one_line(train, message):
    with pytest.raises(ConfigError, match=message) as error:
        make_recipe(make_volume_config(train=train))
    assert "\n" not in str(error.value)


def test_a_patch_whose_edge_does_not_divide_is_refused(tmp_path):
    recipe = make_recipe(
        make_volume_config(train={"parallel": "jit", "space": 8}, augment={"patch": (12, 8, 8)})
    )
    with pytest.raises(ConfigError, match="does not divide the first of 12 x 8 x 8 positions"):
        recipe.batch_shape(make_volumes())


def test_auto_splits_where_it_is_asked_to():
    assert parallel.resolve("auto", 4) == "jit" and parallel.device_count("auto", 4) == 2
    assert parallel.axis_name("auto", 4) is None
