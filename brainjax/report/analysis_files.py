"""An analysis as files in a folder: masks on the scan's grid, numbers, a picture, and the report."""

import os
import pathlib

import numpy as np

from brainjax.infer.analysis import Analysis
from brainjax.io import write_volume
from brainjax.report import html, localized, measurements, segmentation
from brainjax.types import DataError

VOLUMES = {
    "brain": "brain_mask.nii.gz",
    "tumour": "tumour.nii.gz",
    "probability": "probability.nii.gz",
    "uncertainty": "uncertainty.nii.gz",
}
REPORT, OVERLAY = "report.html", "overlay.png"
DONE = measurements.JSON  # written last: its presence says that a scan is finished


def write(
    folder: str | os.PathLike, analysis: Analysis, series: str | os.PathLike | None = None
) -> None:
    """Writes everything that was found; what was not has no file, also where an older one lay.

    Args:
        folder: made if need be.
        analysis: of one scan.
        series: the DICOM folder that its first contrast was read from: its masks are written as a segmentation too.

    Raises:
        ConfigError: there is no package to write a segmentation with.
        DataError: a file cannot be written there, or no segmentation can refer to the series.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (DONE, segmentation.FILE, *VOLUMES.values()):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    for field, name in VOLUMES.items():
        volume = getattr(analysis, field)
        if volume is not None:
            write_volume(folder / name, volume.with_data(_stored(volume.data)))
    if series is not None:
        segmentation.write(folder / segmentation.FILE, analysis, series)
    localized.overlay(folder / OVERLAY, analysis)
    html.write(folder / REPORT, analysis)
    measurements.write(folder, analysis)


def finished(folder: str | os.PathLike) -> bool:
    """Whether `write` came to its end there."""
    return (pathlib.Path(folder) / DONE).is_file()


def _stored(data: np.ndarray) -> np.ndarray:
    """Probabilities to a thousandth: what lies beyond is noise, and takes four times the room when compressed."""
    return data if data.dtype.kind in "biu" else np.round(data, 3).astype(np.float32)
