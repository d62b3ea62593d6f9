"""experiments.sweep from the command line: shards, reports, mistakes, a stop and going on."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from tiny import ROOT, clean_environment

COMMAND = [sys.executable, "-m", "experiments.sweep"]
TINY = [
    *("--config=configs/unet.py", "--config.data.subjects=4", "--config.data.slices=8"),
    *("--config.data.size=32", "--config.split.test=1", "--config.split.val=1", "--quiet"),
    *("--config.model.features=(4,8)", "--config.train.steps=6", "--config.train.batch_size=4"),
    *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
    *("--config.augment.blur=0", "--config.train.checkpoint_every=2"),
]


@pytest.fixture(scope="module")
def sweep_file(tmp_path_factory):
    """Two rates by two seeds, and a variant with a mistake."""
    file = tmp_path_factory.mktemp("sweep") / "rates.py"
    file.write_text(
        "from brainjax.sweep import grid\n"
        "def get_sweep(variant='good'):\n"
        "    rates = [1e-3, 1e-2] if variant == 'good' else [1e-3, -1.0]\n"
        "    return grid({'optimizer.learning_rate': rates, 'seed': range(2)})\n"
    )
    return file


def run(*flags):
    return subprocess.run(
        [*COMMAND, *flags],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )


def result_of(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_shards_a_stop_and_a_merged_report(sweep_file, tmp_path):
    """Half of the sweep here; the other half elsewhere, stopped once; then one report of both."""
    first, second = tmp_path / "first", tmp_path / "second"
    flags = [*TINY, f"--sweep={sweep_file}"]
    result = result_of(run(*flags, f"--workdir={first}", "--shard=1/2", "--pack=packed"))
    assert result["metrics"] == {"trials": 2, "missing": 2, "diverged": 0}
    assert result == json.loads((first / "result.json").read_text())

    shard = [*flags, f"--workdir={second}", "--shard=2/2", "--pack=sequential"]
    child = subprocess.Popen(
        [*COMMAND, *shard],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any((second / "packs").glob("*/pack.json")):
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 75 and "stopped" in err and "Traceback" not in err
    assert result_of(run(*shard))["metrics"] == {"trials": 2, "missing": 2, "diverged": 0}

    merged = run("--report_only", f"--workdir={first}", f"--merge={second}", *TINY[:1])
    result = result_of(merged)
    assert result["metrics"] == {"trials": 4, "missing": 0, "diverged": 0}
    assert result["best"]["n"] == 2
    with (first / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["optimizer.learning_rate"], r["seed"]) for r in rows] == [
        *(("0.001", "0"), ("0.001", "1"), ("0.01", "0"), ("0.01", "1"))
    ]
    text = (first / "sweep.md").read_text()
    assert "95 % from" in text and "patient split" in text and text in merged.stdout
    assert Image.open(first / "sweep.png").size[0] > 300


def test_help_teaches(sweep_file):
    done = run("--help")
    for words in ("sweep.csv", "--shard", "--pack_size", "grid, zipped, product and chain"):
        assert words in done.stdout


def test_every_mistake_of_a_sweep_in_one_message(sweep_file, tmp_path):
    flags = (*TINY, f"--sweep={sweep_file}:bad", f"--workdir={tmp_path / 'run'}")
    done = run(*flags)
    first, second = done.stderr.splitlines()
    assert done.returncode == 1 and first == "error: 2 of 4 trials cannot be run"
    assert "learning_rate must be a number above 0, got -1.0" in second and "1 more" in second
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--sweep=configs/sweeps/none.py"], "there is no file configs/sweeps/none.py"),
        (["--pack=pakced"], "did you mean 'packed'"),
        (["--shard=5/4"], "from 1/n to n/n"),
        (["--report_only", "--workdir=/nowhere"], "give the --workdir of a sweep"),
        (["--report_only", "--config.name=mine"], "checkpoints/runs/mine-"),
    ],
)
def test_mistakes_are_one_line(flags, message, sweep_file):
    (line,) = run(*TINY, f"--sweep={sweep_file}", *flags).stderr.splitlines()
    assert line.startswith("error: ") and message in line
