"""What scoring a classifier leaves in a directory: a table of predictions, and pictures."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainjax.data.source import Source
from brainjax.infer.explain import grad_cam
from brainjax.infer.occlusion import occlusion
from brainjax.infer.predictor import Predictor
from brainjax.metrics import calibration, classification
from brainjax.preprocess.batch import prepare
from brainjax.report import figures, planes, predictions

_PLACES = 9  # along each axis, that occlusion covers
_EXPLAINED = 12


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a classifier said of some images.

    Attributes:
        predictor, variables: the network with its preprocessing, and its weights.
        source: the images.
        rows: [n] those that it was asked about.
        probabilities: [n K] what it said.
    """

    predictor: Predictor
    variables: Any
    source: Source
    rows: np.ndarray
    probabilities: np.ndarray


def scores(workdir: pathlib.Path, answers: Answers, *, warning: str = "") -> np.ndarray:
    """`predictions.csv`, `confusion.png`, `reliability.png`, `roc.png`, `samples.png` and `gradcam.png`.

    Of images that are all of one class there is no ROC; that is logged.

    Args:
        workdir: where they go.
        answers: to images whose classes are known.
        warning: for the pictures; a split that leaks must be named here.

    Returns:
        `samples.png`, [h w 3] uint8.
    """
    data, rows, probabilities = answers.source.dataset, answers.rows, answers.probabilities
    classes, labels = data.info.classes, data.label[rows]
    names = [data.name[row] for row in rows]
    predictions.write(workdir / "predictions.csv", names, classes, probabilities, labels)
    matrix = classification.confusion_matrix(probabilities.argmax(1), labels, len(classes))
    figures.confusion(workdir / "confusion.png", matrix, classes, warning=warning)
    figures.reliability(
        workdir / "reliability.png",
        _curves(probabilities, labels, answers.predictor.options.temperature),
        warning=warning,
    )
    if curves := _rocs(probabilities, labels, classes):
        figures.roc(workdir / "roc.png", curves, warning=warning)
    else:
        logging.getLogger(__name__).warning("no roc.png: it needs images of at least two classes")
    _explain(workdir, answers, warning)
    return figures.predictions(
        workdir / "samples.png",
        pictured(data.image[rows]),
        labels,
        probabilities,
        classes,
        names=names,
        warning=warning,
    )


def looked_at(
    workdir: pathlib.Path, model: Any, images: Sequence[np.ndarray], names: Sequence[str]
) -> None:
    """`gradcam.png` of a few pictures as they are in their files, for a `Classifier`."""
    source, rows = model.source(model.dataset(images)), np.arange(len(images))
    probabilities = model.predictor.probabilities(model.variables, source, rows)
    titles = [pathlib.PurePath(name).name for name in names[: len(images)]]
    _maps(workdir, Answers(model.predictor, model.variables, source, rows, probabilities), titles)


def pictured(images: np.ndarray, slices: Sequence[int] | None = None) -> np.ndarray:
    """[n H W ..] as they are; of volumes [n X Y Z ..] an axial slice each, with `slices` those, else the middle ones.

    `slices` must be given for volumes without channels, [n X Y Z].
    """
    if images.ndim < 5 and slices is None:
        return images
    chosen = slices or [images.shape[3] // 2] * len(images)
    return np.stack([planes.axial(one, z) for one, z in zip(images, chosen, strict=True)])


def _curves(
    p: np.ndarray, labels: np.ndarray, temperature: float | Sequence[float]
) -> Mapping[str, Any]:
    """Reliability at the temperature at hand and, unless it is an ensemble's, without one."""
    each, at_hand = np.atleast_1d(temperature), calibration.reliability(p, labels)
    if (each == 1.0).all():
        return {"no temperature": at_hand}
    found = {f"temperature {', '.join(f'{t:.2f}' for t in each)}": at_hand}
    if len(each) > 1:
        return found  # a mean of probabilities cannot be undone
    before = calibration.softmax(np.log(np.maximum(p, classification.FLOOR)) * each[0])
    return {"before scaling": calibration.reliability(before, labels), **found}


def _rocs(p: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, tuple]:
    """Curve and area of the classes that have images, and of which there are others too."""
    found = {}
    for k, name in enumerate(classes):
        area = classification.auroc(p[:, k], labels == k)
        if area is not None:
            found[name] = (*classification.roc(p[:, k], labels == k), area)
    return found


def _explain(workdir: pathlib.Path, answers: Answers, warning: str) -> None:
    """Mistakes first, then images of every class in turn."""
    data, rows, probabilities = answers.source.dataset, answers.rows, answers.probabilities
    classes, labels = data.info.classes, data.label[rows]
    wrong = probabilities.argmax(1) != labels
    shuffled = np.random.default_rng(0).permutation(len(rows))  # neighbours in order are alike
    turn = np.zeros(len(rows), int)
    for k in range(len(classes)):
        own = shuffled[labels[shuffled] == k]
        turn[own] = np.arange(len(own))
    picked = np.lexsort((labels, turn, ~wrong))
    # Half mistakes at most: what it looks at where it is right says as much.
    half = picked[: min(int(wrong.sum()), _EXPLAINED // 2)]
    picked = np.concatenate([half, picked[wrong.sum() :]])[:_EXPLAINED]
    titles = [
        f"{classes[labels[i]]}, called {classes[probabilities[i].argmax()]}"
        if wrong[i]
        else classes[labels[i]]
        for i in picked
    ]
    shown = dataclasses.replace(answers, rows=rows[picked], probabilities=probabilities[picked])
    _maps(workdir, shown, titles, warning)


def _maps(
    workdir: pathlib.Path, answers: Answers, titles: Sequence[str], warning: str = ""
) -> None:
    """`gradcam.png`: what speaks for the predicted class of each image."""
    predictor, called = answers.predictor, answers.probabilities.argmax(1)
    image = prepare(answers.source.gather(answers.rows), predictor.input.size)["image"]
    maps = np.asarray(grad_cam(predictor.model, answers.variables, image, called))
    how = "Grad-CAM"
    most = [int(one.max((0, 1)).argmax()) for one in maps] if maps.ndim == 4 else None
    if most is None:  # of volumes it would be thousands of passes
        covered = occlusion(predictor.model, answers.variables, image, called, _PLACES)
        maps, how = np.stack([covered, maps]), "occlusion, Grad-CAM"
    figures.gradcam(
        workdir / "gradcam.png",
        pictured(np.asarray(image), most),
        maps if most is None else pictured(maps, most),
        [title.replace("_", " ") for title in titles],
        title=f"What speaks for the predicted class: {how}",
        warning=warning,
    )
