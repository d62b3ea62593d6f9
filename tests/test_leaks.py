"""The leak report: every kind of copy is counted once, shown, and written down."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pictures import CLASSES, head, tumor_folder, write
from PIL import Image
from tiny import ROOT, clean_environment

from brainjax.datasets import ImageFolder, leaks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four exact copies across parts, one near copy within training, one across with another label."""
    root = tumor_folder(tmp_path_factory.mktemp("leaky"))
    training = root / "Training"
    write(training / CLASSES[0] / "near.png", head(1, noise=5))
    write(training / CLASSES[3] / "wrong.png", head(150, noise=6))  # Testing/meningioma/image(1)
    return root


@pytest.fixture(scope="module")
def dataset(folder):
    return ImageFolder(str(folder), size=48, crop=False).load()


def test_every_kind_is_counted(dataset):
    found = leaks.find(dataset)
    assert (found.exact_within, found.exact_across) == (0, 4)
    assert (found.near_within, found.near_across) == (1, 1)
    assert found.conflicts == ("Testing/meningioma_tumor/image(1).png",)
    assert found.counts["Testing"] == dict.fromkeys(CLASSES, 2)
    assert found.affected["as_shipped"] == (5, 8) and found.affected["stratified"][0] == 0
    metrics = found.metrics()
    assert metrics["n_images"] == 22 and metrics["affected_as_shipped"] == 5
    text = "\n".join(found.lines())
    assert "5 of 8 test pictures" in text and "image(1).png" in text


def test_the_table_lists_whoever_is_not_alone(dataset):
    rows = list(leaks.table(dataset))
    assert len(rows) == 12 and {row[0] for row in rows} == {
        dataset.groups[g] for g in np.flatnonzero(np.bincount(dataset.group) > 1)
    }
    kinds = {name: kind for _, name, _, _, kind in rows}
    assert kinds["Training/glioma_tumor/near.png"] == "near"
    assert kinds["Training/no_tumor/m (0).png"] == "exact"
    for _, name, part, label, _ in rows:
        assert name.startswith(f"{part}/{label}/")


def test_examples_show_the_worst_first_and_each_group_once(dataset):
    pairs = leaks.examples(dataset)
    assert len(pairs) == 6
    one, other = pairs[0]
    assert dataset.label[one] != dataset.label[other]
    assert all(dataset.group[a] == dataset.group[b] for a, b in pairs)
    across = [dataset.part[a] != dataset.part[b] for a, b in pairs]
    assert across == [True] * 5 + [False]
    assert leaks.examples(dataset, limit=2) == pairs[:2]


def test_a_clean_folder_without_parts(tmp_path):
    for i in range(4):
        write(tmp_path / "ab"[i % 2] / f"{i}.png", head(i))
    found = leaks.find(ImageFolder(str(tmp_path), size=32).load())
    assert found.exact_within == found.near_within == 0 and not found.conflicts
    assert "as_shipped" not in found.affected
    assert leaks.examples(ImageFolder(str(tmp_path), size=32).load()) == []


def _run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.leaks", *flags],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )


def test_the_command_writes_table_picture_and_result(folder, tmp_path):
    run = _run(f"--data_dir={folder}", f"--workdir={tmp_path / 'new'}")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "new" / "result.json").read_text())
    assert result["metrics"]["exact_across"] == 4 and result["task"] == "leaks"
    rows = list(csv.reader((tmp_path / "new" / "leaks.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == leaks.COLUMNS and len(rows) == 13
    picture = np.asarray(Image.open(tmp_path / "new" / "leaks.png"))
    assert picture.shape[1] == 4 * 300 + 5 * 4 and picture.std() > 20


def test_the_command_names_a_bad_file_and_goes_on_if_told(folder, tmp_path):
    shutil.copytree(folder / "Training", tmp_path / "set")
    (tmp_path / "set" / CLASSES[0] / "bad.jpg").write_bytes(b"x")
    run = _run(f"--data_dir={tmp_path / 'set'}")
    assert run.returncode == 1 and "bad.jpg" in run.stderr and "Traceback" not in run.stderr
    run = _run(f"--data_dir={tmp_path / 'set'}", "--skip_bad")
    assert (
        run.returncode == 0 and json.loads(run.stdout.splitlines()[-1])["metrics"]["n_images"] == 14
    )
