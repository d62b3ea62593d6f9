"""What the datasets of whole volumes share: cases read in parallel, turned to RAS+, cropped to the head, padded alike.

A dataset of volumes says which files make a case and what its labels mean (`brats.py`, `nfbs.py`, `image_pairs.py`).
"""

import collections
import concurrent.futures
import dataclasses
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from brainjax.datasets import verify
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.datasets.half import storable
from brainjax.io import Grid, Volume, read_volume
from brainjax.preprocess.box import Box, bounding_box
from brainjax.preprocess.conform import Undo, conform
from brainjax.preprocess.reach import within_reach
from brainjax.types import ConfigError, DataError

_MULTIPLE = 8  # of the edges of a dataset's common grid
_APART = 0.05  # share by which the voxel sizes of two cases may differ


@dataclasses.dataclass(frozen=True)
class Case:
    """The files of one scan session.

    Attributes:
        name: of the session; no two have the same.
        patient: whose it is.
        images: a path a channel, in the order of the channels.
        truth: path of the labels, '' where there are none.
    """

    name: str
    patient: str
    images: tuple[str, ...]
    truth: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A case as it is trained on.

    Attributes:
        image: [x y z C] float16, RAS+, cropped; each channel in a unit that float16 holds (`brainjax.datasets.half`).
        mask: [x y z K] uint8 in {0, 1}.
        air: [C], what surrounds the head.
        spacing: of its voxels in mm.
        box: what part of the resampled scan it is.
        undo: from the resampled scan to the grid of the file.
        notes: what the readers had to decide.
    """

    image: np.ndarray
    mask: np.ndarray
    air: np.ndarray
    spacing: tuple[float, float, float]
    box: Box
    undo: Undo
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> "Size":
        """What remains when the voxels are given up."""
        return Size(self.image.shape[:3], self.spacing, self.notes)

    def native(self, mask: np.ndarray) -> Volume:
        """[x y z] or [x y z K] bool on the grid of the case's first file, with its header; uint8."""
        whole = self.box.paste(mask.astype(np.float32))
        found = self.undo.volume(whole)
        return found.with_data((found.data >= 0.5).astype(np.uint8))


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a case is: shape and `spacing` as of `Loaded`."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """What is needed of a dataset to read its cases."""

    info: DatasetInfo
    spacing: float | tuple[float, ...]

    def regions(self, label: np.ndarray) -> np.ndarray:
        """[X Y Z] -> [X Y Z K] bool."""


@dataclasses.dataclass(frozen=True)
class VolumeFolder:
    """A folder of volumes. The subclasses say what is in it: `find` and `regions`.

    Attributes:
        dir: the folder as downloaded, or what `experiments.prepare` made of it.
        spacing: mm to which every case is resampled, one for all axes or three along RAS+; 0.0 keeps the files' own,
            which must then be alike.
        labelled: off, cases without truth are taken too, with an empty mask: to predict, never to train or score.
        skip_bad: leave bad cases out, instead of refusing to start.
        in_memory: hold all volumes in memory; off, a prepared folder's are read from disk as batches ask for them, and
            the masks alone are held.
    """

    dir: str
    spacing: float | tuple[float, float, float] = 0.0
    labelled: bool = True
    skip_bad: bool = False
    in_memory: bool = True

    INFO: ClassVar[DatasetInfo]

    @property
    def info(self) -> DatasetInfo:
        """Channels and classes under these options."""
        return self.INFO

    def find(self) -> tuple[list[Case], list[verify.Problem]]:
        """The complete cases, and everything that does not make one; no file is opened.

        Raises:
            DataError: there is no such folder, or nothing in it that looks like this dataset.
        """
        raise NotImplementedError

    def regions(self, label: np.ndarray) -> np.ndarray:
        """Masks of the classes.

        Args:
            label: [X Y Z], as in the file.

        Returns:
            [X Y Z K] bool.

        Raises:
            DataError: it holds what is no label of this dataset.
        """
        raise NotImplementedError

    def load(self) -> ArrayDataset:
        """All cases in memory; what the readers noted is logged.

        Raises:
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        dataset, report = self.read()
        for line in report.lines():
            logging.getLogger(__name__).warning("%s", line)
        return dataset

    def read(self) -> tuple[ArrayDataset, verify.Report]:
        """All cases in memory on one grid, and what was found out about the files.

        Returns:
            image [N X Y Z C] float16 and mask [N X Y Z K] uint8; axes RAS+, each case in the middle, air around it.

        Raises:
            DataError: the folder has bad files and `skip_bad` is off; the message lists them all.
        """
        if (pathlib.Path(self.dir).expanduser() / prepared_name(self.INFO)).is_dir():
            return self._read_prepared(), verify.Report()
        if not self.in_memory:
            raise ConfigError(
                f"{self.dir} is read from disk only once prepared: python -m experiments.prepare "
                f"--dataset={type(self).__name__} --data_dir={self.dir} --output=PREPARED, then "
                f"--config.data.dir=PREPARED"
            )
        cases, loaded, report = self.survey(keep=True)
        shape, spacing = common(loaded)
        info = dataclasses.replace(self.info, spacing_mm=spacing)
        image = np.empty((len(cases), *shape, len(info.channels)), np.float16)
        mask = np.empty((len(cases), *shape, len(info.classes)), np.uint8)
        for row in range(len(cases)):
            # Given up at once, so that the set is in memory once and not twice.
            one, loaded[row] = loaded[row], None
            image[row], mask[row] = padded(one, shape)
        groups, group = np.unique([case.patient for case in cases], return_inverse=True)
        numbers = np.array(positions(cases), np.int32)
        dataset = ArrayDataset(
            info, image, mask, group.astype(np.int32), numbers, tuple(groups.tolist())
        )
        return dataset, report

    def _read_prepared(self) -> ArrayDataset:
        """What `experiments.prepare` wrote; its files were verified then."""
        from brainjax.data import from_records
        from brainjax.datasets import volumes_builder  # loads tensorflow_datasets

        records = volumes_builder.data_source(type(self).__name__, self.dir)
        spacing = tuple(np.round(records[0]["spacing"].astype(np.float64), 4).tolist())
        if self.spacing and not _alike(self.spacing, spacing):
            asked = ",".join(f"{s:g}" for s in np.atleast_1d(self.spacing))
            raise ConfigError(
                f"{self.dir} was prepared with voxels of {spacing} mm; prepare it again with --spacing={asked}"
            )
        count = records[0]["mask"].shape[-1]
        if count != len(self.info.classes):
            raise ConfigError(
                f"{self.dir} was prepared with {count} classes, the options ask for {', '.join(self.info.classes)}; "
                f"prepare it again with the same --labels"
            )
        stored = dataclasses.replace(self.INFO, classes=self.info.classes, spacing_mm=spacing)
        dataset = from_records(records, stored, self.info.channels)
        if not self.in_memory:
            return dataset
        return dataclasses.replace(dataset, image=np.asarray(dataset.image))

    def survey(self, *, keep: bool) -> tuple[list[Case], list[Any], verify.Report]:
        """Reads every case, and so finds all that is wrong.

        Args:
            keep: return what was read, `Loaded`; else its `Size` alone, in bounded memory.

        Returns:
            The cases that can be used, ordered by (patient, name), what was read of each, and the report.

        Raises:
            DataError: as `read`.
        """
        cases, problems = self.find()
        if self.labelled:
            problems += [_untold(case) for case in cases if not case.truth]
            cases = [case for case in cases if case.truth]
        cases = sorted(cases, key=lambda case: (case.patient, case.name))

        def attempt(case: Case) -> Any:
            try:
                loaded = read_case(self, case)
            except CaseError as error:
                return error.problems
            return loaded if keep else loaded.size

        threads = min(4, os.cpu_count() or 1)  # gzip runs outside the interpreter lock
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(attempt, cases))
        problems += [p for one in found if isinstance(one, tuple) for p in one]
        pairs = [(c, x) for c, x in zip(cases, found, strict=True) if not isinstance(x, tuple)]
        usual = _usual_spacing([x for _, x in pairs])
        odd = [(c, x) for c, x in pairs if not _alike(x.spacing, usual)]
        problems += [_odd_spacing(case, one, usual) for case, one in odd]
        pairs = [(c, x) for c, x in pairs if _alike(x.spacing, usual)]
        verify.settle(self.dir, problems, good=len(pairs), skip_bad=self.skip_bad)
        notes = tuple(f"{c.name}: {note}" for c, x in pairs for note in x.notes)
        report = verify.Report(tuple(problems), missing=notes)
        return [c for c, _ in pairs], [x for _, x in pairs], report


def read_case(reader: Reader, case: Case) -> Loaded:
    """Reads one case.

    Raises:
        CaseError: a file cannot be read, holds no structure or lies on another grid; one line a problem.
    """
    problems: list[verify.Problem] = []
    grid: Grid | None = None
    stack: list[np.ndarray] = []
    notes: list[str] = []
    header = None
    for path in filter(None, (*case.images, case.truth)):
        try:
            volume = read_volume(path)
        except DataError as error:
            problems.append(verify.problem_of(path, error))
            continue
        grid, header = grid or volume.grid, header or volume.header
        found = _volume_problems(path, volume, grid, is_truth=path == case.truth)
        problems += found
        notes += volume.notes
        if not found:
            stack.append(volume.data.reshape(volume.data.shape[:3]))
    masks = None
    if not problems and case.truth:
        try:
            masks = reader.regions(stack.pop())
        except DataError as error:
            problems.append(verify.problem_of(case.truth, error))
    if problems:
        raise CaseError(problems)
    if masks is None:
        masks = np.zeros((*grid.shape, len(reader.info.classes)), bool)
    image = np.stack([within_reach(x) for x in stack], -1)
    # Without resampling, voxels are but turned: nothing is interpolated, and a mask stays a mask.
    spacing, order = reader.spacing or None, 1 if reader.spacing else 0
    # What resampling puts beyond the scan is 0, and is to be air.
    level = air(image) if reader.spacing else np.zeros(len(stack), np.float32)
    image -= level
    try:
        working, undo = conform(Volume(image, grid.affine, header), spacing, 1, order=order)
    except DataError as error:
        raise CaseError([verify.problem_of(case.images[0], error)]) from error
    shares = masks.astype(np.float32 if reader.spacing else np.uint8)
    # Around the head there is one number; asked of it before float16 could make two numbers one.
    head = (working.data != working.data[0, 0, 0]).any(-1)
    channels = np.moveaxis(working.data, -1, 0)
    image = np.stack([storable(x + a) for x, a in zip(channels, level, strict=True)], -1)
    mask = (conform(Volume(shares, grid.affine), spacing, 1, order=order)[0].data >= 0.5).astype(
        np.uint8
    )
    box = bounding_box(head | mask.any(-1))
    return Loaded(
        image=np.ascontiguousarray(box.cut(image), np.float16),
        mask=np.ascontiguousarray(box.cut(mask)),
        air=air(image),
        spacing=working.spacing,
        box=box,
        undo=undo,
        notes=tuple(dict.fromkeys(notes)),
    )


def common(read: Sequence[Loaded | Size]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The grid that all cases fit into, in multiples of 8, and their median voxel size in mm."""
    sizes = [x.size if isinstance(x, Loaded) else x for x in read]
    largest = np.array([x.shape for x in sizes]).max(0)
    spacing = np.median([x.spacing for x in sizes], axis=0)
    return tuple((-(-largest // _MULTIPLE) * _MULTIPLE).tolist()), tuple(spacing.round(4).tolist())


def padded(one: Loaded, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """A case in the middle of a grid: image [*shape C], its air around it, and mask [*shape K]."""
    image = np.empty((*shape, len(one.air)), one.image.dtype)
    mask = np.zeros((*shape, one.mask.shape[-1]), np.uint8)
    place = middle(one.image.shape[:3], shape)
    image[...] = one.air
    image[place], mask[place] = one.image, one.mask
    return image, mask


def positions(cases: Sequence[Case]) -> list[int]:
    """Of cases ordered by patient, the number of each among its patient's."""
    counts: collections.Counter[str] = collections.Counter()
    found = []
    for case in cases:
        found.append(counts[case.patient])
        counts[case.patient] += 1
    return found


def middle(size: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    """Where an array of `size` lies in the middle of one of `shape`."""
    starts = [(whole - part) // 2 for part, whole in zip(size, shape, strict=True)]
    return tuple(slice(a, a + n) for a, n in zip(starts, size, strict=True))


def air(image: np.ndarray) -> np.ndarray:
    """[C], the darkest corner of each channel of [X Y Z C]."""
    corners = image[:: max(image.shape[0] - 1, 1), :: max(image.shape[1] - 1, 1)]
    corners = corners[:, :, :: max(image.shape[2] - 1, 1)]
    return corners.reshape(-1, image.shape[-1]).min(0)


def prepared_name(info: DatasetInfo) -> str:
    """The folder that TFDS makes of a prepared dataset; a download has none of that name."""
    return f"{info.name}_volumes"


def existing(directory: str) -> pathlib.Path:
    """The folder of that name.

    Raises:
        DataError: there is none.
    """
    root = pathlib.Path(directory).expanduser()
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; pass the unpacked download by --config.data.dir or --data_dir"
        )
    return root


def whole_labels(label: np.ndarray, known: Sequence[int], fix: str) -> np.ndarray:
    """[X Y Z] as uint8.

    Raises:
        DataError: a value is none of `known`; `fix` says what to do. The message begins with the fault.
    """
    rounded = np.rint(label)
    # Some tools store labels as floats, and 0.99999997 for 1.
    wrong = (np.abs(label - rounded) > 1e-3) | (rounded < 0) | (rounded > 255)
    codes = np.where(wrong, 0, rounded).astype(np.uint8)
    table = np.isin(np.arange(256), known)  # np.isin of millions of floats would sort them
    wrong |= ~table[codes]
    if wrong.any():
        shown = ", ".join(f"{v:g}" for v in np.unique(label[wrong])[:3])
        names = ", ".join(map(str, known))
        raise DataError(f"holds values other than {names}, such as {shown}; {fix}")
    return codes


class CaseError(DataError):
    """All that is wrong with a case, one line a problem."""

    def __init__(self, problems: Sequence[verify.Problem]):
        """From at least one problem."""
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def _volume_problems(
    path: str, volume: Volume, grid: Grid, *, is_truth: bool
) -> list[verify.Problem]:
    data = volume.data
    if data.ndim == 4 and data.shape[3] != 1:
        what = f"holds {data.shape[3]} volumes"
        return [verify.Problem(path, what, "split it, one file a volume")]
    if volume.grid.shape != grid.shape:
        sizes = [" x ".join(map(str, g.shape)) for g in (volume.grid, grid)]
        what = f"is {sizes[0]}, the first file of its case is {sizes[1]}"
        return [verify.Problem(path, what, "resample it to that grid")]
    if not volume.grid.matches(grid, 0.5):
        what = "lies elsewhere in the world than the first file of its case"
        return [verify.Problem(path, what, "register it, or repair its affine")]
    if not is_truth and data.min() == data.max():
        return [verify.Problem(path, f"is constant ({data.flat[0]:g})", "export it again")]
    return []


def _untold(case: Case) -> verify.Problem:
    what = "has no truth"
    return verify.Problem(case.images[0], what, "add the file, or remove the case")


def _usual_spacing(loaded: Sequence[Loaded]) -> tuple[float, ...]:
    """The most frequent voxel size."""
    counted = collections.Counter(tuple(np.round(x.spacing, 2)) for x in loaded)
    return counted.most_common(1)[0][0] if counted else ()


def _alike(spacing: float | Sequence[float], usual: Sequence[float]) -> bool:
    return bool(np.all(np.abs(np.divide(spacing, usual) - 1) <= _APART))


def _odd_spacing(case: Case, one: Loaded, usual: Sequence[float]) -> verify.Problem:
    sizes = [" x ".join(f"{s:.3g}" for s in spacing) for spacing in (one.spacing, usual)]
    what = f"has voxels of {sizes[0]} mm, the others of {sizes[1]} mm"
    return verify.Problem(
        case.images[0], what, "resample all by --config.data.spacing, in mm: one number, or three"
    )
