"""The commands as a user types them: what they leave, print and return."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from tiny import ROOT, TINY, clean_environment, entry_point


def run(module, *flags, env=None):
    """The finished process of `python -m experiments.<module>`."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{module}", *flags],
        cwd=ROOT,
        env=env or clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run of the default config, and its process."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    done = run("train", *TINY, f"--workdir={workdir}", "--config.name=tiny")
    assert done.returncode == 0, done.stderr
    return workdir, done


def result_of(done):
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_leaves_everything_in_its_directory(trained):
    workdir, _ = trained
    for name in ("config.json", "metrics.jsonl", "result.json", "model/model.safetensors"):
        assert (workdir / name).stat().st_size > 0, name
    for name in ("batch", "curves", "samples", "volumes"):
        assert (workdir / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
    assert any("tfevents" in p.name for p in (workdir / "tensorboard").iterdir())
    assert any(p.name.isdigit() for p in (workdir / "checkpoints").iterdir())
    assert not list(workdir.glob("*.tmp"))
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(x["step"], x["kind"]) for x in lines] == [
        *((2, "train"), (3, "val"), (4, "train"), (6, "train"), (6, "val"))
    ]


def test_the_last_line_printed_is_the_result(trained):
    workdir, done = trained
    result = result_of(done)
    assert result == json.loads((workdir / "result.json").read_text())
    assert result["task"] == "segmentation" and result["name"] == "tiny"
    assert result["steps"] == 6 and result["split"] == "test" and result["skipped_steps"] == 0
    assert 0 <= result["metrics"]["dice_volume_mean"] <= 1
    assert "dice_volume_mean_post" in result["metrics"]
    assert "patient split" in result["protocol"] and len(result["per_volume"]) == 1
    assert "patient split" in done.stdout.splitlines()[1]
    config = json.loads((workdir / "config.json").read_text())
    assert config["model"]["width"] == 16 and config["data"]["size"] == 32


def test_evaluate_reproduces_the_run_s_numbers(trained):
    workdir, done = trained
    evaluated = run("evaluate", f"--checkpoint={workdir}", "--split=test")
    assert evaluated.returncode == 0, evaluated.stderr
    result, expected = result_of(evaluated), result_of(done)
    assert result["metrics"] == expected["metrics"]
    assert result["per_volume"] == expected["per_volume"]
    assert result["seen_in_training"] == []
    assert json.loads((workdir / "evaluation-test" / "result.json").read_text()) == result


def test_evaluate_says_which_patients_were_trained_on_and_reads_checkpoints_alone(
    trained, tmp_path
):
    """A run that is not finished has no model/ yet; its newest checkpoint is scored."""
    workdir, _ = trained
    for name in ("config.json", "checkpoints"):
        (tmp_path / name).symlink_to(workdir / name)
    evaluated = run("evaluate", f"--checkpoint={tmp_path}", "--split=train")
    assert evaluated.returncode == 0, evaluated.stderr
    result = result_of(evaluated)
    assert len(result["seen_in_training"]) == 2 == len(result["per_volume"])
    assert "2 of 2 patients were trained on" in result["protocol"]


def test_the_same_seed_twice_gives_the_same_numbers_and_a_finished_run_is_only_scored(trained):
    workdir, done = trained
    again = run("train", *TINY, f"--workdir={workdir.parent / 'again'}", "--config.name=tiny")
    assert again.returncode == 0, again.stderr
    keep = ("metrics", "per_volume", "chosen_step")
    assert {k: result_of(again)[k] for k in keep} == {k: result_of(done)[k] for k in keep}
    assert _numbers(workdir.parent / "again") == _numbers(workdir)
    before = (workdir / "metrics.jsonl").read_bytes()
    scored = run("train", *TINY, f"--workdir={workdir}", "--config.name=tiny", "--quiet")
    assert {k: result_of(scored)[k] for k in keep} == {k: result_of(done)[k] for k in keep}
    assert (workdir / "metrics.jsonl").read_bytes() == before


def _numbers(workdir):
    """metrics.jsonl without its timings."""
    lines = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if "per_second" not in k} for x in lines]


def test_another_config_is_refused_in_one_line(trained):
    workdir, _ = trained
    done = run(
        "train", *TINY, f"--workdir={workdir}", "--config.name=tiny", "--config.model.width=32"
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and "model.width: 16 -> 32" in line and "--workdir" in line


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.modle.width=3"], "did you mean 'model'"),
        (["--config.train.steps=few"], "is no int, such as 300"),
        (["--config=configs/none.py"], "there is no file configs/none.py"),
        (["--confg=configs/unet.py"], "Unknown command line flag 'confg'"),
        (["stray"], "unexpected arguments"),
        ([*TINY, "--config.input.size=20"], "image size 20 x 20 must divide by"),
        ([*TINY, "--config.input.size=64"], "larger than the images, 32 x 32; use 32 or less"),
    ],
)
def test_mistakes_are_one_line(flags, message, tmp_path):
    done = run("train", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and re.search(message, line)


def test_help_is_no_failure():
    done = run("train", "--help")
    assert done.returncode == 0 and "--workdir" in done.stdout and not done.stderr


def test_a_config_that_failed_may_be_corrected_in_place(tmp_path):
    """Nothing was trained, so nothing is protected."""
    from brainjax.config import from_dict

    _claim = entry_point("train")._claim

    config = {"input": {"size": 9}}
    _claim(tmp_path, config)
    _claim(tmp_path, {"input": {"size": 8}})
    assert from_dict(json.loads((tmp_path / "config.json").read_text())).input.size == 8


@pytest.mark.parametrize("kept", ["result.json", "model/model.safetensors"])
def test_a_finished_run_is_kept_though_its_checkpoints_are_gone(kept, tmp_path):
    from brainjax.types import ConfigError

    _claim = entry_point("train")._claim

    _claim(tmp_path, {"name": "first"})
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    (tmp_path / kept).touch()
    _claim(tmp_path, {"name": "first"})
    with pytest.raises(ConfigError, match="run of another config .name: 'first' -> 'second'"):
        _claim(tmp_path, {"name": "second"})


def test_an_older_run_s_config_gets_the_options_that_came_since(tmp_path):
    from brainjax.config import load, to_dict
    from brainjax.types import ConfigError

    _claim = entry_point("train")._claim

    config = to_dict(load(str(ROOT / "configs/transunet.py")))
    older = {**config, "train": {k: v for k, v in config["train"].items() if k != "init"}}
    (tmp_path / "checkpoints" / "3").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps(older))
    _claim(tmp_path, config)
    config["train"]["init"] = "another"
    with pytest.raises(ConfigError, match="train.init: '' -> 'another'"):
        _claim(tmp_path, config)


def test_a_run_on_all_patients_keeps_its_model_and_says_that_it_was_not_scored(tmp_path):
    flags = ("--config.split.test=0", "--config.split.val=0", "--config.train.steps=2")
    done = run("train", *TINY, *flags, f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = result_of(done)
    assert (result["split"], result["metrics"], result["per_volume"]) == ("none", {}, [])
    assert (tmp_path / "model" / "model.safetensors").is_file()
    done = run("export", f"--run={tmp_path}", f"--output={tmp_path / 'released'}")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "model is a release as it is" in line


def test_evaluate_without_a_model_is_one_line(tmp_path):
    for folder, message in (
        (tmp_path, "neither a released model"),
        (tmp_path / "x", "no such folder"),
    ):
        done = run("evaluate", f"--checkpoint={folder}")
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1 and line.startswith("error: ") and message in line


@pytest.mark.slow
def test_sigterm_at_any_moment_ends_with_75_and_the_same_command_goes_on(trained, tmp_path):
    """One run, stopped at four moments of its life."""
    _, done = trained
    command = [*TINY, f"--workdir={tmp_path}", "--config.name=tiny"]
    for moment in ("loading", "compiling", "training", "scoring"):
        env = clean_environment()
        if moment == "compiling":
            env.pop("JAX_COMPILATION_CACHE_DIR", None)
        child = subprocess.Popen(
            [sys.executable, "-u", "-m", "experiments.train", *command],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait(child, tmp_path, moment)
        begun = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=120)
        assert time.monotonic() - begun < 30, moment
        assert "Traceback" not in err, moment
        if moment == "scoring" and child.returncode == 0:
            assert (
                tmp_path / "result.json"
            ).exists()  # so quick that there was nothing left to stop
            continue
        assert child.returncode == 75 and "stopped" in err, f"{moment}: {err}"
    again = run("train", *command)
    assert again.returncode == 0, again.stderr
    assert result_of(again)["metrics"] == result_of(done)["metrics"]
    assert _numbers(tmp_path) == _numbers(trained[0])


def _wait(child, workdir, moment):
    if moment == "loading":
        time.sleep(2)  # importing, or reading the config
    elif moment == "compiling":
        while not child.stdout.readline().startswith("run: "):  # printed before the first step
            assert child.poll() is None
        time.sleep(1)
    else:
        sign = '"step": 2,' if moment == "training" else '"step": 6, "kind": "train"'
        path = workdir / "metrics.jsonl"
        while not (path.exists() and sign in path.read_text()):
            assert child.poll() is None
            time.sleep(0.02)
