"""Labelled synthetic heads: four classes in the order of the public pictures, and the same heads as scans."""

import dataclasses

import numpy as np
import pytest

from brainjax.data.source import Source
from brainjax.datasets import SyntheticTumors, TumorImages, label_splits
from brainjax.preprocess.head import head_box
from brainjax.types import ConfigError

SMALL = SyntheticTumors(subjects=8, size=32, slices=32, shape=(16, 20, 16), spacing=12.0)


@pytest.fixture(scope="module")
def data():
    return SMALL.load()


def test_classes_are_those_of_the_pictures_in_turn(data):
    assert data.info.classes == TumorImages.info.classes
    assert data.label.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert data.image.shape == (8, 16, 20, 16, 1) and data.image.dtype == np.uint8
    assert data.rank == 3 and data.target == "label" and data.info.spacing_mm == (12.0,) * 3
    assert len(set(data.content)) == 8


def test_a_row_is_the_head_of_the_scan(data):
    for row, (volume, label) in zip(range(2), SMALL.scans(), strict=False):
        assert label == data.label[row] and volume.orientation == "RAS"
        np.testing.assert_array_equal(head_box(volume, (16, 20, 16), 12.0), data.image[row, ..., 0])
        np.testing.assert_allclose(np.array(volume.spacing[:2]) * 32, 240.0)


def test_a_head_depends_on_the_seed_and_its_number_alone(data):
    fewer = dataclasses.replace(SMALL, subjects=3).load()
    np.testing.assert_array_equal(fewer.image, data.image[:3])
    other = dataclasses.replace(SMALL, subjects=3, seed=1).load()
    assert all((a != b).any() for a, b in zip(other.image, fewer.image, strict=True))
    assert not set(other.groups) & set(fewer.groups)


def test_heads_are_split_by_class_and_feed_the_network_whole(data):
    split = label_splits.stratified(data, test=0.5)
    assert split.protocol.startswith("split by patient") and not split.leaks
    assert sorted(data.label[split.test]) == [0, 1, 2, 3]
    raw = Source(data, 1, "zscore").gather(np.array([1, -1]))
    assert raw["image"].shape == (2, 16, 20, 16, 1) and raw["label"].tolist()[0] == [0, 1, 0, 0]
    assert raw["valid"].tolist() == [1, 0]


@pytest.mark.parametrize(
    "field", [{"subjects": 0}, {"size": 8}, {"channel": "pd"}, {"shape": (8, 8)}, {"spacing": 0.0}]
)
def test_impossible_options_are_refused(field):
    with pytest.raises(ConfigError):
        next(dataclasses.replace(SMALL, **field).scans())
