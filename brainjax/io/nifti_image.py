"""A volume as nibabel's image: the header it came with, made true for what it is now."""

from typing import Any

import numpy as np
from nibabel.freesurfer.mghformat import MGHError, MGHImage
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image

from brainjax.io.volume import Grid, Volume
from brainjax.types import DataError

_LONGEST = 32767  # voxels along an axis of NIfTI-1
_ALIGNED = 2  # NIfTI's code of an affine whose world is not known to be the scanner's
_SAME = 1e-3  # voxels between two grids that are one


def to_nifti(volume: Volume) -> Nifti1Image | Nifti2Image:
    """A NIfTI image: NIfTI-2 if the header is, or an axis too long for NIfTI-1.

    What the header says of the scan stays: codes, units, description, and on the grid it describes sform, qform and
    the extensions too, bit for bit. Scaling is reset; the display range stays where the data reaches it.

    Args:
        volume: booleans become uint8, floats float32, 64-bit integers int32 where they fit.
    """
    data = storable(volume.data)
    long = isinstance(volume.header, Nifti2Header) or max(data.shape) > _LONGEST
    kind = Nifti2Image if long else Nifti1Image
    if isinstance(volume.header, kind.header_class):
        header = volume.header.copy()
        _set_grid(header, volume.grid)
    else:
        header = kind.header_class()
        header.set_xyzt_units("mm")
        place(header, volume.grid, _ALIGNED)
    if tuple(header.get_data_shape()) != data.shape:
        header.set_data_shape(data.shape)
        header.set_intent("none")  # which tells what further axes are
    header.set_data_dtype(data.dtype)
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 0  # for nibabel to put right behind the extensions
    _set_display(header, data)
    return kind(data, header.get_best_affine(), header)


def to_mgh(volume: Volume) -> MGHImage:
    """FreeSurfer's image.

    Raises:
        DataError: a type of number that the format lacks.
    """
    header = volume.header if isinstance(volume.header, MGHImage.header_class) else None
    data = storable(volume.data)
    try:
        image = MGHImage(data, volume.affine, header)
        image.set_data_dtype(data.dtype)
    except MGHError as error:
        raise DataError(f"the MGH format has no {data.dtype}; write a .nii.gz file") from error
    return image


def storable(data: np.ndarray) -> np.ndarray:
    """The same numbers in a type that other programs read."""
    if data.dtype == bool:
        return data.view(np.uint8)
    if data.dtype.kind == "f":
        return data.astype(np.float32, copy=False)
    if data.dtype.itemsize == 8:
        fits = np.iinfo(np.int32)
        if fits.min <= data.min() and data.max() <= fits.max:
            return data.astype(np.int32)
    return data


def _set_grid(header: Nifti1Header, grid: Grid) -> None:
    """Leaves the header's own affines alone if they still hold."""
    shape = (*header.get_data_shape(), 1)[:3]
    if Grid(shape, header.get_best_affine()).matches(grid, _SAME):
        return
    header.extensions.clear()  # some hold affines of their own
    code = int(header["sform_code"]) or int(header["qform_code"]) or _ALIGNED
    header.set_data_shape(grid.shape)
    place(header, grid, code)


def place(header: Nifti1Header, grid: Grid, code: int) -> None:
    """Both affines of a header; no qform where the axes are not at right angles, for it cannot say so."""
    header.set_data_shape(grid.shape)
    header.set_sform(grid.affine, code)
    header.set_qform(grid.affine, code, strip_shears=True)
    if not Grid(grid.shape, header.get_qform()).matches(grid):
        header.set_qform(None, 0)


def _set_display(header: Any, data: np.ndarray) -> None:
    """Viewers take `cal_min` and `cal_max` for black and white; both 0 lets them choose."""
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if not data.min() <= low < high <= data.max():
        header["cal_min"] = header["cal_max"] = 0
