"""Cases as they lie in folders -> masks on the grids of their files, by a model of whole volumes."""

import dataclasses

import numpy as np

from brainjax.datasets import Brats, get
from brainjax.datasets.regions import REGIONS, to_labels
from brainjax.datasets.verify import Problem
from brainjax.datasets.volumes import Case, Loaded, VolumeFolder, read_case
from brainjax.infer.segmenter import Segmenter
from brainjax.io import Volume
from brainjax.types import DataError

_APART = 0.1  # share by which voxels may differ from those trained on without being resampled


def find(model: Segmenter, directory: str) -> tuple[VolumeFolder, list[Case], list[Problem]]:
    """The cases of a folder that has the layout of the model's training data; truth is not needed.

    Returns:
        How they are read, they, and everything that does not make one.

    Raises:
        DataError: there is no such folder, or nothing in it of that layout.
    """
    section = {k: v for k, v in model.config.data.items() if k != "name"}
    make = get(model.config.data.name)
    if not issubclass(make, VolumeFolder):
        # Trained on what was generated: any cases with its sequences will do.
        names = tuple(model.facts["channels"])
        if not set(names) <= set(Brats.INFO.channels):
            raise DataError(
                f"{directory}: cannot be read for a model of the channels {', '.join(names)}"
            )
        make, section = Brats, {"modalities": names}
    own = {**section, "dir": directory, "labelled": False}
    reader = make(**{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()})
    return reader, *reader.find()


def segment(model: Segmenter, reader: VolumeFolder, case: Case) -> tuple[Loaded, np.ndarray]:
    """Reads and segments one case.

    Returns:
        The case as the network saw it, and its mask [x y z K] bool.

    Raises:
        DataError: a file cannot be used; one line a problem.
    """
    loaded = read_case(reader, dataclasses.replace(case, truth=""))
    wanted = model.facts["spacing_mm"]
    if not np.allclose(loaded.spacing, wanted, rtol=_APART):
        loaded = read_case(
            dataclasses.replace(reader, spacing=tuple(wanted)), dataclasses.replace(case, truth="")
        )
    mask = model(loaded.image)
    return loaded, mask.reshape(*loaded.image.shape[:3], -1)


def result(model: Segmenter, loaded: Loaded, mask: np.ndarray) -> Volume:
    """A mask [x y z K] as labels on the grid of the case's first file, uint8.

    The three regions become BraTS's labels 1, 2 and 4; other classes 1, 2, ..., of overlapping ones the last.
    """
    native = loaded.native(mask)
    found = native.data.reshape(*native.data.shape[:3], -1)
    if tuple(model.facts["classes"]) == REGIONS:
        return native.with_data(to_labels(found))
    labels = np.zeros(found.shape[:3], np.uint8)
    for k in range(found.shape[-1]):
        labels[found[..., k] > 0] = k + 1
    return native.with_data(labels)
