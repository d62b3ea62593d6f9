"""Numbers for other programs, and the picture of where the lesions are."""

import csv
import io
import json

import analyses
import numpy as np
import pytest
from PIL import Image

from brainjax.report import localized, measurements
from brainjax.report.overlay import BRAIN, COLOURS
from brainjax.types import DataError


def test_json_is_all_of_it_and_csv_a_row_a_lesion(tmp_path):
    analysis = analyses.make()
    measurements.write(tmp_path, analysis)
    stored = json.loads((tmp_path / measurements.JSON).read_text())
    assert stored["scan"]["name"] == "case_1"
    assert stored["lesions"][0]["volume_ml"] == pytest.approx(analysis.lesions[0].volume_ml)
    rows = list(csv.DictReader((tmp_path / measurements.CSV).open()))
    assert [row["lesion"] for row in rows] == ["all", "1"]
    assert float(rows[1]["longest_mm"]) == pytest.approx(
        analysis.lesions[0].diameters.longest_mm, abs=1e-3
    )
    assert float(rows[0]["WT_ml"]) == pytest.approx(
        analysis.volume_ml(analysis.regions["WT"]), abs=1e-3
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [measurements.CSV, measurements.JSON]


@pytest.mark.parametrize("name", ["=1+1", "@x", "-2", "+3", "\tx"])
def test_names_are_no_formulas(name):
    (row,) = csv.DictReader(io.StringIO(measurements.table(analyses.make(name=name, lesions=()))))
    assert row["scan"] == f"'{name}"


def test_names_with_commas_and_quotes_come_back():
    name = 'a,"b"\nc'
    row = next(
        csv.DictReader(io.StringIO(measurements.table(analyses.make(name=name)), newline=""))
    )
    assert row["scan"] == name


def test_without_masks_there_is_one_row():
    (row,) = csv.DictReader(io.StringIO(measurements.table(analyses.flat())))
    assert row == {"scan": "picture", "lesion": "all"}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        measurements.write(tmp_path / "missing", analyses.flat())


def test_the_picture_has_outlines_in_their_colours_and_diameters(tmp_path):
    analysis = analyses.make("LPI", "anisotropic")
    picture = localized.overlay(tmp_path / "lesions.png", analysis)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "lesions.png")), picture)
    for colour in (BRAIN, *COLOURS[:3], (255, 255, 255)):
        assert (np.abs(picture.astype(int) - colour).sum(-1) < 12).sum() > 20, colour
    assert (np.abs(picture.astype(int) - COLOURS[3]).sum(-1) < 12).sum() < 20


@pytest.mark.parametrize(
    "analysis",
    [
        analyses.flat(),
        analyses.flat((5, 5, 5)),
        analyses.make(lesions=()),
        analyses.make(brain=None),
    ],
)
def test_it_is_drawn_of_whatever_there_is(analysis):
    picture = localized.overlay(None, analysis)
    assert picture.ndim == 3 and picture.dtype == np.uint8
