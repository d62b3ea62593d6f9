"""Images with labels through the parts that segmentation uses too: feeds, step, loop, predictor, calibration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_class_config, make_labelled

from brainjax import losses
from brainjax.config import spec, to_dict
from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.datasets import splits
from brainjax.infer import Classifier, Inference, Segmenter, release
from brainjax.infer.calibrate import calibrated
from brainjax.infer.evaluate import evaluate
from brainjax.preprocess import normalize
from brainjax.report import label_report
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.restore import open_ensemble
from brainjax.train.step import Mixed, _scored, mix
from brainjax.types import CheckpointError, ConfigError, DataError

CONFIG = make_class_config()


@pytest.fixture(scope="module")
def images():
    return make_labelled()


def trainer(images, workdir, config=CONFIG):
    recipe = make_recipe(config)
    return Trainer(recipe, images, recipe.split(images), workdir, seed=0, quiet=True)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    run = trainer(images, tmp_path_factory.mktemp("whole"))
    run.run()
    return run


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("kind", ["tfdata", "device"])
def test_every_feed_gives_the_same_labels(images, kind):
    if kind == "tfdata":
        pytest.importorskip("tensorflow")
    source = Source(images, 1, "zscore")
    order = Order(np.arange(20), source.foreground(np.arange(20), balance=True), 6, 0.5, seed=1)
    wanted = feeds.memory(source, order, 0, 4)
    for a, b in zip(wanted, feeds.choose(kind)(source, order, 0, 4), strict=True):
        assert a.keys() == b.keys() == {"image", "label", "shift", "scale", "valid"}
        same(dict(a), jax.device_get(dict(b)))
        assert (np.asarray(a["label"]).sum(1) == 1).all()


def test_each_image_is_normalised_by_itself(images):
    bright = dataclasses.replace(images, image=images.image.copy())
    bright.image[3] = np.minimum(bright.image[3].astype(int) * 2, 255)
    before, after = (Source(x, 1, "zscore") for x in (images, bright))
    changed = (before.scale != after.scale).any(1)
    assert changed.tolist() == [row == 3 for row in range(len(images))]


@pytest.mark.parametrize("method", normalize.PUBLISHED)
def test_published_normalisations_do_not_look_at_the_image(method):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    shift, scale = normalize.volume_stats(image, method)
    mean, std = normalize.PUBLISHED[method]
    np.testing.assert_allclose((np.array(mean) - shift) * scale, 0, atol=1e-5)
    np.testing.assert_allclose((np.array(mean) + np.array(std) - shift) * scale, 1, rtol=1e-5)
    one = normalize.volume_stats(image[..., :1], method)
    assert one[0].shape == (1,) and one[0][0] == pytest.approx(shift.mean())


def test_balance_draws_every_class_equally_often(images):
    source = Source(images, 1, "none")
    rows = np.arange(5, len(images))
    drawn = source.foreground(rows, balance=True)
    assert set(drawn) == set(rows)
    assert len(set(np.bincount(images.label[drawn]))) == 1
    assert len(source.foreground(rows)) == 0
    order = Order(rows, drawn, 30, 1.0, seed=0)
    seen = np.concatenate([order(step) for step in range(40)])
    share = np.bincount(images.label[seen]) / len(seen)
    np.testing.assert_allclose(share, 1 / 3, atol=0.03)


@pytest.mark.parametrize(
    ("sections", "fix"),
    [
        ({"model": {"num_classes": 4}}, "--config.model.num_classes=3"),
        ({"train": {"monitor": "dice_volume_mean"}}, "is no score of bars"),
    ],
)
def test_what_cannot_work_is_said_before_anything_compiles(images, tmp_path, sections, fix):
    with pytest.raises(ConfigError, match=fix):
        trainer(images, tmp_path, make_class_config(**sections))


def test_one_class_is_none(images):
    rows = np.flatnonzero(images.label == 0)
    one = dataclasses.replace(
        images,
        info=dataclasses.replace(images.info, classes=("across",)),
        **{key: getattr(images, key)[rows] for key in ("image", "label", "group")},
        **{
            key: tuple(getattr(images, key)[i] for i in rows) for key in ("name", "part", "content")
        },
        groups=images.groups[: images.group[rows].max() + 1],
    )
    config = make_class_config(model={"num_classes": 1}, loss=spec(losses.bce))
    with pytest.raises(ConfigError, match="has one class, across: .*the folder above"):
        make_recipe(config).batch_shape(one)


def test_single_images_have_no_neighbours(images):
    with pytest.raises(ValueError, match="context must be 1"):
        images.neighbours(3)


def test_the_split_keeps_groups_together_and_shows_who_trained(whole, images):
    splits.check_disjoint(whole.split, images)
    trained = {images.content[row] for row in whole.split.train}
    assert set(whole.trained_on) == trained


@pytest.mark.parametrize("stop", [2, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(whole, images, tmp_path, stop):
    class Kill(BaseException):
        pass

    run = trainer(images, tmp_path)
    step = run.step

    def killed(state, batch, key):
        if int(state.step) == stop:
            run.checkpoints.wait()
            raise Kill
        return step(state, batch, key)

    run.step = killed
    with pytest.raises(Kill):
        run.run()
    again = trainer(images, tmp_path)
    assert int(again.state.step) == stop
    again.run()
    same(again.state, whole.state)
    assert again.record == whole.record


def test_eight_devices_agree_with_one(whole, images, tmp_path):
    """A BatchNorm network with dropout, under pmap; what differs is the order of float32 sums."""
    config = make_class_config(train={"parallel": "pmap", "steps": 6})
    run = trainer(images, tmp_path, config)
    run.run()
    one, eight = (jax.device_get(r.state.variables) for r in (whole, run))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4), one, eight)


def test_a_classifier_learns(images, tmp_path):
    config = make_class_config(train={"steps": 60, "eval_every": 60, "checkpoint_every": 60})
    run = trainer(images, tmp_path, config)
    run.run()
    rows = run.split.test
    scores = evaluate(run.predictor, run.averaged, run.source, rows)
    assert scores.metrics["accuracy"] > 0.75, scores.metrics
    assert scores.metrics["n_images"] == len(rows) == sum(map(sum, scores.details["confusion"]))
    assert scores.per_volume == []


def test_temperature_changes_certainty_and_not_the_classes(whole):
    rows = whole.split.val
    sure = jax.tree.map(lambda x: x * 30.0, whole.averaged["params"]["head"])
    variables = {**whole.averaged, "params": {**whole.averaged["params"], "head": sure}}
    before = whole.predictor.probabilities(variables, whole.source, rows)
    better = calibrated(whole.predictor, variables, whole.source, rows)
    after = better.probabilities(variables, whole.source, rows)
    labels = whole.source.dataset.label[rows]
    nll = [
        -np.log(np.maximum(p[np.arange(len(rows)), labels], 1e-12)).mean() for p in (before, after)
    ]
    assert better.options.temperature > 1 and nll[1] < nll[0]
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    np.testing.assert_allclose(after.sum(1), 1, rtol=1e-5)


def test_members_of_an_ensemble_keep_their_temperatures(whole, images, tmp_path):
    config = to_dict(CONFIG)
    facts = {**release.facts_of(images), "parameters": whole.parameters, "trained_on": []}
    rows, members = whole.split.val, []
    for name, factor, temperature in (("a", 1.0, 1.0), ("b", 3.0, 2.5)):
        own = {**config, "infer": {**config["infer"], "temperature": temperature}}
        weights = jax.tree.map(lambda x, f=factor: f * x, whole.averaged)
        release.save(tmp_path / name, release.Release(own, facts, weights))
        members.append(Classifier.load(tmp_path / name))
    source = members[0].source(images)
    each = [m.predictor.probabilities(m.variables, source, rows) for m in members]
    both = open_ensemble([tmp_path / "a", tmp_path / "b"])
    found = both.predictor.probabilities(both.variables, source, rows)
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 0.01
    answers = label_report.Answers(both.predictor, both.variables, source, rows, found)
    label_report.scores(tmp_path, answers)
    for name in ("reliability", "gradcam"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    # What was only of interest in training, or came to brainjax later, makes no other model.
    other = {k: v for k, v in config["input"].items() if k != "balance"}
    other |= {"feed": "device", "foreground": 0.25}
    fewer = {k: v for k, v in config["infer"].items() if k != "lesions"} | {"batch_size": 3}
    own = {**config, "input": other, "infer": fewer}
    release.save(tmp_path / "d", release.Release(own, facts, weights))
    assert open_ensemble([tmp_path / "a", tmp_path / "d"]).facts["members"] == 2
    release.save(
        tmp_path / "c", release.Release(config, {**facts, "classes": ["x", "y", "z"]}, weights)
    )
    with pytest.raises(CheckpointError, match="facts.classes"):
        open_ensemble([tmp_path / "a", tmp_path / "c"])


@pytest.mark.parametrize("alpha", [0.01, 0.4, 5.0])
def test_mixup_blends_an_example_with_the_next_and_its_target_alike(alpha):
    keys = jax.random.split(jax.random.key(0), 63)
    image = jax.random.normal(jax.random.key(1), (63, 4, 4, 1))
    target = jax.nn.one_hot(np.arange(63) % 3, 3)
    mixed, (own, other, share) = mix(keys, np.arange(63), image, target, alpha)
    np.testing.assert_array_equal(own, target)
    np.testing.assert_array_equal(other, np.roll(target, -1, 0))
    assert (share >= 0.5 - 1e-6).all()
    wanted = share[:, None, None, None] * image
    wanted += (1 - share)[:, None, None, None] * np.roll(image, -1, 0)
    np.testing.assert_allclose(mixed, wanted, atol=1e-5)
    # The larger of x and 1 - x has this mean for x ~ Beta(a, a): near 1 for small a, near 1/2 for large.
    assert share.mean() == pytest.approx({0.01: 0.993, 0.4: 0.840, 5.0: 0.623}[alpha], abs=0.04)


@pytest.mark.parametrize("name", ["softmax_ce", "focal", "categorical_hinge"])
def test_the_loss_of_a_blend_is_the_blend_of_the_losses(name):
    loss, logits = losses.get(name), jnp.array([[2.0, 1.0, 0.0], [0.5, -1.0, 0.3]])
    own, other = jax.nn.one_hot(jnp.array([0, 2]), 3), jax.nn.one_hot(jnp.array([1, 0]), 3)
    share = jnp.array([0.6, 0.9])
    found = _scored(loss, logits, Mixed(own, other, share))
    wanted = share * loss(logits, own) + (1 - share) * loss(logits, other)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    if name == "softmax_ce":
        soft = share[:, None] * own + (1 - share)[:, None] * other
        np.testing.assert_allclose(found, loss(logits, soft), rtol=1e-6)


def test_temperature_must_be_above_zero():
    for temperature in (0.0, (1.0, -1.0)):
        with pytest.raises(ConfigError, match="above 0"):
            Inference(temperature=temperature)


def classifier(whole):
    config = to_dict(CONFIG)
    config["data"]["size"] = 32
    facts = {"task": "classification", "channels": ["grey"], "classes": ["across", "down", "none"]}
    return Classifier(config, facts, whole.averaged)


def test_a_picture_may_be_grey_or_coloured(whole, images):
    model = classifier(whole)
    grey = np.kron(images.image[20, ..., 0], np.ones((2, 2), np.uint8))
    answer = model(grey)
    assert list(answer) == ["across", "down", "none"] and sum(answer.values()) == pytest.approx(1)
    opaque = np.full(grey.shape, 255, np.uint8)
    for picture in (grey[..., None], np.stack([grey] * 3, -1), np.stack([grey] * 3 + [opaque], -1)):
        assert model(picture) == answer


@pytest.mark.parametrize(
    "picture", [np.zeros((8, 8)), np.zeros((8, 8, 5), np.uint8), np.zeros((0, 8), np.uint8), []]
)
def test_what_is_no_picture_is_refused(whole, picture):
    model = classifier(whole)
    with pytest.raises(DataError):
        model(picture) if len(picture) or np.ndim(picture) > 1 else model.probabilities(picture)


def test_a_model_is_opened_for_its_own_task(whole, tmp_path):
    facts = {"task": "classification", "channels": ["grey"], "classes": ["a", "b", "c"]}
    release.save(tmp_path, release.Release(to_dict(CONFIG), facts, whole.averaged))
    with pytest.raises(CheckpointError, match="Classifier"):
        Segmenter.load(tmp_path)
    assert Classifier.load(tmp_path).classes == ("a", "b", "c")


def test_a_run_may_begin_with_the_weights_of_another_set_of_classes(whole, images, tmp_path):
    facts = {"task": "classification", "trained_on": []}
    facts |= {"channels": ["grey"], "classes": list(images.info.classes)}
    release.save(tmp_path / "model", release.Release(to_dict(CONFIG), facts, whole.averaged))
    two = np.flatnonzero(images.label < 2)
    pair = dataclasses.replace(
        images,
        info=dataclasses.replace(images.info, classes=("across", "down")),
        **{key: getattr(images, key)[two] for key in ("image", "label", "group")},
        **{key: tuple(getattr(images, key)[i] for i in two) for key in ("name", "part", "content")},
        groups=images.groups[: images.group[two].max() + 1],
    )
    init = {"init": str(tmp_path / "model")}
    run = trainer(pair, tmp_path / "run", make_class_config(model={"num_classes": 2}, train=init))
    params = run.state.variables["params"]
    same(params["encoder"], whole.averaged["params"]["encoder"])
    assert params["head"]["out"]["kernel"].shape[1] == 2


def test_a_run_cannot_begin_with_weights_that_saw_its_test_images(whole, images, tmp_path):
    facts = {"task": "classification", "trained_on": whole.trained_on}
    facts |= {"channels": ["grey"], "classes": list(images.info.classes)}
    release.save(tmp_path / "model", release.Release(to_dict(CONFIG), facts, whole.averaged))
    begun = make_class_config(train={"init": str(tmp_path / "model")})
    run = trainer(images, tmp_path / "same", begun)
    same(run.state.variables, whole.averaged)
    other = make_class_config(train={"init": str(tmp_path / "model")}, split={"seed": 5})
    with pytest.raises(ConfigError, match="images to be validated or tested"):
        trainer(images, tmp_path / "other", other)
