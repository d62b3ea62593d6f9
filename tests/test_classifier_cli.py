"""A classifier from a folder of pictures to a release, by the commands that a user types."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from test_train_cli import result_of, run

FLAGS = [
    *("--config=configs/classifier.py", "--config.name=bars", "--config.data.name=ImageFolder"),
    *("--config.data.size=32", "--config.data.crop=False", "--config.input.size=0"),
    *("--config.split.test=0.3", "--config.split.val=0.2", "--config.model.num_classes=2"),
    *("--config.model.stages=(1,)", "--config.model.width=4", "--config.train.batch_size=8"),
    *("--config.train.steps=4", "--config.train.eval_every=2", "--config.train.log_every=2"),
    *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty pictures of two classes, as a data set is shipped: bars across and bars down."""
    root = tmp_path_factory.mktemp("bars")
    rng = np.random.default_rng(0)
    for i in range(40):
        kind, part = ("across", "down")[i % 2], ("Training", "Testing")[i % 5 == 0]
        picture = rng.integers(0, 60, (40, 36), dtype=np.uint8)
        at = 4 + i % 24
        picture[
            (slice(at, at + 5), slice(None))
            if kind == "across"
            else (slice(None), slice(at, at + 5))
        ] += 150
        (root / part / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / part / kind / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "bars"
    done = run("train", *FLAGS, f"--config.data.dir={folder}", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done


@pytest.fixture(scope="module")
def released(trained):
    workdir, _ = trained
    output = workdir.parent / "released"
    done = run("export", f"--run={workdir}", f"--output={output}", "--limits=Fails on Mondays.")
    assert done.returncode == 0, done.stderr
    return output, done


def test_a_run_says_what_it_found_and_leaves_pictures(trained):
    workdir, done = trained
    result = result_of(done)
    assert result["task"] == "classification" and result["split"] == "test"
    assert 0 <= result["metrics"]["accuracy"] <= 1 and "grouped" in result["protocol"]
    assert [c["class"] for c in result["per_class"]] == ["across", "down"]
    assert np.sum(result["confusion"]) == result["metrics"]["n_images"]
    for name in ("batch", "curves", "samples", "confusion", "reliability", "roc", "gradcam"):
        assert (workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    rows = list(csv.DictReader((workdir / "predictions.csv").open()))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(result["metrics"]["accuracy"])
    stored = json.loads((workdir / "model" / "config.json").read_text())
    assert stored["config"]["infer"]["temperature"] != 1.0


def test_evaluate_reproduces_the_run_s_numbers(trained):
    workdir, done = trained
    evaluated = run("evaluate", f"--checkpoint={workdir}", "--split=test")
    assert evaluated.returncode == 0, evaluated.stderr
    result = result_of(evaluated)
    assert result["metrics"] == result_of(done)["metrics"] and result["n_seen_in_training"] == 0


def test_a_release_is_scored_on_any_folder_and_knows_what_trained_it(released, folder, tmp_path):
    output, exported = released
    flags = [f"--checkpoint={output}", f"--data_dir={folder}", "--split=all"]
    done = run("evaluate", *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    facts = json.loads((output / "config.json").read_text())["facts"]
    assert result["metrics"]["n_images"] == 40
    assert result["n_seen_in_training"] == len(facts["trained_on"]) > 0
    assert (
        f"{len(facts['trained_on'])} of 40 different images were trained on" in result["protocol"]
    )
    card = (output / "MODEL_CARD.md").read_text()
    assert (
        f"{result_of(exported)['metrics']['accuracy']:.4f}" in card and "Fails on Mondays." in card
    )


def test_a_folder_s_classes_are_the_model_s_by_name_whichever_there_are(released, folder, tmp_path):
    """One image, of the class that comes second: in a folder of its own it would be the first."""
    output, _ = released
    (tmp_path / "in/DOWN").mkdir(parents=True)
    path = min((folder / "Training/down").iterdir())
    (tmp_path / "in/DOWN" / path.name).write_bytes(path.read_bytes())
    flags = [f"--checkpoint={output}", f"--data_dir={tmp_path / 'in'}"]
    done = run("evaluate", *flags, f"--workdir={tmp_path / 'out'}")
    assert done.returncode == 0 and "no roc.png" in done.stderr, done.stderr
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert [row["class"] for row in result["per_class"]] == ["across", "down"]
    assert [sum(row) for row in result["confusion"]] == [0, 1]
    (one,) = csv.DictReader((tmp_path / "out/predictions.csv").open())
    assert one["label"] == "down" and not (tmp_path / "out/roc.png").exists()
    # What cannot be kept is refused before anything is scored.
    (tmp_path / "file").touch()
    done = run("evaluate", *flags, f"--workdir={tmp_path / 'file/out'}")
    assert done.returncode == 1 and "scoring" not in done.stderr and "file" in done.stderr
    (tmp_path / "in/DOWN").rename(tmp_path / "in/sideways")
    done = run("evaluate", *flags, f"--workdir={tmp_path / 'not'}")
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert "has images of sideways, and the model knows across, down" in done.stderr


def test_predict_names_classes_and_goes_on_after_a_bad_picture(released, folder, tmp_path):
    output, _ = released
    (tmp_path / "in").mkdir()
    for path in list((folder / "Training" / "down").iterdir())[:3]:
        (tmp_path / "in" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8 this is no picture")
    # What no one means, and training passes over: a folder of such a name, and what a Mac puts into archives.
    (tmp_path / "in/series.jpg").mkdir()
    (tmp_path / "in/__MACOSX").mkdir()
    for name in ("._a.jpg", "__MACOSX/a.jpg", "__MACOSX/._a.jpg"):
        (tmp_path / "in" / name).write_bytes(b"Mac OS X")
    done = run(
        "predict", f"--checkpoint={output}", str(tmp_path / "in"), f"--workdir={tmp_path / 'out'}"
    )
    assert done.returncode == 1 and done.stderr.count("error: ") == 1
    assert "broken.jpg" in done.stderr and "Traceback" not in done.stderr
    result = result_of(done)
    assert result["metrics"]["n_images"] == 3 == sum(result["metrics"]["counts"].values())
    for one in result["predictions"]:
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert one["class"] == max(one["probabilities"], key=one["probabilities"].get)
    assert len(list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))) == 3
    assert (tmp_path / "out" / "gradcam.png").exists()


def test_predict_without_pictures_says_so(released, tmp_path):
    output, _ = released
    done = run("predict", f"--checkpoint={output}", str(tmp_path))
    assert done.returncode == 1 and "holds no image" in done.stderr and not done.stdout
