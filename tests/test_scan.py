"""Scans as they come: contrasts by name, one grid, and errors that say what to do."""

import nibabel as nib
import numpy as np
import pytest

from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.scan import Scan, find_scans, read_scan
from brainjax.infer.scan_names import UNKNOWN, contrast_in, contrast_of
from brainjax.io import Volume
from brainjax.types import DataError

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def write(path, value=1.0, shape=(6, 5, 4), affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full(shape, value, np.float32), affine), path)
    return path


@pytest.mark.parametrize(
    "name, contrast",
    [
        ("p1_t1.nii.gz", "t1"),
        ("p1-t1n.nii.gz", "t1"),
        ("p1-t1c.nii", "t1ce"),
        ("P1_T1Gd.nii.gz", "t1ce"),
        ("p1-t2f.nii.gz", "flair"),
        ("Flair_subtrMeanDivStd.nii.gz", "flair"),
        ("p1_t2.mgz", "t2"),
        ("image.nii.gz", UNKNOWN),
        ("t1000.nii.gz", UNKNOWN),
        ("sub-01_ses-2_T1w.nii.gz", "t1"),
        ("sub-01_ce-gadolinium_T1w.nii.gz", "t1ce"),
        ("p1_T1_gd.nii.gz", "t1ce"),
        ("p1-T1-post.nii", "t1ce"),
        ("p1_t1_pre.nii", "t1"),
        ("post_t1.nii.gz", "t1"),
        ("p1_T2_FLAIR.nii.gz", "flair"),
        ("gd.nii.gz", UNKNOWN),
        ("-.nii.gz", UNKNOWN),
    ],
)
def test_contrasts_are_known_by_name(name, contrast):
    assert contrast_of(name) == contrast


def test_a_folder_of_contrasts_comes_in_a_fixed_order_without_its_truth(tmp_path):
    for i, ending in enumerate(("flair", "seg", "t1ce", "t2", "t1")):
        write(tmp_path / "case" / f"case_{ending}.nii.gz", i)
    scan = read_scan(tmp_path / "case")
    assert scan.name == "case" and list(scan.volumes) == ["t1", "t1ce", "t2", "flair"]
    assert scan.volumes["t1"].data[0, 0, 0] == 4
    assert scan.spacing == pytest.approx((2, 2, 3))


def test_contrasts_on_other_grids_are_brought_to_the_first(tmp_path):
    write(tmp_path / "a_t1.nii.gz", 7)
    write(tmp_path / "a_t2.nii.gz", 9, (12, 10, 12), np.diag([1.0, 1.0, 1.0, 1.0]))
    scan = read_scan(tmp_path)
    assert scan.volumes["t2"].data.shape == (6, 5, 4)
    assert scan.notes == ("t2 was resampled to the grid of t1",)
    np.testing.assert_allclose(scan.volumes["t2"].data[1:-1, 1:-1, 1:-1], 9, rtol=1e-5)


def test_named_contrasts_and_a_lone_file(tmp_path):
    one, two = write(tmp_path / "x.nii.gz", 1), write(tmp_path / "y.nii.gz", 2)
    scan = read_scan(contrasts={"flair": one, "t1": two}, name="me")
    assert (scan.name, list(scan.volumes)) == ("me", ["flair", "t1"])
    lone = read_scan(one)
    assert lone.name == "x" and list(lone.volumes) == [UNKNOWN]
    assert lone.prefer("t1", "t2") == (UNKNOWN, lone.first)
    assert scan.prefer("t2", "t1")[0] == "t1"


def test_what_cannot_be_read_is_said(tmp_path):
    write(tmp_path / "two" / "a_t1.nii.gz")
    write(tmp_path / "two" / "a_t1n.nii.gz")
    with pytest.raises(DataError, match="second t1"):
        read_scan(tmp_path / "two")
    write(tmp_path / "odd" / "a_t1.nii.gz")
    write(tmp_path / "odd" / "b_extra.nii.gz")
    with pytest.raises(DataError, match=r"holds 2 scans \(a_t1, b_extra\)"):
        read_scan(tmp_path / "odd")
    many = write(tmp_path / "many_t1.nii.gz", shape=(6, 5, 4, 3))
    with pytest.raises(DataError, match="holds 3 volumes"):
        read_scan(many)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no scan"):
        read_scan(tmp_path / "none")
    with pytest.raises(DataError, match="no such file"):
        read_scan(tmp_path / "gone.nii.gz")
    with pytest.raises(DataError, match="not on the grid"):
        cube = Volume(np.zeros((2, 2, 2)), AFFINE)
        Scan("x", {"t1": cube, "t2": Volume(np.zeros((3, 2, 2)), AFFINE)})


def test_the_scans_of_a_tree_are_told_apart(tmp_path):
    for case in ("p1", "p2"):
        for ending in ("t1", "flair", "seg"):
            write(tmp_path / case / f"{case}_{ending}.nii.gz")
    for name in ("patient_t1.nii", "patient_t2.nii", "b_t1.nii", "lone.nii.gz", "a_mask.nii.gz"):
        write(tmp_path / "flat" / name)
    found = {one.name: tuple(one.contrasts) for one in find_scans(tmp_path)}
    assert found == {
        "p1": ("t1", "flair"),
        "p2": ("t1", "flair"),
        "patient": ("t1", "t2"),
        "b_t1": ("t1",),
        "lone": (UNKNOWN,),
    }


def test_files_that_no_contrast_names_stay_by_themselves(tmp_path):
    for name in (
        "case.nii.gz",
        "case_t1.nii.gz",
        "case_flair.nii.gz",
        "pat-1.nii.gz",
        "pat_1.nii.gz",
        "pat_1.nii",
    ):
        write(tmp_path / name)
    found = find_scans(tmp_path)
    files = sorted(sorted(p.name for p in one.contrasts.values()) for one in found)
    together = ["case_flair.nii.gz", "case_t1.nii.gz"]
    assert files == [["case.nii.gz"], together, ["pat-1.nii.gz"], ["pat_1.nii"], ["pat_1.nii.gz"]]


def test_links_to_folders_are_followed_once_and_results_left_out(tmp_path):
    store, cohort = tmp_path / "store", tmp_path / "cohort"
    for folder in (store, cohort / "p1", cohort / "results"):
        folder.mkdir(parents=True)
    write(store / "b.nii.gz")
    write(cohort / "p1" / "a.nii.gz")
    write(cohort / "results" / "c.nii.gz")
    write(cohort / "p1" / "tumour.nii.gz")  # as an analysis calls its own
    (cohort / "p2").symlink_to(store)
    (cohort / "p1" / "round").symlink_to(cohort)
    found = find_scans(cohort, without=[cohort / "results"])
    assert [one.name for one in found] == ["a", "b"]


def test_folders_of_dicom_files_are_scans(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "IM0").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "one" / "LICENSE").write_text("comes first")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("none")
    assert [one.name for one in find_scans(tmp_path)] == ["one", "two"]


def test_names_of_several_words_are_of_one_scan(tmp_path):
    for name in ("P1_T1w", "P1_ce-gadolinium_T1w", "P1_T2w", "P1_t2_flair", "Q_T2w"):
        write(tmp_path / f"{name}.nii.gz")
    found = {one.name: tuple(one.contrasts) for one in find_scans(tmp_path)}
    assert found == {"P1": ("t1", "t1ce", "t2", "flair"), "Q_T2w": ("t2",)}


@pytest.mark.parametrize(
    "text, contrast",
    [
        ("AX T1 MPRAGE POST", "t1ce"),
        ("Sag MPRAGE", "t1"),
        ("t2_tse_dark-FLAIR_tra", "flair"),
        ("AX T2 TSE", "t2"),
        ("ep2d_diff", UNKNOWN),
    ],
)
def test_series_are_known_by_any_word(text, contrast):
    assert contrast_in(text) == contrast


def test_series_of_one_examination_are_one_scan(tmp_path):
    dicoms = pytest.importorskip("dicoms", reason="needs the extra dicom", exc_type=ImportError)
    for patient in ("ann", "bert"):
        for name in ("401", "t1_post", "701", "localizer"):
            (tmp_path / patient).mkdir(exist_ok=True)
            told = {"401": "AX T2 FLAIR", "701": "AX T2"}.get(name, "")
            tags = dicoms.TAGS | {"StudyInstanceUID": f"1.2.{len(patient)}"}
            made = dicoms.slices(SeriesDescription=told, **tags)
            dicoms.write(tmp_path / patient / name, made)
    write(tmp_path / "bert" / "nifti" / "x_t1.nii.gz")  # volumes do not hide series
    found = {one.name: tuple(one.contrasts) for one in find_scans(tmp_path / "bert")}
    assert found == {"bert": ("t1ce", "t2", "flair"), "localizer": (UNKNOWN,), "x_t1": ("t1",)}
    assert len(find_scans(tmp_path)) == 5


def test_an_analysis_tells_its_facts():
    scan = Scan("x", {"t1": Volume(np.ones((10, 10, 10)), np.diag([1.0, 2.0, 5.0, 1.0]))})
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:2], labels[2], labels[3] = 2, 1, 4
    found = Analysis(
        scan,
        brain=scan.first.with_data((labels > 0).astype(np.uint8)),
        tumour=scan.first.with_data(labels),
        stages=(Stage("strip", "done", "strip_unet", 1.0, facts={"licence": "x"}),),
    )
    facts = found.facts()
    assert facts["regions_ml"] == {"WT": 4.0, "TC": 2.0, "ET": 1.0} and facts["brain_ml"] == 4.0
    assert facts["scan"]["orientation"] == "RAS"
    assert found.stage("strip").model == "strip_unet" and found.stage("vote") is None
    assert "facts" not in facts["stages"][0]
    plain = Analysis(
        scan, tumour=scan.first.with_data((labels > 0).astype(np.uint8)), regional=False
    )
    assert list(plain.regions) == ["WT"] and Analysis(scan).regions == {}
