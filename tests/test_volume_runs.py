"""Whole volumes through the same source, feeds, loop and predictor as slices."""

import jax
import numpy as np
import pytest
from tiny import make_dataset, make_volume_config, make_volumes

from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.infer.evaluate import evaluate
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.signals import Interrupted
from brainjax.types import ConfigError, DataError


@pytest.fixture(scope="module")
def volumes():
    return make_volumes()


def trainer(dataset, workdir, **sections):
    recipe = make_recipe(make_volume_config(**sections))
    return Trainer(recipe, dataset, recipe.split(dataset), workdir, seed=0, quiet=True)


@pytest.fixture(scope="module")
def run(volumes, tmp_path_factory):
    made = trainer(volumes, tmp_path_factory.mktemp("volumes"))
    made.run()
    return made


def test_a_run_trains_on_patches_and_scores_every_volume_and_region(volumes, run):
    step, variables = run.final()
    assert run.recipe.batch_shape(volumes) == (2, 8, 8, 8, 2)
    rows = np.flatnonzero(volumes.group == 1)  # two sessions of a patient
    scores = evaluate(run.predictor, variables, run.source, rows)
    assert [v["group"] for v in scores.per_volume] == ["patient_1_0", "patient_1_1"]
    assert scores.metrics["n_volumes"] == 2
    probability = run.predictor.probabilities(variables, run.source, rows)
    assert probability.shape == (2, 18, 16, 12, 2)
    for k, region in enumerate(("whole", "core")):
        for row, p, volume in zip(rows, probability, scores.per_volume, strict=True):
            found, truth = p[..., k] >= 0.5, volumes.mask[row, ..., k] > 0
            dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
            assert volume[f"dice_{region}"] == pytest.approx(dice)
            assert volume[f"dice_{region}_post"] == pytest.approx(dice)
    both = [scores.metrics[f"dice_{region}_volume_mean"] for region in ("whole", "core")]
    assert scores.metrics["dice_volume_mean"] == pytest.approx(np.mean(both))


def test_a_stopped_run_ends_as_if_it_had_not_been(volumes, run, tmp_path):
    other = trainer(volumes, tmp_path)
    inner = other.step

    def stopping(state, batch, key):
        if int(state.step) == 4:
            raise Interrupted("enough")
        return inner(state, batch, key)

    other.step = stopping
    with pytest.raises(Interrupted):
        other.run()
    other.checkpoints.wait()
    again = trainer(volumes, tmp_path)
    assert int(again.state.step) == 4
    again.run()
    jax.tree.map(np.testing.assert_array_equal, again.state, run.state)
    assert again.record == run.record


@pytest.mark.parametrize("kind", ["memory", "device", "tfdata"])
def test_all_feeds_give_the_stored_volumes(volumes, kind):
    if kind == "tfdata":
        pytest.importorskip("tensorflow")
    source = Source(volumes, 1, "zscore")
    order = Order(np.arange(5), source.foreground(np.arange(5)), 2, 0.5, seed=0)
    for step, batch in enumerate(feeds.choose(kind)(source, order, 0, 2)):
        for key, value in source.gather(order(step)).items():
            np.testing.assert_array_equal(batch[key], value)
        assert batch["image"].shape == (2, 18, 16, 12, 2) and batch["image"].dtype == np.float16


def test_every_volume_is_normalised_by_itself(volumes):
    brighter = volumes.image.copy()
    brighter[1] *= 3
    other = Source(make_volumes().__class__(**{**vars(volumes), "image": brighter}), 1, "zscore")
    source = Source(volumes, 1, "zscore")
    np.testing.assert_array_equal(np.delete(other.shift, 1, 0), np.delete(source.shift, 1, 0))
    assert (other.shift[1] > 2 * source.shift[1]).all()
    head = volumes.image[0, 2:-2].astype(np.float32)
    scaled = (head - source.shift[0]) * source.scale[0]
    np.testing.assert_allclose(scaled.mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std((0, 1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"augment": {"patch": (8, 8, 16)}}, r"use \(8, 8, 12\) or less"),
        ({"augment": {"patch": (8, 8)}}, "needs three sizes above 0"),
        ({"input": {"size": 8}}, "volumes keep their grid: set it to 0"),
        ({"input": {"context": 3}}, "no neighbouring slices"),
        ({"train": {"monitor": "dice_slice_mean"}}, "is no score of tiny3d"),
        ({"model": {"num_classes": 1}}, "num_classes=2"),
        ({"augment": {"patch": (7, 8, 8)}}, "must divide by 2"),
    ],
)
def test_what_cannot_work_is_said_before_compiling(volumes, tmp_path, sections, message):
    with pytest.raises(ConfigError, match=message):
        trainer(volumes, tmp_path, **sections)


def test_slices_want_no_patches(tmp_path):
    with pytest.raises(ConfigError, match="3 axes, the images have 2.*augment.name=Augment"):
        trainer(make_dataset(), tmp_path, model={"num_classes": 1})


def test_arrays_that_do_not_fit_are_listed(volumes):
    broken = {**vars(volumes), "mask": volumes.mask[:, :-1], "image": volumes.image.copy()}
    broken["image"][3, 0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"differs in size(.|\n)*1 rows are not finite: rows 3"):
        Source(type(volumes)(**broken), 1, "zscore")
