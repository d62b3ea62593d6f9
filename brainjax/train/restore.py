"""Opens what was trained: a released model, a finished run, or a run that is still going."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from brainjax import infer
from brainjax.config import difference, from_dict, to_dict
from brainjax.datasets.splits import fingerprint
from brainjax.infer import release
from brainjax.infer.model import Model, opened_with
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.recipe import make_recipe
from brainjax.train.state import count_parameters, create
from brainjax.train.stored import completed
from brainjax.types import CheckpointError, DataError

# What members of an ensemble may differ in: how they were trained, and how much they are given at once.
_OWN = {"input": ("feed", "foreground", "balance"), "infer": ("temperature", "batch_size")}


def open_model(directory: str | pathlib.Path, *, tta: str = "", data_dir: str = "") -> Model:
    """The model in `directory`.

    A finished run keeps the weights it stands for in `model/`, in the format of a release. From a run without them
    the newest checkpoint's averaged weights are taken; the data set is then read, for its channels.

    Args:
        directory: of a release or a run.
        tta: replaces the config's `infer.tta` unless empty.
        data_dir: where the data of a run without `model/` are sought if they are no longer where they were.

    Raises:
        CheckpointError: there is no model, or it is damaged; or `data_dir` has other data than trained it.
        DataError: the data of a run without `model/` cannot be read.
    """
    stored = open_stored(directory, data_dir=data_dir)
    if stored.task == "strip":
        raise CheckpointError(
            f"{directory} is a model for {stored.task}; it is scored by `python -m experiments.strip_heads`"
        )
    config = dict(stored.config)
    if tta:
        config["infer"] = {**config["infer"], "tta": tta}
    return getattr(infer, opened_with(stored))(config, stored.facts, stored.variables)


def open_stored(directory: str | pathlib.Path, *, data_dir: str = "") -> release.Release:
    """What `open_model` opens, of any task: config, facts and variables. Arguments and errors are its own."""
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such folder; name that of a release or of a run")
    for candidate in (directory, directory / "model"):
        if release.is_release(candidate):
            return release.load(candidate)
    return _from_checkpoints(directory, data_dir)


def open_ensemble(
    directories: Sequence[str | pathlib.Path], *, tta: str = "", data_dir: str = ""
) -> Model:
    """Several models as one, whose probabilities are the mean of theirs: the folds of a cross-validation, say.

    Every classifier keeps the temperature that was fitted for it.

    Args:
        directories: of releases or runs of one network and one preprocessing.
        tta, data_dir: as of `open_model`.

    Raises:
        CheckpointError, DataError: as `open_model`, or they are not alike; the message says in what.
    """
    models = [open_model(directory, tta=tta, data_dir=data_dir) for directory in directories]
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
    """What the members of an ensemble have in common: the network, and what it is shown."""
    config = to_dict(model.config)
    same = completed({key: config[key] for key in ("model", "input", "infer")})
    for section, own in _OWN.items():
        same[section] = {k: v for k, v in same[section].items() if k not in own}
    return {**same, "facts": {key: model.facts[key] for key in ("channels", "classes")}}


def _from_checkpoints(directory: pathlib.Path, data_dir: str) -> release.Release:
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
    moved = False
    try:
        dataset = recipe.dataset.load()
    except DataError:
        if not data_dir or "dir" not in config["data"]:
            raise
        moved = True
        recipe = make_recipe(from_dict({**here, "data": {**config["data"], "dir": data_dir}}))
        dataset = recipe.dataset.load()
    shape = recipe.batch_shape(dataset)
    like = create(recipe.plain_model, recipe.tx, jax.random.key(0), (1, *shape[1:]))
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    state, record = checkpoints.restore(like)
    checkpoints.close()
    split = recipe.split(dataset)
    if moved and record["data"] != fingerprint(dataset, split):
        raise CheckpointError(
            f"{directory} is not finished, its data are no longer in {config['data']['dir']}, and those in "
            f"{data_dir} are others: who trained it cannot be told; put its data back, or finish the run"
        )
    facts = {
        **release.facts_of(dataset),
        "step": int(state.step),
        "parameters": count_parameters(state.variables),
        "trained_on": sorted({*dataset.identity(split.train), *record.get("inherited", [])}),
    }
    return release.Release(config, facts, state.ema)
