"""Sweeps by ray: how groups are shared out, and a whole sweep on a cluster of two nodes."""

import csv
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT, clean_environment, make_config

from brainjax.train import cluster
from brainjax.train.sweep import Runner
from brainjax.train.trial import make_trials
from brainjax.types import ConfigError


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 20))
def test_every_trial_is_in_one_task_of_its_own_group(sizes, slots):
    groups = [[f"{g}-{i}" for i in range(n)] for g, n in enumerate(sizes)]
    tasks = cluster.divide(groups, slots)
    assert sorted(sum(tasks, [])) == sorted(sum(groups, []))
    assert all(task and len({name.split("-")[0] for name in task}) == 1 for task in tasks)
    total, filled = sum(sizes), sum(n > 0 for n in sizes)
    assert len(tasks) >= min(slots, filled) and len(tasks) <= total
    if filled == 1:
        assert len(tasks) == min(slots, total)  # all slots have something to do


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": {name: float(n) for name, n in resources.items()}}


def test_a_task_runs_on_one_node():
    assert cluster._slots([node(CPU=7)], cluster.Cluster(cpus=2.0)) == 3
    # Seven cores on three machines are room for two tasks of two cores, not for three.
    assert cluster._slots([node(CPU=3), node(CPU=1), node(CPU=3)], cluster.Cluster(cpus=2.0)) == 2
    two = [node(CPU=64, GPU=2), node(CPU=1)]
    assert cluster._slots(two, cluster.Cluster(gpus=0.5)) == 4
    assert cluster._slots(two, cluster.Cluster(cpus=0.0)) == 2


@pytest.mark.parametrize(
    "nodes",
    [
        [node(CPU=8)],
        [node(CPU=8), node(CPU=1, GPU=1)],  # enough of both, but on no single node
        [node(CPU=8), node(alive=False, CPU=8, GPU=1)],
        [],
    ],
)
def test_a_task_that_fits_no_node_is_refused_instead_of_waited_for(nodes):
    with pytest.raises(ConfigError, match="no node.*2 CPUs and 1 GPUs.*lower --ray_cpus or"):
        cluster._slots(nodes, cluster.Cluster(cpus=2.0, gpus=1.0))


def test_a_worker_repeats_the_trials_that_it_is_told(tmp_path, monkeypatch):
    """Of another config than it would make from the order, a trial's result would not be found again."""
    base = make_config()
    trials = make_trials(base, [{"seed": 1}, {"model.features": (2, 4)}])
    told = {}

    def train(self, trials, left):
        told.update(trials=trials, left=left, runner=self)
        raise ConfigError("not today")

    monkeypatch.setattr(Runner, "train", train)
    order = cluster._order(Runner(tmp_path, "auto", 3), base, trials)
    answer = json.loads(cluster._work(order))
    assert answer == {"error": "not today", "trials": {}}
    assert [(t.id, t.essence) for t in told["trials"]] == [(t.id, t.essence) for t in trials]
    assert told["left"] == {t.id for t in trials}
    assert told["runner"] == Runner(tmp_path, "sequential", 3, quiet=True) or (
        told["runner"].mode in ("packed", "devices")
    )


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'brainjax\[ray\]'"):
        cluster.run(Runner(tmp_path), make_config(), [], cluster.Cluster())


@pytest.fixture(scope="module")
def address():
    """A cluster of two nodes of one core each on this machine."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # or the least load would starve the test
    pytest.importorskip("ray", reason="ray is not installed: pip install 'brainjax[ray]'")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_of_two_ends_with_the_same_table(address, tmp_path):
    file = tmp_path / "rates.py"
    file.write_text(
        "from brainjax.sweep import grid\n"
        "def get_sweep():\n"
        "    return grid({'optimizer.learning_rate': [1e-3, 1e-2], 'seed': range(2)})\n"
    )
    flags = [
        *("--config=configs/unet.py", "--config.data.subjects=4", "--config.data.slices=8"),
        *("--config.data.size=32", "--config.split.test=1", "--config.split.val=1", "--quiet"),
        *("--config.model.features=(4,8)", "--config.train.steps=4", "--config.train.batch_size=4"),
        *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
        *("--config.augment.blur=0", f"--sweep={file}", "--pack=sequential"),
    ]

    def swept(name, *more):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "experiments.sweep",
                *flags,
                f"--workdir={tmp_path / name}",
                *more,
            ],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        with (tmp_path / name / "sweep.csv").open() as table:
            rows = list(csv.DictReader(table))
        return json.loads(done.stdout.splitlines()[-1]), rows

    result, rows = swept("cluster", "--engine=ray", f"--ray_address={address}")
    assert result["metrics"] == {"trials": 4, "missing": 0, "diverged": 0}
    again, same = swept("cluster", "--engine=ray", f"--ray_address={address}")
    assert same == rows and again["metrics"] == result["metrics"]  # nothing is repeated
    _, alone = swept("alone")
    assert len(rows) == len(alone) == 4
    for ours, theirs in zip(rows, alone, strict=True):
        assert ours.keys() == theirs.keys()
        for key in ("id", "seed", "status", "steps", "parameters", "split", "protocol"):
            assert ours[key] == theirs[key], key
        assert float(ours["last_loss"]) == pytest.approx(float(theirs["last_loss"]), rel=1e-4)
        # Of a network that has hardly learnt, rounding moves a pixel or two over the threshold.
        dice = [float(row["dice_volume_mean"]) for row in (ours, theirs)]
        assert dice[0] == pytest.approx(dice[1], abs=0.02)
