"""BraTS's regions and labels: the table by hand, and there and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainjax.datasets.regions import REGIONS, enhancing_label, to_labels, to_regions
from brainjax.types import ConfigError, DataError

SHAPE = hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)


def test_the_table():
    labels = np.arange(5)
    old, new = to_regions(labels, 4), to_regions(labels[:4], 3)
    assert REGIONS == ("WT", "TC", "ET")
    np.testing.assert_array_equal(old.T, [[0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(new.T, [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]])
    assert old.dtype == bool
    assert to_regions(np.array([4]), 3).sum() == 0  # the resection cavity of later years


@given(data=st.data(), enhancing=st.sampled_from([3, 4]))
def test_there_and_back(data, enhancing):
    labels = data.draw(hnp.arrays(np.int16, SHAPE, elements=st.sampled_from([0, 1, 2, enhancing])))
    regions = to_regions(labels, enhancing)
    back = to_labels(regions, enhancing)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, labels)
    np.testing.assert_array_equal(to_regions(labels.astype(np.float64), enhancing), regions)


@given(regions=hnp.arrays(bool, SHAPE.map(lambda s: (*s, 3))), enhancing=st.sampled_from([3, 4]))
def test_any_regions_become_nested_ones(regions, enhancing):
    nested = to_regions(to_labels(regions, enhancing), enhancing)
    expected = np.stack([regions.any(-1), regions[..., 1:].any(-1), regions[..., 2]], -1)
    np.testing.assert_array_equal(nested, expected)


def test_on_device_too():
    labels = np.arange(5)
    regions = to_regions(jnp.asarray(labels))
    np.testing.assert_array_equal(regions, to_regions(labels))
    np.testing.assert_array_equal(to_labels(regions), to_labels(to_regions(labels)))
    assert to_labels(regions).dtype == jnp.uint8


def test_which_label_enhances():
    assert enhancing_label(np.array([0, 1, 2, 4])) == 4
    assert enhancing_label(np.array([0.0, 1.0, 3.0])) == 3
    with pytest.raises(DataError, match="scan.nii has labels that BraTS has not: 0.5, 7"):
        enhancing_label(np.array([0, 0.5, 7]), "scan.nii")
    with pytest.raises(ConfigError, match="4, or 3 since 2023"):
        to_regions(np.zeros(3), 2)
    with pytest.raises(ValueError, match="WT, TC, ET"):
        to_labels(np.zeros((4, 2), bool))
