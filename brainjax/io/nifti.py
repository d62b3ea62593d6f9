"""NIfTI-1, NIfTI-2 and FreeSurfer's MGH files: headers are checked before their voxels get memory.

What a file is, and whether it is compressed, its first bytes say; names are often wrong.
"""

import contextlib
import gzip
import io
import math
import os
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import array_from_file

from brainjax.io.volume import Grid, Volume, finite
from brainjax.types import DataError

MAX_VALUES = 2**29  # voxels x channels, 2 GiB as float32: 812^3; a forged header easily claims more
AGREEMENT = (
    1e-2  # voxels between sform and qform; what float32 and quaternions round stays far below
)
_DEFLATE = 1032  # gzip makes nothing smaller than this many times
_EXTENSIONS = 2**26  # bytes before the voxels
_TAIL = 2**20  # bytes after the voxels that are read to come to a checksum
_FOOTER = MGHHeader.template_dtype.itemsize - MGHHeader._hdrdtype.itemsize
_UNITS = {1: "metres", 3: "micrometres"}  # NIfTI's codes of what is not mm


def read_nifti(path: str | os.PathLike) -> Volume:
    """Reads a .nii, .nii.gz, .mgh or .mgz file.

    Stored integers stay as they are unless the header scales them; all else becomes float32. Axes of length 1
    beyond the third are dropped, a picture [X Y] becomes [X Y 1]. Voxels that are not finite become 0.
    Where sform and qform are both set the sform is taken, as nibabel does; `notes` tells if they differ.

    Args:
        path: the file.

    Returns:
        [X Y Z] or [X Y Z C] in the file's axis order, with its header.

    Raises:
        DataError: no such file; not one of these formats; truncated or damaged; axes of no length, too many or
            too long ones; colours or complex numbers; an affine that is not finite or singular.
    """
    with _opened(path) as (stream, size):
        header, grid, shape, notes = _header(stream, size)
        scaling = _scaling(header)
        data = array_from_file(
            header.get_data_shape(), header.get_data_dtype(), stream, header.get_data_offset()
        )
        # nibabel maps plain files into memory, which leaves the stream before the voxels.
        stream.seek(header.get_data_offset() + data.nbytes)
        tail = stream.read(_TAIL)  # gzip compares checksums at its end only
        if isinstance(header, MGHHeader):
            header = MGHHeader(header.binaryblock[:-_FOOTER] + tail[:_FOOTER], check=False)
    data, found = _values(data.reshape(shape, order="F"), *scaling)
    return Volume(data, grid.affine, header, (*notes, *found))


def read_grid(path: str | os.PathLike) -> Grid:
    """Where the voxels are of a file that `read_nifti` would read, from its header alone.

    Raises:
        DataError: as `read_nifti`, as far as the header tells.
    """
    with _opened(path) as (stream, size):
        return _header(stream, size)[1]


def read_shape(path: str | os.PathLike) -> tuple[int, ...]:
    """[X Y Z] or [X Y Z C] of a file that `read_nifti` would read, from its header alone; raises as `read_grid`."""
    with _opened(path) as (stream, size):
        return _header(stream, size)[2]


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, float]]:
    """The bytes of a file, uncompressed, and how many there can be at most; errors get the file's name."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such file; check the path")
    size = os.path.getsize(path)
    if size == 0:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream, size * _DEFLATE
            else:
                yield file, size
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except PermissionError as error:
        raise DataError(f"{path}: not readable; change its permissions") from error
    except MemoryError as error:
        raise DataError(f"{path}: too large for this machine's memory; crop it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: truncated or damaged ({_first_line(error)}); copy or download it again"
        ) from error


def _header(stream: BinaryIO, size: float) -> tuple[Any, Grid, tuple[int, ...], list[str]]:
    """A header that is safe to read voxels by, their grid, their shape with channels, and what was decided."""
    block = stream.read(Nifti2Header.template_dtype.itemsize)
    try:
        header, notes = _parse(block, stream)
        claimed, dtype = header.get_data_shape(), header.get_data_dtype()
    except DataError:
        raise
    except Exception as error:  # nibabel raises half a dozen types on damaged headers
        raise DataError(f"its header is damaged ({_first_line(error)}); repair it") from error
    shape = _shape(claimed)
    if dtype.kind not in "iuf":
        kind = {"c": "complex numbers", "V": "colours"}.get(dtype.kind, str(dtype))
        raise DataError(f"it holds {kind}, not one number a voxel; convert it to a grey scan")
    values = math.prod(shape)
    if values > MAX_VALUES:
        raise DataError(
            f"its header claims {' x '.join(map(str, shape))} values, more than {MAX_VALUES}; "
            "crop it, or repair the header"
        )
    promised = header.get_data_offset() + values * dtype.itemsize
    if promised > size:
        raise DataError(
            f"truncated: its header promises {promised} bytes, the file cannot hold more than {size}; "
            "copy or download it again"
        )
    try:
        affine = header.get_best_affine()
    except Exception as error:  # a quaternion that is no rotation
        raise DataError(
            f"its qform is no rotation ({_first_line(error)}); repair the header"
        ) from error
    grid = Grid(shape[:3], affine)
    if not isinstance(header, MGHHeader):
        notes += _affine_notes(header, grid)
    return header, grid, shape, notes


def _parse(block: bytes, stream: BinaryIO) -> tuple[Any, list[str]]:
    """nibabel's header, whatever the format, and what nibabel repaired in it."""
    first = {int.from_bytes(block[:4], order) for order in ("little", "big")}
    if first & {348, 540} and len(block) < Nifti1Header.template_dtype.itemsize:
        raise DataError("truncated within its header; copy or download it again")
    elif 348 in first and block[344:348] == b"n+1\0":
        kind = Nifti1Header
    elif 540 in first and block[4:8] == b"n+2\0":
        kind = Nifti2Header
    elif block[:4] == b"\0\0\0\1" and len(block) >= MGHHeader._hdrdtype.itemsize:
        header = MGHHeader(block[: MGHHeader._hdrdtype.itemsize], check=True)
        return header, []
    elif first & {348, 540}:
        raise DataError("one half of an .hdr and .img pair; convert the pair to a .nii.gz file")
    else:
        raise DataError("not a NIfTI or MGH file; convert it to a .nii.gz file")
    size = kind.template_dtype.itemsize
    if len(block) < size:
        raise DataError("truncated within its header; copy or download it again")
    fixes = _Fixes()
    header = kind(block[:size], check=False)
    header.check_fix(logger=fixes, error_level=40)
    header = _with_extensions(header, block[size:], stream, fixes)
    return header, list(fixes)


def _with_extensions(header: Any, read: bytes, stream: BinaryIO, notes: list[str]) -> Any:
    """The header with the extensions that stand before the voxels: private notes of other programs.

    nibabel is given their bytes alone, for a damaged length would make it read the file to its end.
    """
    start, end = header.template_dtype.itemsize, header.get_data_offset()
    if not start <= end <= _EXTENSIONS:
        raise DataError(f"its voxels begin at byte {end}, which cannot be; repair the header")
    read += stream.read(max(0, end - start - len(read)))
    if len(read) < 4 or read[:1] == b"\0":
        return header
    block = io.BytesIO(header.binaryblock + read[: end - start])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lengths that are no multiple of 16
            return type(header).from_fileobj(block, endianness=header.endianness, check=False)
    except Exception:  # of as many types as there are kinds of extensions
        notes.append("its header extensions are damaged and were left out")
        return header


class _Fixes(list):
    """Stands in for nibabel's logger, which is told of every check, also of those passed."""

    def log(self, level: int, message: str) -> None:
        if message:
            self.append(f"header repaired: {message}")


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(X, Y, Z) or (X, Y, Z, C) of what the header says."""
    shape = tuple(int(n) for n in shape)
    if len(shape) < 2 or min(shape) < 1:
        raise DataError(f"its header claims the shape {shape}, which holds no volume; repair it")
    space = (shape + (1,))[:3]
    channels = tuple(n for n in shape[3:] if n > 1)
    if len(channels) > 1:
        raise DataError(f"it has {len(shape)} axes {shape}; save its volumes as X Y Z C")
    return space + channels


def _affine_notes(header: Any, grid: Grid) -> list[str]:
    """What had to be decided about where the voxels are."""
    notes = []
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform and qform:
        try:
            other = Grid(grid.shape, header.get_qform())
            if not grid.matches(other, AGREEMENT):
                notes.append(
                    f"sform and qform disagree ({grid.orientation} {_mm(grid)} and "
                    f"{other.orientation} {_mm(other)}): the sform was taken"
                )
        except Exception:  # no rotation, not finite, singular
            notes.append("its qform is damaged: the sform was taken")
    if not sform and not qform:
        notes.append(
            f"neither sform nor qform is set: {grid.orientation} axes and the voxel size were taken"
        )
    unit = _UNITS.get(int(header["xyzt_units"]) & 7)
    if unit:
        notes.append(f"its unit is {unit}: its numbers were taken as mm, as other programs do")
    return notes


def _mm(grid: Grid) -> str:
    return " x ".join(f"{s:.3g}" for s in grid.spacing) + " mm"


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and intercept that turn stored numbers into meant ones."""
    if isinstance(header, MGHHeader):
        return 1.0, 0.0
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"{_first_line(error)}; repair the header's scl_inter") from error
    return (1.0, 0.0) if slope is None else (slope, inter)


def _values(data: np.ndarray, slope: float, inter: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers as the header means them, in this machine's byte order."""
    scaled = (slope, inter) != (1.0, 0.0)
    if data.dtype.kind in "iu" and not scaled:
        return data.astype(data.dtype.newbyteorder("="), copy=False), ()
    if data.dtype == np.float32 and not scaled:
        values = data
    else:
        values = np.empty(data.shape, np.float32, order="F")
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite: see below
            for last in range(data.shape[-1]):  # in float64, without a float64 copy of all
                part = data[..., last]
                values[..., last] = part.astype(np.float64) * slope + inter if scaled else part
    return finite(values)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
