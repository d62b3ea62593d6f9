"""Checkpoints: exact, the newest and the best kept, damaged ones refused, a full disk survived."""

import errno
import json
import pathlib
import resource
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import checkpoint_manager
from tiny import TinyNet

from brainjax.train import checkpoint
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.state import create
from brainjax.types import CheckpointError

# orbax abandons the other reads when one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RECORD = {"best": 0.5, "best_step": 3, "stale": 2, "evaluated": 5, "done": False}


@pytest.fixture(scope="module")
def state():
    return create(TinyNet(), optax.adamw(1e-3), jax.random.key(0), (1, 16, 16, 2))


def at(state, step):
    """`state` at a step, with weights of its own."""
    shift = 1.0 + step / 7
    variables = jax.tree.map(lambda x: x + shift, state.variables)
    return state.replace(step=jnp.int32(step), variables=variables, streak=jnp.int32(step % 3))


def steps(directory):
    return sorted(int(p.name) for p in pathlib.Path(directory).iterdir() if p.name.isdigit())


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def save(directory, state, *numbers, best=None):
    store = Checkpoints(directory)
    for step in numbers:
        store.save(at(state, step), {**RECORD, "stale": step}, best=best)
    store.close()


def test_what_is_restored_is_what_was_saved(state, tmp_path):
    save(tmp_path, state, 3)
    store = Checkpoints(tmp_path)
    found, record = store.restore(state)
    same(found, at(state, 3))
    assert record == {**RECORD, "stale": 3} and store.latest == 3
    assert jax.tree.structure(found) == jax.tree.structure(state)
    store.close()


def test_the_two_newest_and_the_best_are_kept_also_by_a_resumed_run(state, tmp_path):
    save(tmp_path, state, 1, 2, 3)
    assert steps(tmp_path) == [2, 3]
    save(tmp_path, state, 4, 5, best=2)
    assert steps(tmp_path) == [2, 4, 5]
    store = Checkpoints(tmp_path)  # as after a kill
    store.save(at(state, 6), RECORD, best=6)
    store.save(at(state, 7), RECORD, best=6)
    store.save(at(state, 8), RECORD, best=6)
    store.close()
    assert steps(tmp_path) == [6, 7, 8]
    store = Checkpoints(tmp_path)
    same(store.restore(state, 6)[0], at(state, 6))
    store.close()


def test_saving_a_step_again_leaves_it_as_it_is(state, tmp_path):
    save(tmp_path, state, 3)
    store = Checkpoints(tmp_path)
    store.save(at(state, 9).replace(step=jnp.int32(3)), {})
    assert store.restore(state)[1] == {**RECORD, "stale": 3}
    store.close()


def test_what_is_being_written_is_told_from_the_checksum_on(state, tmp_path, monkeypatch):
    checkpoints, seen = Checkpoints(tmp_path), []
    inner = checkpoint._checksum
    monkeypatch.setattr(
        checkpoint, "_checksum", lambda s: seen.append(checkpoints.saving) or inner(s)
    )
    monkeypatch.setattr(checkpoints, "_check_space", lambda _: seen.append(checkpoints.saving))
    assert not checkpoints.saving
    checkpoints.save(state, {})
    checkpoints.wait()
    assert seen == [True, True] and not checkpoints.saving
    checkpoints.close()


def test_a_state_that_is_donated_right_after_the_save_is_saved_whole(state, tmp_path):
    """The save goes on in the background while the next steps overwrite the buffers."""
    big = at(state, 4).replace(variables={"params": {"w": jnp.arange(4_000_000.0)}})
    big = jax.tree.map(jnp.copy, big)  # its own buffers, as they go
    expected = np.asarray(big.variables["params"]["w"]).copy()

    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    store = Checkpoints(tmp_path)
    like = jax.tree.map(jnp.copy, big)
    store.save(big, RECORD)
    for _ in range(5):
        big = overwrite(big)
    jax.block_until_ready(big)
    store.wait()
    np.testing.assert_array_equal(store.restore(like)[0].variables["params"]["w"], expected)
    store.close()


def test_an_empty_directory_has_none(state, tmp_path):
    store = Checkpoints(tmp_path)
    assert store.latest is None
    with pytest.raises(CheckpointError, match="no checkpoint in .*; train first"):
        store.restore(state)
    store.close()


def test_leftovers_of_a_killed_save_are_passed_over_and_removed(state, tmp_path):
    save(tmp_path, state, 3)
    leftover = tmp_path / "6.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "3", leftover)
    store = Checkpoints(tmp_path)
    assert store.latest == 3
    store.save(at(state, 6), RECORD)
    store.close()
    assert steps(tmp_path) == [3, 6] and not leftover.exists()


def test_a_half_deleted_old_checkpoint_does_no_harm(state, tmp_path):
    """A kill while it was being removed."""
    save(tmp_path, state, 3, 4, best=3)
    shutil.rmtree(tmp_path / "3" / "state")
    store = Checkpoints(tmp_path)
    same(store.restore(state)[0], at(state, 4))
    store.save(at(state, 5), RECORD, best=5)
    store.save(at(state, 6), RECORD, best=5)
    store.close()
    assert steps(tmp_path) == [5, 6]


def test_reading_a_run_that_is_going_touches_nothing(state, tmp_path):
    save(tmp_path, state, 3)
    shutil.copytree(tmp_path / "3", tmp_path / "6.orbax-checkpoint-tmp")  # being written
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    store = Checkpoints(tmp_path, read_only=True)
    same(store.restore(state)[0], at(state, 3))
    store.close()
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


DAMAGE = {
    "flipped byte": lambda folder: flip(largest(folder / "state")),
    "truncated": lambda folder: largest(folder / "state").write_bytes(b"\0" * 10),
    "no record": lambda folder: shutil.rmtree(folder / "record"),
    "no state": lambda folder: shutil.rmtree(folder / "state"),
    "broken record": lambda folder: next((folder / "record").glob("metadata*")).write_text("{"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_older_one_still_works(
    state, tmp_path, kind
):
    save(tmp_path, state, 3, 4, best=3)
    DAMAGE[kind](tmp_path / "4")
    store = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="delete that folder") as e:
        store.restore(state)
    assert str(tmp_path / "4") in str(e.value) and "\n" not in str(e.value)
    store.close()
    shutil.rmtree(tmp_path / "4")
    store = Checkpoints(tmp_path)
    same(store.restore(state)[0], at(state, 3))
    store.close()


def test_a_flipped_bit_among_the_numbers_is_found(state, tmp_path):
    """The numbers are random, so stored as they are: no compression notices."""
    noise = {"params": {"w": jax.random.normal(jax.random.key(0), (100_000,))}}
    big = state.replace(variables=noise, step=jnp.int32(3))
    store = Checkpoints(tmp_path)
    store.save(big, RECORD)
    store.close()
    file = largest(tmp_path / "3" / "state")
    whole = file.read_bytes()
    for place in (len(whole) // 5, len(whole) // 2):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        store = Checkpoints(tmp_path)
        with pytest.raises(CheckpointError, match="delete that folder"):
            store.restore(big)
        store.close()


def test_a_checkpoint_of_another_model_is_refused(state, tmp_path):
    save(tmp_path, state, 3)
    other = create(TinyNet(), optax.adamw(1e-3), jax.random.key(0), (1, 16, 16, 3))
    store = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="--config is the run's own"):
        store.restore(other)
    store.close()
    other = create(TinyNet("none"), optax.sgd(1e-3), jax.random.key(0), (1, 16, 16, 2))
    store = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="--config is the run's own"):
        store.restore(other)
    store.close()


def test_a_disk_without_room_is_one_clear_error_before_anything_is_written(
    state, tmp_path, monkeypatch
):
    save(tmp_path, state, 3)
    store = Checkpoints(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=500_000))
    with pytest.raises(CheckpointError, match="0.5 MB are free.*free some space and restart") as e:
        store.save(at(state, 4), RECORD)
    assert "\n" not in str(e.value) and steps(tmp_path) == [3]
    monkeypatch.undo()
    same(store.restore(state)[0], at(state, 3))
    store.close()


def test_a_disk_that_fills_up_meanwhile_is_one_clear_error_too(state, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(tmp_path, state, 3)
    store = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoint_manager.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device.*free some space") as e:
        store.save(at(state, 4), RECORD)
    assert "\n" not in str(e.value)
    monkeypatch.undo()
    same(Checkpoints(tmp_path).restore(state)[0], at(state, 3))


@pytest.mark.parametrize("where", ["wait", "next save", "close"])
def test_a_write_that_fails_in_the_background_is_one_clear_error(state, tmp_path, where):
    """The file system refuses for real, through a limit on the size of files; a full disk looks alike."""
    save(tmp_path, state, 3)
    big = jax.random.normal(jax.random.key(0), (500_000,))
    store = Checkpoints(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="could not be written.*the same command") as e:
            store.save(at(state, 4).replace(ema=big), RECORD)
            if where == "next save":
                store.save(at(state, 5), RECORD)
            getattr(store, "close" if where == "close" else "wait")()
        assert "\n" not in str(e.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = Checkpoints(tmp_path)
    assert again.latest == 3
    same(again.restore(state)[0], at(state, 3))
    again.save(at(state, 4), RECORD)
    again.close()
    assert steps(tmp_path) == [3, 4]


def test_a_checkpoint_holds_json_and_numbers_only(state, tmp_path):
    save(tmp_path, state, 3)
    found = json.loads(next((tmp_path / "3" / "record").glob("metadata*")).read_text())
    assert found.keys() == {"loop", "crc32"} and found["loop"] == {**RECORD, "stale": 3}
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".pkl", ".pickle", ".npy", ".pt")]
