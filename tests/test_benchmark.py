"""The benchmark's own arithmetic, and that every contestant of ours runs."""

import json
import subprocess
import sys

import pytest
from tiny import ROOT, clean_environment

SMALL = ("--trials=2", "--steps=2", "--rounds=1", "--size=8", "--width=2", "--batch_size=4")


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.benchmark", *SMALL, *flags],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_every_contestant_runs_and_the_ratios_are_those_of_the_times(tmp_path):
    done = run(f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "result.json").read_text())
    metrics, runs = result["metrics"], result["runs"]
    assert set(runs) == {"packed", "sequential", "alone"} and result["setting"]["trials"] == 2
    for name, (found,) in runs.items():
        assert found["seconds"] > 0 and metrics[f"{name}_seconds"] == found["seconds"]
        per_minute = metrics[f"{name}_trials_per_minute"]
        assert per_minute == pytest.approx(120 / found["seconds"], abs=0.01)
    ratio = runs["alone"][0]["seconds"] / runs["packed"][0]["seconds"]
    assert metrics["packed_over_alone"] == pytest.approx(ratio, abs=0.01)


def test_a_peer_that_is_not_there_is_one_line(tmp_path):
    """Its turn comes first, so that nothing is measured in vain."""
    done = run(f"--workdir={tmp_path}", "--peers=keras", "--peer_python=/nowhere/python")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and "--peer_python" in line
