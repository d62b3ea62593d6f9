"""One patient's scan as it comes: a file, a DICOM series, or a folder with a file for each contrast, on one grid."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping

from brainjax.datasets import brats
from brainjax.datasets.volumes import ENDINGS, stem
from brainjax.io import Grid, Volume, read_volume
from brainjax.preprocess.grid import resample
from brainjax.types import DataError

CONTRASTS = brats.INFO.channels  # t1, t1ce, t2, flair
UNKNOWN = "unknown"  # contrast of a lone scan whose name does not say
_KNOWN = {word: contrast for contrast in CONTRASTS for word in brats.WORDS[contrast]}
_NO_SCAN = ("seg", "mask", "label", "labels", "brainmask", "otmulticlass")


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
        path: a volume file; a folder with a file for each contrast, known by a word at either end of its name (`t1`,
            `t1n`, `t1ce`, `t1c`, `t1gd`, `t2`, `t2w`, `flair`, `t2f`), or with one volume; or of one DICOM series.
        contrasts: instead of `path`, the file of each contrast.
        name: of the scan; otherwise taken from the path.

    Raises:
        DataError: nothing to read, two files of one contrast, or a file that is damaged.
    """
    if contrasts is None:
        path = pathlib.Path(path)
        name = name or (path.resolve().name if path.is_dir() else stem(path))
        contrasts = _contrasts(path)
    else:
        first = pathlib.Path(next(iter(contrasts.values())))
        name = name or stem(first)
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
    return Scan(name, volumes, tuple(notes))


def contrast_of(path: str | pathlib.Path) -> str:
    """The contrast that a file's name tells by its last or first word, else `UNKNOWN`."""
    words = re.split(r"[-_. ]", stem(pathlib.Path(path)).lower())
    return _KNOWN.get(words[-1]) or _KNOWN.get(words[0], UNKNOWN)


def _contrasts(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Contrast -> file, or DICOM folder."""
    if not path.is_dir():
        return {contrast_of(path): path}
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(ENDINGS) and p.is_file())
    files = [p for p in files if not set(re.split(r"[-_. ]", stem(p).lower())) & set(_NO_SCAN)]
    if not files:
        return {UNKNOWN: path}  # a DICOM series, or read_volume says what is wrong
    if len(files) == 1:
        return {contrast_of(files[0]): files[0]}
    found: dict[str, pathlib.Path] = {}
    for file in files:
        contrast = contrast_of(file)
        if contrast == UNKNOWN:
            raise DataError(
                f"{file}: its name does not say which contrast it is; end it in _t1, _t1ce, _t2 or _flair, or move it away"
            )
        if contrast in found:
            raise DataError(
                f"{file}: is a second {contrast} beside {found[contrast].name}; keep one of the two in the folder"
            )
        found[contrast] = file
    return {contrast: found[contrast] for contrast in CONTRASTS if contrast in found}


def _single(volume: Volume, file: str | pathlib.Path) -> Volume:
    if volume.data.ndim == 3:
        return volume
    count = volume.data.shape[3]
    raise DataError(
        f"{file}: holds {count} volumes in one file; split it into a file for each contrast, such as case_t1.nii.gz"
    )
