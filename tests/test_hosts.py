"""Two processes on this machine train as one does."""

import json
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from tiny import ROOT, clean_environment

from brainjax.data.order import Order
from brainjax.train import hosts, parallel
from brainjax.types import ConfigError

COMMAND = [
    *(sys.executable, "-m", "experiments.train", "--config=configs/unet.py", "--quiet"),
    *("--config.data.subjects=4", "--config.data.slices=8", "--config.data.size=32"),
    *("--config.split.test=1", "--config.split.val=1", "--config.model.features=(4,8)"),
    *("--config.input.size=16", "--config.train.batch_size=4", "--config.train.eval_every=2"),
    *("--config.train.checkpoint_every=2", "--config.train.log_every=1"),
    *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
    *("--config.input.feed=memory", "--config.train.steps=6"),
]


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def together(workdir, *, count=2, devices=1):
    """Runs the command in so many processes; what each printed, the exit codes checked."""
    port, env = free_port(), clean_environment()
    env["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
    children = [
        subprocess.Popen(
            [*COMMAND, f"--workdir={workdir}"]
            + (
                [
                    f"--coordinator=localhost:{port}",
                    f"--num_processes={count}",
                    f"--process_id={i}",
                ]
                if count > 1
                else []
            ),
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    found = [child.communicate(timeout=900) for child in children]
    assert [child.returncode for child in children] == [0] * count, "\n".join(x[1] for x in found)
    return [out for out, _ in found]


def log(workdir, kind="train"):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [x for x in lines if x["kind"] == kind]


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_goes_on_with_their_run(tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    together(alone, count=1, devices=2)
    first, second = together(both)
    # The first alone tells and writes: one line a step, one checkpoint a save, one result.
    result = json.loads(first.splitlines()[-1])
    assert result["steps"] == 6 and "run:" in first
    assert "run:" not in second and "metrics" not in second
    one, two = log(alone), log(both)
    assert [x["step"] for x in two] == list(range(1, 7))
    for name in ("loss", "grad_norm"):
        assert [x[name] for x in two] == pytest.approx([x[name] for x in one], rel=1e-5)
    scores = [[x["dice_volume_mean"] for x in log(run, "val")] for run in (alone, both)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)
    saved = [
        sorted(p.name for p in (run / "checkpoints").iterdir() if p.name.isdigit())
        for run in (alone, both)
    ]
    assert saved[0] == saved[1]
    assert not list((both / "checkpoints").glob("*tmp*"))

    # As if both had been killed after step 5: one alone goes on from the checkpoint of step 4.
    shutil.rmtree(both / "checkpoints" / "6")
    together(both, count=1)
    again = log(both)
    assert [x["step"] for x in again] == list(range(1, 7))
    assert [x["loss"] for x in again] == pytest.approx([x["loss"] for x in two], rel=1e-4)
    assert json.loads((both / "result.json").read_text())["steps"] == 6


def test_alone_there_is_nobody_to_ask():
    assert hosts.count() == 1 and hosts.first()
    assert hosts.any_of(True) and not hosts.any_of(False)
    assert hosts.of_first({"a": 0.1}) == {"a": 0.1}
    hosts.separate()
    hosts.initialize()
    assert hosts.count() == 1


@pytest.mark.parametrize(
    "given, message",
    [
        ({"num_processes": 2}, "need --coordinator=HOST:PORT"),
        ({"coordinator": "auto", "process_id": 0}, "need --coordinator=HOST:PORT"),
        ({"coordinator": "a:1", "num_processes": 2}, "needs --process_id as well"),
        ({"coordinator": "a:1"}, "needs --num_processes and --process_id as well"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "must be below"),
    ],
)
def test_half_an_address_is_refused_in_one_line(given, message):
    with pytest.raises(ConfigError, match=message) as error:
        hosts.initialize(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "variables, joins",
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1", "TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"TPU_WORKER_HOSTNAMES": "t1,t2"}, True),
    ],
)
def test_the_environment_says_whether_there_are_others(monkeypatch, variables, joins):
    asked = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **how: asked.append(how))
    for name in ("SLURM_STEP_NUM_TASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    hosts.initialize()
    assert [set(how) for how in asked] == ([{"shutdown_timeout_seconds"}] if joins else [])


def test_a_host_reads_the_rows_of_its_own_devices(monkeypatch):
    """Eight devices, four of them here, in a mesh of any order; and the same order of rows on every host."""
    devices = jax.devices()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    rows, shares = np.arange(100), []
    for here in (devices[:4], devices[4:]):
        monkeypatch.setattr(jax, "local_devices", lambda here=here: here)
        part = parallel.places(16, "auto")
        shares.append(Order(rows, rows[:0], 16, 0.0, seed=3, part=part)(5))
        # Where a volume is split over all, all read it.
        np.testing.assert_array_equal(parallel.places(16, "jit", 8), np.arange(16))
    np.testing.assert_array_equal(np.concatenate(shares), Order(rows, rows[:0], 16, 0.0, seed=3)(5))


def test_several_processes_cannot_train_on_one_device(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="2 processes train together: set --config.train.par"):
        parallel.resolve("none")
