"""Every figure, by name: pictures of slices (`pictures`, `overlay`) and charts of numbers (`charts`).

Numpy in; an [H W 3] uint8 picture out and, where a path is given, a PNG.
"""

from brainjax.report.charts import learning_curves, runs, volumes
from brainjax.report.overlay import contour, grey, overlay
from brainjax.report.pictures import batch, montage, samples, save_samples

__all__ = [
    "batch",
    "contour",
    "grey",
    "learning_curves",
    "montage",
    "overlay",
    "runs",
    "samples",
    "save_samples",
    "volumes",
]
