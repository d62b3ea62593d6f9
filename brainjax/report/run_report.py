"""The pictures a run leaves in its directory, and what each shows."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainjax.data.source import Source
from brainjax.preprocess.batch import prepare
from brainjax.report import figures, label_report, planes, runs, tables

_SAMPLES = 6


@dataclasses.dataclass(frozen=True)
class Scored:
    """Rows of a dataset and the result they were scored with.

    Attributes:
        rows: [n] ascending.
        result: as in `result.json`: `split`, `protocol`, `per_volume` and `seen_in_training`.
        probabilities: [n K] of a classifier.
    """

    rows: np.ndarray
    result: Mapping[str, Any]
    probabilities: np.ndarray | None = None


def training_batch(workdir: pathlib.Path, trainer: Any) -> None:
    """`batch.png`: the first training batch as the network sees it, augmented."""
    recipe = trainer.recipe
    raw = next(iter(trainer.feed(0)))
    key = jax.random.fold_in(trainer.key, 0)

    @jax.jit
    def view(raw: Any) -> Any:
        batch = prepare(raw, recipe.input.size)
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(len(batch["valid"])))
        mask = batch.get("mask", jnp.zeros((*batch["image"].shape[:-1], 1)))
        return recipe.augment.batch(keys, batch["image"], mask)

    raw = {k: v[:8] for k, v in raw.items()}
    image, mask = jax.device_get(view(raw))
    if image.ndim == 5:
        most = [planes.telling(one) for one in mask]
        image, mask = (
            np.stack([planes.axial(one, z) for one, z in zip(x, most, strict=True)])
            for x in (image, mask.max(-1, initial=0, keepdims=True))
        )
    classes = trainer.source.dataset.info.classes
    names = [classes[k] for k in np.argmax(raw["label"], 1)] if "label" in raw else ()
    figures.batch(workdir / "batch.png", image, mask, names=names)


def curves(workdir: pathlib.Path, trainer: Any) -> None:
    """`curves.png`: loss and scores by step."""
    figures.learning_curves(
        workdir / "curves.png", runs.read(workdir).lines, monitor=trainer.options.monitor
    )


def final(
    workdir: pathlib.Path, trainer: Any, predictor: Any, variables: Any, scored: Scored
) -> None:
    """The pictures of `scores` of a run that is over; samples to TensorBoard too."""
    picture = scores(workdir, predictor, variables, trainer.source, scored)
    trainer.show("samples", picture)


def scores(
    workdir: pathlib.Path, predictor: Any, variables: Any, source: Source, scored: Scored
) -> np.ndarray:
    """`samples.png` and `volumes.png` of scored patients, or the pictures of `label_report` of scored images.

    A protocol that leaks is named on all.

    Returns:
        The samples, [h w 3] uint8.
    """
    data = source.dataset
    warning = tables.protocol(scored.result) if tables.leaks(scored.result) else ""
    if scored.probabilities is not None:
        answers = label_report.Answers(
            predictor, variables, source, scored.rows, scored.probabilities
        )
        return label_report.scores(workdir, answers, warning=warning)
    if data.rank == 3:
        of_each = scored.result["per_volume"]
        return planes.scores(
            workdir, predictor, variables, source, scored.rows, of_each, warning=warning
        )
    picked = _telling_rows(source, scored.rows)
    picture = figures.save_samples(
        workdir / "samples.png",
        data.image[picked],
        data.mask[picked],
        predictor.masks(variables, source, picked),
        [f"{data.groups[data.group[r]]} slice {data.position[r]}" for r in picked],
        data.info.channels,
        title=warning,
    )
    figures.volumes(workdir / "volumes.png", scored.result["per_volume"], warning=warning)
    return picture


def _telling_rows(source: Source, rows: np.ndarray) -> np.ndarray:
    """Of a few patients, spread over the list, the slice with the largest lesion."""
    data = source.dataset
    patients = np.unique(data.group[rows])
    spread = np.linspace(0, len(patients) - 1, min(_SAMPLES, len(patients))).round().astype(int)
    picked = []
    for patient in patients[spread]:
        own = rows[data.group[rows] == patient]
        picked.append(own[data.mask[own].sum((1, 2, 3)).argmax()])
    return np.array(picked)
