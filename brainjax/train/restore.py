"""Opens what was trained: a released model, a finished run, or a run that is still going."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from brainjax import infer
from brainjax.config import difference, from_dict
from brainjax.infer import release
from brainjax.infer.model import Model, opened_with
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.recipe import make_recipe
from brainjax.train.state import count_parameters, create
from brainjax.types import CheckpointError


def open_model(directory: str | pathlib.Path, *, tta: str = "") -> Model:
    """The model in `directory`.

    A finished run keeps the weights it stands for in `model/`, in the format of a release. From a run without them
    the newest checkpoint's averaged weights are taken; the data set is then read, for its channels.

    Args:
        directory: of a release or a run.
        tta: replaces the config's `infer.tta` unless empty.

    Raises:
        CheckpointError: there is no model, or it is damaged.
    """
    stored = open_stored(directory)
    if stored.task == "strip":
        raise CheckpointError(
            f"{directory} is a model for {stored.task}; it is scored by `python -m experiments.strip_heads`"
        )
    config = dict(stored.config)
    if tta:
        config["infer"] = {**config["infer"], "tta": tta}
    return getattr(infer, opened_with(stored))(config, stored.facts, stored.variables)


def open_stored(directory: str | pathlib.Path) -> release.Release:
    """What `open_model` opens, of any task: config, facts and variables.

    Raises:
        CheckpointError: there is no model, or it is damaged.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"--checkpoint={directory}: no such folder")
    for candidate in (directory, directory / "model"):
        if release.is_release(candidate):
            return release.load(candidate)
    return _from_checkpoints(directory)


def open_ensemble(directories: Sequence[str | pathlib.Path], *, tta: str = "") -> Model:
    """Several models as one, whose probabilities are the mean of theirs: the folds of a cross-validation, say.

    Every classifier keeps the temperature that was fitted for it.

    Args:
        directories: of releases or runs of one network and one preprocessing.
        tta: as of `open_model`.

    Raises:
        CheckpointError: as `open_model`, or they are not alike; the message says in what.
    """
    models = [open_model(directory, tta=tta) for directory in directories]
    first = models[0]
    for model, directory in zip(models[1:], directories[1:], strict=True):
        changed = difference(_same(first), _same(model))
        if changed:
            raise CheckpointError(
                f"{directory} is no second {directories[0]}: {'; '.join(changed[:3])}; only models of one network and "
                f"preprocessing can be averaged"
            )
    if len(models) == 1:
        return first
    seen = sorted({name for model in models for name in model.facts["trained_on"]})
    facts = {**first.facts, "trained_on": seen, "members": len(models)}
    config = first.config.to_dict()
    config["infer"]["temperature"] = tuple(m.predictor.options.temperature for m in models)
    return type(first)(config, facts, tuple(m.variables for m in models))


def _same(model: Model) -> dict[str, Any]:
    """What the members of an ensemble have in common."""
    config = model.config.to_dict()
    config["infer"].pop("temperature", None)
    facts = {key: model.facts[key] for key in ("channels", "classes")}
    return {**{key: config[key] for key in ("model", "input", "infer")}, "facts": facts}


def _from_checkpoints(directory: pathlib.Path) -> release.Release:
    path = directory / "config.json"
    if not path.is_file() or not (directory / "checkpoints").is_dir():
        raise CheckpointError(
            f"{directory} holds neither a released model (model.safetensors) nor a run "
            f"(config.json and checkpoints/)"
        )
    config = json.loads(path.read_text())
    # Which devices trained it says nothing about the ones here.
    here = {**config, "train": {**config["train"], "parallel": "none", "space": 1}}
    recipe = make_recipe(from_dict(here))
    dataset = recipe.dataset.load()
    shape = recipe.batch_shape(dataset)
    like = create(recipe.plain_model, recipe.tx, jax.random.key(0), (1, *shape[1:]))
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    state, record = checkpoints.restore(like)
    checkpoints.close()
    split = recipe.split(dataset)
    facts = {
        **release.facts_of(dataset),
        "step": int(state.step),
        "parameters": count_parameters(state.variables),
        "trained_on": sorted({*dataset.identity(split.train), *record.get("inherited", [])}),
    }
    return release.Release(config, facts, state.ema)
