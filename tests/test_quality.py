"""Warnings fire where they should and only there; a contrast is guessed from the brain."""

import pathlib

import numpy as np
import phantom
import pytest

from brainjax.datasets import SyntheticVolumes
from brainjax.infer import contrast, quality
from brainjax.infer.scan import Scan
from brainjax.io import Volume, read_volume
from brainjax.preprocess.grid import resample

HEADS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "heads"


def scan_of(data, spacing=(1.0, 1.0, 1.0)):
    return Scan("x", {"t1": Volume(data, np.diag([*spacing, 1.0]))})


def test_a_usual_scan_has_no_warnings():
    scan = phantom.head()
    brain = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, phantom.BRAIN)
    assert quality.of_scan(scan) == [] and quality.of_brain(scan, brain) == []


@pytest.mark.parametrize(
    "shape, spacing, words",
    [
        ((120, 120, 50), (1, 1, 1), "field of view"),
        ((120, 120, 120), (4, 1, 1), "beyond a head's"),
        ((120, 120, 30), (1, 1, 7), "thicker"),
        ((120, 120, 12), (1, 1, 6), "12 slices"),
    ],
)
def test_odd_grids_are_told(shape, spacing, words):
    data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert any(words in line for line in quality.of_scan(scan_of(data, spacing)))


def test_a_mask_in_the_place_of_a_scan_is_told():
    data = np.zeros((120, 120, 120), np.uint8)
    data[40:80] = 1
    assert any("label map" in line for line in quality.of_scan(scan_of(data)))


def test_brains_of_the_wrong_size_or_cut_off_are_told():
    scan = phantom.head()
    small = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, 15)
    assert "ml" in quality.of_brain(scan, small)[0]
    cut = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE + [30, 0, 0], 45)
    assert any("cuts" in line for line in quality.of_brain(scan, cut))


def test_t2_is_told_from_the_others():
    data = SyntheticVolumes(subjects=2, size=64, slices=48, healthy=1.0).load()
    affine = np.diag([*data.info.spacing_mm, 1.0])
    for image in data.image:
        brain = image.max(-1) > 0
        found = {
            name: contrast.guess(Volume(image[..., c], affine), brain)
            for c, name in enumerate(data.info.channels)
        }
        assert found == {"t1": "t1", "t1ce": "t1", "t2": "t2", "flair": "t1"}


@pytest.mark.parametrize(
    "case, expected", [("t1_adult", "t1"), ("ms_flair", "t1"), ("ms_t2", "t2")]
)
def test_t2_is_told_from_the_others_on_real_heads(case, expected):
    if not (HEADS / case).is_dir():
        pytest.skip(f"no real heads at {HEADS}")
    scan = read_volume(HEADS / case / "image.nii.gz")
    mask = read_volume(next((HEADS / case).glob("mask*.nii.gz")))
    mask = resample(mask.with_data((mask.data > 0.5).astype(np.uint8)), scan.grid, order=0)
    assert contrast.guess(scan, mask.data > 0) == expected


def test_nothing_is_guessed_from_nothing():
    flat = Volume(np.ones((8, 8, 8)), np.eye(4))
    assert contrast.guess(flat, np.ones((8, 8, 8), bool)) == "t1"
    assert contrast.guess(flat, np.zeros((8, 8, 8), bool)) == "t1"
