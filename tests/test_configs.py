"""Every config and every variant of it builds, is locked, and says how it is run."""

import importlib
import pathlib
import re

import pytest
from tiny import ROOT

from brainjax.config import from_dict, load, to_dict
from brainjax.train.recipe import make_recipe
from brainjax.types import ConfigError

FILES = sorted(p for p in (ROOT / "configs").glob("*.py") if p.stem not in ("base", "__init__"))


def variants():
    for file in FILES:
        for name in importlib.import_module(f"configs.{file.stem}").VARIANTS:
            yield pytest.param(file, name, id=f"{file.stem}:{name}")


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Batch sizes are chosen for any usual number of devices; here it is that of a laptop."""
    monkeypatch.setattr("jax.device_count", lambda: 1)


@pytest.mark.parametrize("file, variant", variants())
def test_a_variant_makes_a_recipe(file, variant):
    config = load(f"{file}:{variant}" if variant else str(file))
    assert config.is_locked and config.name and isinstance(config.seed, int)
    recipe = make_recipe(config)
    # A folder of pictures knows its classes; what is segmented is one region.
    classes = len(recipe.dataset.info.classes) if hasattr(recipe.dataset, "info") else 1
    assert recipe.plain_model.num_classes == classes
    assert make_recipe(from_dict(to_dict(config))).plain_model == recipe.plain_model


def test_names_are_different_so_that_runs_have_directories_of_their_own():
    names = [load(f"{p.values[0]}:{p.values[1]}").name for p in variants() if p.values[1]]
    names += [load(str(file)).name for file in FILES if "" in _variants(file)]
    assert len(names) == len(set(names))


def _variants(file: pathlib.Path):
    return importlib.import_module(f"configs.{file.stem}").VARIANTS


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_header_names_the_command_and_every_variant(file):
    header = importlib.import_module(f"configs.{file.stem}").__doc__
    assert f"--config=configs/{file.name}" in header
    for name in _variants(file):
        assert not name or re.search(rf"\b{name}\b", header), f"{file.name}'s header lacks {name}"


@pytest.mark.parametrize("file", [f for f in FILES if any(_variants(f))], ids=lambda f: f.stem)
def test_an_unknown_variant_lists_the_known_ones(file):
    known = max(_variants(file), key=len)
    with pytest.raises(ConfigError, match=rf"unknown variant '{known}s': did you mean '{known}'"):
        load(f"{file}:{known}s")
