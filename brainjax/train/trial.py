"""The trials of a sweep: configs checked all together, and sorted into groups that one program can train."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from brainjax import optim, sweep
from brainjax.config import to_dict
from brainjax.files import write_text
from brainjax.override import override
from brainjax.train.choice import Choices, Wish
from brainjax.train.recipe import Recipe, make_recipe, targets
from brainjax.train.stored import MAY_CHANGE, changes
from brainjax.types import BrainjaxError, ConfigError

# What may differ within a group: it is data of the compiled program, or never enters it.
FREE = ("loss", "name", "optimizer", "schedule", "seed", "split")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        id: its folder's name.
        overrides: what the sweep sets.
        config: the whole config, as a plain dict; `experiments.train` repeats the trial from it.
        recipe: the parts of that run.
    """

    id: str
    overrides: Mapping[str, Any]
    config: Mapping[str, Any]
    recipe: Recipe

    @property
    def seed(self) -> int:
        """Of weights, batches, augmentation and dropout."""
        return self.config["seed"]

    @property
    def wish(self) -> Wish:
        """Its loss, optimizer and schedule."""
        section = dict(self.config["schedule"])
        schedule = optim.make_schedule(section.pop("name"), self.recipe.train.steps, **section)
        return Wish(self.recipe.loss, self.config["loss"], self.config["optimizer"], schedule)

    def folder(self, workdir: pathlib.Path) -> pathlib.Path:
        """Where its config and result lie."""
        return workdir / "trials" / self.id

    def result(self, workdir: pathlib.Path) -> dict[str, Any] | None:
        """Its result, or None while it has none.

        Raises:
            ConfigError: the result is of another config.
        """
        folder = self.folder(workdir)
        try:
            result = json.loads((folder / "result.json").read_text())
            found = json.loads((folder / "config.json").read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigError(
                f"{folder} is damaged ({error}); delete it, and it is run again"
            ) from error
        changed = changes(found, self.config)
        if changed:
            raise ConfigError(
                f"{folder} was run with another config ({'; '.join(changed[:3])}); choose another "
                f"--workdir, or delete that one"
            )
        return result

    @property
    def essence(self) -> str:
        """All of the config that a result depends on, as text."""
        flat = {**self.config}
        for field in MAY_CHANGE:
            section, name = field.split(".")
            flat[section] = {k: v for k, v in flat[section].items() if k != name}
        return json.dumps(flat, sort_keys=True)


def make_trials(base: ConfigDict, overrides: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Applies every override to `base` and checks every part of every config; nothing is compiled.

    A sweep trains on one device per trial and to the end, so `train.parallel` becomes 'none' and `train.keep` 'last'.

    Raises:
        ConfigError: with all that is wrong, not merely the first of it.
    """
    trials, problems = [], []
    for change in overrides:
        name = sweep.run_id(change)
        try:
            text = {key: v if isinstance(v, str) else repr(v) for key, v in change.items()}
            config = override(base, text, targets()).copy_and_resolve_references()
            config.train.update(parallel="none", space=1, keep="last")
            recipe = make_recipe(config)
            if recipe.train.patience:
                raise ConfigError(
                    "a sweep trains every trial to its end: set --config.train.patience=0"
                )
        except BrainjaxError as error:
            problems.append((name, error))
        else:
            trials.append(Trial(name, dict(change), to_dict(config), recipe))
    raise_all(problems, len(overrides))
    return trials


def raise_all(problems: Sequence[tuple[str, BrainjaxError]], total: int) -> None:
    """Raises one ConfigError about all (trial, error) that there are, each message once."""
    if not problems:
        return
    told: dict[str, list[str]] = {}
    for name, error in problems:
        told.setdefault(str(error), []).append(name)
    lines = [
        f"  {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {message}"
        for message, names in told.items()
    ]
    count = len({name for name, _ in problems})
    raise ConfigError("\n".join([f"{count} of {total} trials cannot be run", *lines]))


def groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Trials that one compiled program can train, together; in order of first appearance."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        common = {k: v for k, v in trial.config.items() if k not in FREE}
        found.setdefault(json.dumps(common, sort_keys=True), []).append(trial)
    return list(found.values())


def choices(group: Sequence[Trial]) -> Choices:
    """What the trials of a group choose from."""
    train = group[0].recipe.train
    return Choices([t.wish for t in group], steps=train.steps, clip_norm=train.clip_norm)


def finite(value: Any) -> Any:
    """`value`, or None in the place of a number that JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
