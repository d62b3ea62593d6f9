"""Released models: a folder with safetensors weights, a config, their checksums and a model card.

    model.safetensors   the variables, names joined by '/', in bfloat16 or float32
    config.json         {"config": the training config, "facts": dataset, licence, patients trained on, ...}
    SHA256SUMS          of the two files above, in the format of `sha256sum`
    MODEL_CARD.md       for people

Nothing here unpickles: safetensors holds numbers only, and the checksums are verified before it is read.
"""

import dataclasses
import json
import pathlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import safetensors.flax
from safetensors import SafetensorError

from brainjax.datasets.base import Dataset
from brainjax.files import replacing, write_text
from brainjax.infer import checksums
from brainjax.types import CheckpointError

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "MODEL_CARD.md"


@dataclasses.dataclass(frozen=True)
class Release:
    """A released model as it lies on disk.

    Attributes:
        config: the training config, as a plain dict.
        facts: dataset (see `facts_of`), licence, patients trained on, parameters, measured scores.
        variables: the model's variables, float32.
    """

    config: dict[str, Any]
    facts: dict[str, Any]
    variables: Any

    @property
    def task(self) -> str:
        """'segmentation' or 'classification'."""
        return self.facts.get(
            "task", "segmentation"
        )  # releases older than classification do not say

    @property
    def rank(self) -> int:
        """Spatial axes of what the model sees: 2 of slices, 3 of volumes."""
        return self.facts.get("rank", 2)  # nor do those older than volumes


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """What a model that is trained on `dataset` is for, and what it will see: a part of `Release.facts`."""
    info = dataset.info
    return {
        "task": dataset.task,
        "dataset": info.name,
        "licence": info.licence,
        "citation": info.citation,
        "channels": list(info.channels),
        "classes": list(info.classes),
        "rank": dataset.rank,
        "spacing_mm": list(info.spacing_mm) if info.spacing_mm else None,
    }


def is_release(directory: str | pathlib.Path) -> bool:
    """Whether `directory` holds a released model."""
    return (pathlib.Path(directory) / WEIGHTS).is_file()


def save(
    directory: str | pathlib.Path, release: Release, *, dtype: str = "float32", card: str = ""
) -> pathlib.Path:
    """Writes a release folder; returns its path.

    Args:
        directory: created if need be; files of an earlier release in it are replaced.
        release: what to write.
        dtype: storage dtype of the weights, 'float32', 'bfloat16' or 'float16'.
        card: text of MODEL_CARD.md; none is written when empty.

    Raises:
        DataError: it cannot be written.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    flat = flax.traverse_util.flatten_dict(release.variables, sep="/")
    weights = safetensors.flax.save({k: jnp.asarray(v, dtype) for k, v in flat.items()})
    with replacing(directory / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    text = json.dumps({"config": release.config, "facts": release.facts}, indent=2)
    write_text(directory / CONFIG, text + "\n")
    checksums.write(directory, (WEIGHTS, CONFIG))
    if card:
        write_text(directory / CARD, card)
    return directory


def load(directory: str | pathlib.Path) -> Release:
    """Reads a release folder.

    Raises:
        CheckpointError: a file is missing, does not match its checksum, or is not what it claims to be.
    """
    directory = pathlib.Path(directory)
    if not is_release(directory):
        raise CheckpointError(f"{directory} holds no released model: {WEIGHTS} is missing")
    try:
        checksums.check(directory, (WEIGHTS, CONFIG))
        stored = json.loads((directory / CONFIG).read_text())
        flat = safetensors.flax.load_file(directory / WEIGHTS)
        variables = flax.traverse_util.unflatten_dict(flat, sep="/")
        variables = jax.tree.map(lambda x: x.astype(jnp.float32), variables)
        return Release(stored["config"], stored["facts"], variables)
    except (*(OSError, ValueError, KeyError, TypeError, AttributeError), SafetensorError) as error:
        raise CheckpointError(
            f"{directory} cannot be read as a released model "
            f"({type(error).__name__}: {error}); fetch it again"
        ) from error
