"""Reports of sweeps: intervals, tables, box plots, from result files as they lie on disk."""

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from brainjax.report import boxes
from brainjax.report import sweep as report
from brainjax.sweep import grid, product, run_id, zipped
from brainjax.types import ConfigError, DataError

RATES = zipped({"optimizer.name": ["adam", "sgd"], "optimizer.learning_rate": [1e-3, 1e-2]})
SWEEP = product(grid({"model.name": ["VGG", "ResNet"]}), RATES, grid(seed=range(3)))


def score(trial):
    base = {"VGG": 0.7, "ResNet": 0.8}[trial["model.name"]]
    return base + {"adam": 0.1, "sgd": 0.0}[trial["optimizer.name"]] + 0.01 * trial["seed"]


def write(workdir, trials, *, diverged=(), planned=(), value=score):
    for i, trial in enumerate(trials):
        bad = i in diverged
        result = {
            "id": run_id(trial),
            "overrides": trial,
            "status": "diverged" if bad else "finished",
            "dataset": "tiny",
            "split": "test",
            "protocol": "patient split",
            "monitor": "accuracy",
            "metrics": {} if bad else {"other": None, "accuracy": value(trial), "f1": 0.5},
            "best_loss": 0.1,
            "last_loss": 0.2,
            "steps": 6,
            "skipped_steps": 0,
            "parameters": 12,
            "seconds": 2.0,
        }
        folder = workdir / "trials" / run_id(trial)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
    plan = [{"id": run_id(t)} for t in (planned or trials)]
    (workdir / "sweep.json").write_text(json.dumps({"trials": plan}))
    return workdir


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    workdir = write(tmp_path_factory.mktemp("s"), SWEEP[:-1], diverged=(3,), planned=SWEEP)
    return report.read([workdir])


def test_the_interval_of_three_numbers_by_hand():
    """Mean 2, s = 1, t(0.975, 2) = 4.302653: 4.302653 / sqrt(3) either way."""
    mean, half = report.interval([1.0, 2.0, 3.0])
    assert mean == 2 and half == pytest.approx(2.484138, abs=1e-6)
    assert report.interval([0.7]) == (0.7, None)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(0.1, 10))
def test_an_interval_scales_with_its_values_and_ignores_their_order(values, factor):
    mean, half = report.interval(values)
    assert half >= 0 and min(values) - 1e-9 <= mean <= max(values) + 1e-9
    scaled = report.interval([factor * v for v in reversed(values)])
    np.testing.assert_allclose(scaled, (factor * mean, factor * half), 1e-6, 1e-9)


def test_trials_are_in_the_sweep_s_order_and_the_missing_are_known(results):
    assert [t["id"] for t in results.trials] == [run_id(t) for t in SWEEP[:-1]]
    assert results.missing == [run_id(SWEEP[-1])] and results.metric == "accuracy"
    assert results.fields == ["model.name", "optimizer.name", "optimizer.learning_rate", "seed"]
    assert results.treatments == results.fields[:-1]


def test_the_summary_averages_over_seeds_and_ranks(results):
    rows = report.summary(results)
    assert [(r["model.name"], r["optimizer.name"], r["n"]) for r in rows] == [
        ("ResNet", "adam", 3),
        ("VGG", "adam", 3),
        ("ResNet", "sgd", 2),
        ("VGG", "sgd", 2),
    ]
    best, worst = rows[0], rows[-1]
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert best["mean"] == pytest.approx(0.91)
    assert (best["low"], best["high"]) == pytest.approx((0.91 - half, 0.91 + half), abs=1e-6)
    assert worst["diverged"] == 1 and worst["mean"] == pytest.approx(0.715)
    assert worst["seconds"] == 2.0


def test_markdown_says_all_of_it(results):
    text = report.markdown(results, "study")
    assert text.startswith("# study: 11 trials, 1 diverged, 1 without a result yet\n")
    assert "accuracy: means over seed. Scored on: patient split (test rows)." in text
    for heading in ("## Best", "## All", "## By model", "## By optimizer"):
        assert heading in text
    assert "## By learning rate" not in text
    first = next(line for line in text.splitlines() if line.startswith("|    1"))
    assert [c.strip() for c in first.split("|")[2:-1]] == [
        *("ResNet", "adam", "0.001", "3", "0.9100", "0.8852", "0.9348", "0")
    ]


def test_folds_are_averaged_and_protocols_stand_side_by_side(tmp_path):
    folds = grid({"split.name": ["k_fold"], "split.fold": range(3)})
    trials = [*grid({"split.name": ["as_shipped"]}), *folds]
    values = {None: 0.9, 0: 0.6, 1: 0.7, 2: 0.8}
    found = report.read([write(tmp_path, trials, value=lambda t: values[t.get("split.fold")])])
    rows = {row["split.name"]: (row["n"], round(row["mean"], 6)) for row in report.summary(found)}
    assert rows == {"as_shipped": (1, 0.9), "k_fold": (3, 0.7)}


def test_the_csv_has_a_row_a_trial(results):
    rows = list(csv.DictReader(io.StringIO(report.to_csv(results))))
    assert len(rows) == 11 and [r["status"] for r in rows].count("diverged") == 1
    assert rows[0]["optimizer.learning_rate"] == "0.001" and float(rows[0]["accuracy"]) == score(
        SWEEP[0]
    )
    assert rows[3]["accuracy"] == "" and rows[0]["f1"] == "0.5" and "other" not in rows[0]
    assert [float(r["accuracy"]) for r in rows if r["accuracy"]] == results.values(results.trials)


def test_shards_with_a_directory_each_are_merged(tmp_path, results):
    for i in range(2):
        write(tmp_path / str(i), SWEEP[i::2], planned=SWEEP)
    merged = report.read([tmp_path / "1", tmp_path / "0"])
    assert [t["id"] for t in merged.trials] == [run_id(t) for t in SWEEP] and not merged.missing


def test_another_metric_and_what_is_not_there(tmp_path, results):
    workdir = write(tmp_path / "s", SWEEP[:2])
    assert report.read([workdir], "f1").metrics == ["f1", "accuracy"]
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        report.read([workdir], "acuracy")
    with pytest.raises(DataError, match="no such directory"):
        report.read([tmp_path / "x"])
    with pytest.raises(DataError, match="no trial has a result yet"):
        report.read([tmp_path])
    (workdir / "trials" / run_id(SWEEP[0]) / "result.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        report.read([workdir])


@pytest.mark.parametrize("metric", ["nll", "ece", "brier", "hd95_volume_mean"])
def test_of_an_error_less_is_better(metric, tmp_path):
    workdir = write(tmp_path, SWEEP)
    for path in workdir.glob("trials/*/result.json"):
        result = json.loads(path.read_text())
        result["metrics"] = {metric: 1 - result["metrics"]["accuracy"], **result["metrics"]}
        path.write_text(json.dumps(result))
    found, other = report.read([workdir], metric), report.read([workdir])
    ranked = [
        [(row["model.name"], row["optimizer.name"]) for row in report.summary(x)]
        for x in (found, other)
    ]
    assert ranked[0] == ranked[1] and ranked[0][0] == ("ResNet", "adam")
    text = report.markdown(found)
    assert f"{metric}, less is better" in text and "less is better" not in report.markdown(other)
    best, worst = (float(x) for x in text.split("## By model")[1].splitlines()[4].split("|")[-3:-1])
    assert best < worst


def test_single_trials_have_no_interval(tmp_path):
    found = report.read([write(tmp_path, SWEEP[::3])])
    rows = report.summary(found)
    assert all(r["n"] == 1 and r["low"] is None for r in rows)
    assert "of single trials, so without intervals" in report.markdown(found)
    assert report.markdown(report.read([write(tmp_path / "one", SWEEP[:1])])).startswith(
        "# Sweep: 1"
    )


def test_box_plots_leave_out_what_follows_from_a_name(results, tmp_path):
    assert results.independent == ["model.name", "optimizer.name"]
    picture = boxes.boxes(tmp_path / "s.png", results, title="study")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s.png")), picture)
    other = write(tmp_path / "o", SWEEP, value=lambda t: 0.5 * score(t))
    assert not np.array_equal(boxes.boxes(None, report.read([other]), title="study"), picture)


@pytest.mark.parametrize(
    "trials",
    [
        grid({"optimizer.learning_rate": np.logspace(-4, -1, 12)}),
        grid({"seed": [1]}),
        grid({"seed": [1, 2, 3]}),
        grid({"model.features": [[1, 2], [3, 4]], "train.ema": [0.1, 0.2]}),
        [{"optimizer.momentum": 0.9}, {}],
        product(*(grid({f"a{i}.name": ["x", "y"]}) for i in range(4))),
        grid({"train.init": ["M\udcfcller", r"runs/$\frac$"]}),
    ],
    ids=["many", "one", "seeds", "tuples", "default", "four", "names"],
)
def test_any_sweep_can_be_drawn(trials, tmp_path):
    workdir = write(tmp_path, trials, value=lambda t: 0.5 + 0.01 * len(json.dumps(t)) % 0.3)
    picture = boxes.boxes(None, report.read([workdir]))
    assert picture.ndim == 3 and picture.std() > 1
    assert "nan" not in report.markdown(report.read([workdir]))


def test_a_sweep_in_which_all_diverged_is_still_reported(tmp_path):
    found = report.read([write(tmp_path, SWEEP[:2], diverged=(0, 1))])
    assert "2 diverged" in report.markdown(found) and len(report.to_csv(found).splitlines()) == 3
    with pytest.raises(DataError, match="no trial has accuracy to plot"):
        boxes.boxes(None, found)
