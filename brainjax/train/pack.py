"""Several trials of one architecture trained together by one compiled program.

Their states lie side by side along a leading axis, and the step of `brainjax.train.step` is mapped over it, together
with each trial's own batch, key and choice of loss, optimizer and schedule. A trial that diverges stands still; the
others never notice.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.datasets.base import Dataset
from brainjax.datasets.splits import Split, fingerprint
from brainjax.train import parallel
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.initial import start_from
from brainjax.train.signals import Interrupted, StopRequest
from brainjax.train.state import TrainState, create
from brainjax.train.step import make_step
from brainjax.train.trial import Trial, choices, finite
from brainjax.types import ConfigError


class PackState(flax.struct.PyTreeNode):
    """What a pack's checkpoint holds.

    Attributes:
        step: int32, steps taken by every trial.
        trials: the trials' states along a leading axis.
    """

    step: jax.Array
    trials: TrainState


@dataclasses.dataclass
class Record:
    """The pack's own memory, saved with each checkpoint.

    Attributes:
        data: of each trial, the fingerprint of its rows and who trains, validates and tests.
        inherited: of each trial, who trained the weights that it began with.
        logged: [step, loss of each trial], at the steps that a run logs; None for what is not finite.
        diverged: index of a trial -> the step at which it was given up, or the last one where it ended amid bad ones.
        seconds: time spent in training, over all restarts.
    """

    data: list[str]
    inherited: list[list[str]]
    logged: list[list[Any]] = dataclasses.field(default_factory=list)
    diverged: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Program:
    """The compiled step that trains every pack of a group."""

    def __init__(self, group: Sequence[Trial], source: Source, *, spread: bool = False):
        """Compiles nothing yet.

        Args:
            group: all trials that the program is to be able to train, see `brainjax.train.trial.groups`. What
                they choose from is compiled in, so that it must not depend on which are left to do.
            source: the group's data.
            spread: divide the trials of a pack among the local devices.
        """
        self.recipe, self.source = group[0].recipe, source
        self.choices = choices(group)
        self.predictor = self.recipe.predictor()
        self._shape = self.recipe.batch_shape(source.dataset)
        self._create = jax.jit(self._init)
        self.step = parallel.parallelize_trials(self._step, spread=spread)

    @property
    def dataset(self) -> Dataset:
        """The group's dataset."""
        return self.source.dataset

    def start(self, trial: Trial, split: Split) -> tuple[TrainState, list[str]]:
        """A trial's first state, and who trained the weights in it."""
        key = jax.random.fold_in(jax.random.key(trial.seed), 1 << 31)
        state = self._create(key, self.choices.encode(trial.wish))
        if not trial.recipe.train.init:
            return state, []
        return start_from(
            trial.recipe.train.init,
            self.recipe.plain_model,
            state,
            self.dataset,
            split,
            self.recipe.input.normalize,
        )

    def order(self, trial: Trial, split: Split) -> Order:
        """Which rows make a trial's batches: those of its stand-alone run."""
        options = trial.recipe.input
        return Order(
            rows=split.train,
            foreground=self.source.foreground(split.train, balance=options.balance),
            batch_size=trial.recipe.train.batch_size,
            fraction=options.foreground,
            seed=trial.seed,
        )

    def _init(self, key: jax.Array, choice: Any) -> TrainState:
        model, tx = self.recipe.plain_model, self.choices.optimizer(choice)
        return create(model, tx, key, (1, *self._shape[1:]))

    def _step(self, state: TrainState, batch: Any, key: jax.Array, choice: Any) -> Any:
        recipe = self.recipe
        step = make_step(
            recipe.plain_model,
            lambda logits, target: self.choices.loss(choice, logits, target),
            self.choices.optimizer(choice),
            size=recipe.input.size,
            augment=recipe.augment,
            ema=recipe.train.ema,
            mixup=recipe.train.mixup,
            accumulate=recipe.train.accumulate,
        )
        return step(state, batch, key)


class Pack:
    """Some trials of a group in one directory. `train` starts them or goes on with them."""

    def __init__(
        self,
        program: Program,
        trials: Sequence[Trial],
        splits: Sequence[Split],
        directory: pathlib.Path,
        *,
        width: int = 0,
    ):
        """Opens the pack at its newest checkpoint, or at step 0.

        Args:
            program: of the trials' group.
            trials: the ones to train.
            splits: of each, which rows train, validate and test.
            directory: where the pack's checkpoints go.
            width: trials that the program is compiled for, if more; the last one fills the rest.

        Raises:
            CheckpointError: the newest checkpoint is damaged.
            ConfigError: it is of other data.
        """
        self.program, self.trials, self.splits = program, list(trials), list(splits)
        fill = max(width - len(self.trials), 0)
        padded = [*self.trials, *self.trials[-1:] * fill]
        own = [*self.splits, *self.splits[-1:] * fill]
        self.options = program.recipe.train
        self._orders = [program.order(t, s) for t, s in zip(padded, own, strict=True)]
        self._keys = jnp.stack([jax.random.key(t.seed) for t in padded])
        encoded = [program.choices.encode(t.wish) for t in padded]
        self._choices = jax.device_put(jax.tree.map(lambda *x: np.stack(x), *encoded))
        begun = [program.start(t, s) for t, s in zip(self.trials, self.splits, strict=True)]
        states = [state for state, _ in begun] + [begun[-1][0]] * fill
        self.states: TrainState = jax.tree.map(lambda *x: jnp.stack(x), *states)
        self.record = Record(
            data=[fingerprint(program.dataset, split) for split in self.splits],
            inherited=[seen for _, seen in begun],
        )
        self.checkpoints = Checkpoints(directory / "checkpoints")
        if self.checkpoints.latest is not None:
            state, record = self.checkpoints.restore(self._checkpoint())
            if record["data"] != self.record.data:
                raise ConfigError(
                    f"the data are not those that {directory} was begun with; choose another --workdir, "
                    f"or delete that folder to train its trials again"
                )
            self.states, self.record = state.trials, Record(**record)

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self.states.step[0])

    @property
    def given_up(self) -> bool:
        """Whether no trial is left that has not diverged."""
        return len(self.record.diverged) == len(self.trials)

    def train(
        self, stop: StopRequest, tick: Callable[[int], None] = lambda trial_steps: None
    ) -> None:
        """Trains all trials to the end, or until each has diverged.

        Args:
            stop: noted requests to stop.
            tick: told of every step, as the number of trials that took it.

        Raises:
            Interrupted: it was asked to stop; the state is saved.
            CheckpointError: a checkpoint could not be written.
        """
        stop.saving = lambda: self.checkpoints.saving
        options, record, last = self.options, self.record, self.options.steps
        start, clock, waiting = self.step, time.perf_counter(), None
        feed = feeds.choose(self.program.recipe.input.feed)
        # A feed asks for nothing but the rows of a step: here, those of all trials one after another.
        batches = feed(self.program.source, self._rows, start, last)
        with contextlib.closing(batches):
            for step, batch in zip(range(start + 1, last + 1), batches, strict=False):
                self.states, metrics = self.program.step(
                    self.states, batch, self._keys, self._choices
                )
                tick(len(self.trials))
                # As in a run of its own, the host is at most one step ahead of the device.
                if waiting is not None:
                    self._watch(step - 1, waiting)
                waiting = metrics["streak"]
                logs = step % options.log_every == 0 or step == last
                # After the last step the results follow at once: who is interrupted there saves then.
                saves = stop.asked or (step % options.checkpoint_every == 0 and step < last)
                if logs or saves:
                    self._watch(step, waiting)
                if logs:
                    losses = np.asarray(metrics["loss"])[: len(self.trials)].tolist()
                    record.logged.append([step, [finite(x) for x in losses]])
                if saves:
                    now = time.perf_counter()
                    record.seconds, clock = record.seconds + now - clock, now
                    self.save()
                if stop.asked:
                    self.checkpoints.wait()
                    raise Interrupted(
                        f"stopped at step {step} of {last} of {len(self.trials)} trial(s); the checkpoint "
                        f"is saved: the same command goes on"
                    )
                if self.given_up:
                    break
        record.seconds += time.perf_counter() - clock
        # Too few bad steps to be given up, but nothing shows that it would have recovered.
        for i in np.flatnonzero(np.asarray(self.states.streak)[: len(self.trials)]):
            record.diverged.setdefault(str(i), self.step)
        self.checkpoints.wait()

    def save(self) -> None:
        """Saves the states under the current step; `CheckpointError` if that cannot be done."""
        self.checkpoints.save(self._checkpoint(), dataclasses.asdict(self.record))

    def variables(self, i: int) -> Any:
        """The averaged variables of trial i, on one device."""
        return parallel.on_one_device(jax.tree.map(lambda x: x[i], self.states.ema))

    def losses(self, i: int) -> list[tuple[int, float | None]]:
        """(step, loss) of trial i wherever it was logged, up to its divergence."""
        end = self.record.diverged.get(str(i), self.options.steps)
        return [(step, losses[i]) for step, losses in self.record.logged if step <= end]

    def skipped(self, i: int) -> int:
        """Steps of trial i that changed nothing, their loss or gradient not being finite."""
        return int(self.states.skipped[i])

    def close(self) -> None:
        """Releases the directory."""
        self.checkpoints.close()

    def _rows(self, step: int) -> np.ndarray:
        """[T*B] rows of all trials."""
        return np.concatenate([order(step) for order in self._orders])

    def _watch(self, step: int, streaks: jax.Array) -> None:
        """Notes the trials that diverged at `step`: for good, though later batches may be harmless."""
        for i in np.flatnonzero(np.asarray(streaks) >= self.options.max_bad_steps):
            if i < len(self.trials):
                self.record.diverged.setdefault(str(i), step)

    def _checkpoint(self) -> PackState:
        return PackState(self.states.step[0], self.states)
