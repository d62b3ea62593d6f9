"""Fine-tuning: a run that begins with the weights of another, or with published ones."""

import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from brainjax.datasets.base import Dataset
from brainjax.datasets.splits import Split
from brainjax.train.restore import open_stored
from brainjax.train.state import TrainState
from brainjax.types import ConfigError
from brainjax.weights import load_pretrained

# The last layer of classifiers whose head is a module, and of the other networks.
_LAST = ("params/head/out", "params/head")


def start_from(
    directory: str | pathlib.Path,
    network: nn.Module,
    state: TrainState,
    dataset: Dataset,
    split: Split,
    normalize: str,
) -> tuple[TrainState, list[str]]:
    """The state of a run that goes on from the averaged weights of another run, of a release, or from published ones.

    Weights alone are taken over: the optimizer starts afresh. The grid and the augmentation may differ, so a network
    can learn on a coarse grid, where steps are cheap, and be finished on a fine one.

    Args:
        directory: of a release or a run; or a file of published weights (see `brainjax.weights.load_pretrained`).
        network: the run's.
        state: of this run, newly created.
        dataset: this run's slices.
        split: and who of them trains. Unless it leaks anyway, none of those who validate or test may have trained
            the weights: their scores would say nothing.
        normalize: of this run's images; what published weights were trained with is told where it differs.

    Returns:
        The state, and the patients that trained the weights.

    Raises:
        CheckpointError: there is no model in `directory`, or it is damaged.
        ConfigError: it is another network, or a patient would be on both sides.
    """
    if pathlib.Path(directory).is_file():
        filled = load_pretrained(directory, network, state.variables)
        for layer, reason in filled.kept.items():
            logging.getLogger(__name__).warning("%s keeps random weights: %s", layer, reason)
        # The published numbers are for images in 0 to 255: what else there is has a scale of its own.
        if dataset.image.dtype == np.uint8 and normalize != filled.normalize:
            logging.getLogger(__name__).warning(
                "--config.train.init=%s: such networks were published with input.normalize=%s, and here it is %s; set "
                "--config.input.normalize=%s",
                *(directory, filled.normalize, normalize, filled.normalize),
            )
        return _begin(state, filled.variables), []
    stored = open_stored(directory)
    seen = set(stored.facts["trained_on"])
    if not split.leaks:
        rows = [*split.val, *split.test]
        both = sorted(seen & set(dataset.identity(np.array(rows, int))))
        if both:
            what = "images" if dataset.target == "label" else "patients"
            raise ConfigError(
                f"--config.train.init={directory} was trained on {len(both)} of the {what} to be validated or "
                f"tested ({', '.join(both[:3])}{', ...' if len(both) > 3 else ''}): keep the split of that run"
            )
    found = _with_own_head(state.variables, _on_grids_of(state.variables, stored.variables))
    found = _in_own_order(found, stored.facts.get("classes", ()), dataset.info.classes)
    found = _with_own_detail(state.variables, found)
    found = _with_own_channels(
        state.variables, found, stored.facts.get("channels", ()), dataset.info.channels
    )
    _check_same(directory, state.variables, found)
    return _begin(state, found), sorted(seen)


def _begin(state: TrainState, variables: Any) -> TrainState:
    # Two copies: a training step gives the buffers of its argument away.
    variables = jax.tree.map(jnp.array, variables)
    return state.replace(variables=variables, ema=jax.tree.map(jnp.copy, variables))


def _on_grids_of(wanted: Any, found: Any) -> Any:
    """Position embeddings [*grid D] interpolated to this run's grid, as `Transformer` does at inference."""
    wanted, found = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (wanted, found))
    for name, value in found.items():
        grid = wanted[name].shape if name in wanted else value.shape
        same_kind = value.ndim == len(grid) and value.shape[-1] == grid[-1]
        if name.endswith("/position") and same_kind and value.shape != grid:
            found[name] = jax.image.resize(value, grid, method="linear", antialias=False)
    return flax.traverse_util.unflatten_dict(found, sep="/")


def _with_own_head(wanted: Any, found: Any) -> Any:
    """The last layer stays this run's where the number of classes is another."""
    wanted, found = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (wanted, found))
    for name, value in found.items():
        last = name.rpartition("/")[0] in _LAST and name in wanted
        if not last or value.shape[:-1] != wanted[name].shape[:-1]:
            continue
        if value.shape != wanted[name].shape:
            found[name] = wanted[name]
            logging.getLogger(__name__).warning(
                "%s begins at random: %s there, %s here", name, value.shape, wanted[name].shape
            )
    return flax.traverse_util.unflatten_dict(found, sep="/")


def _in_own_order(found: Any, known: Sequence[str], own: Sequence[str]) -> Any:
    """The outputs of the last layer in the order of this run's classes, where it knows the same in another one."""
    if list(known) == list(own) or sorted(known) != sorted(own):
        return found
    found = flax.traverse_util.flatten_dict(found, sep="/")
    picked = [list(known).index(name) for name in own]
    for name, value in found.items():
        if name.rpartition("/")[0] in _LAST and value.shape[-1] == len(picked):
            found[name] = value[..., picked]
    return flax.traverse_util.unflatten_dict(found, sep="/")


def _with_own_detail(wanted: Any, found: Any) -> Any:
    """A network in patches that is given a finer floor begins without its correction (`brainjax.models.UNet.detail`)."""
    wanted, found = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (wanted, found))
    own = {k: v for k, v in wanted.items() if k.split("/")[1] == "detail" and k not in found}
    return flax.traverse_util.unflatten_dict(found | own, sep="/")


def _with_own_channels(wanted: Any, found: Any, known: Sequence[str], own: Sequence[str]) -> Any:
    """A network that is shown fewer sequences keeps the weights of those that it is shown.

    Slices that are seen together are stacked as channels, sequence by sequence within each.
    """
    if list(known) == list(own) or not set(own) <= set(known):
        return found
    wanted, found = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (wanted, found))
    picked = [list(known).index(name) for name in own]
    for name, value in found.items():
        if name not in wanted or value.ndim < 2 or value.shape[-2] % len(known):
            continue
        slices = value.shape[-2] // len(known)
        fits = (*value.shape[:-2], slices * len(own), value.shape[-1])
        if wanted[name].shape == fits:
            apart = value.reshape(*value.shape[:-2], slices, len(known), value.shape[-1])
            found[name] = apart[..., picked, :].reshape(fits)
    return flax.traverse_util.unflatten_dict(found, sep="/")


def _check_same(directory: str | pathlib.Path, wanted: Any, found: Any) -> None:
    """ConfigError that names the first difference between two networks' variables."""
    wanted, found = (
        {k: v.shape for k, v in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (wanted, found)
    )
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            here, there = (tree.get(name, "none") for tree in (wanted, found))
            raise ConfigError(
                f"--config.train.init={directory} is another network: its {name} is {there}, here it is {here}; use "
                f"its config.model, config.input.context and config.data.sequences"
            )
