"""Trials trained together are the trials trained alone; kills, bad trials and devices change none of it."""

import dataclasses
import os
import signal

import jax
import numpy as np
import pytest
from tiny import make_dataset
from trials import SIX, tiny_trials

from brainjax.sweep import grid, product
from brainjax.train.loop import Trainer
from brainjax.train.pack import Pack, Program
from brainjax.train.signals import Interrupted, StopRequest
from brainjax.types import ConfigError

DATA = make_dataset()


class Kill(BaseException):
    """What a SIGKILL leaves behind in this process: nothing after it runs but `finally`."""


def program(trials, **options):
    return Program(trials, trials[0].recipe.source(DATA), **options)


def pack(made, trials, directory, **options):
    splits = [t.recipe.split(DATA) for t in trials]
    return Pack(made, trials, splits, directory, **options)


def train(made, trials, directory, **options):
    found = pack(made, trials, directory, **options)
    with StopRequest() as stop:
        found.train(stop)
    return found


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def close(a, b, tolerance=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, tolerance, tolerance), a, b)


@pytest.fixture(scope="module")
def six():
    return tiny_trials(SIX)


@pytest.fixture(scope="module")
def made(six):
    return program(six)


@pytest.fixture(scope="module")
def packed(made, six, tmp_path_factory):
    return train(made, six, tmp_path_factory.mktemp("six"))


@pytest.fixture(scope="module")
def alone(six, tmp_path_factory):
    """Three of them, each trained by `Trainer`: every optimizer, both losses, seeds and splits."""
    runs = {}
    for i in (0, 4, 5):
        t, workdir = six[i], tmp_path_factory.mktemp("alone")
        runs[i] = Trainer(t.recipe, DATA, t.recipe.split(DATA), workdir, seed=t.seed, quiet=True)
        runs[i].run()
    return runs


def test_a_packed_trial_is_its_stand_alone_run(packed, alone):
    for i, run in alone.items():
        assert run.state.step == packed.states.step[i] == 6 and run.state.skipped == 0
        close(packed.variables(i), run.final()[1])
        close(jax.tree.map(lambda x: x[i], packed.states.variables), run.state.variables)  # noqa: B023
    moved = [jax.tree.leaves(packed.variables(i))[0] for i in range(6)]
    assert all(np.abs(a - b).max() > 1e-3 for a in moved for b in moved if a is not b)


def test_packs_of_one_are_the_stand_alone_run_without_compiling_again(made, six, alone, tmp_path):
    before = made.step._cache_size()
    for i, run in alone.items():
        one = train(made, [six[i]], tmp_path / str(i))
        close(one.variables(0), run.final()[1])
        one.close()
    assert made.step._cache_size() == before + 1


def test_a_short_pack_is_filled_up_and_compiles_nothing(made, six, packed, tmp_path):
    before = made.step._cache_size()
    short = train(made, six[3:5], tmp_path, width=6)
    assert made.step._cache_size() == before and len(short.losses(0)) == 6
    close([short.variables(0), short.variables(1)], [packed.variables(3), packed.variables(4)])


def test_trials_divided_among_devices_are_the_same(six, packed, tmp_path):
    spread = train(program(six, spread=True), six, tmp_path, width=8)
    assert len(spread.states.step.sharding.device_set) == 8
    for i in range(6):
        close(spread.variables(i), packed.variables(i))


def test_a_killed_pack_ends_with_the_same_bits(made, six, packed, tmp_path, monkeypatch):
    """Killed in step 5: it goes on after step 3."""
    inner = made.step

    def dying(states, *rest):
        if int(states.step[0]) == 4:
            raise Kill
        return inner(states, *rest)

    monkeypatch.setattr(made, "step", dying)
    with pytest.raises(Kill):
        train(made, six, tmp_path)
    monkeypatch.undo()
    again = pack(made, six, tmp_path)
    assert again.step == 3
    with StopRequest() as stop:
        again.train(stop)
    same(again.states, packed.states)
    assert again.record.logged == packed.record.logged


def test_sigterm_saves_after_the_step_in_hand(made, six, packed, tmp_path, monkeypatch):
    inner = made.step

    def signalled(states, *rest):
        if int(states.step[0]) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(states, *rest)

    monkeypatch.setattr(made, "step", signalled)
    with pytest.raises(Interrupted, match="stopped at step 2 of 6") as e:
        train(made, six, tmp_path)
    assert e.value.exit_code == 75
    monkeypatch.undo()
    again = pack(made, six, tmp_path)
    assert again.step == 2
    with StopRequest() as stop:
        again.train(stop)
    same(again.states, packed.states)


def test_a_pack_is_not_gone_on_with_on_other_data(made, six, packed, tmp_path):
    directory = packed.checkpoints.directory.parent
    other = program(six)
    other.source = six[0].recipe.source(dataclasses.replace(DATA, mask=1 - DATA.mask))
    with pytest.raises(ConfigError, match="the data are not those"):
        pack(other, six, directory)


@pytest.fixture(scope="module")
def wild():
    """Two sane rates and one that overflows within a step or two."""
    changes = product(
        [{"optimizer.name": "sgd"}], grid({"optimizer.learning_rate": [0.01, 0.1, 1e37]})
    )
    return tiny_trials(changes, train={"steps": 12, "max_bad_steps": 3, "clip_norm": 0.0})


def test_a_trial_that_diverges_is_given_up_and_harms_no_other(wild, tmp_path):
    made = program(wild)
    bad = train(made, [wild[0], wild[2]], tmp_path / "bad")
    good = train(made, wild[:2], tmp_path / "good")
    assert list(bad.record.diverged) == ["1"] and not good.record.diverged
    step = bad.record.diverged["1"]
    assert 3 <= step < 12 and bad.skipped(1) >= 3
    same(*(jax.tree.map(lambda x: x[0], run.states) for run in (bad, good)))
    logged = bad.losses(1)
    assert logged[-1][0] == step and len(bad.losses(0)) == 12
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(bad.variables(1)))
    assert made.step._cache_size() == 1


def test_a_pack_without_a_trial_left_ends(wild, tmp_path):
    """And what was noted before a kill is known after it."""
    run = train(program(wild), wild[2:], tmp_path)
    assert run.given_up and run.step < 12
    again = pack(run.program, wild[2:], tmp_path)
    assert again.step == 3 or again.record.diverged == run.record.diverged
