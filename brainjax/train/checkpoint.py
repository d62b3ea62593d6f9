"""Checkpoints of a run: the newest and the best, through orbax, restored only when whole.

A save goes to a temporary directory that is renamed when complete, so a run killed at any moment leaves the last
finished checkpoint intact.
"""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from brainjax.train.state import TrainState
from brainjax.types import CheckpointError


class Checkpoints:
    """The checkpoints under one directory.

    Each holds the train state and the loop's own small record (best score, early-stopping counter) as
    JSON, so that a resumed run decides exactly as the uninterrupted one.
    """

    def __init__(self, directory: str | pathlib.Path, *, best: str | None = None):
        """Opens or creates `directory`; `best` names the loop-record entry to keep the maximum of."""
        self.directory = pathlib.Path(directory).absolute()
        keep: list[Any] = [policies.LatestN(1)]
        if best is not None:
            # BestN alone, or max_to_keep with best_fn, would delete the newest step of a run.
            keep.append(policies.BestN(get_metric_fn=lambda m: m[best], n=1))
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=True,
            ),
        )

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, record: dict[str, Any], score: float | None) -> None:
        """Saves in the background; returns once the state may be donated."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
        )
        metrics = {"score": score} if score is not None else None
        try:
            self._manager.save(step, args=args, metrics=metrics, force=True)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint of step {step} could not be written to {self.directory}: {error}; "
                f"free some space or choose another --workdir, then restart the same command"
            ) from error

    def wait(self) -> None:
        """Blocks until every save is on disk; raises what went wrong in the background."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise CheckpointError(
                f"a checkpoint could not be written to {self.directory}: {error}; "
                f"the one before it is intact: free some space and restart the same command"
            ) from error

    def restore(
        self, like: TrainState, step: int | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """The state and record of `step` (default: the newest).

        Args:
            like: a state of the same structure, for shapes and dtypes.

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
                f"({type(error).__name__}: {str(error).splitlines()[0][:200]}); delete that folder "
                f"to go back to an older one, or check that --config is the run's own"
            ) from error
        return found["state"], found["record"]

    def close(self) -> None:
        """Waits for pending saves and releases the directory."""
        self.wait()
        self._manager.close()
