"""What a classifier says of each image, as a CSV table."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from brainjax.files import write_text
from brainjax.report.words import no_formula


def write(
    path: str | os.PathLike,
    names: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    labels: np.ndarray | None = None,
) -> None:
    """Writes one row an image: its name, the true class where it is known, the predicted one, all probabilities.

    Names that a spreadsheet would run begin with an apostrophe; '?' stands for what is no character in them.

    Args:
        path: of the file, UTF-8; whole or not at all.
        names: N.
        classes: K names.
        probabilities: [N K].
        labels: [N] true classes.
    """
    truth = [] if labels is None else ["label"]
    classes = [no_formula(name) for name in classes]
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["image", *truth, "predicted", *classes])
    for i, (name, p) in enumerate(zip(names, probabilities, strict=True)):
        known = [] if labels is None else [classes[labels[i]]]
        called = classes[int(p.argmax())]
        table.writerow([no_formula(name), *known, called, *(f"{x:.6f}" for x in p)])
    write_text(path, text.getvalue())
