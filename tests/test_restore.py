"""A run that is not finished is opened from its checkpoints, with its data where they are now."""

import json
import shutil

import jax
import pictures
import pytest
from tiny import make_class_config

from brainjax.config import spec, to_dict
from brainjax.datasets import ImageFolder
from brainjax.train.loop import Trainer
from brainjax.train.recipe import make_recipe
from brainjax.train.restore import open_stored
from brainjax.types import CheckpointError, DataError


def folder(root, shift):
    for k, name in enumerate("abc"):
        for i in range(4):
            pictures.write(root / name / f"{i}.png", pictures.head(10 * k + i + shift, 32))
    return root


@pytest.fixture
def begun(tmp_path):
    """A run with a checkpoint and nothing else, whose data lie in tmp_path/data."""
    data = {"dir": str(folder(tmp_path / "data", 0)), "size": 32, "duplicates": "none"}
    config = make_class_config(input={"size": 0}).copy_and_resolve_references()
    with config.unlocked():
        config.data = spec(ImageFolder, **data)
    recipe, workdir = make_recipe(config), tmp_path / "run"
    images = recipe.dataset.load()
    run = Trainer(recipe, images, recipe.split(images), workdir, seed=0, quiet=True)
    run.save()
    run.checkpoints.close()
    (workdir / "config.json").write_text(json.dumps(to_dict(config)))
    return workdir, run


def test_data_that_were_moved_are_found_and_others_refused(begun, tmp_path):
    workdir, run = begun
    other = folder(tmp_path / "other", 100)
    # The data of the run say who trained it, wherever others lie.
    assert open_stored(workdir, data_dir=str(other)).facts["trained_on"] == run.trained_on
    moved = shutil.move(tmp_path / "data", tmp_path / "moved")
    with pytest.raises(DataError, match="data: no such folder"):
        open_stored(workdir)
    found = open_stored(workdir, data_dir=str(moved))
    assert found.facts["trained_on"] == run.trained_on
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail(), found.variables, run.averaged)
    with pytest.raises(CheckpointError, match="those in .*other are others"):
        open_stored(workdir, data_dir=str(other))
