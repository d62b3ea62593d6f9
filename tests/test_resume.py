"""A run that is stopped anywhere and started again ends as if it had not been; so do its decisions."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from tiny import ROOT, clean_environment, make_config

from brainjax.train import loop
from brainjax.train.loop import Diverged, Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.signals import Interrupted
from brainjax.types import CheckpointError, ConfigError

CONFIG = make_config()  # 8 steps; evaluations after 4 and 8, checkpoints after 3, 4, 6 and 8


class Kill(BaseException):
    """What a SIGKILL leaves behind in this process: nothing after it runs but `finally`."""


def trainer(dataset, workdir, config=CONFIG, seed=0):
    recipe = make_recipe(config)
    return Trainer(recipe, dataset, recipe.split(dataset), workdir, seed=seed, quiet=True)


def log(workdir):
    """metrics.jsonl without its timings."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if "per_second" not in k} for x in lines]


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_same_run(a, b):
    same(a.state, b.state)
    assert a.record == b.record
    assert log(a.workdir) == log(b.workdir)
    (step, variables), (other_step, other) = a.final(), b.final()
    assert step == other_step
    same(variables, other)


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """The uninterrupted run."""
    run = trainer(dataset, tmp_path_factory.mktemp("whole"))
    run.run()
    return run


def kill_at(run, step, monkeypatch):
    """Makes `run` die in place of that step."""
    inner = run.step

    def dying(state, batch, key):
        if int(state.step) == step - 1:
            raise Kill
        return inner(state, batch, key)

    run.step = dying
    with pytest.raises(Kill):
        run.run()
    run.checkpoints.wait()


def test_the_uninterrupted_run_trains_and_keeps_the_newest_and_the_best(whole):
    kinds = [(x["step"], x["kind"]) for x in log(whole.workdir)]
    assert kinds == [
        (s, k) for s in range(1, 9) for k in ("train", "val") if k == "train" or s % 4 == 0
    ]
    assert whole.record.done and whole.record.evaluated == 8
    kept = {int(p.name) for p in (whole.workdir / "checkpoints").iterdir() if p.name.isdigit()}
    assert kept == {6, 8, whole.record.best_step}


def test_the_same_seed_twice_is_the_same_run_and_another_seed_is_not(whole, dataset, tmp_path):
    again = trainer(dataset, tmp_path / "a")
    again.run()
    assert_same_run(again, whole)
    other = trainer(dataset, tmp_path / "b", seed=1)
    other.run()
    assert log(other.workdir) != log(whole.workdir)


@pytest.mark.parametrize("step", [2, 8])
def test_a_killed_run_ends_with_the_same_bits(whole, dataset, tmp_path, step, monkeypatch):
    kill_at(trainer(dataset, tmp_path), step, monkeypatch)
    again = trainer(dataset, tmp_path)
    assert int(again.state.step) == {2: 0, 8: 6}[step]
    again.run()
    assert_same_run(again, whole)


def test_a_run_killed_many_times_ends_with_the_same_bits(whole, dataset, tmp_path, monkeypatch):
    for step in (4, 5, 7, 8):
        kill_at(trainer(dataset, tmp_path), step, monkeypatch)
    again = trainer(dataset, tmp_path)
    again.run()
    assert_same_run(again, whole)


def test_a_half_written_line_is_dropped(whole, dataset, tmp_path, monkeypatch):
    kill_at(trainer(dataset, tmp_path), 8, monkeypatch)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "kind": "train", "lo')
    again = trainer(dataset, tmp_path)
    again.run()
    assert_same_run(again, whole)


def test_a_finished_run_is_not_trained_again(whole, dataset, monkeypatch):
    before = (whole.workdir / "metrics.jsonl").read_bytes()
    again = trainer(dataset, whole.workdir)
    again.step = None
    again.run()
    assert (whole.workdir / "metrics.jsonl").read_bytes() == before
    assert_same_run(again, whole)


def test_a_run_is_not_gone_on_with_on_other_data(whole, dataset):
    mask = dataset.mask.copy()
    mask[4] = 1 - mask[4]
    renamed = (*dataset.groups[:-1], "somebody else")
    for other in ({"mask": mask}, {"groups": renamed}):
        with pytest.raises(ConfigError, match="the data are not those that .* was begun with"):
            trainer(dataclasses.replace(dataset, **other), whole.workdir)


def test_early_stopping_without_validation_patients_is_refused(dataset, tmp_path):
    config = make_config(train={"patience": 2}, split={"val": 0})
    with pytest.raises(ConfigError, match="needs validation patients: set --config.split.val"):
        trainer(dataset, tmp_path, config)


def test_devices_may_change_between_parts_of_a_run(whole, dataset, tmp_path, monkeypatch):
    """Not to the bit then, but it goes on from the same state, and back."""
    config = make_config(train={"parallel": "pmap", "batch_size": 8})
    kill_at(trainer(dataset, tmp_path), 4, monkeypatch)
    kill_at(trainer(dataset, tmp_path, config), 7, monkeypatch)
    again = trainer(dataset, tmp_path)
    assert int(again.state.step) == 6
    again.run()
    assert int(again.state.step) == 8 and again.record.done


def signal_at(run, step, monkeypatch):
    """SIGTERM while that step runs."""
    inner = run.step

    def step_and_signal(state, batch, key):
        if int(state.step) == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(state, batch, key)

    run.step = step_and_signal


@pytest.mark.parametrize("step", [1, 8])
def test_sigterm_saves_after_the_step_in_hand(whole, dataset, tmp_path, step, monkeypatch):
    run = trainer(dataset, tmp_path)
    signal_at(run, step, monkeypatch)
    with pytest.raises(Interrupted, match=f"stopped at step {step} of 8") as e:
        run.run()
    assert e.value.exit_code == 75
    again = trainer(dataset, tmp_path)
    assert int(again.state.step) == step
    again.run()
    assert_same_run(again, whole)


def test_sigterm_while_the_last_checkpoint_is_written_stops_before_the_scores(
    whole, dataset, tmp_path, monkeypatch
):
    run, seen = trainer(dataset, tmp_path), []
    wait = run.checkpoints.wait

    def signalled():
        if run.record.done and not run.checkpoints._saving:
            os.kill(os.getpid(), signal.SIGTERM)
        wait()

    class Noted(loop.StopRequest):
        def __exit__(self, *_):
            seen.append(self.saving())  # asked of the run's own checkpoints
            super().__exit__(*_)

    monkeypatch.setattr(run.checkpoints, "wait", signalled)
    monkeypatch.setattr(type(run.checkpoints), "saving", property(lambda _: True))
    monkeypatch.setattr(loop, "StopRequest", Noted)
    with pytest.raises(Interrupted, match="stopped after the last step"):
        run.run()
    again = trainer(dataset, tmp_path)
    assert seen == [True] and again.record.done
    assert_same_run(again, whole)


@pytest.mark.parametrize("step", [4, 8])
def test_sigterm_during_an_evaluation_saves_and_makes_up_for_it(
    whole, dataset, tmp_path, step, monkeypatch
):
    run, scored = trainer(dataset, tmp_path), loop.evaluate

    def signalled(*args, check, **kwargs):
        if int(run.state.step) == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return scored(*args, check=check, **kwargs)

    monkeypatch.setattr(loop, "evaluate", signalled)
    with pytest.raises(Interrupted, match=f"stopped at step {step} of 8"):
        run.run()
    monkeypatch.undo()
    assert log(tmp_path)[-1]["kind"] == "train"
    again = trainer(dataset, tmp_path)
    assert int(again.state.step) == step and not again.record.done
    again.run()
    assert_same_run(again, whole)


def test_an_evaluation_made_up_for_is_logged_once_after_another_kill(
    whole, dataset, tmp_path, monkeypatch
):
    """Stopped during the evaluation of step 4, then killed in step 5, before the next checkpoint."""
    run, scored = trainer(dataset, tmp_path), loop.evaluate

    def signalled(*args, check, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return scored(*args, check=check, **kwargs)

    monkeypatch.setattr(loop, "evaluate", signalled)
    with pytest.raises(Interrupted):
        run.run()
    monkeypatch.undo()
    kill_at(trainer(dataset, tmp_path), 5, monkeypatch)
    again = trainer(dataset, tmp_path)
    again.run()
    assert_same_run(again, whole)


def test_early_stopping_survives_a_kill(dataset, tmp_path, monkeypatch):
    """Scores are given: best at the second evaluation, then worse; patience of two."""
    config = make_config(train={"eval_every": 1, "checkpoint_every": 1, "patience": 2})
    scored, given = loop.evaluate, [0.1, 0.6, 0.5, 0.6, 0.9]

    def scores(predictor, variables, *args, **kwargs):
        found = scored(predictor, variables, *args, **kwargs)
        found.metrics["dice_volume_mean"] = given[scores.run_step() - 1]
        return found

    monkeypatch.setattr(loop, "evaluate", scores)
    runs = []
    for name, kill in (("whole", None), ("killed", 4)):
        run = trainer(dataset, tmp_path / name, config)
        if kill:
            scores.run_step = lambda run=run: int(run.state.step)
            kill_at(run, kill, monkeypatch)
            run = trainer(dataset, tmp_path / name, config)
            assert (run.record.best, run.record.best_step, run.record.stale) == (0.6, 2, 1)
        scores.run_step = lambda run=run: int(run.state.step)
        run.run()
        runs.append(run)
    assert int(runs[0].state.step) == 4 and runs[0].record.stale == 2 and runs[0].record.done
    assert runs[0].final()[0] == 2
    assert_same_run(*runs)
    again = trainer(dataset, tmp_path / "killed", config)
    again.step = None
    again.run()  # it stays stopped


def test_ten_bad_steps_in_a_row_end_the_run(dataset, tmp_path):
    """Whatever the logging interval, and naming the last checkpoint."""
    config = make_config(
        train={"steps": 40, "eval_every": 100, "checkpoint_every": 3, "log_every": 100}
    )
    run = trainer(dataset, tmp_path, config)
    inner, taken = run.step, []

    def poisoned(state, batch, key):
        taken.append(int(state.step) + 1)
        if taken[-1] > 4:
            batch = {**batch, "scale": np.full_like(batch["scale"], np.nan)}
        return inner(state, batch, key)

    run.step = poisoned
    with pytest.raises(Diverged, match="10 steps in a row had no finite loss") as e:
        run.run()
    assert taken[-1] <= 15  # 14 is the tenth; the next may be under way
    last = run.checkpoints.latest
    assert str(tmp_path / "checkpoints" / str(last)) in str(e.value) and "\n" not in str(e.value)
    state, _ = run.checkpoints.restore(run.state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.variables))


def test_fewer_bad_steps_are_skipped_and_counted(dataset, tmp_path):
    config = make_config(train={"steps": 40, "eval_every": 100})
    run = trainer(dataset, tmp_path, config)
    inner = run.step

    def poisoned(state, batch, key):
        if 2 <= int(state.step) < 11:
            batch = {**batch, "scale": np.full_like(batch["scale"], np.nan)}
        return inner(state, batch, key)

    run.step = poisoned
    run.run()
    assert int(run.state.skipped) == 9 and int(run.state.streak) == 0
    lines = [x for x in log(tmp_path) if x["kind"] == "train"]
    assert [x["streak"] for x in lines] == [0, 0, *range(1, 10), *[0] * 29]
    assert lines[5]["loss"] is None and lines[-1]["loss"] > 0


def test_a_save_that_fails_ends_the_run_with_one_error(dataset, tmp_path, monkeypatch):
    run = trainer(dataset, tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run.checkpoints._manager, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        run.run()


COMMAND = [
    *(sys.executable, "-m", "experiments.train", "--config=configs/unet.py", "--quiet"),
    *("--config.data.subjects=4", "--config.data.slices=8", "--config.data.size=32"),
    *("--config.split.test=1", "--config.split.val=1", "--config.model.features=(4,8)"),
    *("--config.train.steps=36", "--config.train.batch_size=4", "--config.train.eval_every=7"),
    *("--config.train.checkpoint_every=3", "--config.train.log_every=1"),
    # Quicker to compile without these.
    *("--config.augment.elastic=0", "--config.augment.lowres=0", "--config.augment.bias=0"),
    "--config.input.feed=memory",  # the other feeds give the same batches, and load for longer
]


@pytest.mark.slow
def test_sigkill_at_any_moment_changes_no_bit(tmp_path):
    """Whole processes, killed at random moments, in the middle of saving too."""
    env, results = clean_environment(), {}
    random.seed(0)
    for name, kills in (("whole", 0), ("killed", 2)):
        workdir = tmp_path / name
        command = [*COMMAND, f"--workdir={workdir}"]
        for kill in range(kills):
            child = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            reached = _wait_for_line(workdir, child, step=8 + 14 * kill)
            time.sleep(random.uniform(0, 0.4) if reached else 0)
            child.send_signal(signal.SIGKILL)
            child.wait()
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, timeout=300)
        results[name] = json.loads((workdir / "result.json").read_text())
        results[name].pop("seconds")
    assert results["whole"] == results["killed"]
    assert log(tmp_path / "whole") == log(tmp_path / "killed")
    weights = [(tmp_path / n / "model" / "model.safetensors").read_bytes() for n in results]
    assert weights[0] == weights[1]


def _wait_for_line(workdir, child, step):
    """Until the run logs that step, is over, or a minute has passed."""
    for _ in range(600):
        path = workdir / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return True
        if child.poll() is not None:
            return False
        time.sleep(0.1)
    return False
