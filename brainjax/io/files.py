"""Volumes from and to paths, whatever the format."""

import gzip
import os
import pathlib
from typing import BinaryIO

from brainjax.files import replacing
from brainjax.io.dicom import read_dicom
from brainjax.io.nifti import read_nifti
from brainjax.io.nifti_image import to_mgh, to_nifti
from brainjax.io.volume import Volume
from brainjax.types import DataError

ENDINGS = (".nii.gz", ".nii", ".mgz", ".mgh")
_FAST = 1  # of gzip's levels; 9 takes ten times as long for a tenth less


def ending(path: str | os.PathLike) -> str:
    """Which of `ENDINGS` the file's name has; '' where it has none."""
    name = os.path.basename(path).lower()
    return next((e for e in ENDINGS if name.endswith(e)), "")


def stem(path: str | os.PathLike) -> str:
    """The file's name without the ending of a volume; '' of a file of another kind, or a hidden one."""
    name, last = os.path.basename(path), ending(path)
    return name[: -len(last)] if last and not name.startswith(".") else ""


def read_volume(path: str | os.PathLike) -> Volume:
    """A scan: a .nii, .nii.gz, .mgh or .mgz file, or a folder with one DICOM series.

    Raises:
        DataError: see `brainjax.io.nifti.read_nifti` and `brainjax.io.dicom.read_dicom`.
    """
    return read_dicom(path) if os.path.isdir(path) else read_nifti(path)


def write_volume(path: str | os.PathLike, volume: Volume) -> None:
    """Writes a file whole or not at all; what it replaces stays until then.

    Args:
        path: ends in one of `ENDINGS`; its folder exists.
        volume: written with its header, see `brainjax.io.nifti_image.to_nifti`.

    Raises:
        DataError: another ending, no such folder, no right to write there or no space left.
    """
    path = pathlib.Path(path)
    name = path.name.lower()
    if not name.endswith(ENDINGS):
        raise DataError(f"{path}: volumes are written as {', '.join(ENDINGS)}; change the ending")
    try:
        image = (to_mgh if name.endswith((".mgh", ".mgz")) else to_nifti)(volume)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    with replacing(path) as temporary, temporary.open("wb") as file:
        _write(image, file, compressed=name.endswith("z"))


def _write(image, file: BinaryIO, *, compressed: bool) -> None:
    if not compressed:
        image.to_stream(file)
        return
    # Without name and time: the same volume gives the same bytes.
    with gzip.GzipFile("", "wb", _FAST, file, mtime=0) as stream:
        image.to_stream(stream)
