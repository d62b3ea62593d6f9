"""What a classifier says of each image, as a CSV table."""

import csv
import os
from collections.abc import Sequence

import numpy as np

from brainjax.files import replacing


def write(
    path: str | os.PathLike,
    names: Sequence[str],
    classes: Sequence[str],
    probabilities: np.ndarray,
    labels: np.ndarray | None = None,
) -> None:
    """Writes one row an image: its name, the true class where it is known, the predicted one, all probabilities.

    Args:
        path: of the file; whole or not at all.
        names: N.
        classes: K names.
        probabilities: [N K].
        labels: [N] true classes.
    """
    truth = [] if labels is None else ["label"]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", *truth, "predicted", *classes])
        for i, (name, p) in enumerate(zip(names, probabilities, strict=True)):
            known = [] if labels is None else [classes[labels[i]]]
            table.writerow([name, *known, classes[int(p.argmax())], *(f"{x:.6f}" for x in p)])
