"""What the files of a DICOM folder say of themselves, without reading their pixels."""

import os
import pathlib
from typing import NamedTuple


class Series(NamedTuple):
    """Facts of a series; empty where the files do not tell them.

    Attributes:
        study: UID of the examination that it belongs to.
        description: what the scanner calls it.
    """

    study: str = ""
    description: str = ""


def describe(folder: str | os.PathLike) -> Series:
    """Of the first DICOM file in a folder; `Series()` where there is none, or no package to read it with."""
    try:
        import pydicom
    except ImportError:
        return Series()  # reading the volume will say what to install
    for path in sorted(p for p in pathlib.Path(folder).iterdir() if p.is_file()):
        try:
            tags = pydicom.dcmread(path, stop_before_pixels=True)
        except (
            Exception
        ):  # damaged files raise half a dozen types; reading the volume will name them
            continue
        if "SeriesInstanceUID" in tags:
            told = (tags.get(name) for name in ("StudyInstanceUID", "SeriesDescription"))
            return Series(*(str(value or "") for value in told))
    return Series()
