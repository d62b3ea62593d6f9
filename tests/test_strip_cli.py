"""From a folder of label maps to a released stripper, by the commands that a user types."""

import json
import subprocess
import sys

import numpy as np
import pytest
from test_label_maps import head, write
from test_train_cli import result_of, run
from tiny import ROOT, clean_environment

from brainjax.io import Volume, read_volume
from brainjax.report import heads

FLAGS = [
    *("--config=configs/strip.py", "--config.train.steps=2", "--config.train.log_every=1"),
    *("--config.model.features=(2,4)", "--config.augment.shape=(24,24,24)"),
    *("--config.augment.spacing=8.0", "--config.train.checkpoint_every=1"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("strip")
    (root / "maps").mkdir()
    write(root / "maps", "one.nii.gz", head())
    done = run("train", *FLAGS, f"--config.data.dir={root / 'maps'}", f"--workdir={root / 'run'}")
    assert done.returncode == 0, done.stderr
    return root, done


@pytest.fixture(scope="module")
def cases(trained):
    """A head, its brain, and what a tool would say."""
    root, _ = trained
    labels = head()
    write(root / "heads" / "ann", "image.nii.gz", (labels % 97).astype(np.float32))
    brain = ((labels > 0) & (labels < 500)).astype(np.uint8)
    for name in ("mask", "mask_tool"):
        write(root / "heads" / "ann", f"{name}.nii.gz", brain)
    return root / "heads"


@pytest.fixture(scope="module")
def released(trained, cases):
    root, _ = trained
    done = run(
        "strip_heads",
        *(f"--checkpoint={root / 'run'}", f"--data_dir={cases}", f"--workdir={root / 'scores'}"),
        *(f"--release={root / 'released'}", "--limits=Fails on Mondays."),
    )
    assert done.returncode == 0, done.stderr
    return root / "released", done


def test_training_from_maps_scores_nobody_and_shows_a_head(trained):
    root, done = trained
    result = result_of(done)
    assert result["task"] == "strip" and result["split"] == "none" and result["steps"] == 2
    assert (root / "run" / "batch.png").stat().st_size > 1000


def test_a_second_stage_begins_with_the_first_one_s_weights(trained):
    root, _ = trained
    flags = [f for f in FLAGS if "steps" not in f]
    flags += ["--config=configs/strip.py:fine", "--config.train.steps=1"]
    flags += [f"--config.train.init={root / 'run'}", f"--config.data.dir={root / 'maps'}"]
    done = run("train", *flags[1:], f"--workdir={root / 'fine'}")
    assert done.returncode == 0, done.stderr
    assert result_of(done)["steps"] == 1


def test_heads_are_scored_and_drawn(released, trained):
    _, done = released
    result = result_of(done)
    rows = {row["against"]: row for row in result["per_head"]}
    assert set(rows) == {"truth", "tool"} and result["metrics"]["n_heads"] == 1
    assert 0 <= rows["truth"]["dice"] <= 1 and rows["truth"]["dice"] == rows["tool"]["dice"]
    root, _ = trained
    assert {"heads.png", "scores.csv", "result.json"} <= {
        p.name for p in (root / "scores").iterdir()
    }


def test_release_has_its_card_and_strips(released, trained, cases):
    folder, _ = released
    card = (folder / "MODEL_CARD.md").read_text()
    assert "Fails on Mondays." in card and "| ann | truth |" in card and "{" not in card
    facts = json.loads((folder / "config.json").read_text())["facts"]
    assert facts["task"] == "strip" and facts["trained_on"] == ["one"]
    root, _ = trained
    words = ["strip", cases / "ann" / "image.nii.gz", root / "brain.nii.gz", "--model", folder]
    done = subprocess.run(
        [sys.executable, "-m", "brainjax", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    # Two steps teach nothing: what counts is a file on the scan's grid, or one line that says there is no brain.
    if done.returncode:
        assert "no brain was found" in done.stderr and "Traceback" not in done.stderr
    else:
        assert read_volume(root / "brain.nii.gz").data.shape == head().shape


def test_planes_are_hung_as_radiologists_do():
    data = np.zeros((40, 50, 60), np.float32)
    data[30, 25, 30], data[20, 40, 30], data[20, 25, 50] = (
        1,
        2,
        3,
    )  # right, front, top of the middle
    scan = Volume(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    middle = heads.TILE // 2
    sagittal, coronal, axial = (plane[0] for plane in heads.planes(scan, (20, 25, 30)))
    right = np.argwhere(axial == 1).mean(0)
    assert abs(right[0] - middle) <= 1 and abs(right[1] - (middle - 20)) <= 1.5  # on the left
    front = np.argwhere(axial == 2).mean(0)
    assert front[0] < middle - 25 and abs(front[1] - middle) <= 1.5  # up
    top = np.argwhere(coronal == 3).mean(0)
    assert top[0] < middle - 35 and abs(top[1] - middle) <= 1.5
    assert (np.argwhere(sagittal == 2).mean(0)[1]) > middle + 25  # facing right
    picture = heads.outlines([("a", scan, data > 0, None), ("b", scan, data > 0, data > 2)])
    assert picture.dtype == np.uint8 and picture.shape[0] > 2 * heads.TILE


def test_a_folder_without_heads_says_so(tmp_path):
    done = run("strip_heads", f"--data_dir={tmp_path}")
    assert done.returncode == 1 and "holds no CASE/image.nii.gz" in done.stderr
