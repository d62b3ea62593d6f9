"""The training loop: feed, step, log, evaluate, save - in that order, and resumable between any two steps."""

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from brainjax import memory
from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.datasets.base import Dataset
from brainjax.datasets.splits import Split, fingerprint
from brainjax.infer.evaluate import evaluate
from brainjax.infer.predictor import Predictor
from brainjax.train import hosts, parallel
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.initial import start_from
from brainjax.train.logging import MetricsLog, NoLog
from brainjax.train.recipe import Recipe
from brainjax.train.signals import Interrupted, StopRequest
from brainjax.train.state import TrainState, count_parameters, create
from brainjax.train.step import make_step
from brainjax.types import BrainjaxError, CheckpointError, ConfigError


class Diverged(BrainjaxError):
    """Too many steps in a row had no finite loss or gradient."""


class _CutShort(Exception):
    """An evaluation was left because the run is to stop."""


@dataclasses.dataclass
class Record:
    """The loop's own memory, saved with each checkpoint.

    Attributes:
        best: best validation score so far, or None.
        best_step: the step that reached it.
        stale: evaluations since then.
        evaluated: step of the last evaluation; one that is due and was cut short is made up for on resuming.
        done: whether training is over (all steps taken, or stopped early).
        inherited: patients who trained the weights that the run began with.
        data: fingerprint of the slices and of who trains, validates and tests.
    """

    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    evaluated: int = 0
    done: bool = False
    inherited: list[str] = dataclasses.field(default_factory=list)
    data: str = ""


class Trainer:
    """One run in one directory. `Trainer(...).run()` starts it or goes on with it."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        split: Split,
        workdir: pathlib.Path,
        *,
        seed: int,
        quiet: bool = False,
    ):
        """Opens the run in `workdir`, at its newest checkpoint or at step 0.

        Args:
            recipe: what to train and how.
            dataset: the slices.
            split: which of them train, validate and test.
            workdir: the run's directory.
            seed: of weights, batches, augmentation and dropout.
            quiet: no progress bar.

        Raises:
            ConfigError: recipe and dataset do not fit, before anything is compiled.
            CheckpointError: the newest checkpoint, or the one to begin with, is damaged or missing.
        """
        if recipe.train.patience and not len(split.val):
            raise ConfigError(
                "early stopping needs validation patients: set --config.split.val, or "
                "--config.train.patience=0"
            )
        self.recipe, self.split, self.seed = recipe, split, seed
        self.workdir, self.quiet = workdir, quiet or not hosts.first()
        self.options = options = recipe.train
        self.source: Source = recipe.source(dataset)
        self.predictor: Predictor = recipe.predictor()
        shape = recipe.batch_shape(dataset)
        self.key = jax.random.key(seed)
        self.state: TrainState = create(
            recipe.plain_model, recipe.tx, jax.random.fold_in(self.key, 1 << 31), (1, *shape[1:])
        )
        self.record = Record(data=fingerprint(dataset, split))
        self.checkpoints = Checkpoints(workdir / "checkpoints")
        if self.checkpoints.latest is not None:
            like = parallel.on_every_device(self.state, options.space)
            self.state, record = self.checkpoints.restore(like)
            if record["data"] != self.record.data:
                raise ConfigError(
                    f"the data are not those that {workdir} was begun with: other slices, masks or "
                    f"patients would move between training and test; choose another --workdir"
                )
            self.record = Record(**record)
        elif options.init:
            self.state, seen = start_from(
                options.init, recipe.plain_model, self.state, dataset, split, recipe.input.normalize
            )
            self.record.inherited = seen
        self.state = parallel.on_every_device(self.state, options.space)
        step = make_step(
            recipe.model,
            recipe.loss,
            recipe.tx,
            size=recipe.input.size,
            augment=recipe.augment,
            ema=options.ema,
            mixup=options.mixup,
            axis_name=parallel.axis_name(options.parallel, options.space),
            accumulate=options.accumulate,
            split=parallel.splitter(options.parallel, options.space),
        )
        self.step = parallel.parallelize(step, options.parallel, options.space)

    @property
    def trained_on(self) -> list[str]:
        """Patients, or hashes of images, that the weights have seen, in an earlier run that they began with too."""
        own = self.source.dataset.identity(self.split.train)
        return sorted({*own, *self.record.inherited})

    @property
    def parameters(self) -> int:
        """Trainable parameters of the network."""
        return count_parameters(self.state.variables)

    def feed(self, start: int) -> Iterator[Any]:
        """Raw training batches from step `start` on; of each, the rows of this process."""
        options = self.options
        order = Order(
            rows=self.split.train,
            foreground=self.source.foreground(self.split.train, balance=self.recipe.input.balance),
            batch_size=options.batch_size,
            fraction=self.recipe.input.foreground,
            seed=self.seed,
            part=parallel.places(options.batch_size, options.parallel, options.space),
        )
        feed = feeds.choose(self.recipe.input.feed)
        return feed(self.source, order, start, options.steps)

    def run(self) -> None:
        """Trains to the end, from wherever the directory's newest checkpoint stands.

        Raises:
            Interrupted: SIGTERM or Ctrl-C came; the state is saved.
            Diverged: `max_bad_steps` steps in a row were not finite.
            CheckpointError: a checkpoint could not be written.
        """
        if self.record.done:
            return
        start = int(self.state.step)
        log = NoLog()
        if hosts.first():
            log = MetricsLog(self.workdir, start, redo="val" if self._due(start) else "")
        bar = tqdm(
            total=self.options.steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            disable=self.quiet,
            file=sys.stderr,
            desc="training",
        )
        try:
            with StopRequest() as stop:
                stop.saving = lambda: self.checkpoints.saving
                self._steps(start, log, bar, stop)
                self.checkpoints.wait()
                if hosts.any_of(stop.asked):
                    raise Interrupted(
                        "stopped after the last step; its checkpoint is saved: the same command scores it"
                    )
        finally:
            bar.close()
            log.close()

    def _steps(self, start: int, log: MetricsLog | NoLog, bar: tqdm, stop: StopRequest) -> None:
        # The invariants: a step is logged, then evaluated, then saved, so that a checkpoint's record
        # already knows the evaluation of its own step, or that it is still due; and nothing is
        # decided between saves that the record does not hold.
        if len(self.split.val):
            # Compiled before there is a step to lose: a request to stop cannot interrupt a compile.
            self.predictor.warm(self.averaged, self.source)
        if self._due(start):
            self._conclude(start, log, bar, stop)
        options, waiting = self.options, None
        clock, logged = time.perf_counter(), start
        with contextlib.closing(self.feed(start)) as batches:
            for step, batch in zip(range(start + 1, options.steps + 1), batches, strict=False):
                if self.record.done:
                    break
                if step == start + 1:
                    self._compile(batch)
                self.state, metrics = self.step(self.state, batch, self.key)
                bar.update()
                # Waiting for the step before keeps the device busy and the host at most one step ahead.
                if waiting is not None:
                    self._check_streak(waiting)
                waiting = metrics["streak"]
                if step % options.log_every == 0 or step == options.steps:
                    values = {k: np.asarray(v).item() for k, v in metrics.items()}
                    seconds = time.perf_counter() - clock
                    rate = (step - logged) * options.batch_size / seconds
                    log.write(step, "train", {**values, "examples_per_second": rate})
                    bar.set_postfix(loss=f"{values['loss']:.4f}", ex_s=f"{rate:.1f}")
                    clock, logged = time.perf_counter(), step
                    self._check_streak(waiting)
                before = time.perf_counter()
                self._conclude(step, log, bar, stop)
                clock += time.perf_counter() - before  # the rate is that of training alone

    def _compile(self, batch: Any) -> None:
        """Compiles the step before it is taken, so that what the compiler leaves behind does not lie beside its memory."""
        if hasattr(self.step, "lower"):
            self.step.lower(self.state, batch, self.key).compile()
            memory.give_back()

    def _due(self, step: int) -> bool:
        """Whether the weights after `step` are still to be evaluated."""
        wanted = step == self.options.steps or (step and step % self.options.eval_every == 0)
        return bool(wanted and len(self.split.val) and self.record.evaluated != step)

    def _conclude(self, step: int, log: MetricsLog | NoLog, bar: tqdm, stop: StopRequest) -> None:
        """Evaluates and saves after `step`, where that is due; ends the run if it was asked to."""
        options, record = self.options, self.record
        if self._due(step):
            # Cut short by a request to stop, it is still due, and made up for on resuming.
            with contextlib.suppress(_CutShort):
                self._evaluate(step, log, bar, stop)
        asked = self._asked(step, stop)
        early = bool(options.patience) and record.stale >= options.patience
        record.done = (step == options.steps or early) and not self._due(step)
        improved = record.best_step == step
        if improved or record.done or asked or step % options.checkpoint_every == 0:
            self.save()
        if asked:
            self.checkpoints.wait()
            raise Interrupted(
                f"stopped at step {step} of {options.steps}; its checkpoint is saved: "
                f"the same command goes on"
            )

    def _asked(self, step: int, stop: StopRequest) -> bool:
        """Whether to end after `step`; of several processes, whether any is to, which is asked where they log."""
        if hosts.count() == 1:
            return stop.asked
        return step % self.options.log_every == 0 and hosts.any_of(stop.asked)

    @property
    def averaged(self) -> Any:
        """The variables that are evaluated and released, on one device whatever the driver."""
        return parallel.on_one_device(self.state.ema)

    def save(self) -> None:
        """Saves state and record under the current step."""
        self.checkpoints.save(
            self.state, dataclasses.asdict(self.record), best=self.record.best_step
        )

    def _evaluate(self, step: int, log: MetricsLog | NoLog, bar: tqdm, stop: StopRequest) -> None:
        def check() -> None:
            if stop.asked and hosts.count() == 1:  # several stop together or not at all
                raise _CutShort

        bar.set_description("evaluating")
        scores = evaluate(
            self.predictor, self.averaged, self.source, self.split.val, clean=False, check=check
        ).metrics
        bar.set_description("training")
        log.write(step, "val", scores)
        # Every process scores, and goes by the first one's score: nothing may come between their decisions.
        record, score = self.record, hosts.of_first(scores[self.options.monitor])
        record.evaluated = step
        if score is not None and (record.best is None or score > record.best):
            record.best, record.best_step, record.stale = score, step, 0
        else:
            record.stale += 1

    def _check_streak(self, streak: Any) -> None:
        if int(streak) < self.options.max_bad_steps:
            return
        self.checkpoints.wait()
        good = self.checkpoints.latest
        where = (
            f"the last good checkpoint is {self.checkpoints.directory / str(good)}"
            if good is not None
            else "no checkpoint was saved before"
        )
        raise Diverged(
            f"{int(streak)} steps in a row had no finite loss or gradient; {where}. Start again in "
            f"another --workdir with a lower --config.optimizer.learning_rate, or with "
            f"--config.train.clip_norm"
        )

    def show(self, name: str, picture: np.ndarray) -> None:
        """Adds a picture [H W 3] uint8 of the run's end to its TensorBoard events."""
        step = int(self.state.step)
        log = MetricsLog(self.workdir, step)
        log.picture(step, name, picture)
        log.close()

    def final(self) -> tuple[int, Any]:
        """(step, variables) that the run stands for: the best on validation, or the last."""
        step = self.record.best_step
        if self.options.keep == "last" or step is None or step == int(self.state.step):
            return int(self.state.step), self.averaged
        try:
            state, _ = self.checkpoints.restore(self.state, step)
        except CheckpointError as error:
            raise CheckpointError(
                f"the best checkpoint is lost ({error}); --config.train.keep=last takes the last weights"
            ) from error
        return step, parallel.on_one_device(state.ema)
