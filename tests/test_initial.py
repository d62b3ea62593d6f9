"""Fine-tuning takes over weights, and never at the price of a patient on both sides."""

import dataclasses

import flax
import jax
import numpy as np
import optax
import pytest
from tiny import make_config, make_labelled
from weight_files import write_keras

from brainjax.datasets.label_splits import stratified
from brainjax.infer import release
from brainjax.models import VGG, ResNet, ViT
from brainjax.train import initial
from brainjax.train.initial import start_from
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.state import create
from brainjax.types import CheckpointError, ConfigError


def trainer(dataset, workdir, seed=0, **sections):
    recipe = make_recipe(make_config(**sections))
    return Trainer(recipe, dataset, recipe.split(dataset), workdir, seed=seed, quiet=True)


@pytest.fixture(scope="module")
def first(dataset, tmp_path_factory):
    """The folder of a release: random weights, said to be trained on the first run's patients."""
    run = trainer(dataset, tmp_path_factory.mktemp("run"), seed=1)
    facts = {"channels": ["a", "b"], "classes": ["lesion"], "trained_on": run.trained_on}
    config = make_config().to_dict()
    folder = tmp_path_factory.mktemp("release")
    return release.save(folder, release.Release(config, facts, run.averaged))


def test_a_run_begins_with_the_weights_of_another_on_another_grid(first, dataset, tmp_path):
    init = {"init": str(first), "steps": 2}
    run = trainer(dataset, tmp_path / "fine", train=init, input={"size": 8})
    stored = release.load(first)
    for begun in (run.state.variables, run.state.ema):
        jax.tree.map(np.testing.assert_array_equal, begun, stored.variables)
    other = trainer(dataset, tmp_path / "other", train={"steps": 2})
    leaves = (jax.tree.leaves(t.state.variables) for t in (run, other))
    assert any((a != b).any() for a, b in zip(*leaves, strict=True))
    run.run()  # donates its state: weights and their average must not share buffers
    assert int(run.state.step) == 2


def test_a_resumed_run_needs_its_first_weights_no_more_but_knows_who_trained_them(
    first, dataset, tmp_path
):
    train = {"init": str(first), "steps": 1}
    split = {"test": 1, "val": 0}
    run = trainer(dataset, tmp_path, train=train, split=split)
    assert run.record.inherited == release.load(first).facts["trained_on"]
    run.record.inherited = ["somebody else", *run.record.inherited]
    run.run()
    again = trainer(dataset, tmp_path, train=train | {"init": "gone"}, split=split)
    assert again.record == run.record
    assert "somebody else" in again.trained_on and len(again.trained_on) == 4


def test_a_patient_who_trained_the_weights_cannot_test_them(first, dataset, tmp_path):
    with pytest.raises(
        ConfigError, match=r"trained on \d of the patients .*patient_\d.*keep the split"
    ):
        trainer(dataset, tmp_path, train={"init": str(first)}, split={"test": 3, "val": 0})


def test_a_network_in_patches_may_be_given_a_finer_floor(dataset, tmp_path):
    model = {"patch": 2}
    run = trainer(dataset, tmp_path / "coarse", seed=1, model=model)
    facts = {"channels": ["a", "b"], "classes": ["lesion"], "trained_on": run.trained_on}
    config = make_config(model=model).to_dict()
    first = release.save(tmp_path / "first", release.Release(config, facts, run.averaged))
    finer = trainer(dataset, tmp_path, train={"init": str(first)}, model=model | {"detail": 4})
    begun, stored = finer.state.variables["params"], release.load(first).variables["params"]
    assert not np.any(begun["detail"]["head"]["kernel"])
    assert begun.keys() - stored.keys() == {"detail"}
    jax.tree.map(np.testing.assert_array_equal, {k: begun[k] for k in stored}, stored)


def test_a_network_shown_fewer_sequences_keeps_the_weights_of_those(dataset, tmp_path):
    context = {"context": 3}
    run = trainer(dataset, tmp_path / "all", seed=1, input=context)
    channels = list(dataset.info.channels)
    facts = {"channels": channels, "classes": ["lesion"], "trained_on": run.trained_on}
    config = make_config(input=context).to_dict()
    first = release.save(tmp_path / "first", release.Release(config, facts, run.averaged))
    info = dataclasses.replace(dataset.info, channels=dataset.info.channels[1:])
    fewer = dataclasses.replace(dataset, info=info, image=dataset.image[..., 1:])
    begun = trainer(fewer, tmp_path, train={"init": str(first)}, input=context)
    stored, params = release.load(first).variables["params"], begun.state.variables["params"]
    stored, params = (flax.traverse_util.flatten_dict(p) for p in (stored, params))
    (first_layer,) = (k for k in params if params[k].shape != stored[k].shape)
    there, count = stored.pop(first_layer), len(dataset.info.channels)
    kept = [c for c in range(3 * count) if c % count]
    np.testing.assert_array_equal(params.pop(first_layer), there[..., kept, :])
    jax.tree.map(np.testing.assert_array_equal, params, stored)


@pytest.mark.parametrize(
    "network", [ViT(width=8, depth=1, heads=2, patch=8), ResNet(stages=(1,), width=4)]
)
def test_a_classifier_for_other_classes_keeps_all_but_its_last_layer(network, caplog):
    image = jax.ShapeDtypeStruct((1, 16, 16, 1), np.float32)

    def variables(classes, value):
        net, key = network.clone(num_classes=classes), jax.random.key(0)
        shapes = jax.eval_shape(lambda x: net.init(key, x, train=False), image)
        return jax.tree.map(lambda s: np.full(s.shape, value), shapes)

    here, there = variables(2, 0.0), variables(4, 1.0)
    found = initial._with_own_head(here, there)
    initial._check_same("RUN", here, found)
    flat = flax.traverse_util.flatten_dict(found, sep="/")
    assert {k.rpartition("/")[2] for k, v in flat.items() if not v.any()} == {"kernel", "bias"}
    assert len(caplog.records) == sum(not v.any() for v in flat.values()) == 2


def test_the_same_classes_in_another_order_keep_their_outputs():
    head = {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.arange(3.0)}
    body = {"kernel": np.arange(6.0).reshape(2, 3)}
    found = {"params": {"head": head, "body": body}}
    turned = initial._in_own_order(found, ("a", "b", "c"), ("c", "a", "b"))["params"]
    np.testing.assert_array_equal(turned["head"]["bias"], [2, 0, 1])
    np.testing.assert_array_equal(turned["head"]["kernel"], head["kernel"][:, [2, 0, 1]])
    np.testing.assert_array_equal(turned["body"]["kernel"], body["kernel"])
    assert initial._in_own_order(found, ("a", "b", "c"), ("x", "y", "z")) is found


def test_another_network_is_named_by_its_first_difference(first, dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"another network: its \S+ is .*config.model"):
        trainer(dataset, tmp_path, train={"init": str(first)}, model={"features": (4, 12)})


def test_weights_that_are_not_there_are_named(dataset, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        trainer(dataset, tmp_path, train={"init": str(tmp_path / "none")})


@pytest.mark.parametrize("normalize", ["imagenet", "caffe"])
def test_published_weights_want_the_images_as_they_had_them(normalize, tmp_path, caplog):
    model = VGG(num_classes=3, convs=(1,), width=4)
    arrays = [np.ones((3, 3, 3, 4), np.float32), np.ones(4, np.float32)]
    file = write_keras(tmp_path / "w.h5", [("Conv2D", "block1_conv1", arrays)])
    dataset = make_labelled()
    state = create(model, optax.sgd(0.1), jax.random.key(0), (1, 32, 32, 1))
    split = stratified(dataset, test=0.3)
    begun, _ = start_from(file, model, state, dataset, split, normalize)
    assert (begun.variables["params"]["encoder"]["block1_conv1"]["kernel"] == 3).all()
    lines = [r.getMessage() for r in caplog.records if "normalize" in r.getMessage()]
    if normalize == "caffe":
        assert not lines
    else:
        assert len(lines) == 1 and "set --config.input.normalize=caffe" in lines[0]
