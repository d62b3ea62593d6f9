"""Where masks of whole volumes go: never over a scan, never two into one file."""

import types

import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import entry_point

from brainjax.datasets import ImagePairs
from brainjax.datasets.volumes import read_case
from brainjax.infer import cases
from brainjax.io import Volume, read_volume, write_volume
from brainjax.types import ConfigError

predict = entry_point("predict")


def scans(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data = np.random.default_rng(0).integers(0, 99, (6, 6, 6)).astype(np.int16)
        write_volume(folder / f"{name}.nii.gz", Volume(data, np.eye(4)))
    return [(str(folder), case) for case in ImagePairs(str(folder), labelled=False).find()[0]]


def test_masks_are_named_after_their_cases_and_told_apart_by_their_folders(tmp_path):
    found = scans(tmp_path / "a", "anna", "sub/dora") + scans(tmp_path / "b", "anna")
    assert predict.masks_of(found, tmp_path / "out") == ["a_anna", "sub/dora", "b_anna"]
    with pytest.raises(ConfigError, match="both be called"):
        predict.masks_of(found + found[-1:], tmp_path / "out")


@pytest.mark.parametrize("masks", [".", "masks"])
def test_a_scan_or_a_truth_is_not_overwritten(masks, tmp_path):
    if masks != ".":
        scans(tmp_path / "masks", "anna")
    found = scans(tmp_path if masks == "." else tmp_path / "images", "anna")
    if masks != ".":
        found = [(str(tmp_path), c) for c in ImagePairs(str(tmp_path), labelled=False).find()[0]]
    (tmp_path / "link").symlink_to(tmp_path / masks)
    for workdir in (tmp_path / masks, tmp_path / "link"):
        with pytest.raises(ConfigError, match=r"anna\.nii\.gz is a scan itself"):
            predict.masks_of(found, workdir)


def test_what_an_earlier_run_left_in_the_workdir_is_no_case(tmp_path):
    ((_, case),) = scans(tmp_path / "in" / "masks_of_mine", "anna")
    workdir = tmp_path / "in" / "masks_of_mine"
    assert not predict.made_before(case, workdir)  # a scan of the user's
    (workdir / "anna.png").touch()
    assert predict.made_before(case, workdir)
    assert not predict.made_before(case, tmp_path / "elsewhere")


def test_a_folder_is_segmented_with_its_sub_folders_twice_alike(tmp_path, monkeypatch, capsys):
    scans(tmp_path / "in", "anna", "sub/dora")
    workdir = tmp_path / "in" / "out"
    model = types.SimpleNamespace(
        config=ConfigDict({"data": {"name": "ImagePairs"}}),
        facts={"channels": ("image",), "classes": ("mask",)},
    )

    def bright(model, reader, case):
        loaded = read_case(reader, case)
        return loaded, loaded.image > 50

    monkeypatch.setattr(cases, "segment", bright)
    monkeypatch.setattr(predict, "_WORKDIR", types.SimpleNamespace(value=str(workdir)))
    monkeypatch.setattr(predict, "_CHECKPOINT", types.SimpleNamespace(value=["model"]))
    for _ in range(2):
        predict._volumes(model, [str(tmp_path / "in")], 0.0)
        written = sorted(p.relative_to(workdir).as_posix() for p in workdir.rglob("*.nii.gz"))
        assert written == ["anna.nii.gz", "sub/dora.nii.gz"]
    assert set(np.unique(read_volume(workdir / "sub" / "dora.nii.gz").data)) == {0, 1}
    assert '"n_volumes": 2' in capsys.readouterr().out
