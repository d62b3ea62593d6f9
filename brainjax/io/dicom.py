"""A folder with the DICOM files of a series, as one volume. Needs the extra `dicom`.

Standard: DICOM PS3.3, C.7.6.2 (image plane) and C.7.6.16 (functional groups of multi-frame images).
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header

from brainjax.io.nifti import MAX_VALUES
from brainjax.io.nifti_image import place
from brainjax.io.volume import Grid, Volume, finite
from brainjax.types import ConfigError, DataError

UNEVEN = 0.05  # of the distance between slices; positions are written with a few digits only
ENDINGS = (".dcm", ".ima", ".dicom")  # by which a file that is no DICOM should have been one
_LOOKS = 8  # files of a folder that are opened to see whether they are DICOM: a README or LICENSE may come first
_SCANNER = 1  # NIfTI's code of an affine in the scanner's world
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's world is LPS+


@dataclasses.dataclass(frozen=True)
class _Frame:
    """One slice, its pixels still in the file.

    Attributes:
        path, index: the file, and which of its frames.
        position: [3] mm, centre of the first pixel, LPS+.
        axes: [2 3], directions of rising column number and of rising row number.
        pixel: (mm between columns, mm between rows).
        shape: (columns, rows).
        scaling: slope and intercept.
        thickness: mm, for a slice that has no neighbour.
    """

    path: pathlib.Path
    index: int
    position: np.ndarray
    axes: np.ndarray
    pixel: tuple[float, float]
    shape: tuple[int, int]
    scaling: tuple[float, float]
    thickness: float


def read_dicom(folder: str | os.PathLike, series: str | None = None) -> Volume:
    """Reads the one series in a folder, or one of several.

    Slices are ordered by where they are, not by name or number. Files that are no DICOM images are passed over,
    folders within are not looked into.

    Args:
        folder: with a file a slice, or one multi-frame file.
        series: number, description or UID of the series to take; None where there is but one.

    Returns:
        [X Y Z]: X along a slice's columns, Y along its rows, Z from slice to slice; the stored integers if nothing
        rescales them, else float32; negatives (MONOCHROME1) are inverted, and a note says so. The header is a NIfTI
        one, to write results with.

    Raises:
        ConfigError: pydicom is not installed.
        DataError: no series or several; a slice missing, double or at another angle; colours, a palette's too;
            pixels that cannot be decoded; tags missing that tell where slices are.
    """
    with _naming(folder) as path:
        frames = _order(_frames(_choose(path, _images(path), series)))
        grid = _grid(frames)
        data, notes = _pixels(frames, grid.shape)
    header = Nifti1Header()
    header.set_xyzt_units("mm")
    place(header, grid, _SCANNER)
    return Volume(data, grid.affine, header, notes)


def are_dicom(files: Sequence[pathlib.Path]) -> bool:
    """Whether files of one folder are DICOM: one says so by its ending, or one of the first by its content."""
    shown = [file for file in files if not file.name.startswith(".")]
    return any(file.suffix.lower() in ENDINGS for file in shown) or any(
        map(_begins_as_dicom, shown[:_LOOKS])
    )


def _begins_as_dicom(file: pathlib.Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:  # what cannot be opened tells nothing, and need not end a search
        return False


def slices_of(folder: str | os.PathLike, series: str | None = None) -> list[tuple[Any, int]]:
    """Of every slice that `read_dicom` gives, in its order: the tags of its file without pixels, one object for one
    file, and the frame in it from 0. Raises as it does."""
    with _naming(folder) as path:
        images = _choose(path, _images(path), series)
        tags = dict(images)
        return [(tags[frame.path], frame.index) for frame in _order(_frames(images))]


@contextlib.contextmanager
def _naming(folder: str | os.PathLike) -> Iterator[pathlib.Path]:
    """The folder, which errors within are about."""
    path = pathlib.Path(folder)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; check the path")
    try:
        yield path
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise ConfigError(
            "DICOM needs a package more: pip install 'brainjax[dicom]', or convert the series to .nii.gz"
        ) from error
    return pydicom


def _images(folder: pathlib.Path) -> list[tuple[pathlib.Path, Any]]:
    """Files that hold pixels, with their tags."""
    pydicom = _pydicom()
    found = []
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        try:
            tags = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError as error:
            if path.suffix.lower() in ENDINGS or not path.stat().st_size:
                raise DataError(f"{path.name} is damaged or empty; copy it again") from error
            continue
        except Exception as error:  # damaged files raise half a dozen types
            raise DataError(f"{path.name} is damaged ({error}); copy it again") from error
        if "Rows" in tags and "Columns" in tags:
            found.append((path, tags))
        elif not _is_something_else(tags):
            raise DataError(f"{path.name} is truncated; copy it again")
    if not found:
        inner = [p.name for p in folder.iterdir() if p.is_dir()][:5]
        hint = f"; give one of the folders within: {', '.join(sorted(inner))}" if inner else ""
        raise DataError(f"holds no DICOM images{hint or '; give the folder of a series'}")
    return found


def _is_something_else(tags: Any) -> bool:
    """A directory, report or the like; no image whose end is missing, which pydicom does not mind."""
    kind = tags.get("SOPClassUID")
    known = kind is not None and kind.is_valid and (kind.is_private or kind.name != kind)
    return "DirectoryRecordSequence" in tags or (known and "Image Storage" not in kind.name)


def _choose(
    folder: pathlib.Path, images: list[tuple[pathlib.Path, Any]], wanted: str | None
) -> list[tuple[pathlib.Path, Any]]:
    """The images of one series."""
    by_series: dict[str, list[tuple[pathlib.Path, Any]]] = {}
    for path, tags in images:
        by_series.setdefault(str(tags.get("SeriesInstanceUID", "")), []).append((path, tags))

    def names(uid: str) -> tuple[str, str, str]:
        tags = by_series[uid][0][1]
        return str(tags.get("SeriesNumber", "")), str(tags.get("SeriesDescription", "")), uid

    chosen = [uid for uid in by_series if wanted is None or str(wanted) in names(uid)]
    if len(chosen) == 1:
        return by_series[chosen[0]]
    listed = "; ".join(
        f"{number or uid} {description!r} ({len(by_series[uid])} files)"
        for number, description, uid in sorted(names(uid) for uid in by_series)
    )
    if wanted is not None:
        raise DataError(f"{len(chosen)} series are called {wanted!r}; there are: {listed}")
    raise DataError(
        f"holds {len(chosen)} series: {listed}; put each in a folder of its own, or choose one in Python with "
        "brainjax.io.dicom.read_dicom(folder, series=NUMBER)"
    )


def _frames(images: list[tuple[pathlib.Path, Any]]) -> list[_Frame]:
    frames = []
    for path, tags in images:
        try:
            frames.extend(_frames_of(path, tags))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path.name} does not tell where its slices are ({error}); export the original series"
            ) from error
    return frames


def _frames_of(path: pathlib.Path, tags: Any) -> Iterator[_Frame]:
    """One slice of a plain file; all of a multi-frame one."""
    if int(tags.get("SamplesPerPixel", 1)) != 1:
        raise DataError(f"{path.name} is a colour image; give a grey series")
    if tags.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise DataError(
            f"{path.name} holds numbers of a palette's colours; give the grey series it was made from"
        )
    if "MOSAIC" in tags.get("ImageType", ()):
        raise DataError(f"{path.name} is a mosaic of slices; convert the series with dcm2niix")
    shape = int(tags.Columns), int(tags.Rows)
    if "PerFrameFunctionalGroupsSequence" not in tags:
        if int(tags.get("NumberOfFrames", 1)) != 1:
            raise DataError(
                f"{path.name} holds frames without positions; convert the series with dcm2niix"
            )
        yield _frame(path, 0, shape, tags, tags, tags, tags)
        return
    shared = tags.SharedFunctionalGroupsSequence[0]
    for index, own in enumerate(tags.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            return (own if name in own else shared)[name][0]

        scaling = {}
        if any("PixelValueTransformationSequence" in part for part in (own, shared)):
            scaling = group("PixelValueTransformationSequence")
        position, angle = group("PlanePositionSequence"), group("PlaneOrientationSequence")
        yield _frame(path, index, shape, position, angle, group("PixelMeasuresSequence"), scaling)


def _frame(
    path: pathlib.Path,
    index: int,
    shape: tuple[int, int],
    position: Any,
    angle: Any,
    measures: Any,
    scaling: Any,
) -> _Frame:
    """A slice from the groups of tags that say where it is; those of a plain file are all one."""
    rows, columns = (float(x) for x in measures.PixelSpacing)  # between rows first
    thickness = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 1.0
    frame = _Frame(
        path,
        index,
        position=np.array(position.ImagePositionPatient, np.float64).reshape(3),
        axes=np.array(angle.ImageOrientationPatient, np.float64).reshape(2, 3),
        pixel=(columns, rows),
        shape=shape,
        scaling=(
            float(scaling.get("RescaleSlope") or 1.0),
            float(scaling.get("RescaleIntercept") or 0.0),
        ),
        thickness=abs(float(thickness)),
    )
    numbers = [*frame.position, *frame.axes.ravel(), *frame.pixel, *frame.scaling, frame.thickness]
    if not np.isfinite(numbers).all():
        raise DataError(f"{path.name} has a position that is not finite; export it again")
    return frame


def _order(frames: Sequence[_Frame]) -> list[_Frame]:
    """Along the normal of the slices, once it is sure that they are one stack."""
    first = frames[0]
    for frame in frames:
        if frame.shape != first.shape or not np.allclose(frame.pixel, first.pixel, rtol=1e-3):
            raise DataError(
                f"{frame.path.name} has other pixels than {first.path.name}; "
                "give each series its own folder"
            )
        if not np.allclose(frame.axes, first.axes, atol=1e-3):
            raise DataError(
                f"{frame.path.name} lies at another angle than {first.path.name}, as in a localizer; "
                "give a series of parallel slices"
            )
    normal = np.cross(*first.axes)
    ordered = sorted(frames, key=lambda frame: float(frame.position @ normal))
    if len(ordered) == 1:
        return ordered
    position = np.stack([frame.position for frame in ordered])
    steps = np.diff(position @ normal)
    usual = float(np.median(steps))
    double = int((steps < max(UNEVEN * usual, 1e-3)).sum())
    if double:
        raise DataError(
            f"{double} slices lie where another one does (echoes, time points, directions); "
            "give each volume its own folder"
        )
    line = np.linspace(position[0], position[-1], len(ordered))
    if np.abs(steps - usual).max() > UNEVEN * usual or np.abs(position - line).max() > usual / 4:
        at = int(np.abs(steps - usual).argmax())
        raise DataError(
            f"slices are missing or unevenly spaced: {steps[at]:.4g} mm instead of {usual:.4g} mm after "
            f"{ordered[at].path.name}; copy the whole series"
        )
    return ordered


def _grid(frames: Sequence[_Frame]) -> Grid:
    first, last = frames[0], frames[-1]
    shape = (*first.shape, len(frames))
    if np.prod(shape, dtype=np.float64) > MAX_VALUES:
        raise DataError(f"{' x '.join(map(str, shape))} voxels are more than {MAX_VALUES}; crop it")
    affine = np.eye(4)
    affine[:3, :2] = first.axes.T * first.pixel
    if len(frames) > 1:
        # Not the normal: with a tilted gantry slices are shifted against each other.
        affine[:3, 2] = (last.position - first.position) / (len(frames) - 1)
    else:
        affine[:3, 2] = np.cross(*first.axes) * first.thickness
    affine[:3, 3] = first.position
    return Grid(shape, _TO_RAS @ affine)


def _pixels(
    frames: Sequence[_Frame], shape: tuple[int, int, int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """[X Y Z]; each file is decoded once."""
    scaled = any(frame.scaling != (1.0, 0.0) for frame in frames)
    files: dict[pathlib.Path, list[int]] = {}
    for z, frame in enumerate(frames):
        files.setdefault(frame.path, []).append(z)
    data, inverted = None, 0
    for path, slices in files.items():
        stored, is_negative = _decode(path)
        inverted += len(slices) if is_negative else 0
        if stored.ndim == 2:
            stored = stored[None]
        if data is None:
            kind = np.float32 if scaled or stored.dtype.kind == "f" else stored.dtype
            data, first = np.empty(shape, kind, order="F"), stored.dtype
        if stored.dtype != first:
            raise DataError(f"{path.name} stores {stored.dtype}, others {first}; export it again")
        for z in slices:
            slope, inter = frames[z].scaling
            pixels = stored[frames[z].index].T
            data[..., z] = pixels * slope + inter if scaled else pixels
    notes = (f"{inverted} slices are stored as negatives (MONOCHROME1): they were inverted",)
    notes = notes if inverted else ()
    if data.dtype.kind == "f":
        data, found = finite(data)
        notes += found
    return data, notes


def _decode(path: pathlib.Path) -> tuple[np.ndarray, bool]:
    """The stored numbers, bright where white is shown; and whether the file has them the other way round."""
    try:
        tags = _pydicom().dcmread(path)
        stored = tags.pixel_array
        if tags.get("PhotometricInterpretation") != "MONOCHROME1":
            return stored, False
        if stored.dtype.kind == "f":
            return -stored, True
        # What the least and the greatest number add up to; the same type holds the result.
        ends = -1 if stored.dtype.kind == "i" else 2 ** int(tags.BitsStored) - 1
        return stored.dtype.type(ends) - stored, True
    except Exception as error:  # of pydicom and of every decoder it may call
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{path.name} cannot be decoded ({reason}); install pylibjpeg[all], or copy the file again"
        ) from error
