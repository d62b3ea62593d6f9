"""The synthetic dataset as its users see it: shapes, seeds, masks, contrasts, errors."""

import dataclasses

import jax
import numpy as np
import pytest

from brainjax.datasets.synthetic import INFO, Synthetic
from brainjax.synth import contrast, generate
from brainjax.types import ConfigError

_SMALL = Synthetic(subjects=4, slices=8, size=64, healthy=0.0)


@pytest.fixture(scope="module")
def traced():
    """The small set, and how often its generator was traced while it was made."""
    traces = []
    original = generate.sample

    def counted(*args, **kwargs):
        traces.append(1)
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "sample", counted)
        generate.scanner.cache_clear()
        yield _SMALL.load(), traces
    generate.scanner.cache_clear()


@pytest.fixture(scope="module")
def scans(traced):
    scan = generate.scanner(slices=8, size=64)
    key = jax.random.key(0)
    return [jax.device_get(scan(jax.random.fold_in(key, i), 0.0)) for i in range(4)]


def test_shapes_types_and_groups(traced):
    data, _ = traced
    assert data.image.shape == (32, 64, 64, 4) and data.image.dtype == np.uint8
    assert data.mask.shape == (32, 64, 64, 1) and set(np.unique(data.mask)) == {0, 1}
    np.testing.assert_array_equal(data.group, np.repeat(np.arange(4), 8))
    np.testing.assert_array_equal(data.position, np.tile(np.arange(8), 4))
    assert data.groups == tuple(f"synthetic_{i:04d}" for i in range(4))
    assert data.info.channels == ("t1", "t1ce", "t2", "flair")
    assert data.info == dataclasses.replace(INFO, spacing_mm=(3.75, 3.75))


def test_one_trace_serves_all_subjects(traced):
    data, traces = traced
    again = dataclasses.replace(_SMALL, subjects=2, healthy=1.0, seed=3).load()
    assert len(data.groups) == 4 and len(again.groups) == 2
    assert len(traces) == 1


def test_same_seed_same_bytes_and_more_subjects_keep_the_first(traced):
    data, _ = traced
    again = dataclasses.replace(_SMALL, subjects=5).load()
    assert again.image[:32].tobytes() == data.image.tobytes()
    assert again.mask[:32].tobytes() == data.mask.tobytes()


def test_other_seeds_and_subjects_differ(traced):
    data, _ = traced
    other = dataclasses.replace(_SMALL, subjects=1, seed=1).load()
    for volume in (other.image, data.image[8:16]):
        assert np.mean(volume != data.image[:8]) > 0.4  # more than noise: the air is nearly equal


def test_tumours_are_there_unless_healthy(traced):
    data, _ = traced
    per_patient = data.mask.reshape(4, -1).sum(1)
    assert np.all(per_patient > 10)
    assert not dataclasses.replace(_SMALL, subjects=2, healthy=1.0).load().mask.any()


def test_mask_is_the_tumour_and_lies_inside_the_brain(scans):
    outer = [contrast.CLASSES.index(name) for name in ("air", "scalp", "skull", "marrow", "muscle")]
    parts = [contrast.CLASSES.index(name) for name in ("necrosis", "rim", "oedema")]
    for scan in scans:
        inside = scan.mask[..., 0] > 0
        assert not np.isin(scan.labels[inside], outer).any()
        assert np.mean(np.isin(scan.labels[inside], parts)) > 0.8
        assert np.mean(inside[np.isin(scan.labels, parts)]) > 0.8


def test_images_have_the_contrasts_of_their_names(scans):
    for scan in scans:
        mean = {
            name: scan.image[scan.labels == k].mean(0)
            for k, name in enumerate(contrast.CLASSES)
            if (scan.labels == k).any()
        }
        t1, _, t2, flair = np.stack([mean[n] for n in ("csf", "grey", "white")], axis=-1)
        assert t1[0] < t1[1] < t1[2]
        assert t2[0] > t2[1] > t2[2]
        assert flair[0] < min(flair[1:])
        tumour = scan.image[scan.mask[..., 0] > 0].mean(0)
        assert tumour[3] > 1.1 * mean["white"][3]
        assert scan.image.max((0, 1, 2)).min() == 255 and mean["air"].max() < 30


def test_head_fills_the_picture_but_not_its_border(traced):
    image = traced[0].image[..., 0]
    middle = image.reshape(4, 8, 64, 64)[:, 4]
    assert np.all(np.mean(middle > 40, axis=(1, 2)) > 0.25)
    border = np.concatenate(
        [image[:, :2].ravel(), image[:, :, :2].ravel(), image[:, :, -2:].ravel()]
    )
    assert np.mean(border > 60) < 0.01


def test_progress_counts_patients(traced):
    del traced  # compiled already
    seen = []
    dataclasses.replace(_SMALL, subjects=3).load(progress=lambda *c: seen.append(c))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("field", "value"),
    [("subjects", 0), ("slices", 7), ("size", 16), ("seed", -1), ("healthy", 1.5)],
)
def test_impossible_values_name_the_fix(field, value):
    with pytest.raises(ConfigError, match=f"{field}=.*use "):
        dataclasses.replace(_SMALL, **{field: value}).load()
