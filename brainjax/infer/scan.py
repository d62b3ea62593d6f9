"""One patient's scan as it comes: a file, a DICOM series, or a folder with a file for each contrast, on one grid."""

import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from brainjax.datasets import brats
from brainjax.files import by_folder, files_below
from brainjax.infer.scan_names import UNKNOWN, contrast_in, contrast_of, take_apart
from brainjax.io import Grid, Volume, read_volume
from brainjax.io.dicom import are_dicom
from brainjax.io.dicom_series import describe
from brainjax.io.files import ENDINGS, stem
from brainjax.io.images import ENDINGS as PICTURES
from brainjax.preprocess.grid import resample
from brainjax.types import DataError

CONTRASTS = brats.INFO.channels  # t1, t1ce, t2, flair
PICTURE = "picture"  # in the place of a contrast: no volume but a single image, see `brainjax.infer.picture`
_NO_SCAN = {
    "seg",
    "mask",
    "label",
    "labels",
    "brainmask",
    "otmulticlass",
    "probability",
    "uncertainty",
}
_OURS = {"tumour", "overlay"}  # names of whole files beside those that an analysis leaves


class MissingContrast(DataError):
    """A scan without the contrast that something needs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """What was measured of one head.

    Attributes:
        name: for titles and the names of files.
        volumes: contrast (`CONTRASTS`, or `UNKNOWN` for a lone scan) -> [X Y Z], all on the grid of the first.
        notes: what had to be decided when it was read.
    """

    name: str
    volumes: dict[str, Volume]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises DataError where there is no volume, or one is not [X Y Z] on the grid of the first."""
        if not self.volumes:
            raise DataError(f"{self.name}: there is no scan in it")
        for contrast, volume in self.volumes.items():
            if volume.data.ndim != 3 or not volume.grid.matches(self.grid):
                raise DataError(
                    f"{self.name}: {contrast} is {volume.data.shape}, not on the grid of the first, {self.grid.shape}; "
                    f"bring both together with brainjax.infer.scan.read_scan"
                )

    @property
    def first(self) -> Volume:
        """The volume whose grid and header the results get."""
        return next(iter(self.volumes.values()))

    @property
    def grid(self) -> Grid:
        """Where the voxels are."""
        return self.first.grid

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        return self.first.spacing

    def prefer(self, *contrasts: str) -> tuple[str, Volume]:
        """The first of `contrasts` that there is, or else whatever comes first; with its name."""
        for contrast in contrasts:
            if contrast in self.volumes:
                return contrast, self.volumes[contrast]
        return next(iter(self.volumes.items()))


def read_scan(
    path: str | pathlib.Path | None = None,
    *,
    contrasts: Mapping[str, str | pathlib.Path] | None = None,
    name: str = "",
) -> Scan:
    """Reads a scan.

    Args:
        path: a volume file; a folder with one scan, that is one volume, a file for each contrast (see `find_scans`), or
            one DICOM series.
        contrasts: instead of `path`, the file of each contrast.
        name: of the scan; otherwise taken from the path.

    Raises:
        DataError: nothing to read, two files of one contrast, several scans, or a file that is damaged.
    """
    if contrasts is None:
        found = find_scans(path)
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:5])
            raise DataError(f"{path}: holds {len(found)} scans ({names}); name one of them")
        name, contrasts = name or found[0].name, found[0].contrasts
    if PICTURE in contrasts:
        raise DataError(
            f"{contrasts[PICTURE]}: is a picture and no volume; give it to Pipeline.picture"
        )
    volumes, notes = {}, []
    for contrast, file in contrasts.items():
        volume = _single(read_volume(file), file)
        notes += [f"{contrast}: {note}" for note in volume.notes]
        if volumes:
            grid = next(iter(volumes.values())).grid
            if not volume.grid.matches(grid):
                notes.append(f"{contrast} was resampled to the grid of {next(iter(volumes))}")
                volume = resample(volume, grid)
        volumes[contrast] = volume
    first = pathlib.Path(next(iter(contrasts.values())))
    return Scan(name or stem(first) or first.name, volumes, tuple(notes))


class Files(NamedTuple):
    """A scan that has not been read yet.

    Attributes:
        name: of the scan.
        contrasts: contrast -> its file, or the folder of its DICOM series; `PICTURE` -> the file of a picture.
    """

    name: str
    contrasts: dict[str, pathlib.Path]

    @property
    def first(self) -> pathlib.Path:
        """The file or folder whose grid the results get."""
        return next(iter(self.contrasts.values()))


def find_scans(
    path: str | pathlib.Path,
    *,
    without: Iterable[str | pathlib.Path] = (),
    failed: list[str] | None = None,
) -> list[Files]:
    """The scans at a place, in order of their paths; no file is opened but those of DICOM series.

    Files of one folder whose names differ in a word for a contrast at either end are one scan: `t1`, `t1n` or `T1w`,
    `t1ce`, `t1c`, `t1gd` or `t1_post`, `t2` or `t2w`, `flair` or `t2f`. Any other file is one by itself; masks and labels
    are none. Folders with DICOM files are series, and those of one examination whose contrasts are known are one scan.
    A tree without any of these is searched for pictures. Links to folders are followed.

    Args:
        path: a file, or a folder.
        without: folders that are not searched, such as that of the results.
        failed: takes the errors of single folders, the rest of the tree being searched all the same.

    Raises:
        DataError: no such path, no scan there; or, without `failed`, a second file of a contrast.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if path.is_file():
        if path.suffix.lower() in PICTURES:
            return [Files(path.stem, {PICTURE: path})]
        return [Files(stem(path) or path.name, {contrast_of(path): path})]
    errors: list[str] = []
    files = files_below(path, without=without)
    folders = by_folder(files)
    volumes = {d: [f for f in inside if is_scan(f)] for d, inside in folders.items()}
    found = [one for d, inside in volumes.items() for one in _in_folder(d, inside, errors)]
    # A folder with volumes may hold the series that they were made from.
    found += _of_series(
        [d for d, inside in folders.items() if not volumes[d] and are_dicom(inside)]
    )
    if errors and failed is None:
        raise DataError(errors[0])
    if not found and not errors:
        pictures = [p for p in files if p.suffix.lower() in PICTURES and p.stem not in _OURS]
        found = [Files(p.stem, {PICTURE: p}) for p in pictures]
    if not found and not errors:
        raise DataError(
            f"{path}: holds no scan: no {', '.join(ENDINGS)}, no DICOM files and no {', '.join(PICTURES)}"
        )
    if failed is not None:
        failed += errors
    return sorted(found, key=lambda one: min(one.contrasts.values()))


def of_files(paths: Sequence[str | pathlib.Path], failed: list[str]) -> list[Files]:
    """The scans that single files make up, those of one folder together as `find_scans` takes them.

    Args:
        paths: of files. Several of one folder are taken as that folder would be, without its masks; one alone is a scan
            whatever it is called.
        failed: takes the errors of single folders.

    Raises:
        DataError: a path does not exist.
    """
    found = []
    for folder, files in by_folder(map(pathlib.Path, paths)).items():
        volumes = [f for f in files if is_scan(f)]
        if len(volumes) > 1:
            found += _in_folder(folder, volumes, failed)
        if volumes:
            files = [f for f in files if not stem(f)] + (volumes if len(volumes) == 1 else [])
        found += [one for f in files for one in find_scans(f)]
    return found


def is_scan(path: str | pathlib.Path) -> bool:
    """Whether a file is a volume, and its name calls it none of a mask, labels and what an analysis leaves."""
    name = stem(path)
    words = set(re.split(r"[-_. ]", name.lower()))
    return bool(name) and name not in _OURS and not words & _NO_SCAN


def _in_folder(
    folder: pathlib.Path, files: Sequence[pathlib.Path], errors: list[str]
) -> list[Files]:
    """The scans of one folder; two files of one contrast are an error, and none of that scan is taken."""
    groups: dict[tuple[str, ...], dict[str, pathlib.Path]] = {}
    alone, doubled = [], set()
    for file in files:
        contrast, rest, _ = take_apart(file)
        if contrast == UNKNOWN:
            alone.append(Files(stem(file), {UNKNOWN: file}))
            continue
        group = groups.setdefault(rest, {})
        if contrast in group:
            doubled.add(rest)
            errors.append(
                f"{file}: is a second {contrast} beside {group[contrast].name}; keep one of the two in the folder"
            )
        group.setdefault(contrast, file)
    made = []
    for rest, group in groups.items():
        if rest in doubled:
            continue
        ordered = {c: group[c] for c in CONTRASTS if c in group}
        only = len(groups) == 1 and not alone and len(ordered) > 1
        first = next(iter(ordered.values()))
        # A lone file's whole name; of several, what the first's is without its contrast.
        shared = take_apart(first).shown if len(ordered) > 1 else ""
        made.append(
            Files(folder.resolve().name if only else shared or stem(first) or first.name, ordered)
        )
    return made + alone


def _of_series(folders: Sequence[pathlib.Path]) -> list[Files]:
    """Folders of one DICOM series each as scans, those of one examination together where their contrasts are known.

    The scanner's own name of the series tells the contrast, else the folder's. Of several series of a contrast the first
    is the examination's; the others are scans by themselves.
    """
    studies: dict[tuple[pathlib.Path, str], dict[str, pathlib.Path]] = {}
    alone = []
    for folder in sorted(folders):
        study, description = describe(folder)
        contrast, name = contrast_in(description), folder.resolve().name
        if contrast == UNKNOWN:
            contrast = contrast_in(name)
        group = studies.setdefault((folder.parent, study), {})
        if not study or contrast == UNKNOWN or contrast in group:
            alone.append(Files(name, {contrast: folder}))
        else:
            group[contrast] = folder
    made = []
    for (parent, _), group in studies.items():
        ordered = {c: group[c] for c in CONTRASTS if c in group}
        if ordered:
            first = parent if len(ordered) > 1 else next(iter(ordered.values()))
            made.append(Files(first.resolve().name, ordered))
    return made + alone


def _single(volume: Volume, file: str | pathlib.Path) -> Volume:
    if volume.data.ndim == 3:
        return volume
    count = volume.data.shape[3]
    raise DataError(
        f"{file}: holds {count} volumes in one file; split it into a file for each contrast, such as case_t1.nii.gz"
    )
