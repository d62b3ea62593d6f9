"""`brainjax analyze`: one folder a scan, all files on its grid; what is done stays done, what is broken is told."""

import json
import types

import nibabel as nib
import numpy as np
import phantom
import pytest
from PIL import Image

from brainjax.cli import main
from brainjax.infer import pipeline as module
from brainjax.infer.pipeline import Pipeline
from brainjax.io import read_volume, write_volume

FILES = {
    *("brain_mask.nii.gz", "tumour.nii.gz", "probability.nii.gz", "uncertainty.nii.gz"),
    *("report.html", "overlay.png", "measurements.json", "measurements.csv"),
}


class Knowing:
    """Knows where the phantom's brain is."""

    facts = {"task": "strip"}

    def find(self, volume):
        at = volume.grid
        mask = phantom.ball(at.affine, at.shape, phantom.CENTRE, phantom.BRAIN)
        return types.SimpleNamespace(mask=volume.with_data(mask.astype(np.uint8)))


@pytest.fixture(scope="module")
def segmenter():
    return phantom.segmenter()


@pytest.fixture
def runs(monkeypatch, segmenter):
    """Which scans were analysed, by the phantom's pipeline."""
    seen = []

    class Seen(Pipeline):
        def __call__(self, scan, **options):
            seen.append(scan.name)
            return super().__call__(scan, **options)

    def load(**models):
        seen.append(models)
        return Seen(Knowing(), None, None, segmenter, names=module.MODELS)

    monkeypatch.setattr(module, "Pipeline", types.SimpleNamespace(load=load))
    return seen


def save(folder, name="case", contrasts=("t1", "t1ce", "t2", "flair"), orientation="LIA"):
    folder.mkdir(parents=True, exist_ok=True)
    for contrast, volume in phantom.head(contrasts, orientation).volumes.items():
        write_volume(folder / f"{name}_{contrast}.nii.gz", volume)
    return folder


def test_a_case_gets_every_file_on_its_own_grid(tmp_path, runs, capsys):
    case = save(tmp_path / "case")
    assert main(["analyze", str(case), "--output", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "case"
    assert {p.name for p in out.iterdir()} == FILES
    scan = read_volume(case / "case_t1.nii.gz")
    for name in ("brain_mask", "tumour", "probability", "uncertainty"):
        assert read_volume(out / f"{name}.nii.gz").grid.matches(scan.grid)
    lines = capsys.readouterr().out.splitlines()
    assert "tumour" in lines[0] and "in 1 parts" in lines[0]
    result = json.loads(lines[-1])
    assert result == json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["task"] == "analysis" and result["metrics"] == {"n_scans": 1, "n_failed": 0}
    ball = 4 / 3 * np.pi * phantom.RADIUS**3 / 1000
    assert result["scans"]["case"]["regions_ml"]["WT"] == pytest.approx(ball, rel=0.15)


def test_a_broken_case_is_told_and_a_second_run_goes_on(tmp_path, runs, capsys):
    for name in ("a", "b", "c"):
        save(tmp_path / "in" / name, name, ("flair",))
    broken = tmp_path / "in" / "b" / "b_flair.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    command = ["analyze", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main(command) == 1
    told = capsys.readouterr()
    assert told.err.count("error:") == 1 and "b_flair.nii.gz" in told.err
    assert json.loads(told.out.splitlines()[-1])["metrics"] == {"n_scans": 2, "n_failed": 1}
    assert runs[1:] == ["a_flair", "c_flair"]

    save(tmp_path / "in" / "b", "b", ("flair",))
    assert main(command) == 0
    assert runs[4:] == ["b_flair"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["n_scans"] == 3


def test_contrasts_are_named_and_models_chosen(tmp_path, runs):
    case = save(tmp_path)
    files = {c: str(case / f"case_{c}.nii.gz") for c in ("t1ce", "flair")}
    command = ["analyze", "--t1ce", files["t1ce"], "--flair", files["flair"]]
    command += ["--skip", "volume", "--segment-model", "mine", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert runs == [{"segment": "mine", "volume": "", "picture": ""}, "case_t1ce"]
    found = json.loads((tmp_path / "out" / "case_t1ce" / "measurements.json").read_text())
    assert found["scan"]["contrasts"] == ["t1ce", "flair"]


def test_a_given_mask_replaces_the_stripper(tmp_path, runs):
    case = save(tmp_path / "case", contrasts=("flair",))
    scan = read_volume(case / "case_flair.nii.gz")
    mask = phantom.ball(scan.grid.affine, scan.grid.shape, phantom.CENTRE, 30)
    write_volume(tmp_path / "m.nii.gz", scan.with_data(mask.astype(np.uint8)))
    out = tmp_path / "out"
    assert main(["analyze", str(case), "--mask", str(tmp_path / "m.nii.gz"), "-o", str(out)]) == 0
    assert runs[0]["strip"] == ""
    made = nib.load(out / "case_flair" / "brain_mask.nii.gz").get_fdata()
    np.testing.assert_array_equal(made > 0, mask)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "name scans"),
        (["x.nii.gz", "--t1", "y.nii.gz"], "name scans"),
        (["--t1", "gone.nii.gz"], "no such file"),
        (["gone.nii.gz"], "no such file"),
    ],
)
def test_command_lines_that_cannot_work(tmp_path, runs, capsys, arguments, words):
    assert main(["analyze", *arguments, "-o", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_scans_of_one_name_get_folders_of_their_own(tmp_path, runs):
    for folder in ("one", "two"):
        save(tmp_path / folder, "same", ("flair",))
    again = str(tmp_path / "two" / ".." / "one")  # what is named twice is done once
    assert main(["analyze", str(tmp_path), again, "-o", str(tmp_path / "out")]) == 0
    made = {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}
    assert made == {"one_same_flair", "two_same_flair"}


def test_results_of_another_scan_are_not_taken_for_its_own(tmp_path, runs, capsys):
    for folder in ("one", "two"):
        save(tmp_path / folder, "same", ("flair",), "LIA" if folder == "one" else "RAS")
    out = str(tmp_path / "out")
    assert main(["analyze", str(tmp_path / "one"), "-o", out]) == 0
    assert main(["analyze", str(tmp_path / "one"), "-o", out]) == 0
    assert "1 scans are done already" in capsys.readouterr().err
    assert main(["analyze", str(tmp_path / "two"), "-o", out]) == 1
    told = capsys.readouterr()
    assert f"the results of {tmp_path / 'one' / 'same_flair.nii.gz'}" in told.err
    result = json.loads(told.out.splitlines()[-1])
    assert result["scans"] == {} and len(result["failed"]) == 1
    assert main(["analyze", str(tmp_path / "two"), "-o", out, "--overwrite"]) == 0
    # The same scan elsewhere is the same scan.
    (tmp_path / "two").rename(tmp_path / "three")
    assert main(["analyze", str(tmp_path / "three"), "-o", out]) == 0
    assert "1 scans are done already" in capsys.readouterr().err


def test_subjects_with_folders_of_one_name_are_named_by_what_differs(tmp_path, runs):
    def analyze(*subjects):
        for subject in subjects:
            save(tmp_path / "in" / subject / "anat", subject, ("t2", "flair"))
        assert main(["analyze", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
        return {p.name for p in (tmp_path / "out").iterdir() if p.is_dir()}

    assert analyze("sub-01", "sub-03") == {"sub-01_anat", "sub-03_anat"}
    assert analyze("sub-02") == {"sub-01_anat", "sub-02_anat", "sub-03_anat"}


def test_nothing_of_the_user_s_is_deleted_or_analysed_twice(tmp_path, runs, capsys, monkeypatch):
    case = save(tmp_path / "case")
    mine = case / "brain_mask.nii.gz"
    mine.write_bytes(b"drawn by hand")
    assert main(["analyze", str(case), "-o", str(tmp_path)]) == 1
    assert "holds a scan; choose another --output" in capsys.readouterr().err
    assert mine.read_bytes() == b"drawn by hand" and not (case / "report.html").exists()
    for _ in range(2):  # results within the tree that is searched
        assert main(["analyze", str(tmp_path), "-o", str(tmp_path / "results")]) == 0
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"case", "result.json"}


def test_skipping_the_segmentation_skips_that_of_pictures(tmp_path, runs):
    from PIL import Image

    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(picture)
    out = str(tmp_path / "out")
    assert main(["analyze", str(picture), "--skip", "segment", "-o", out]) == 0
    assert main(["analyze", str(picture), "--overwrite", "-o", out]) == 0
    assert main(["analyze", str(save(tmp_path / "case")), "-o", out]) == 0
    loaded = [one for one in runs if isinstance(one, dict)]
    none = {"segment": "", "segment_t1": "", "picture": ""}
    assert loaded == [none, {}, {"picture": ""}]


def test_files_of_one_folder_are_one_scan_as_the_folder_is(tmp_path, runs):
    case = save(tmp_path / "case")
    write_volume(case / "case_seg.nii.gz", phantom.head().first)
    files = sorted(map(str, case.glob("*.nii.gz")))
    out = tmp_path / "out"
    assert main(["analyze", *files, str(case), files[1], "-o", str(out)]) == 0
    assert runs[1:] == ["case"]
    found = json.loads((out / "case" / "measurements.json").read_text())
    assert found["scan"]["contrasts"] == ["t1", "t1ce", "t2", "flair"]


def test_a_folder_with_two_files_of_a_contrast_costs_no_other_scan(tmp_path, runs, capsys):
    save(tmp_path / "in" / "a", "a", ("flair",))
    save(tmp_path / "in" / "b", "b", ("t1", "flair"))
    (tmp_path / "in" / "b" / "b_t1.nii").write_bytes(b"")
    assert main(["analyze", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    assert runs[1:] == ["a_flair"]
    assert "is a second t1 beside" in capsys.readouterr().err


def test_other_options_are_another_analysis(tmp_path, runs):
    case, out = str(save(tmp_path / "case")), str(tmp_path / "out")
    assert main(["analyze", case, "--skip", "segment", "-o", out]) == 0
    for _ in range(2):
        assert main(["analyze", case, "-o", out]) == 0
    assert [one for one in runs if one == "case"] == ["case"] * 2


def test_a_scan_that_breaks_the_program_stops_no_other(tmp_path, runs, capsys, monkeypatch):
    for name in ("a", "b"):
        save(tmp_path / "in" / name, name, ("flair",))
    from brainjax.report import analysis_files

    write = analysis_files.write

    def breaks(folder, *rest, **options):
        if folder.name == "a_flair":
            raise ZeroDivisionError("division by zero")
        write(folder, *rest, **options)

    monkeypatch.setattr(analysis_files, "write", breaks)
    assert main(["analyze", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    assert "a_flair.nii.gz: unexpected ZeroDivisionError: division by zero" in told.err
    assert json.loads(told.out.splitlines()[-1])["metrics"] == {"n_scans": 1, "n_failed": 1}


def test_a_dicom_series_gets_a_segmentation_too(tmp_path, runs, capsys):
    dicoms = pytest.importorskip("dicoms", reason="needs the extra dicom", exc_type=ImportError)
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom", reason="needs the extra dicom: pip install 'brainjax[dicom]'")
    head = phantom.head(("flair",), "LPS").first
    tags = dicoms.TAGS | {"PixelSpacing": [head.spacing[1], head.spacing[0]]}
    lps = np.diag([-1, -1, 1, 1]) @ head.affine
    series = [
        dicoms.image(
            np.rint(1000 * head.data[..., z].T).clip(0).astype(np.uint16),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=(lps @ [0, 0, z, 1])[:3].tolist(),
            **tags,
        )
        for z in range(head.data.shape[2])
    ]
    dicoms.write(tmp_path / "head_flair", series, names=map(str, range(len(series))))
    save(tmp_path / "nifti", contrasts=("flair",))
    arguments = [str(tmp_path / n) for n in ("head_flair", "nifti")]
    assert main(["analyze", *arguments, "-o", str(tmp_path / "out"), "--dicom-seg"]) == 0
    assert "is no DICOM series, no segmentation.dcm" in capsys.readouterr().err
    (made,) = (tmp_path / "out").glob("*/segmentation.dcm")
    brain = read_volume(made.parent / "brain_mask.nii.gz")
    segmentation = pydicom.dcmread(made)
    assert [s.SegmentLabel for s in segmentation.SegmentSequence] == ["brain"]
    assert segmentation.pixel_array.sum() == brain.data.sum() > 0


def test_a_segmentation_that_cannot_be_written_costs_nothing_else(
    tmp_path, runs, capsys, monkeypatch
):
    from brainjax.report import analysis_files
    from brainjax.types import DataError

    def refuses(*_):
        raise DataError("the series lacks PatientID")

    monkeypatch.setattr(analysis_files.segmentation, "write", refuses)
    scan = phantom.head(("flair",))
    analysis = Pipeline(Knowing())(scan)
    files = {"flair": tmp_path / "x"}
    (tmp_path / "x").write_bytes(b"1")
    with pytest.raises(DataError, match="lacks PatientID"):
        analysis_files.write(tmp_path / "o", analysis, tmp_path, files=files)
    assert {p.name for p in (tmp_path / "o").iterdir()} == {
        *("brain_mask.nii.gz", "report.html", "overlay.png"),
        *("measurements.json", "measurements.csv"),
    }
    assert analysis_files.finished(tmp_path / "o", files)
    assert not analysis_files.finished(tmp_path / "o", files, {"dicom_seg": True})


def test_pictures_are_analysed_too(tmp_path, runs):
    Image.fromarray(np.full((20, 20), 90, np.uint8)).save(tmp_path / "slice.png")
    assert main(["analyze", str(tmp_path / "slice.png"), "-o", str(tmp_path / "out")]) == 0
    made = {p.name for p in (tmp_path / "out" / "slice").iterdir()}
    assert made == {"report.html", "overlay.png", "measurements.json", "measurements.csv"}
