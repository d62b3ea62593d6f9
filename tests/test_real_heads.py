"""The released stripper on scans of real heads, where they are: no change of the code around it may cost what it finds."""

import os
import pathlib

import numpy as np
import pytest

from brainjax.infer import Stripper
from brainjax.io import read_volume
from brainjax.preprocess.grid import resample

DATA = pathlib.Path(
    os.environ.get("BRAINJAX_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared/data")
)
HEADS = DATA / "heads"


@pytest.mark.slow
@pytest.mark.parametrize(
    "case, mask, least",
    [("t1_adult", "mask", 0.975), ("t1_infant", "mask", 0.93), ("ms_t2", "mask_hdbet", 0.95)],
)
def test_the_released_stripper_finds_the_brain(case, mask, least):
    if not (HEADS / case).is_dir():
        pytest.skip(f"no {HEADS / case}; name another folder of data in BRAINJAX_DATA")
    scan = read_volume(HEADS / case / "image.nii.gz")
    known = read_volume(HEADS / case / f"{mask}.nii.gz")
    truth = resample(known.with_data((known.data > 0.5).astype(np.uint8)), scan.grid, order=0)
    found, truth = Stripper.load()(scan).data > 0, truth.data > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) >= least
