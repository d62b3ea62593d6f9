"""The stripper around its network: with a network that knows the answer, the mask must lie on the scan's own grid."""

import io
import itertools
import json
import os
import shutil
import sys

import jax
import nibabel
import numpy as np
import pytest

from brainjax import cli
from brainjax.config import build, to_dict
from brainjax.infer import release, released
from brainjax.infer.strip import Finding, Stripper, _grown, _main_part
from brainjax.io import Volume, files, read_volume, write_volume
from brainjax.models import get as get_model
from brainjax.types import CheckpointError, ConfigError, DataError
from configs import strip as config_file

MIDDLE = np.array([4.0, -12.0, 20.0])  # of the brain, mm
SEMI = np.array([60.0, 78.0, 56.0])  # its half axes, mm


def config():
    """The released experiment with the least network and a coarse box."""
    changed = config_file.get_config().copy_and_resolve_references()
    with changed.unlocked():
        changed.augment.update(shape=(56, 72, 64), spacing=3.0)
        changed.model.update(features=(2, 4))
    return changed.lock()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A release with random weights."""
    wanted = config()
    model = build(wanted.model, get_model)
    box = np.zeros((1, 8, 8, 8, 1), np.float32)
    init = jax.jit(lambda key: model.init(key, box, train=False))
    variables = init(jax.random.key(0))
    folder = tmp_path_factory.mktemp("release")
    return release.save(folder, release.Release(to_dict(wanted), {"task": "strip"}, variables))


@pytest.fixture
def stripper(model_folder):
    """It takes for brain what is brighter than the rest of the head: 0.9 of the range."""
    made = Stripper.load(str(model_folder))
    made.in_box = lambda variables, box: 1 / (1 + np.exp(-(np.asarray(box) - 80.0) / 4.0))
    return made


def scan(
    codes="RAS", spacing=(2.0, 2.0, 2.0), dtype=np.int16, channels=0
) -> tuple[Volume, np.ndarray]:
    """A head with a bright ellipsoid as its brain, and that ellipsoid."""
    size = np.ceil(np.array([180.0, 220.0, 230.0]) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(size - 1) / 2 * spacing
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    mm = grid @ affine[:3, :3].T + affine[:3, 3]
    inside = (((mm - MIDDLE) / SEMI) ** 2).sum(-1)
    neck = (np.hypot(mm[..., 0], mm[..., 1]) < 55) & (mm[..., 2] < 20)
    data = np.where(inside <= 1, 100, np.where((inside <= 1.5) | neck, 40, 0)).astype(dtype)
    # Into the axis order asked for, by the affine's own rules.
    wanted = nibabel.orientations.axcodes2ornt(codes)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), wanted)
    back = affine @ nibabel.orientations.inv_ornt_aff(turn, data.shape)
    data = nibabel.apply_orientation(data, turn)
    truth = data == 100
    if channels:
        data = np.repeat(data[..., None], channels, -1)
    return Volume(np.ascontiguousarray(data), back), truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(
    "codes, spacing",
    [
        ("RAS", (2.0, 2.0, 2.0)),
        ("LIA", (2.0, 2.0, 2.0)),
        ("PSR", (1.5, 2.5, 2.0)),
        ("RAS", (1.5, 1.5, 6.0)),
    ],
)
def test_mask_is_on_the_scan_s_grid_in_any_orientation(stripper, codes, spacing):
    volume, truth = scan(codes, spacing)
    mask = stripper(volume)
    assert mask.data.shape == volume.data.shape and mask.data.dtype == np.uint8
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert dice(mask.data > 0, truth) > 0.96


def test_a_stack_gets_one_mask(stripper):
    volume, truth = scan(channels=3)
    mask = stripper(volume)
    assert mask.data.shape == volume.data.shape[:3]
    assert dice(mask.data > 0, truth) > 0.96


def test_what_is_not_finite_is_taken_for_0_and_said(stripper):
    volume, _ = scan(dtype=np.float32)
    before = stripper.find(volume)
    for value in (np.nan, np.inf, -np.inf):
        data = volume.data.copy()
        data[3, 3, 3] = value
        found = stripper.find(volume.with_data(data))
        np.testing.assert_array_equal(found.mask.data, before.mask.data)
        assert "1 values are not finite" in found.mask.notes[-1]
        assert not np.isfinite(data[3, 3, 3])  # the caller's own array stays as it is


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("low, high", [(-3e38, 3e38), (0, 3e38), (0, 1e-30)])
def test_the_unit_of_a_scan_changes_nothing(stripper, low, high, stacked):
    """The network sees the same of it, but for the unit, which it takes no notice of."""
    stripper.in_box = lambda variables, box: np.clip(
        (box - box.min()) / (box.max() - box.min()) - 0.3, 0, 1
    )
    volume, _ = scan(dtype=np.float32)
    wanted = stripper.find(volume)
    assert wanted.volume_ml > 900
    share = volume.data / 100
    data = ((1 - share) * low + share * high).astype(np.float32)
    found = stripper.find(volume.with_data(np.stack([data] * 3, -1) if stacked else data))
    assert dice(found.mask.data > 0, wanted.mask.data > 0) > 0.999


def test_nothing_comes_of_nothing(stripper):
    for value in (0, 7):
        volume = Volume(np.full((30, 30, 30), value, np.float32), np.diag([5.0, 5.0, 5.0, 1.0]))
        found = stripper.find(volume)
        assert not found.mask.data.any() and found.volume_ml == 0
        assert np.isfinite(found.probability).all()


def test_one_slice_and_tiny_scans_give_a_mask_on_their_grid(stripper):
    volume, _ = scan()
    for part in (np.s_[:, :, 57:58], np.s_[40:41, 50:51, 60:61], np.s_[:, 55:56, :]):
        small = Volume(volume.data[part], volume.affine)
        assert stripper(small).data.shape == small.data.shape


def test_border_grows_and_shrinks_by_mm(stripper):
    volume, _ = scan()
    sizes = [
        np.cbrt(stripper.find(volume, border=b).volume_ml * 3000 / (4 * np.pi))
        for b in (-4.0, 0.0, 4.0)
    ]
    np.testing.assert_allclose(np.diff(sizes), 4.0, atol=0.8)


def test_a_border_beyond_the_scan_is_all_or_nothing_and_no_number_is_refused(stripper):
    volume, _ = scan()
    assert stripper.find(volume, border=1e300).mask.data.all()
    assert not stripper.find(volume, border=-1e300).mask.data.any()
    for border in (np.nan, np.inf, -np.inf):
        with pytest.raises(ConfigError, match="no number of mm"):
            stripper.find(volume, border=border)


def test_grown_is_the_distance_transform_with_spacing():
    mask = np.zeros((21, 21, 21), bool)
    mask[10, 10, 10] = True
    grown = _grown(mask, 4.0, (1.0, 2.0, 4.0))
    extent = [np.flatnonzero(grown.any(tuple({0, 1, 2} - {a}))) for a in range(3)]
    assert [len(e) for e in extent] == [9, 5, 3]
    assert not _grown(np.zeros((3, 3, 3), bool), 2.0, (1.0, 1.0, 1.0)).any()


def test_main_part_drops_specks_and_fills_holes():
    p = np.zeros((20, 20, 20), np.float32)
    p[4:14, 4:14, 4:14] = 0.9
    p[8, 8, 8] = 0.1  # a hole
    p[17:19, 17:19, 17:19] = 0.9  # a speck
    p[3, 8, 8] = 0.3  # the rim, below the threshold
    out = _main_part(p)
    assert out[8, 8, 8] == 1.0 and out[18, 18, 18] == 0.0 and out[3, 8, 8] == np.float32(0.3)
    assert not _main_part(np.zeros((4, 4, 4), np.float32)).any()


def test_released_models_are_found_by_folder_or_name(model_folder):
    assert released.find(str(model_folder)) == model_folder
    with pytest.raises(CheckpointError, match="no_such_model is no released model.*lgg_unet"):
        released.find("no_such_model")
    with pytest.raises(CheckpointError, match="not for skull stripping"):
        Stripper.load("lgg_unet")


# The command line.


@pytest.fixture
def run(stripper, monkeypatch):
    """`brainjax strip ...` with the network that knows the answer; returns the exit code."""
    monkeypatch.setattr(Stripper, "load", classmethod(lambda cls, name: stripper))
    monkeypatch.setenv("BRAINJAX_COMPILATION_CACHE", "")
    return lambda *words: cli.main(["strip", *map(str, words)])


@pytest.fixture
def folder(tmp_path):
    """A folder with scans as people have them: one name in several folders."""
    for case, codes in (("ann", "LIA"), ("ben", "RAS")):
        volume, _ = scan(codes)
        (tmp_path / case).mkdir()
        write_volume(tmp_path / case / "t1.nii.gz", volume)
    return tmp_path


def test_one_scan(run, folder, capsys):
    path = folder / "ann" / "t1.nii.gz"
    brain, mask = folder / "brain.nii.gz", folder / "mask.nii"
    assert run(path, brain, "--mask", mask) == 0
    original, stripped, found = map(read_volume, (path, brain, mask))
    inside = found.data > 0
    assert dice(inside, original.data == 100) > 0.96
    np.testing.assert_array_equal(stripped.data, np.where(inside, original.data, 0))
    assert stripped.data.dtype == original.data.dtype
    np.testing.assert_allclose(stripped.affine, original.affine)
    assert " ml" in capsys.readouterr().out


def test_folders_resume_and_report_what_fails(run, folder, capsys):
    (folder / "ben" / "bad.nii.gz").write_bytes(b"no scan")
    out = folder / "out"
    assert run(folder / "ann", folder / "ben", "--output-dir", out) == 1
    err = capsys.readouterr().err
    assert "bad.nii.gz" in err and "Traceback" not in err
    wanted = itertools.product(("ann", "ben"), ("brain.nii.gz", "mask.json", "mask.nii.gz"))
    assert sorted(p.name for p in out.iterdir()) == [f"{a}_t1_{b}" for a, b in wanted]
    record = json.loads((out / "ann_t1_mask.json").read_text())
    assert record["Sources"] == [str(folder / "ann" / "t1.nii.gz")] and record["Finished"]
    assert record["VolumeMl"] > 0
    (folder / "ben" / "bad.nii.gz").unlink()
    assert run(folder / "*" / "t1.nii.gz", "--output-dir", out) == 0
    assert "2 scans are done already" in capsys.readouterr().err


def test_a_path_that_is_missing_keeps_no_other_from_being_done(run, folder, capsys):
    good, out = folder / "ann" / "t1.nii.gz", folder / "out"
    assert run(folder / "missing.nii", good, "--output-dir", out) == 1
    assert "missing.nii: no scan there" in capsys.readouterr().err
    assert (out / "t1_mask.nii.gz").exists()


@pytest.mark.parametrize(
    "fault", [ValueError("array is too\n  odd"), MemoryError(), DataError("a field of 9e9 mm")]
)
def test_whatever_is_wrong_with_one_scan_the_others_are_done(
    run, folder, capsys, stripper, monkeypatch, fault
):
    find, calls = stripper.find, []

    def first_fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise fault
        return find(*args, **kwargs)

    monkeypatch.setattr(stripper, "find", first_fails)
    out = folder / "out"
    assert run(folder / "ann", folder / "ben", "--output-dir", out) == 1
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error")]
    assert line.startswith(f"error: {folder / 'ann' / 't1.nii.gz'}: ")
    assert (out / "ben_t1_mask.nii.gz").exists() and not (out / "ann_t1_mask.nii.gz").exists()


def test_a_border_that_leaves_nothing_is_told_from_a_scan_without_a_brain(run, folder, capsys):
    path, brain = folder / "ann" / "t1.nii.gz", folder / "brain.nii.gz"
    assert run(path, brain, "--border", -200) == 1
    err = capsys.readouterr().err
    assert "--border -200 leaves nothing of the brain" in err and "is it a head" not in err
    for word in ("nan", "inf", "-inf", "wide"):
        with pytest.raises(SystemExit) as caught:
            run(path, brain, f"--border={word}")
        assert caught.value.code == 2 and "is no number of mm" in capsys.readouterr().err


def test_what_is_missing_is_told_before_the_model_is_loaded(run, folder, capsys, monkeypatch):
    monkeypatch.setattr(Stripper, "load", None)
    path = folder / "ann" / "t1.nii.gz"
    for words, says in (
        ((path, folder / "none" / "brain.nii.gz"), "none: no such folder; make it first"),
        ((path, folder / "b.nii.gz", "--mask", folder / "none" / "m.nii"), "none: no such folder"),
        ((folder / "missing.nii", folder / "b.nii.gz"), "missing.nii: no such file"),
    ):
        assert run(*words) == 1
        assert says in capsys.readouterr().err


def test_folders_of_dicom_series_are_found(run, tmp_path, capsys, stripper):
    dicoms = pytest.importorskip("dicoms", reason="needs the extra dicom")
    for name in ("ann", "ben"):
        (tmp_path / "study" / name).mkdir(parents=True)
        dicoms.write(tmp_path / "study" / name, dicoms.slices())
        (tmp_path / "study" / name / "README").write_text("no DICOM")
    everywhere = Volume(np.ones((dicoms.COLUMNS, dicoms.ROWS, dicoms.SLICES), np.uint8), np.eye(4))
    stripper.find = lambda volume, border: Finding(everywhere, np.ones(volume.data.shape), 1.0)
    for out in (tmp_path / "out", tmp_path / "study"):
        for _ in range(2):  # the second time its own results lie among the series
            assert run(tmp_path / "study", "--output-dir", out) == 0, capsys.readouterr().err
            names = {path.name for path in out.glob("*_brain.nii.gz")}
            assert names == {"ann_brain.nii.gz", "ben_brain.nii.gz"}
        assert "2 scans are done already" in capsys.readouterr().err
    # Results among the files of a series would make it another series.
    assert run(tmp_path / "study" / "ann", "--output-dir", tmp_path / "study" / "ann") == 1
    assert "is a DICOM series itself" in capsys.readouterr().err


def test_results_of_another_scan_are_not_taken_for_its_own(run, folder, capsys):
    out = folder / "out"
    assert run(folder / "ann" / "t1.nii.gz", "--output-dir", out) == 0
    before = (out / "t1_mask.nii.gz").read_bytes()
    assert run(folder / "ben" / "t1.nii.gz", "--output-dir", out) == 1
    err = capsys.readouterr().err
    assert f"is of {folder / 'ann' / 't1.nii.gz'}" in err and "--overwrite" in err
    assert (out / "t1_mask.nii.gz").read_bytes() == before
    assert run(folder / "ben" / "t1.nii.gz", "--output-dir", out, "--overwrite") == 0
    assert (out / "t1_mask.nii.gz").read_bytes() != before
    # Other options are another result of the same scan.
    before = (out / "t1_mask.nii.gz").read_bytes()
    assert run(folder / "ben" / "t1.nii.gz", "--output-dir", out, "--border", 6) == 0
    assert (out / "t1_mask.nii.gz").read_bytes() != before
    capsys.readouterr()
    assert run(folder / "ben" / "t1.nii.gz", "--output-dir", out, "--border", 6) == 0
    assert "1 scans are done already" in capsys.readouterr().err
    # One that was stopped between its files is done again, and is nobody else's.
    (out / "t1_mask.nii.gz").unlink()
    record = json.loads((out / "t1_mask.json").read_text())
    (out / "t1_mask.json").write_text(json.dumps({**record, "Finished": False}))
    assert run(folder / "ben" / "t1.nii.gz", "--output-dir", out, "--border", 6) == 0
    assert (out / "t1_mask.nii.gz").exists()


def test_a_folder_may_keep_its_own_results_and_nothing_of_the_user_s_is_lost(run, folder, capsys):
    ann = folder / "ann"
    for _ in range(2):  # the second time it finds brains and masks beside the scan
        assert run(ann, "--output-dir", ann) == 0
        names = {"t1.nii.gz", "t1_brain.nii.gz", "t1_mask.nii.gz", "t1_mask.json"}
        assert {p.name for p in ann.iterdir()} == names
    for _ in range(2):  # a tree may hold the folder of results, and other results
        assert run(folder, "--output-dir", folder / "out") == 0
        assert {p.name[:3] for p in (folder / "out").iterdir()} == {"ann", "ben"}
        assert not list((folder / "out").glob("*brain_*"))

    mine = folder / "ben" / "t1_brain.nii.gz"
    shutil.copy(folder / "ben" / "t1.nii.gz", mine)
    before = mine.read_bytes()
    for words in (
        (folder / "ben", "--output-dir", folder / "ben"),
        (folder / "ben" / "t1.nii.gz", folder / "b.nii.gz", "--mask", folder / "ben" / "t1.nii.gz"),
        (folder / "ben" / "t1.nii.gz", folder / "b.nii.gz", "--mask", folder / "b.nii.gz"),
    ):
        capsys.readouterr()
        assert run(*words) == 1
        assert "itself; choose another place" in capsys.readouterr().err
    assert mine.read_bytes() == before and not (folder / "b.nii.gz").exists()


def test_names_that_are_no_text_end_nothing(run, folder, monkeypatch):
    name = os.fsencode(folder / "ann") + b"/M\xfcller.nii.gz"
    try:
        os.rename(folder / "ann" / "t1.nii.gz", name)
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", printed)
    assert run(folder / "ann", folder / "ben", "--output-dir", folder / "out") == 0
    printed.flush()
    assert b"M\\udcfcller.nii.gz: brain of" in printed.buffer.getvalue()


@pytest.mark.parametrize(
    "words, says",
    [
        (("a.nii.gz",), "name the scan and the file to write"),
        (("a.nii.gz", "b.txt"), "must end in .nii.gz"),
        (("a.nii.gz", "a.nii.gz"), "is a scan itself"),
        (("nowhere", "--output-dir", "out"), "no scan there"),
        (("a", "--output-dir", "out", "--mask", "m.nii"), "leave --mask out"),
    ],
)
def test_wrong_command_lines_say_what_to_do(run, words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["strip", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "brainjax strip head.nii.gz brain.nii.gz" in out and files.ENDINGS[0] in out
