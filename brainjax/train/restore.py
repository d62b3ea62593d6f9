"""Opens what was trained: a released model, a finished run, or a run that is still going."""

import json
import pathlib

import jax

from brainjax.config import from_dict
from brainjax.infer import Classifier, Segmenter, release
from brainjax.infer.model import Model
from brainjax.train.checkpoint import Checkpoints
from brainjax.train.recipe import make_recipe
from brainjax.train.state import count_parameters, create
from brainjax.types import CheckpointError

_KINDS = {kind.task: kind for kind in (Classifier, Segmenter)}


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
    if stored.task not in _KINDS:
        raise CheckpointError(
            f"{directory} is a model for {stored.task}; it is scored by `python -m experiments.strip_heads`"
        )
    config = dict(stored.config)
    if tta:
        config["infer"] = {**config["infer"], "tta": tta}
    return _KINDS[stored.task](config, stored.facts, stored.variables)


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


def _from_checkpoints(directory: pathlib.Path) -> release.Release:
    path = directory / "config.json"
    if not path.is_file() or not (directory / "checkpoints").is_dir():
        raise CheckpointError(
            f"{directory} holds neither a released model (model.safetensors) nor a run "
            f"(config.json and checkpoints/)"
        )
    config = json.loads(path.read_text())
    # Which devices trained it says nothing about the ones here.
    here = {**config, "train": {**config["train"], "parallel": "none"}}
    recipe = make_recipe(from_dict(here))
    dataset = recipe.dataset.load()
    shape = recipe.batch_shape(dataset)
    like = create(recipe.plain_model, recipe.tx, jax.random.key(0), (1, *shape[1:]))
    checkpoints = Checkpoints(directory / "checkpoints", read_only=True)
    state, record = checkpoints.restore(like)
    checkpoints.close()
    split = recipe.split(dataset)
    facts = {
        "task": dataset.task,
        "dataset": dataset.info.name,
        "licence": dataset.info.licence,
        "citation": dataset.info.citation,
        "step": int(state.step),
        "channels": list(dataset.info.channels),
        "classes": list(dataset.info.classes),
        "parameters": count_parameters(state.variables),
        "trained_on": sorted({*dataset.identity(split.train), *record.get("inherited", [])}),
    }
    return release.Release(config, facts, state.ema)
