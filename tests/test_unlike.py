"""Pictures that are no slices of heads are told from those that are; so are scans."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainjax.infer.unlike import RANGES, measures, unlike, unsure
from brainjax.io import read_image
from brainjax.types import DataError

REAL = pathlib.Path("../shared/data/brain_tumor_classification")


@pytest.fixture(scope="module")
def real():
    """Every 40th of the pictures, none of those that the ranges were measured on being needed."""
    files = sorted(REAL.rglob("*.jpg")) if REAL.is_dir() else []
    if not files:
        pytest.skip("the pictures of Bhuvaji et al. are not in ../shared/data")
    return [read_image(path) for path in files[1::40]]


def test_real_slices_are_like_real_slices(real):
    strange = [unlike(picture) for picture in real]
    assert sum(map(bool, strange)) <= 0.03 * len(real), strange


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 999),
    size=st.sampled_from([48, 100, 128, 256, 512]),
    spread=st.sampled_from([10, 30, 80, None]),
)
def test_noise_is_unlike(seed, size, spread):
    rng = np.random.default_rng(seed)
    noise = (
        rng.integers(0, 256, (size, size))
        if spread is None
        else rng.normal(128, spread, (size, size))
    )
    assert unlike(np.clip(noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_picture_of_one_level_is_unlike(level):
    assert unlike(np.full((90, 70), level, np.uint8))


def test_a_wrong_window_is_unlike(real):
    """Almost black, cut off at white, or black and white alone: most slices in such a window are found."""
    for change in (lambda x: x * 0.1, lambda x: (x > 50) * 255.0, lambda x: (x - 10.0) * 12):
        grey = [np.asarray(p, np.float64).reshape(*p.shape[:2], -1).mean(-1) for p in real]
        shown = [np.clip(change(x), 0, 255).astype(np.uint8) for x in grey]
        assert np.mean([bool(unlike(x)) for x in shown]) > 0.9


def test_every_measure_has_a_range_and_is_finite():
    rng = np.random.default_rng(0)
    for picture in (np.zeros((1, 1), np.uint8), rng.integers(0, 255, (5, 300, 3), dtype=np.uint8)):
        found = measures(picture)
        assert found.keys() == RANGES.keys() and np.isfinite(list(found.values())).all()


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4)), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_what_is_no_picture_is_refused(bad):
    with pytest.raises(DataError, match="uint8"):
        unlike(bad)


def test_an_answer_that_is_no_majority_says_so():
    assert unsure({"a": 0.4, "b": 0.35, "c": 0.25})[0].startswith("no class is likely: a has 0.40")
    assert not unsure({"a": 0.5, "b": 0.5})
