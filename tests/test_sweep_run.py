"""Sweeps in a directory: every trial once, whatever is killed, sharded, or cannot work."""

import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
from tiny import make_config
from trials import LOSSES, OPTIMIZERS, class_trials, tiny_trials

from brainjax.infer import release
from brainjax.infer.calibrate import calibrated
from brainjax.infer.evaluate import evaluate
from brainjax.sweep import grid, product
from brainjax.train import sweep
from brainjax.train.pack import Pack
from brainjax.train.signals import Interrupted
from brainjax.train.sweep import Runner
from brainjax.train.trial import groups, make_trials, write_json
from brainjax.types import ConfigError

# Two architectures as far as the sweep is concerned: the decay of the average is compiled in.
OVERRIDES = product(grid({"train.ema": [0.9, 0.1]}), LOSSES, [OPTIMIZERS[0], OPTIMIZERS[2]])


@pytest.fixture(scope="module")
def trials():
    return tiny_trials(OVERRIDES)


@pytest.fixture(scope="module")
def whole(trials, tmp_path_factory):
    """The sweep, uninterrupted, in packs of four."""
    workdir = tmp_path_factory.mktemp("whole")
    runner(workdir, keep_weights=True).run(trials)
    return workdir


class Kill(BaseException):
    """What a SIGKILL leaves behind in this process: nothing after it runs but `finally`."""


def runner(workdir, mode="packed", **options):
    return Runner(workdir, mode, quiet=True, **options)


def results(workdir, trials):
    found = {t.id: t.result(workdir) for t in trials}
    return {k: {**v, "seconds": 0} for k, v in found.items() if v}


def assert_close(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert a[key]["status"] == b[key]["status"] == "finished"
        for name in ("best_loss", "last_loss"):
            assert a[key][name] == pytest.approx(b[key][name], rel=1e-4)
        for name, value in a[key]["metrics"].items():
            assert value == pytest.approx(b[key]["metrics"][name], abs=2e-3), name


def test_every_trial_has_its_folder_and_the_packs_are_gone(trials, whole):
    assert len(groups(trials)) == 2
    assert sorted(p.name for p in (whole / "trials").iterdir()) == sorted(t.id for t in trials)
    assert not list((whole / "packs").iterdir()) and not list(whole.rglob("*.tmp"))
    for t in trials:
        result = t.result(whole)
        assert (result["status"], result["steps"], result["split"]) == ("finished", 6, "test")
        assert result["overrides"] == t.overrides and "patient split" in result["protocol"]
        assert 0 <= result["metrics"]["dice_volume_mean"] <= 1 and result["seconds"] > 0
        assert [step for step, _ in result["losses"]] == [1, 2, 3, 4, 5, 6]
        assert result["last_loss"] == result["losses"][-1][1] >= result["best_loss"]
        config = json.loads((t.folder(whole) / "config.json").read_text())
        assert config["train"]["keep"] == "last" and config["seed"] == t.seed
        kept = release.load(t.folder(whole) / "model")
        assert kept.facts["metrics"] == result["metrics"] and kept.config == config
    every = results(whole, trials).values()
    assert len({json.dumps(r["losses"]) for r in every}) == 4  # the average changes scores alone
    assert len({json.dumps(r["metrics"]) for r in every}) > 4


def test_devices_change_nothing(trials, whole, tmp_path):
    runner(tmp_path, "devices").run(trials[:4])
    first = {t.id for t in trials[:4]}
    assert_close(
        results(tmp_path, trials), {k: v for k, v in results(whole, trials).items() if k in first}
    )


def test_shards_together_are_the_sweep(trials, whole, tmp_path):
    parts = []
    for i in (1, 2):
        runner(tmp_path, "sequential").run(trials[:5], f"{i}/2")
        parts.append(set(results(tmp_path, trials)))
    assert [len(p) for p in parts] == [3, 5]
    assert_close(results(tmp_path, trials), results(whole, trials[:5]))


def test_a_killed_sweep_goes_on_and_repeats_no_trial(trials, whole, tmp_path, monkeypatch):
    """Killed in step 5 of the second pack, then while the second trial of the third is scored."""
    made = []

    class Counted(sweep.Pack):
        def train(self, *args):
            made.append(([t.id for t in self.trials], self.step))
            inner = self.program.step

            def step(states, *rest):
                if len(made) == 2 and int(states.step[0]) == 4:
                    raise Kill
                return inner(states, *rest)

            self.program.step = step
            super().train(*args)
            self.program.step = inner

    monkeypatch.setattr(sweep, "Pack", Counted)
    with pytest.raises(Kill):
        runner(tmp_path, size=2).run(trials)
    assert len(results(tmp_path, trials)) == 2
    stamp = {t.id: os.stat(t.folder(tmp_path) / "result.json").st_mtime_ns for t in trials[:2]}

    scored, calls = sweep.evaluate, []

    def signalled(*args, check, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return scored(*args, check=check, **kwargs)

    monkeypatch.setattr(sweep, "evaluate", signalled)
    with pytest.raises(Interrupted, match="the same command goes on"):
        runner(tmp_path, size=2).run(trials)
    assert len(results(tmp_path, trials)) == 5
    runner(tmp_path, size=3).run(trials)  # another size is for packs that are not begun
    ids = [t.id for t in trials]
    starts = [
        (ids[0:2], 0),
        (ids[2:4], 0),
        (ids[2:4], 3),
        (ids[4:6], 0),
        (ids[4:6], 6),
        (ids[6:8], 0),
    ]
    assert made == starts
    assert_close(results(tmp_path, trials), results(whole, trials))
    assert all(
        os.stat(t.folder(tmp_path) / "result.json").st_mtime_ns == stamp[t.id] for t in trials[:2]
    )
    assert not list((tmp_path / "packs").iterdir())


def test_a_finished_sweep_is_not_run_again_and_may_grow(trials, whole, monkeypatch):
    monkeypatch.setattr(sweep, "Pack", None)
    runner(whole).run(trials)
    more = tiny_trials([*OVERRIDES, {"seed": 7}])
    assert [t.id for t in more if t.result(whole) is None] == [more[-1].id]


def test_results_of_another_config_are_refused(trials, whole):
    other = tiny_trials(OVERRIDES, train={"batch_size": 2})
    with pytest.raises(ConfigError, match="train.batch_size: 4 -> 2.*choose another --workdir"):
        runner(whole).run(other)
    runner(whole).run(tiny_trials(OVERRIDES, train={"log_every": 3}))  # which changes no result


def test_results_from_before_an_option_came_stand(tmp_path):
    (trial,) = tiny_trials([{"seed": 1}])
    older = json.loads(json.dumps(trial.config))
    del older["train"]["accumulate"], older["optimizer"]["eps"]
    write_json(trial.folder(tmp_path) / "config.json", older)
    write_json(trial.folder(tmp_path) / "result.json", {"id": trial.id})
    assert trial.result(tmp_path) == {"id": trial.id}
    older["train"]["keeper"] = 1  # not train.keep, which may change
    write_json(trial.folder(tmp_path) / "config.json", older)
    with pytest.raises(ConfigError, match="train.keeper: 1 -> None"):
        trial.result(tmp_path)


def test_all_that_is_wrong_is_told_at_once():
    changes = [
        {"loss.name": "dise"},
        {"optimizer.name": "adam", "optimizer.momentum": 0.9},
        *grid({"seed": [1, 2], "model.depht": [3]}),
        {"train.patience": 2},
        {"seed": 3},
    ]
    with pytest.raises(ConfigError) as e:
        make_trials(make_config(), changes)
    lines = str(e.value).splitlines()
    assert lines[0] == "5 of 6 trials cannot be run" and len(lines) == 5
    for line, words in zip(
        lines[1:],
        ("did you mean 'dice'", "no field is called 'momentum'", "and 1 more", "patience=0"),
        strict=True,
    ):
        assert words in line


def test_what_does_not_fit_the_data_is_told_before_anything_compiles(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "Program", None)
    changes = [{"split.test": 4}, {"loss.name": "softmax_ce"}, {"seed": 5}]
    with pytest.raises(ConfigError) as e:
        runner(tmp_path).run(tiny_trials(changes))
    first, leaves_none, two_classes = str(e.value).splitlines()
    assert first == "2 of 3 trials cannot be run"
    assert "which leaves none to train on" in leaves_none and "two classes" in two_classes


def test_a_diverged_trial_is_recorded_and_not_repeated(tmp_path):
    changes = product([{"optimizer.name": "sgd"}], grid({"optimizer.learning_rate": [1e37, 0.01]}))
    made = tiny_trials(changes, train={"max_bad_steps": 3, "clip_norm": 0.0})
    runner(tmp_path).run(made)
    bad, good = (t.result(tmp_path) for t in made)
    assert (bad["status"], good["status"]) == ("diverged", "finished")
    assert bad["metrics"] == {} and bad["steps"] == 3 and bad["skipped_steps"] >= 3
    assert good["metrics"] and good["skipped_steps"] == 0
    assert np.isfinite(bad["best_loss"])
    runner(tmp_path).run(made)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_classifier_that_ends_diverged_stops_no_sweep_and_is_not_ranked(steps, tmp_path):
    """Before it was given up: after one step its weights overflow, after three the last two were bad."""
    changes = product(
        [{"optimizer.name": "sgd", "schedule.name": "constant"}],
        grid({"optimizer.learning_rate": [1e18, 0.01]}),
    )
    made = class_trials(changes, steps=steps, max_bad_steps=10, clip_norm=0.0)
    runner(tmp_path, keep_weights=True).run(made)
    bad, good = (t.result(tmp_path) for t in made)
    assert (bad["status"], good["status"]) == ("diverged", "finished")
    assert bad["metrics"] == {} and bad["skipped_steps"] == steps - 1 and good["metrics"]
    assert not (made[0].folder(tmp_path) / "model").exists()


def test_a_classifier_s_trial_is_scored_with_its_temperature_as_a_run_of_its_own(tmp_path):
    (trial,) = class_trials([{"seed": 2}], steps=3)
    runner(tmp_path, keep_weights=True).run([trial])
    kept = release.load(trial.folder(tmp_path) / "model")
    dataset = trial.recipe.dataset.load()
    source, split = trial.recipe.source(dataset), trial.recipe.split(dataset)
    fitted = calibrated(trial.recipe.predictor(), kept.variables, source, split.val)
    assert kept.config["infer"]["temperature"] == fitted.options.temperature != 1.0
    scores = evaluate(fitted, kept.variables, source, split.test).metrics
    assert trial.result(tmp_path)["metrics"] == scores
    plain = evaluate(trial.recipe.predictor(), kept.variables, source, split.test).metrics
    assert abs(plain["nll"] - scores["nll"]) > 1e-3


def test_shards_in_one_workdir_may_tidy_up_after_each_other(tmp_path, monkeypatch):
    """Whatever of a pack's folder another shard has just removed is taken as gone."""
    close, read = Pack.close, pathlib.Path.read_text

    def tidied(pack):
        shutil.rmtree(pack.checkpoints.directory.parent)
        close(pack)

    def vanished(path, *args, **kwargs):
        if path.parent.name == "other":
            shutil.rmtree(path.parent, ignore_errors=True)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Pack, "close", tidied)
    monkeypatch.setattr(pathlib.Path, "read_text", vanished)
    made = class_trials([{"seed": 2}], steps=1)
    write_json(tmp_path / "packs/other/pack.json", {"trials": ["x"], "width": 1})
    runner(tmp_path).run(made)
    write_json(tmp_path / "packs/other/pack.json", {"trials": ["x"], "width": 1})
    runner(tmp_path)._tidy({})
    assert made[0].result(tmp_path)["status"] == "finished"
    assert not list(tmp_path.glob("packs/*"))


def test_modes_by_name():
    assert sweep.resolve("auto") == "devices"  # eight simulated ones
    with pytest.raises(ConfigError, match="did you mean 'packed'"):
        sweep.resolve("pack")


@pytest.mark.parametrize(
    "devices, backend, mode",
    [(1, "cpu", "sequential"), (1, "gpu", "packed"), (2, "gpu", "devices")],
)
def test_auto_follows_the_machine(devices, backend, mode, monkeypatch):
    monkeypatch.setattr("jax.local_device_count", lambda: devices)
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    assert sweep.resolve("auto") == mode
