"""Checkpoints of a run: the two newest and the best, through orbax, restored only when whole.

A save goes to a temporary directory that is renamed when complete, so a run killed at any moment leaves the last
finished checkpoint intact. A checksum of all numbers is stored beside them: orbax itself reads a file with flipped
bits without a word.
"""

import pathlib
import shutil
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from brainjax.train.state import TrainState
from brainjax.types import CheckpointError

_SLACK = 1 << 20  # bytes, for the metadata of a checkpoint and the logs beside it


class Checkpoints:
    """The checkpoints under one directory.

    Each holds the train state and the loop's own small record (best score, early-stopping counter) as
    JSON, so that a resumed run decides exactly as the uninterrupted one.
    """

    def __init__(self, directory: str | pathlib.Path, *, read_only: bool = False):
        """Opens or creates `directory`.

        With `read_only` nothing in it is touched: it may be of a run that is still going, whose unfinished saves
        are otherwise taken for the leftovers of a killed one.
        """
        self.directory = pathlib.Path(directory).absolute()
        self._keep = _NewestAndBest()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._keep, cleanup_tmp_directories=True
        )
        if read_only:
            options = ocp.CheckpointManagerOptions(
                read_only=True, create=False, save_interval_steps=0
            )
        self._manager = ocp.CheckpointManager(self.directory, options=options)
        self._saving = False

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is being written, also in the background."""
        return self._saving or self._manager.is_saving_in_progress()

    def save(self, state: TrainState, record: dict[str, Any], *, best: int | None = None) -> None:
        """Saves in the background; returns once the state may be donated.

        Args:
            state: what to save, under its own step; a step that was saved before is left as it is.
            record: anything that JSON can hold.
            best: step of an earlier checkpoint to keep beside the newest.

        Raises:
            CheckpointError: this or the previous checkpoint could not be written; older ones are intact.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._saving = True
        try:
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                record=ocp.args.JsonSave({"loop": record, "crc32": _checksum(state)}),
            )
            self._keep.best = best
            self.wait()
            self._check_space(state)
            try:
                self._manager.save(step, args=args, force=True)
            except Exception as error:
                raise self._unwritten(error) from error
        finally:
            self._saving = False

    def wait(self) -> None:
        """Blocks until every save is on disk.

        Raises:
            CheckpointError: the last one could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._unwritten(error) from error

    def _check_space(self, state: TrainState) -> None:
        # Asked first: a disk that fills up in the middle makes the writer's threads print pages of tracebacks.
        wanted = sum(x.nbytes for x in jax.tree.leaves(state)) + _SLACK
        free = shutil.disk_usage(self.directory).free
        if free < wanted:
            raise self._unwritten(
                OSError(f"it takes up to {wanted / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
            )

    def _unwritten(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"a checkpoint could not be written to {self.directory} ({_line(error)}); "
            f"the ones before it are intact: free some space and restart the same command"
        )

    def restore(
        self, like: TrainState, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """The state and record of `step` (default: the newest).

        Args:
            like: a state of the same structure, for shapes and dtypes.
            step: which one.

        Raises:
            CheckpointError: there is none, it is damaged, or it is of another model.
        """
        step = self.latest if step is None else step
        if step is None:
            raise CheckpointError(f"no checkpoint in {self.directory}; train first")
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), record=ocp.args.JsonRestore()
        )
        try:
            found = self._manager.restore(step, args=args)
        except Exception as error:
            raise CheckpointError(
                f"checkpoint {self.directory / str(step)} cannot be read as this model's "
                f"({_line(error)}); delete that folder to go back to an older one, or check that "
                f"--config is the run's own"
            ) from error
        state, record = found["state"], found["record"]
        if record.get("crc32") != _checksum(state):
            raise CheckpointError(
                f"checkpoint {self.directory / str(step)} is damaged: its numbers do not match their checksum; "
                f"delete that folder to go back to an older one"
            )
        return state, record["loop"]

    def close(self) -> None:
        """Waits for pending saves and releases the directory."""
        self.wait()
        self._manager.close()


class _NewestAndBest:
    """orbax's question which checkpoints to keep, answered from the loop's record.

    The second newest is what is left when the newest turns out to be damaged. orbax's own policies read scores that it stores beside each checkpoint, a second truth about which one is best.
    """

    best: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        newest = sorted(c.step for c in checkpoints)[-2:]
        return [c.step in (*newest, self.best) for c in checkpoints]


def _checksum(state: TrainState) -> int:
    """CRC-32 over all arrays, in the order of the tree."""
    total = 0
    for leaf in jax.tree.leaves(state):
        total = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).reshape(-1), total)
    return total


def _line(error: Exception) -> str:
    """The error's type and the first line of its message; of a long one the ends, which tell most."""
    text = (str(error).splitlines() or [""])[0]
    if len(text) > 300:
        text = f"{text[:100]} ... {text[-190:]}"
    return f"{type(error).__name__}: {text}"
