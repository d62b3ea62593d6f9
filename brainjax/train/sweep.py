"""Runs a sweep: trials into groups, groups into packs, packs into results, whatever was done before.

<workdir>/trials/<id>/config.json, result.json    one run each; model/ too where weights are kept
<workdir>/packs/<hash>/                           what is under way, gone when its trials are finished
"""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from tqdm import tqdm

from brainjax.data.source import Source
from brainjax.datasets import splits
from brainjax.datasets.base import Dataset
from brainjax.infer import release
from brainjax.infer.calibrate import calibrated
from brainjax.infer.evaluate import evaluate
from brainjax.lookup import nearest
from brainjax.sweep import shard
from brainjax.train.pack import Pack, Program
from brainjax.train.signals import Interrupted, StopRequest
from brainjax.train.state import count_parameters
from brainjax.train.trial import Trial, finite, groups, raise_all, write_json
from brainjax.types import BrainjaxError, ConfigError, NotFinite

MODES = ("auto", "packed", "devices", "sequential")


def resolve(mode: str) -> str:
    """The mode that `mode` stands for on this machine.

    'packed' trains all trials of a group, or `size` of them, in one program; 'devices' divides them among the local
    devices as well; 'sequential' trains one after another, by a program that is compiled once. 'auto' is 'devices' where
    there are several, else 'sequential' on a CPU and 'packed' elsewhere.

    Side by side, convolutions become grouped ones, which XLA's CPU backend runs slowly: eight small classifiers took
    63 s packed and 17 s in sequence on two cores (`python -m experiments.benchmark`).
    On a GPU 'packed' is an expectation for small networks, not a measurement.

    Raises:
        ConfigError: there is no such mode.
    """
    if mode not in MODES:
        raise ConfigError(f"unknown --pack={mode}: {nearest(mode, MODES)}")
    if mode != "auto":
        return mode
    if jax.local_device_count() > 1:
        return "devices"
    return "sequential" if jax.default_backend() == "cpu" else "packed"


class Data:
    """The datasets of a sweep, each loaded once, and the rows of each trial."""

    def __init__(self) -> None:
        """Loads nothing yet."""
        self._datasets: dict[str, Dataset] = {}
        self._sources: dict[str, Source] = {}

    def dataset(self, trial: Trial) -> Dataset:
        """The trial's dataset."""
        key = json.dumps(trial.config["data"], sort_keys=True)
        if key not in self._datasets:
            self._datasets[key] = trial.recipe.dataset.load()
        return self._datasets[key]

    def source(self, trial: Trial) -> Source:
        """The trial's dataset as raw batches."""
        sections = {k: trial.config[k] for k in ("data", "input")}
        key = json.dumps(sections, sort_keys=True)
        if key not in self._sources:
            self._sources[key] = trial.recipe.source(self.dataset(trial))
        return self._sources[key]

    def split(self, trial: Trial) -> splits.Split:
        """Which rows train, validate and test; DataError if somebody is on two sides without saying so."""
        split = trial.recipe.split(self.dataset(trial))
        if not split.leaks:
            splits.check_disjoint(split, self.dataset(trial))
        return split

    def check(self, trials: Sequence[Trial]) -> None:
        """Makes sure that network, loss, split and data of every trial fit, before anything is compiled.

        Raises:
            ConfigError: with all that does not.
        """
        problems: list[tuple[str, BrainjaxError]] = []
        fits: dict[str, BrainjaxError | None] = {}
        for group in groups(trials):
            fits.clear()
            for trial in group:
                loss = json.dumps(trial.config["loss"], sort_keys=True)
                if loss not in fits:
                    fits[loss] = _error(lambda t: t.recipe.batch_shape(self.dataset(t)), trial)
                found = [fits[loss], _error(self.split, trial)]
                problems += [(trial.id, error) for error in dict.fromkeys(found) if error]
        raise_all(problems, len(trials))


def _error(check: Callable[[Trial], Any], trial: Trial) -> BrainjaxError | None:
    try:
        check(trial)
    except BrainjaxError as error:
        return error
    return None


def _scores(
    program: Program, variables: Any, split: splits.Split, check: Callable[[], None]
) -> tuple[dict[str, Any], float]:
    """(metrics, temperature) as those of a single run, which fits a classifier's temperature on the validation rows.

    Raises:
        NotFinite: some prediction is not.
    """
    predictor, source = program.predictor, program.source
    if program.dataset.target == "label" and len(split.val):
        predictor = calibrated(predictor, variables, source, split.val, check=check)
    metrics = {}
    if split.judged != "none":
        found = evaluate(predictor, variables, source, split.rows(split.judged), check=check)
        metrics = {key: finite(value) for key, value in found.metrics.items()}
    return metrics, predictor.options.temperature


def _begun(path: pathlib.Path) -> dict[str, Any]:
    """A `pack.json`; one of no trials where another shard, done with them, has just removed it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {"trials": []}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A pack to be trained.

    Attributes:
        trials: its trials.
        width: how many the program takes at once.
        directory: where its checkpoints go.
    """

    trials: list[Trial]
    width: int
    directory: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs trials in one directory.

    Attributes:
        workdir: of the sweep.
        mode: see `resolve`.
        size: trials in a pack at most; 0 for all of a group.
        keep_weights: write each trial's averaged weights as a release, in its folder.
        quiet: no progress bar.
    """

    workdir: pathlib.Path
    mode: str = "auto"
    size: int = 0
    keep_weights: bool = False
    quiet: bool = False

    def run(self, trials: Sequence[Trial], which: str = "1/1") -> None:
        """Trains and scores the trials of this shard that have no result yet.

        Args:
            trials: the whole sweep.
            which: the shard, see `brainjax.sweep.shard`.

        Raises:
            ConfigError: some trial cannot work, or has a result of another config.
            Interrupted: it was asked to stop; the same call goes on.
        """
        mine = {t.id for t in shard(trials, which)}
        self.train(trials, {i for i in self.left(trials) if i in mine})

    def left(self, trials: Sequence[Trial]) -> list[str]:
        """Ids of the trials without a result; ConfigError where one has a result of another config."""
        return [t.id for t in trials if t.result(self.workdir) is None]

    def train(self, trials: Sequence[Trial], left: set[str]) -> None:
        """Trains and scores certain trials.

        Args:
            trials: the whole sweep.
            left: ids of those to be trained, none of which has a result.

        Raises:
            ConfigError, Interrupted: as `run`.
        """
        if not left:
            return
        data = Data()
        data.check([t for t in trials if t.id in left])
        todo = [t for t in trials if t.id in left]
        total = sum(t.recipe.train.steps for t in todo)
        with tqdm(
            total=total,
            unit="step",
            desc=f"{len(todo)} trials",
            dynamic_ncols=True,
            disable=self.quiet,
            file=sys.stderr,
        ) as bar:
            for group in groups(trials):
                if any(t.id in left for t in group):
                    self._group(group, left, data, bar)
        self._tidy({t.id: t for t in trials})

    def _group(self, group: list[Trial], left: set[str], data: Data, bar: tqdm) -> None:
        spread = resolve(self.mode) == "devices"
        program = Program(group, data.source(group[0]), spread=spread)
        for plan in self.plans(group, left, program.choices.key):
            write_json(
                plan.directory / "pack.json",
                {"trials": [t.id for t in plan.trials], "width": plan.width},
            )
            with StopRequest() as stop:
                pack = Pack(
                    program,
                    plan.trials,
                    [data.split(t) for t in plan.trials],
                    plan.directory,
                    width=plan.width,
                )
                bar.update(sum(t.id in left for t in plan.trials) * pack.step)
                pack.train(stop, bar.update)
                self._finish(pack, stop, bar)
                pack.close()
            # Of several shards in one workdir, another may be tidying up already.
            shutil.rmtree(plan.directory, ignore_errors=True)

    def plans(self, group: list[Trial], left: set[str], key: str) -> list[Plan]:
        """The packs in which the trials of `group` that are `left` are trained: those begun before, then new ones.

        Args:
            group: trials that one program trains.
            left: ids of those to be trained here.
            key: of the program; a pack's checkpoint is of no use to another.
        """
        by_id = {t.id: t for t in group}
        packs = []
        for path in sorted(self.workdir.glob("packs/*/pack.json")):
            begun = _begun(path)
            if not left & set(begun["trials"]) or set(begun["trials"]) - set(by_id):
                continue  # of another shard, which may be training it right now, or of another group
            if not any(path.parent.glob("checkpoints/[0-9]*")):
                continue
            plan = self._plan([by_id[x] for x in begun["trials"]], begun["width"], key)
            if plan.directory == path.parent:
                packs.append(plan)
        taken = {t.id for plan in packs for t in plan.trials}
        rest = [t for t in group if t.id in left - taken]
        if rest:
            mode = resolve(self.mode)
            size = 1 if mode == "sequential" else self.size or len(rest)
            parts = -(-len(rest) // size)
            width = -(-len(rest) // parts)  # even packs, so that one program fits all
            devices = jax.local_device_count() if mode == "devices" else 1
            width = -(-width // devices) * devices
            packs += [
                self._plan(rest[i : i + width], width, key) for i in range(0, len(rest), width)
            ]
        return packs

    def _plan(self, trials: list[Trial], width: int, key: str) -> Plan:
        text = json.dumps([key, width, *(t.essence for t in trials)])
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Plan(trials, width, self.workdir / "packs" / name)

    def _tidy(self, by_id: dict[str, Trial]) -> None:
        """Removes the leftovers of packs all of whose trials have their result from elsewhere."""
        for path in self.workdir.glob("packs/*/pack.json"):
            ids = _begun(path)["trials"]
            if ids and all(x in by_id and by_id[x].result(self.workdir) is not None for x in ids):
                shutil.rmtree(path.parent, ignore_errors=True)

    def _finish(self, pack: Pack, stop: StopRequest, bar: tqdm) -> None:
        """Scores every trial of a trained pack and writes its result."""

        def check() -> None:
            if stop.asked:
                pack.save()
                pack.checkpoints.wait()
                raise Interrupted(
                    "stopped while scoring; the trained weights are saved: the same command goes on"
                )

        for i, trial in enumerate(pack.trials):
            if trial.result(self.workdir) is not None:
                continue
            bar.set_postfix_str(f"scoring {trial.id}")
            self._result(pack, i, check)
        bar.set_postfix_str("")

    def _result(self, pack: Pack, i: int, check: Callable[[], None]) -> None:
        trial, split, begun = pack.trials[i], pack.splits[i], time.perf_counter()
        diverged = pack.record.diverged.get(str(i))
        variables, config = pack.variables(i), dict(trial.config)
        metrics: dict[str, Any] = {}
        if diverged is None:
            try:
                metrics, temperature = _scores(pack.program, variables, split, check)
                config["infer"] = {**config["infer"], "temperature": temperature}
            except NotFinite:
                diverged = pack.step
        losses = [loss for _, loss in pack.losses(i) if loss is not None]
        parameters = count_parameters(variables)
        folder, dataset = trial.folder(self.workdir), pack.program.dataset
        if self.keep_weights and diverged is None:
            facts = {
                **release.facts_of(dataset),
                "parameters": parameters,
                "step": pack.step,
                "protocol": split.protocol,
                "trained_on": sorted({*dataset.identity(split.train), *pack.record.inherited[i]}),
                "metrics": metrics,
            }
            release.save(folder / "model", release.Release(config, facts, variables))
        write_json(folder / "config.json", trial.config)
        spent = pack.record.seconds / len(pack.trials) + time.perf_counter() - begun
        write_json(
            folder / "result.json",
            {
                "id": trial.id,
                "overrides": dict(trial.overrides),
                "status": "finished" if diverged is None else "diverged",
                "dataset": dataset.info.name,
                "split": split.judged,
                "protocol": split.protocol,
                "monitor": trial.recipe.train.monitor,
                "metrics": metrics,
                "best_loss": min(losses, default=None),
                "last_loss": losses[-1] if losses else None,
                "losses": pack.losses(i),
                "steps": pack.step if diverged is None else diverged,
                "skipped_steps": pack.skipped(i),
                "parameters": parameters,
                "seconds": round(spent, 2),
            },
        )
