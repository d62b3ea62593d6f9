"""Every figure, by name: pictures of slices (`pictures`, `overlay`) and charts of numbers (`charts`).

Of classifiers: charts in `classes`, pictures in `examples`.

Numpy in; an [H W 3] uint8 picture out and, where a path is given, a PNG.
"""

from brainjax.report.boxes import boxes
from brainjax.report.charts import learning_curves, runs, volumes
from brainjax.report.classes import confusion, reliability, roc
from brainjax.report.examples import gradcam, predictions
from brainjax.report.overlay import contour, grey, overlay
from brainjax.report.pictures import batch, montage, samples, save_samples

__all__ = [
    "batch",
    "boxes",
    "confusion",
    "contour",
    "gradcam",
    "grey",
    "learning_curves",
    "montage",
    "overlay",
    "predictions",
    "reliability",
    "roc",
    "runs",
    "samples",
    "save_samples",
    "volumes",
]
