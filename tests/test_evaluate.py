"""Scores against brute force: every batch size, patients that share batches, mirrors, clean-up."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import make_dataset, make_labelled

from brainjax.data.source import Input, Source
from brainjax.infer import Inference, Predictor
from brainjax.infer.evaluate import evaluate
from brainjax.metrics.calibration import softmax


class Bright(nn.Module):
    """Tumour where the image is bright, a little more so on the left: no mirror symmetry, no compile."""

    @nn.compact
    def __call__(self, x, *, train):
        slope = jnp.linspace(0.5, -0.5, x.shape[2])[:, None]
        return 4 * (x.mean(-1, keepdims=True) - 0.8 + slope)


def predictor(input=None, **options):
    return Predictor(Bright(), input or Input(size=0), Inference(**options))


@pytest.fixture(scope="module")
def source(dataset):
    return Source(dataset, 1, "zscore")


def brute_force(source, rows, *, flip=False, threshold=0.5, clean=None):
    """Dice per patient and per slice by the definition, one slice at a time, in numpy."""
    data, masks = source.dataset, {}
    for row in rows:
        raw = source.gather(np.array([row]))
        image = (raw["image"] - raw["shift"][:, None, None]) * raw["scale"][:, None, None]

        def probability(image):
            logits = Bright().apply({}, jnp.asarray(image, jnp.float32), train=False)
            return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))

        p = probability(image)
        if flip:
            p = (p + probability(image[:, :, ::-1])[:, :, ::-1]) / 2
        masks[row] = p[0, ..., 0] >= threshold

    def dice(a, b):
        total = a.sum() + b.sum()
        return 2 * (a & b).sum() / total if total else 1.0

    volumes = []
    for group in np.unique(data.group[rows]):
        own = [r for r in rows if data.group[r] == group]
        mask = np.stack([masks[r] for r in own])
        mask = clean(mask) if clean else mask
        volumes.append((data.groups[group], dice(mask, data.mask[own][..., 0] > 0)))
    slices = [dice(masks[r], data.mask[r, ..., 0] > 0) for r in rows]
    return volumes, float(np.mean(slices))


ROWS = {"all": np.arange(18), "two patients": np.r_[5:8, 14:18], "one slice": np.array([7])}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("batch_size", [1, 4, 5, 18, 64])
def test_scores_are_those_of_brute_force_for_any_batch_size(source, rows, batch_size):
    """Patients have 5, 3, 6 and 4 slices: batches straddle them, the last one is padded."""
    found = evaluate(predictor(batch_size=batch_size), {}, source, rows)
    volumes, slice_mean = brute_force(source, rows)
    assert [v["group"] for v in found.per_volume] == [name for name, _ in volumes]
    for volume, (_, dice) in zip(found.per_volume, volumes, strict=True):
        assert volume["dice"] == pytest.approx(dice, abs=1e-12)
    assert 0.3 < slice_mean <= 1
    assert found.metrics["dice_slice_mean"] == pytest.approx(slice_mean, abs=1e-12)
    assert found.metrics["dice_volume_mean"] == pytest.approx(np.mean([d for _, d in volumes]))
    assert found.metrics["n_slices"] == len(rows)


def test_numbers_are_identical_for_any_batch_size(source):
    results = [
        evaluate(predictor(batch_size=b, tta="flip"), {}, source, np.arange(18)) for b in (1, 7, 32)
    ]
    assert results[0].metrics == results[1].metrics == results[2].metrics
    assert results[0].per_volume == results[1].per_volume == results[2].per_volume


def test_mirrors_average_probabilities(source):
    plain = evaluate(predictor(), {}, source, np.arange(18)).metrics
    flipped = evaluate(predictor(tta="flip"), {}, source, np.arange(18))
    volumes, slice_mean = brute_force(source, np.arange(18), flip=True)
    assert flipped.metrics["dice_slice_mean"] == pytest.approx(slice_mean, abs=1e-12)
    assert flipped.metrics["dice_slice_mean"] != plain["dice_slice_mean"]
    assert [v["dice"] for v in flipped.per_volume] == pytest.approx([d for _, d in volumes])


def test_the_threshold_counts_at_and_above(source):
    found = evaluate(predictor(threshold=0.9), {}, source, np.arange(18))
    _, slice_mean = brute_force(source, np.arange(18), threshold=0.9)
    assert found.metrics["dice_slice_mean"] == pytest.approx(slice_mean, abs=1e-12)


def test_clean_up_is_3d_and_scored_beside_the_raw_masks(source):
    made = predictor(min_voxels=30, keep_largest=True)
    found = evaluate(made, {}, source, np.arange(18))
    cleaned, _ = brute_force(source, np.arange(18), clean=made.options.postprocess())
    raw, _ = brute_force(source, np.arange(18))
    assert [v["dice_post"] for v in found.per_volume] == pytest.approx([d for _, d in cleaned])
    assert [v["dice"] for v in found.per_volume] == pytest.approx([d for _, d in raw])
    assert found.metrics["dice_volume_mean_post"] != found.metrics["dice_volume_mean"]
    assert "n_slices_post" not in found.metrics
    without = evaluate(made, {}, source, np.arange(18), clean=False)
    assert without.metrics == {k: v for k, v in found.metrics.items() if not k.endswith("_post")}


def test_empty_masks_count_as_the_options_say():
    dataset = make_dataset((4,))
    dataset.mask[:] = dataset.image[:] = 0
    source = Source(dataset, 1, "none")
    for empty, worth in (("one", 1.0), ("zero", 0.0), ("skip", None)):
        made = predictor(empty=empty)
        found = evaluate(made, {}, source, np.arange(4))
        assert found.metrics["n_foreground_slices"] == found.per_volume[0]["fp"] == 0
        assert found.metrics["dice_slice_mean"] == worth


def test_probabilities_come_back_on_the_native_grid_from_a_coarser_one(source):
    made = predictor(Input(size=8), batch_size=4)
    probability = made.probabilities({}, source, np.arange(6))
    assert (
        probability.shape == (6, 16, 16, 1)
        and (probability >= 0).all()
        and (probability <= 1).all()
    )
    np.testing.assert_array_equal(made.masks({}, source, np.arange(6)), probability >= 0.5)


def test_neighbouring_slices_reach_the_network_as_channels(dataset):
    class Count(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            assert x.shape[-1] == 6
            return x[..., :1] - x[..., 4:5]  # slice before minus slice after

    source = Source(dataset, 3, "none")
    made = Predictor(Count(), Input(size=0, context=3), Inference(batch_size=3))
    found = made.probabilities({}, source, np.arange(5))[..., 0]
    image = dataset.image.astype(np.float64)[..., 0]
    expected = [image[max(i - 1, 0)] - image[min(i + 1, 4)] for i in range(5)]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(expected))), atol=1e-6)


def test_each_batch_compiles_once(source):
    traces = []

    class Traced(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            traces.append(x.shape)
            return x[..., :1]

    made = Predictor(Traced(), Input(size=0), Inference(batch_size=4))
    for rows in (np.arange(18), np.arange(3), np.arange(5, 14)):
        made.masks({}, source, rows)
    assert traces == [(4, 16, 16, 2)]


def test_another_temperature_compiles_nothing():
    traces = []

    class Traced(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            traces.append(x.shape)
            return x.reshape(len(x), -1)[:, :3]

    source = Source(make_labelled(), 1, "zscore")
    plain = Predictor(Traced(), Input(size=0), Inference(batch_size=4))
    rows = np.arange(6)
    one = plain.probabilities({}, source, rows)
    two = plain.with_options(temperature=2.0).probabilities({}, source, rows)
    assert len(traces) == 1
    np.testing.assert_allclose(two, softmax(np.log(one), 2.0), atol=1e-6)
    plain.with_options(tta="flip").probabilities({}, source, rows)
    assert len(traces) > 1


def test_the_check_between_batches_can_end_it(source):
    class Enough(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise Enough

    with pytest.raises(Enough):
        evaluate(predictor(batch_size=4), {}, source, np.arange(18), check=check)
    assert len(calls) == 2


def test_variables_may_live_anywhere(source):
    """Weights of a run on many devices are scored as those of one."""
    net = nn.Dense(1)
    variables = net.init(jax.random.key(0), jnp.zeros((1, 16, 16, 2)))

    class Wrapped(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return nn.Dense(1, name="d")(x)

    made = Predictor(Wrapped(), Input(size=0), Inference(batch_size=4))
    variables = {"params": {"d": variables["params"]}}
    here = made.probabilities(variables, source, np.arange(4))
    elsewhere = jax.device_put(variables, jax.devices()[3])
    np.testing.assert_array_equal(made.probabilities(elsewhere, source, np.arange(4)), here)
