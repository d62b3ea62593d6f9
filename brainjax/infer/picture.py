"""A single picture through the pipeline: its class, what the classifier looked at, and where its colours are three
sequences the tumour in it."""

import pathlib
import time

import numpy as np

from brainjax.infer import localize, unlike
from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.classifier import Classifier
from brainjax.infer.scan import UNKNOWN, Scan
from brainjax.infer.segmenter import Segmenter
from brainjax.infer.vote import SliceVote, VolumeVote, explain
from brainjax.io import Volume
from brainjax.io.images import read_image, to_grey

_TINT = 12  # grey levels between the colours of a pixel, from which it is coloured
_COLOURED = 0.05  # share of such pixels among those that are not black, from which a picture's colours are three sequences
_PIXELS = (
    "a picture has no size in mm: lengths count pixels, and what is told in ml thousands of them"
)


def analyze(
    image: np.ndarray | str | pathlib.Path,
    name: str,
    classifier: Classifier | None,
    segmenter: Segmenter | None,
    names: tuple[str, str] = ("", ""),
) -> Analysis:
    """What can be said of one slice.

    Args:
        image: [H W], [H W 3] uint8 or a path; axial, hung as radiologists do, if sides are to be right.
        name: of it.
        classifier: of pictures; None to do without.
        segmenter: of slices with three channels, used where the picture's colours differ; None to do without.
        names: of both, for the report.

    Raises:
        DataError: the picture cannot be read.
    """
    begun = time.perf_counter()
    if not isinstance(image, np.ndarray):
        image = read_image(image)
    grey = to_grey(image)
    scan = Scan(name, {UNKNOWN: Volume(_turned(grey), np.eye(4))})
    stages = [Stage("strip", "skipped", note="of volumes alone")]
    warnings, found = [_PIXELS], {"classes": {}, "answers": {}, "pictures": {}}
    at = time.perf_counter()
    if classifier is None:
        stages.append(Stage("slices", "skipped"))
    else:
        classes = classifier(image)
        answer = max(classes, key=classes.get)
        voted = VolumeVote(answer, classes, (SliceVote("axial", 0, 0.0, classes),), (grey,), {}, ())
        pictures = explain(classifier, voted, 1)
        found["classes"]["slices"], found["answers"]["slices"] = classes, answer
        found["pictures"] = {f"{answer} {classes[answer]:.2f}": p for p in pictures.values()}
        warnings += [f"the picture is unlike those trained on: {x}" for x in unlike.unlike(image)]
        warnings += unlike.unsure(classes)
        took = time.perf_counter() - at
        stages.append(Stage("slices", "done", names[0], took, facts=dict(classifier.facts)))
    stages.append(Stage("volume", "skipped", note="of volumes alone"))
    stages.append(_segment(image, scan, segmenter, names[1], found))
    found_tumour = found.get("tumour")
    if found_tumour is not None:
        found["lesions"] = localize.measure({"WT": found_tumour.data > 0}, np.eye(4))
    stages.append(Stage("localize", "skipped" if found_tumour is None else "done"))
    return Analysis(
        scan,
        regional=False,
        **found,
        warnings=tuple(warnings),
        stages=tuple(stages),
        seconds=time.perf_counter() - begun,
    )


def _segment(
    image: np.ndarray, scan: Scan, segmenter: Segmenter | None, name: str, found: dict
) -> Stage:
    """Segments where there are three sequences; adds to `found`."""
    if segmenter is None:
        return Stage("segment", "skipped")
    channels = ", ".join(segmenter.facts["channels"])
    if image.ndim != 3 or image.shape[2] != 3 or not _coloured(image):
        return Stage(
            "segment", "skipped", note=f"a grey picture; the model wants {channels} as colours"
        )
    begun = time.perf_counter()
    probability = segmenter.probabilities(image[None])
    mask = segmenter.clean(probability >= segmenter.predictor.options.threshold)
    found["tumour"] = scan.first.with_data(_turned(mask[0, ..., 0].astype(np.uint8)))
    found["probability"] = scan.first.with_data(_turned(probability[0, ..., 0]))
    note = f"red, green and blue were taken for {channels}"
    took = time.perf_counter() - begun
    return Stage("segment", "done", name, took, note, dict(segmenter.facts))


def _coloured(image: np.ndarray) -> bool:
    """Whether colours fill the head; a mark or an arrow on a grey one, or a compressor's tint, do not."""
    lit = image.max(2) > _TINT
    return bool(lit.any()) and (np.ptp(image.astype(int), axis=2)[lit] > _TINT).mean() > _COLOURED


def _turned(picture: np.ndarray) -> np.ndarray:
    """[H W], the patient's right on the left and the front on top -> [X Y 1] in RAS+."""
    return picture[::-1, ::-1].T[..., None]
