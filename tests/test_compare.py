"""Comparing runs: tables, what differs, leaks named, broken and unfinished runs survived."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from brainjax.datasets import splits
from brainjax.report import runs, tables
from brainjax.types import ConfigError, DataError

ROOT = pathlib.Path(__file__).parents[1]


def _config(**changes):
    config = {
        "name": "run",
        "model": {"name": "UNet", "features": [8, 16], "dropout": 0.0},
        "loss": {"name": "dice", "smooth": 1.0},
        "split": {"name": "by_patient", "seed": 0},
        "train": {"steps": 40, "batch_size": 4},
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            config[section][field] = value
        else:
            config[section] = value
    return config


def _result(dice, protocol=splits.PATIENT_PROTOCOL, patients=("p1", "p2"), **more):
    return {
        "split": "test",
        "protocol": protocol,
        "metrics": {"dice_volume_mean": dice, "dice_slice_mean": 0.5, "jaccard_slice_mean": None},
        "per_volume": [{"group": p, "n_slices": 3, "dice": dice} for p in patients],
        "seconds": 90.0,
        "steps": 40,
        "parameters": 7774049,
        **more,
    }


def _write(path, config=None, result=None, lines=()):
    path.mkdir(parents=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    if lines:
        (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 4')
    return path


def _cells(text):
    """Rows of the first markdown table as dicts."""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_table_is_aligned_and_escapes():
    text = tables.table(
        [{"a": "x|y\nz", "n": 0.5, "k": 7774049}, {"a": None, "n": None, "k": 1}],
        {"a": "name", "n": "score", "k": "size"},
    )
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2] == "| x\\|y z | 0.5000 | 7,774,049 |"
    assert lines[1].split("|")[1:4] == [" ------ ", " -----: ", " --------: "]
    assert lines[3].split("|")[2] == "      - "


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (3536, "3,536"),
        (0.83604, "0.8360"),
        (0.0, "0.0000"),
        (1e-5, "1.00e-05"),
        (123.456, "123.5"),
        (float("nan"), "nan"),
    ],
)
def test_cell(value, text):
    assert tables.cell(value) == text


def test_protocol_labels_every_way_to_leak():
    patient = {"split": "test", "protocol": splits.PATIENT_PROTOCOL}
    assert tables.protocol(patient) == "patient split, test" and not tables.leaks(patient)
    assert not tables.leaks({"split": "test", "protocol": splits.FOLD_PROTOCOL})
    by_slice = {"split": "test", "protocol": splits.SLICE_PROTOCOL}
    assert tables.protocol(by_slice) == "LEAKS: slice split, test"
    seen = {"split": "all", "protocol": "every patient of the folder", "seen_in_training": ["a"]}
    assert tables.protocol(seen).startswith("LEAKS") and "1 patients" in tables.protocol(seen)
    # Without a word in the result, the config tells; without either, nothing is claimed.
    assert tables.protocol({}, {"split": {"name": "by_slice"}}).startswith("LEAKS")
    assert tables.protocol({}) == "unknown"


def test_differences_name_only_what_differs(tmp_path):
    configs = [
        _config(),
        _config(model__dropout=0.1, model__features=[8, 32], train__steps=80, name="other"),
        _config(loss={"name": "focal", "gamma": 2.0}),
    ]
    found = runs.differences(
        [runs.read(_write(tmp_path / str(i), c)) for i, c in enumerate(configs)]
    )
    assert found == [
        ["loss.name=dice", "model.dropout=0.0", "model.features=8-16"],
        ["loss.name=dice", "model.dropout=0.1", "model.features=8-32"],
        ["loss.name=focal", "model.dropout=0.0", "model.features=8-16"],
    ]


def test_differences_show_an_option_that_only_some_runs_set(tmp_path):
    plain = _config()
    extra = _config(model__stem=3)
    found = runs.differences(
        [runs.read(_write(tmp_path / str(i), c)) for i, c in enumerate((plain, extra))]
    )
    assert found == [[], ["model.stem=3"]]


def test_comparison_of_finished_leaking_and_unfinished(tmp_path):
    found = [
        runs.read(_write(tmp_path / "good", _config(), _result(0.8))),
        runs.read(
            _write(
                tmp_path / "leaky",
                _config(split={"name": "by_slice", "seed": 0}),
                _result(0.95, splits.SLICE_PROTOCOL, patients=("p3",)),
            )
        ),
        runs.read(
            _write(tmp_path / "going", _config(), lines=[{"step": 10, "kind": "train", "loss": 1}])
        ),
    ]
    text = runs.comparison(found, ("dice_volume_mean", "jaccard_slice_mean"))
    good, leaky, going = _cells(text)
    assert good["run"] == "good" and good["dice_volume_mean"] == "0.8000"
    assert good["jaccard_slice_mean"] == "-"
    assert (good["steps x batch"], good["time"]) == ("40 x 4", "1.5 min")
    assert (good["parameters"], good["patients"]) == ("7,774,049", "2")
    assert good["differs in"] == "split.name=by_patient" and good["status"] == "finished"
    assert leaky["protocol"].startswith("LEAKS")
    assert going["status"] == "unfinished: step 10 of 40" and going["dice_volume_mean"] == "-"
    notes = text.split("\n\n")[1:]
    assert [("LEAKS" in n, "different patients" in n, "resumes" in n) for n in notes] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


def test_comparison_of_equals_has_no_idle_columns_and_no_notes(tmp_path):
    found = [runs.read(_write(tmp_path / n, _config(), _result(0.8))) for n in "ab"]
    text = runs.comparison(found, ("dice_volume_mean",))
    assert "\n\n" not in text
    assert not {"status", "differs in"} & set(_cells(text)[0])


def test_unknown_metric_names_the_nearest(tmp_path):
    run = runs.read(_write(tmp_path / "a", _config(), _result(0.8)))
    with pytest.raises(ConfigError, match="did you mean 'dice_volume_mean'"):
        runs.comparison([run], ("dice_volume_men",))


def test_a_result_may_lack_almost_everything(tmp_path):
    run = runs.read(_write(tmp_path / "a", None, {"metrics": {"dice_volume_mean": 0.5}}))
    (row,) = _cells(runs.comparison([run]))
    assert "dice_volume_median" not in row
    assert row["dice_volume_mean"] == "0.5000" and row["protocol"] == "unknown"


def test_names_are_the_shortest_that_differ(tmp_path):
    paths = ["x/unet", "y/unet", "y/vit", "y/vit/evaluation-all"]
    found = [runs.read(_write(tmp_path / p, _config(), _result(0.1))) for p in paths]
    assert runs.names(found) == ["x/unet", "y/unet", "vit", "vit/evaluation-all"]


def test_an_evaluation_has_the_config_of_its_run(tmp_path):
    _write(tmp_path / "run", _config(), _result(0.8))
    path = _write(tmp_path / "run" / "evaluation-all", None, _result(0.9))
    assert runs.read(path).config == _config()


@pytest.mark.parametrize(
    "text", ['{"metrics": {', "[]", '{"metrics": 3}', '{"per_volume": [1]}', '{"seconds": "x"}']
)
def test_a_damaged_result_is_one_clear_error(tmp_path, text):
    path = _write(tmp_path / "a", _config())
    (path / "result.json").write_text(text)
    with pytest.raises(DataError, match=r"result\.json.*again"):
        runs.read(path)


def test_an_empty_or_missing_directory_is_one_clear_error(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="--workdir"):
            runs.read(path)


def _compare(*args):
    return subprocess.run(
        [sys.executable, "-m", "experiments.compare", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_command_shows_the_good_and_reports_the_broken(tmp_path):
    a = _write(tmp_path / "a", _config(), _result(0.8))
    b = _write(tmp_path / "b", _config(model__dropout=0.5), _result(0.7))
    broken = _write(tmp_path / "broken", _config())
    (broken / "result.json").write_text("{")
    out = tmp_path / "out"
    done = _compare(a, broken, b, f"--workdir={out}", "--metrics=dice_volume_mean")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "broken" in errors[0] and "Traceback" not in done.stderr
    assert [row["dice_volume_mean"] for row in _cells(done.stdout)] == ["0.8000", "0.7000"]
    assert done.stdout.startswith((out / "comparison.md").read_text())
    assert (out / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads((out / "result.json").read_text())


def test_help_teaches():
    done = _compare("--help")
    assert "checkpoints/runs" in done.stdout and "--metrics" in done.stdout
