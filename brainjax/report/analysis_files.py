"""An analysis as files in a folder: masks on the scan's grid, numbers, a picture, and the report."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from brainjax.files import digest
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


Files = Mapping[str, str | os.PathLike]  # contrast -> its file, or the folder of its DICOM series
SEGMENTATION = "dicom_seg"  # of the options: whether there is a DICOM segmentation


def write(
    folder: str | os.PathLike,
    analysis: Analysis,
    series: str | os.PathLike | None = None,
    *,
    files: Files | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes everything that was found; what was not has no file, also where an older one lay.

    Args:
        folder: made if need be.
        analysis: of one scan.
        series: the DICOM folder that its first contrast was read from: its masks are written as a segmentation too.
        files: what the scan was read from, for `finished` to know it again; None if it was from none.
        options: what was asked, JSON; likewise.

    Raises:
        ConfigError: there is no package to write a segmentation with.
        DataError: a file cannot be written there; or no segmentation can refer to the series, all else being there then.
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
    localized.overlay(folder / OVERLAY, analysis)
    html.write(folder / REPORT, analysis)
    named = _named(files or {})
    asked = dict(options or {})
    measurements.write(folder, analysis, named, asked | {SEGMENTATION: False})
    if series is not None:
        segmentation.write(folder / segmentation.FILE, analysis, series)
        measurements.write(folder, analysis, named, asked | {SEGMENTATION: True})


def finished(
    folder: str | os.PathLike, files: Files, options: Mapping[str, Any] | None = None
) -> bool:
    """Whether `write` came to its end there for a scan with these files, with these options.

    A DICOM segmentation more than was asked for does no harm.

    Raises:
        DataError: it did for another scan.
    """
    done = pathlib.Path(folder) / DONE
    if not done.is_file():
        return False
    try:
        facts = json.loads(done.read_text())
        same = {c: one["sha256"] for c, one in facts["files"].items()}
        paths = ", ".join(str(one["path"]) for one in facts["files"].values())
        before = dict(facts.get("options", {}))
    except (ValueError, KeyError, TypeError, AttributeError):
        same, paths, before = {}, "", {}
    if same != {c: one["sha256"] for c, one in _named(files).items()}:
        raise DataError(
            f"{next(iter(files.values()))}: {folder} has the results of {paths or 'an unknown scan'}; choose another "
            f"--output, or give --overwrite"
        )
    wanted = {SEGMENTATION: False, **(options or {})}
    if not wanted[SEGMENTATION]:
        before[SEGMENTATION] = False
    return before == wanted


def _named(files: Files) -> dict[str, dict[str, str]]:
    return {
        contrast: {"path": os.path.abspath(path), "sha256": digest(path)}
        for contrast, path in files.items()
    }


def _stored(data: np.ndarray) -> np.ndarray:
    """Probabilities to a thousandth: what lies beyond is noise, and takes four times the room when compressed."""
    return data if data.dtype.kind in "biu" else np.round(data, 3).astype(np.float32)
