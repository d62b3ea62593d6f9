"""Sweeps as lists: combinators, ids, shards, and the sweeps of configs/."""

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ROOT

from brainjax import sweep
from brainjax.sweep import chain, grid, product, run_id, shard, varied, zipped
from brainjax.types import ConfigError

VALUES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(max_size=8),
    st.tuples(st.integers()),
)
FIELDS = st.dictionaries(
    st.sampled_from(["model.name", "seed", "loss.name", "optimizer.learning_rate"]),
    st.lists(VALUES, min_size=1, max_size=3, unique_by=lambda v: json.dumps(v)),
    min_size=1,
)
TRIAL = st.dictionaries(st.sampled_from(["a.name", "b", "c.d"]), VALUES)


def test_the_grid_of_two_fields_in_order():
    found = grid({"model.name": ["VGG", "ResNet"]}, seed=range(2))
    assert found == [
        {"model.name": "VGG", "seed": 0},
        {"model.name": "VGG", "seed": 1},
        {"model.name": "ResNet", "seed": 0},
        {"model.name": "ResNet", "seed": 1},
    ]


@given(FIELDS)
def test_a_grid_has_every_combination_once_and_is_the_product_of_its_fields(fields):
    trials = grid(fields)
    assert len(trials) == np.prod([len(v) for v in fields.values()])
    assert len({run_id(t) for t in trials}) == len(trials)
    assert trials == product(*(grid({k: v}) for k, v in fields.items()))
    assert all(t[k] in fields[k] for t in trials for k in t)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1))
def test_zipped_takes_values_side_by_side(pairs):
    left, right = zip(*pairs, strict=True)
    assert [(t["a"], t["b"]) for t in zipped({"a": left, "b": right})] == pairs


@given(st.lists(TRIAL), st.lists(TRIAL))
def test_a_chain_is_both_in_order_without_repeats(a, b):
    found, seen = chain(a, b), []
    for trial in [*a, *b]:
        if run_id(trial) not in map(run_id, seen):
            seen.append(trial)
    assert list(map(run_id, found)) == list(map(run_id, seen))
    assert chain(found, a, b) == found


@given(TRIAL, st.randoms())
def test_an_id_names_a_folder_and_ignores_the_order_of_fields(trial, random):
    items = list(trial.items())
    random.shuffle(items)
    name = run_id(trial)
    assert run_id(dict(items)) == name
    assert len(name) < 100 and pathlib.PurePath(name).name == name and name[0] != "."


def test_an_id_reads_well():
    trial = {"optimizer.learning_rate": 1e-3, "model.name": "VGG", "seed": 2}
    assert run_id(trial)[:-8] == "VGG-learning_rate0.001-seed2-"
    assert run_id({})[:-8] == "base-"


@given(st.lists(st.integers()), st.integers(1, 7))
def test_shards_are_disjoint_together_all_and_balanced(trials, n):
    parts = [shard(list(enumerate(trials)), f"{i}/{n}") for i in range(1, n + 1)]
    assert sorted(x for part in parts for x in part) == list(enumerate(trials))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("which", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_none_is_refused(which):
    with pytest.raises(ConfigError, match="from 1/n to n/n"):
        shard([1, 2], which)


def test_numpy_numbers_become_plain_and_other_values_are_refused():
    (trial,) = grid({"a": np.array([3]), "b": [np.float32(0.5)], "c": [[1, 2]]})
    assert [type(v) for v in trial.values()] == [int, float, tuple]
    for values, message in (("VGG", "needs a list"), ([], "one value or more"), ([{}], "cannot")):
        with pytest.raises(ConfigError, match=message):
            grid(a=values)
    with pytest.raises(ConfigError, match="a has 2, b has 1"):
        zipped(a=[1, 2], b=[1])
    with pytest.raises(ConfigError, match="set a; drop one"):
        product(grid(a=[1]), grid(a=[2]))


def test_varied_fields_in_order():
    trials = [{"x": 1, "y": 2, "z": 3}, {"x": 1, "y": 4}]
    assert varied(trials) == ["y", "z"] and varied(trials[:1]) == [] and varied([]) == []


def test_a_file_without_a_sweep_is_one_line(tmp_path):
    file = tmp_path / "s.py"
    for text, message in (
        (None, "there is no file"),
        ("x = 1", "no function get_sweep"),
        ("def get_sweep(): return []", "has no trials"),
        ("def get_sweep(): return [{'a': {}}]", "cannot hold"),
    ):
        if text:
            file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            sweep.load(str(file))


def test_the_reference_s_grid():
    trials = sweep.load(str(ROOT / "configs/sweeps/r0_grid.py"))
    assert len(trials) == 36
    names = {tuple(t[f"{k}.name"] for k in ("model", "loss", "optimizer")) for t in trials}
    assert len(names) == 36 and [len(set(n)) for n in zip(*names, strict=True)] == [4, 3, 3]
    assert all(t["optimizer.learning_rate"] > 0 for t in trials)
    assert len(sweep.load(str(ROOT / "configs/sweeps/r0_grid.py:seeds"))) == 108
    assert len(sweep.load(str(ROOT / "configs/sweeps/seeds.py"))) == 5
