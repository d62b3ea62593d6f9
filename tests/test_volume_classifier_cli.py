"""Classifiers of whole heads by the commands a user types: train, evaluate, export, predict, compare."""

import json

import numpy as np
import pytest
from heads import head
from test_train_cli import result_of, run

from brainjax.io import write_volume

# A run on embedded heads that takes seconds.
TINY = [
    *("--config=configs/volume_classifier.py", "--quiet", "--config.data.subjects=24"),
    *("--config.data.size=32", "--config.data.slices=32", "--config.data.shape=(16,16,16)"),
    *("--config.data.spacing=12", "--config.split.test=0.25", "--config.split.val=0.25"),
    *("--config.model.width=4", "--config.model.blocks=(1,1)", "--config.train.steps=4"),
    *("--config.train.eval_every=2", "--config.train.log_every=2", "--config.augment.p_affine=0"),
    *("--config.augment.p_intensity=0", "--config.augment.p_degrade=0"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    done = run("train", *TINY, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


@pytest.fixture(scope="module")
def released(trained):
    workdir, _ = trained
    output = workdir.parent / "released"
    done = run("export", f"--run={workdir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    return output, done


def test_a_run_scores_volumes_and_leaves_pictures(trained):
    workdir, done = trained
    result = result_of(done)
    assert result["task"] == "classification" and result["dataset"] == "synthetic_tumors"
    assert result["protocol"].startswith("split by patient")
    assert "volumes to train / validate / test, of 24 patients" in done.stdout
    assert np.sum(result["confusion"]) == result["metrics"]["n_images"] == 4
    for name in ("batch", "curves", "samples", "confusion", "reliability", "roc", "gradcam"):
        assert (workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name


def test_evaluate_gives_the_numbers_of_the_run_and_export_a_card(trained, released):
    workdir, done = trained
    again = run("evaluate", f"--checkpoint={workdir}", "--split=test")
    assert result_of(again)["metrics"] == result_of(done)["metrics"], again.stderr
    card = (released[0] / "MODEL_CARD.md").read_text()
    assert (
        "ScanClassifier" in card and "16 x 16 x 16 voxels" in card and "Research use only" in card
    )
    assert "{" not in card.replace("{class: probability}", "")
    stored = json.loads((released[0] / "config.json").read_text())
    assert stored["facts"]["rank"] == 3 and stored["facts"]["n_seen_in_training"] == 0


def test_scans_are_classified_and_bad_ones_named(released, tmp_path):
    scan = head()
    write_volume(tmp_path / "good.nii.gz", scan)
    write_volume(tmp_path / "empty.nii.gz", scan.with_data(np.zeros(scan.data.shape, np.float32)))
    (tmp_path / "broken.nii").write_bytes(b"no scan")
    out = tmp_path / "out"
    done = run("predict", f"--checkpoint={released[0]}", f"--workdir={out}", str(tmp_path))
    assert done.returncode == 1 and "empty.nii.gz: every voxel" in done.stderr
    assert "broken.nii" in done.stderr
    result = result_of(done)
    assert result["metrics"]["n_scans"] == 1
    assert result["predictions"][0]["scan"].endswith("good.nii.gz")
    assert (out / "gradcam.png").is_file() and (out / "predictions.csv").is_file()


def test_the_vote_and_the_whole_are_compared_on_heads_that_trained_neither(released, tmp_path):
    flags = [f"--volumes={released[0]}", "--subjects=4", "--size=32", "--depth=32"]
    done = run("compare_volumes", *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert set(result["metrics"]) == {"slices", "volume"}
    for way, scores in result["metrics"].items():
        assert 0 <= scores["accuracy"] <= 1 and scores["seconds_per_scan"] > 0
        assert np.sum(result["confusion"][way]) == 4
        assert (tmp_path / f"predictions-{way}.csv").read_text().count("\n") == 5
    assert "| slices |" in (tmp_path / "comparison.md").read_text()
    same = run("compare_volumes", *flags, "--seed=0")
    assert same.returncode == 1 and "choose another one" in same.stderr
    other = run("compare_volumes", "--slices=lgg_unet", *flags)
    assert other.returncode == 1 and "not Classifier" in other.stderr
