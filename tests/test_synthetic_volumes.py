"""Whole synthetic heads: regions that nest, an orientation that is RAS+, contrast where there should be some."""

import dataclasses

import numpy as np
import pytest

from brainjax.datasets import SyntheticHeads, SyntheticVolumes
from brainjax.datasets.synthetic_volumes import brats_labels, to_ras
from brainjax.synth.contrast import CLASSES
from brainjax.types import ConfigError

SMALL = SyntheticVolumes(subjects=4, slices=32, size=48, stripped=False)


@pytest.fixture(scope="module")
def data():
    return SMALL.load()


def test_shapes_types_and_spacing(data):
    assert data.image.shape == (4, 48, 48, 32, 4) and data.image.dtype == np.uint8
    assert data.mask.shape == (4, 48, 48, 32, 3)
    assert data.info.classes == ("WT", "TC", "ET") and data.rank == 3
    x, y, z = data.info.spacing_mm
    assert x == y == 5.0 and 4.0 < z < 5.5


def test_regions_nest_and_every_head_has_a_tumour(data):
    whole, core, enhancing = np.moveaxis(data.mask, -1, 0)
    assert (core <= whole).all() and (enhancing <= core).all()
    assert whole.any((1, 2, 3)).all()


def test_the_enhancing_rim_is_bright_after_contrast_agent_alone(data):
    t1, t1ce = (data.image[..., c].astype(float) for c in (0, 1))
    rim = data.mask[..., 2] > 0
    found = [(t1ce[i][rim[i]].mean(), t1[i][rim[i]].mean()) for i in range(4) if rim[i].sum() > 20]
    assert found and all(after > 1.3 * before for after, before in found)


def test_the_head_is_whole_and_upright(data):
    """Wide below the vertex, narrow at it; air around; and, from a scan [S H W], RAS+ is X Y Z turned about."""
    head = data.image[..., 0] > 40
    area = head.sum((1, 2)).mean(0)  # along Z
    assert area[-1] < 0.5 * area[16:24].max()
    assert (data.image[:, :2, :2].mean((1, 2, 3)) < 25).all()
    scan = np.arange(24).reshape(2, 3, 4)  # upwards, to the back, to the left
    assert to_ras(scan)[-1, -1, 0] == scan[0, 0, 0] and to_ras(scan).shape == (4, 3, 2)


def test_a_patient_depends_on_the_seed_and_its_number_alone(data):
    fewer = dataclasses.replace(SMALL, subjects=2).load()
    np.testing.assert_array_equal(fewer.image, data.image[:2])
    other = dataclasses.replace(SMALL, subjects=1, seed=1).load()
    assert (other.image != data.image[:1]).any()


def test_a_stripped_head_keeps_its_brain_and_tumour_alone(data):
    stripped = dataclasses.replace(SMALL, subjects=2, stripped=True).load()
    np.testing.assert_array_equal(stripped.mask, data.mask[:2])
    kept = stripped.image.any(-1)
    np.testing.assert_array_equal(stripped.image[kept], data.image[:2][kept])
    assert kept[data.mask[:2, ..., 0] > 0].mean() > 0.99
    litres = kept.sum((1, 2, 3)) * np.prod(data.info.spacing_mm) / 1e6
    assert ((litres > 0.9) & (litres < 2.2)).all()


def test_heads_to_strip_show_the_skull_and_their_mask_is_one_brain(data):
    heads = SyntheticHeads(subjects=2, slices=32, size=48).load()
    assert heads.image.shape == (2, 48, 48, 32, 1) and heads.info.classes == ("brain",)
    litres = heads.mask.sum((1, 2, 3, 4)) * np.prod(heads.info.spacing_mm) / 1e6
    assert ((litres > 0.9) & (litres < 2.2)).all()
    outside = (heads.image > 40) & (heads.mask == 0)
    assert (outside.sum((1, 2, 3, 4)) > 0.2 * heads.mask.sum((1, 2, 3, 4))).all()


def test_a_rim_without_contrast_agent_is_core():
    tissue = np.array([CLASSES.index(n) for n in ("white", "necrosis", "rim", "oedema")])
    assert brats_labels(tissue, enhancing=True).tolist() == [0, 1, 4, 2]
    assert brats_labels(tissue, enhancing=False).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("field", [{"slices": 8}, {"size": 8}, {"subjects": 0}, {"healthy": 2.0}])
def test_impossible_sizes_are_refused(field):
    with pytest.raises(ConfigError):
        SyntheticVolumes(**field).load()
