"""Whole volumes through the same source, feeds, loop and predictor as slices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_dataset, make_volume_config, make_volumes

from brainjax.config import to_dict
from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Input, Source
from brainjax.infer import Inference, Predictor, Segmenter, predictor, release
from brainjax.infer.evaluate import evaluate
from brainjax.report import run_report
from brainjax.report.volume_card import volume_card
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.restore import open_ensemble
from brainjax.train.signals import Interrupted
from brainjax.types import CheckpointError, ConfigError, DataError


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


def test_a_run_is_opened_used_and_averaged(volumes, run, tmp_path):
    step, variables = run.final()
    facts = {**release.facts_of(volumes), "parameters": run.parameters, "step": step}
    assert facts["rank"] == 3 and facts["spacing_mm"] == [1.0, 1.0, 2.0]
    config, members = to_dict(make_volume_config()), []
    for i, weights in enumerate((variables, jax.tree.map(lambda x: 0.5 * x, variables))):
        own = {**facts, "trained_on": [f"patient_{i}"]}
        release.save(tmp_path / str(i), release.Release(config, own, weights))
        members.append(Segmenter.load(tmp_path / str(i)))
    assert members[0].predictor.options.patch == (8, 8, 8)  # that of training

    mask = members[0](volumes.image[0])
    source, rows = members[0].source(volumes), np.arange(1)
    expected = run.predictor.masks(variables, run.source, rows)
    np.testing.assert_array_equal(mask, expected[0])
    with pytest.raises(DataError, match=r"wants \[X, Y, Z, 2\]"):
        members[0](volumes.image[0, ..., :1])

    both = open_ensemble([tmp_path / "0", tmp_path / "1"])
    assert both.facts["trained_on"] == ["patient_0", "patient_1"] and both.facts["members"] == 2
    each = [m.predictor.probabilities(m.variables, source, rows) for m in members]
    found = both.predictor.probabilities(both.variables, source, rows)
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-5)
    other = {**config, "input": {**config["input"], "normalize": "minmax"}}
    release.save(tmp_path / "2", release.Release(other, {**facts, "trained_on": []}, variables))
    with pytest.raises(CheckpointError, match="input.normalize: 'zscore' -> 'minmax'"):
        open_ensemble([tmp_path / "0", tmp_path / "2"])


def test_pictures_and_card_of_a_scored_run(volumes, run, tmp_path):
    _, variables = run.final()
    rows = np.arange(len(volumes))
    scores = evaluate(run.predictor, variables, run.source, rows)
    result = {"split": "test", "protocol": "patient split", **scores.details}
    run_report.training_batch(tmp_path, run)
    picture = run_report.scores(
        tmp_path, run.predictor, variables, run.source, run_report.Scored(rows, result)
    )
    assert picture.ndim == 3 and picture.dtype == np.uint8
    for name in ("batch", "samples", "volumes"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    facts = {
        **release.facts_of(volumes),
        **{"parameters": 1234, "step": 8, "storage": "bfloat16", "exported": "2026-01-01"},
        **{"protocol": "patient split", "trained_on": ["patient_0"], "limits": "Nothing else."},
        **{"also": "In T1 alone 0.1.", "metrics": scores.metrics, **scores.details},
    }
    card = volume_card("tiny", to_dict(make_volume_config()), facts)
    for part in (
        "1,234",
        "whole, core",
        "1 x 1 x 2 mm",
        "8 x 8 x 8 voxels",
        "'one'. In T1 alone",
        "Nothing else.",
    ):
        assert part in card
    for region in ("all", "whole", "core"):
        assert f"| {region}" in card
    assert f"{scores.metrics['dice_core_volume_mean']:.4f}" in card


def test_a_lone_volume_of_probabilities_is_not_copied(volumes, monkeypatch):
    made = np.ones((*volumes.image.shape[1:-1], 2), np.float32)
    monkeypatch.setattr(predictor, "sliding_window", lambda *args, **kwargs: made)
    source = Source(volumes, 1, "zscore")
    lone = Predictor(None, Input(size=0), Inference())
    assert np.shares_memory(lone.probabilities({}, source, np.arange(1)), made)
    assert lone.probabilities({}, source, np.arange(2)).shape == (2, *made.shape)


def test_mirrors_average_the_axes_asked_for(volumes):
    """Of a network that answers with its position, every mirrored axis gives the middle."""

    class Place(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            grid = jnp.meshgrid(*(jnp.linspace(-2.0, 2.0, n) for n in x.shape[1:4]), indexing="ij")
            return jnp.broadcast_to(jnp.stack(grid[:2], -1), (*x.shape[:4], 2))

    source = Source(volumes, 1, "zscore")
    options = {"tta": "flip", "batch_size": 2}
    for mirror, flat in (((0,), [True, False]), ((0, 1), [True, True]), ((2,), [False, False])):
        made = Predictor(Place(), Input(size=0), Inference(mirror=mirror, **options))
        found = made.probabilities({}, source, np.arange(1))[0]
        assert [np.ptp(found[..., k]) < 1e-6 for k in range(2)] == flat


def test_one_compile_and_the_check_is_asked_between_patches(volumes):
    shapes, asked = [], []

    class Traced(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            shapes.append(x.shape)
            return x

    made = Predictor(Traced(), Input(size=0), Inference(batch_size=4, patch=(8, 8, 8)))
    source = Source(volumes, 1, "zscore")
    made.warm({}, source)
    evaluate(made, {}, source, np.arange(3), clean=False, check=lambda: asked.append(1))
    assert shapes == [(4, 8, 8, 8, 2)]
    assert len(asked) == 3 * 6  # 4 x 3 x 2 patches, 4 at once
