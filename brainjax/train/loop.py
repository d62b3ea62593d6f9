"""The training loop: feed, step, log, evaluate, save - in that order, and resumable between any two steps."""

import dataclasses
import itertools
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from brainjax.data import feeds
from brainjax.data.order import Order
from brainjax.data.source import Source
from brainjax.datasets.base import ArrayDataset
from brainjax.datasets.splits import Split
from brainjax.infer.evaluate import evaluate
from brainjax.infer.predictor import Predictor
from brainjax.train import parallel
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.logging import MetricsLog
from brainjax.train.recipe import Recipe
from brainjax.train.signals import EXIT_CODE, StopRequest
from brainjax.train.state import TrainState, count_parameters, create
from brainjax.train.step import make_step
from brainjax.types import BrainjaxError


class Diverged(BrainjaxError):
    """Too many steps in a row had no finite loss or gradient."""


class Interrupted(BrainjaxError):
    """The run was asked to stop, and saved its state."""

    exit_code = EXIT_CODE


@dataclasses.dataclass
class Record:
    """The loop's own memory, saved with each checkpoint.

    Attributes:
        best: best validation score so far, or None.
        best_step: the step that reached it.
        stale: evaluations since then.
        done: whether training is over (all steps taken, or stopped early).
    """

    best: float | None = None
    best_step: int | None = None
    stale: int = 0
    done: bool = False


class Trainer:
    """One run in one directory. `Trainer(...).run()` starts it or goes on with it."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: ArrayDataset,
        split: Split,
        workdir: pathlib.Path,
        *,
        seed: int,
        quiet: bool = False,
    ):
        self.recipe, self.split, self.seed = recipe, split, seed
        self.workdir, self.quiet = workdir, quiet
        self.options = recipe.train
        self.source: Source = recipe.source(dataset)
        self.predictor: Predictor = recipe.predictor()
        shape = recipe.batch_shape(dataset)
        self.key = jax.random.key(seed)
        self.state: TrainState = create(
            recipe.plain_model, recipe.tx, jax.random.fold_in(self.key, 1 << 31), (1, *shape[1:])
        )
        self.record = Record()
        self.checkpoints = Checkpoints(workdir / "checkpoints", best="score")
        if self.checkpoints.latest is not None:
            self.state, record = self.checkpoints.restore(self.state)
            self.record = Record(**record)
        step = make_step(
            recipe.model,
            recipe.loss,
            recipe.tx,
            size=recipe.input.size,
            augment=recipe.augment,
            ema=self.options.ema,
            axis_name=parallel.axis_name(self.options.parallel),
        )
        self.step = parallel.parallelize(step, self.options.parallel)

    @property
    def parameters(self) -> int:
        """Trainable parameters of the network."""
        return count_parameters(self.state.variables)

    def feed(self, start: int) -> Iterator[Any]:
        """Raw training batches from step `start` on."""
        order = Order(
            rows=self.split.train,
            foreground=self.source.foreground(self.split.train),
            batch_size=self.options.batch_size,
            fraction=self.recipe.input.foreground,
            seed=self.seed,
        )
        feed = feeds.choose(self.recipe.input.feed)
        return feed(self.source, order, start, self.options.steps)

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
        log = MetricsLog(self.workdir, start)
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
                self._steps(start, log, bar, stop)
                self.checkpoints.wait()
        finally:
            bar.close()
            log.close()

    def _steps(self, start: int, log: MetricsLog, bar: tqdm, stop: StopRequest) -> None:
        # The invariants: a step is logged, then evaluated, then saved, so that a checkpoint's record
        # already knows the evaluation of its own step; and nothing is decided between saves
        # that the record does not hold.
        options, batches = self.options, self.feed(start)
        clock, logged = time.perf_counter(), start
        for step, batch in zip(itertools.count(start + 1), batches, strict=False):
            self.state, metrics = self.step(self.state, batch, self.key)
            bar.update()
            last = step == options.steps
            if step % options.log_every == 0 or last:
                values = {k: np.asarray(v).item() for k, v in metrics.items()}
                seconds = time.perf_counter() - clock
                rate = (step - logged) * options.batch_size / seconds
                log.write(step, "train", {**values, "examples_per_second": rate})
                bar.set_postfix(loss=f"{values['loss']:.4f}", ex_s=f"{rate:.1f}")
                clock, logged = time.perf_counter(), step
                if values["streak"] >= options.max_bad_steps:
                    self._diverged(values["streak"])
            early = False
            if (step % options.eval_every == 0 or last) and len(self.split.val):
                self._evaluate(step, log, bar)
                early = bool(options.patience) and self.record.stale >= options.patience
                clock, logged = time.perf_counter(), step
            self.record.done = last or early
            if step % options.checkpoint_every == 0 or last or early or stop.asked:
                self.save()
            if self.record.done:
                break
            if stop.asked:
                self.checkpoints.wait()
                raise Interrupted(
                    f"stopped at step {step} of {options.steps}; its checkpoint is saved: "
                    f"the same command resumes"
                )

    def save(self) -> None:
        """Saves state and record under the current step."""
        # Without a validation score the newest checkpoint counts as the best.
        score = self.record.best if self.record.best_step == int(self.state.step) else -1.0
        self.checkpoints.save(self.state, dataclasses.asdict(self.record), score)

    def _evaluate(self, step: int, log: MetricsLog, bar: tqdm) -> None:
        bar.set_description("evaluating")
        scores = evaluate(
            self.predictor, self.state.ema, self.source, self.split.val, clean=False
        ).metrics
        bar.set_description("training")
        log.write(step, "val", scores)
        score = scores[self.options.monitor]
        if score is not None and (self.record.best is None or score > self.record.best):
            self.record.best, self.record.best_step, self.record.stale = score, step, 0
            self.save()
        else:
            self.record.stale += 1

    def _diverged(self, streak: int) -> None:
        self.checkpoints.wait()
        good = self.checkpoints.latest
        where = (
            f"the last good checkpoint is {self.checkpoints.directory / str(good)}"
            if good is not None
            else "no checkpoint was saved before"
        )
        raise Diverged(
            f"{streak} steps in a row had no finite loss or gradient; {where}. "
            f"Lower --config.optimizer.learning_rate, or set --config.train.clip_norm"
        )

    def final(self) -> tuple[int, Any]:
        """(step, variables) that the run stands for: the best on validation, or the last."""
        step = self.record.best_step
        if self.options.keep == "last" or step is None or step == int(self.state.step):
            return int(self.state.step), self.state.ema
        state, _ = self.checkpoints.restore(self.state, step)
        return step, state.ema
