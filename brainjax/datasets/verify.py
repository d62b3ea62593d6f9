"""Every problem of a data set in one message, found before anything is compiled.

Loaders collect `Problem`s while they read, and hand them to `settle` once at the end: it raises one
`DataError` with the whole list, or, with `skip_bad`, lets the rest of the data through.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from brainjax.datasets.base import ArrayDataset, Dataset, LabelledDataset
from brainjax.types import DataError

SKIP_FLAG = "--config.data.skip_bad=True (of experiments.train; elsewhere --skip_bad)"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing wrong with the data.

    Attributes:
        path: the file, folder or patient it is about.
        what: what is wrong, in words.
        fix: what to do about it.
    """

    path: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.fix}"


@dataclasses.dataclass(frozen=True)
class Report:
    """What a loader found out about the files beside their pixels.

    Attributes:
        problems: bad files that were left out.
        missing_slices: slice numbers absent from the middle of a patient's sequence, by patient.
        missing_sequences: channels that merely repeat another one, by patient.
        missing: what else is absent and need not be there, in words.
    """

    problems: tuple[Problem, ...] = ()
    missing_slices: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    missing_sequences: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report in words, one finding a line, for a log."""
        return [
            *(f"left out {problem}" for problem in self.problems),
            *(f"{g}: no slice {_listed(n)}" for g, n in self.missing_slices.items()),
            *(f"{g}: no {_listed(c)} sequence" for g, c in self.missing_sequences.items()),
            *self.missing,
        ]


def problem_of(path: str, error: DataError) -> Problem:
    """The message of a reader, '<path>: <what>; <fix>', as a Problem."""
    what, _, fix = str(error).removeprefix(f"{path}: ").rpartition("; ")
    return Problem(path, what, fix)


def listing(problems: Sequence[Problem]) -> str:
    """Numbers the problems, one a line: all of them, so that they can be fixed in one go."""
    return "\n".join(f"  {i}. {problem}" for i, problem in enumerate(problems, start=1))


def settle(name: str, problems: Sequence[Problem], *, good: int, skip_bad: bool) -> None:
    """Decides, once all problems are known, whether the data can be used.

    Args:
        name: the folder or data set, for the message.
        problems: everything found wrong.
        good: how many examples are left without the bad ones.
        skip_bad: go on without the bad ones.

    Raises:
        DataError: there are problems and `skip_bad` is off, or nothing good is left.
    """
    if good and (skip_bad or not problems):
        return
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    if not good:
        fix = "Nothing usable is left: check that the path names the right folder."
    else:
        fix = f"Fix the files, or pass {SKIP_FLAG} to go on with the {good} good examples."
    raise DataError("\n".join(filter(None, [f"{name}: {count}", listing(problems), fix])))


def image_problems(
    path: str, image: np.ndarray, *, size: tuple[int, int], channels: int
) -> list[Problem]:
    """Checks a decoded image against the data set.

    Args:
        path: its file.
        image: [H W] or [H W C] uint8.
        size: (H, W) of the data set.
        channels: C of the data set.
    """
    problems = []
    found = 1 if image.ndim == 2 else image.shape[2]
    if found != channels:
        what = f"image has {_channels(found)}, expected {channels}"
        problems.append(Problem(path, what, "export it again with all its channels"))
    if image.shape[:2] != size:
        what = f"image is {_size(image.shape)}, the others are {_size(size)}"
        problems.append(Problem(path, what, "resize it together with its mask"))
    return problems


def mask_problems(path: str, mask: np.ndarray, *, size: tuple[int, int]) -> list[Problem]:
    """Checks a decoded mask: one channel, the grid of the images, nothing but 0 and 255.

    Args:
        path: its file.
        mask: [H W] or [H W 1] uint8.
        size: (H, W) of the data set.
    """
    problems = []
    if mask.ndim == 3 and mask.shape[2] != 1:
        what = f"mask has {_channels(mask.shape[2])}, expected 1"
        problems.append(Problem(path, what, "save it as a grey image"))
    if mask.shape[:2] != size:
        what = f"mask is {_size(mask.shape)}, the images are {_size(size)}"
        problems.append(Problem(path, what, "export it on its image's grid"))
    grey = mask[(mask != 0) & (mask != 255)]
    if grey.size:
        shown = _listed(np.unique(grey)[:3].tolist())
        what = f"mask is not binary: {grey.size} values are neither 0 nor 255, such as {shown}"
        problems.append(Problem(path, what, "threshold it, to 0 and 255"))
    return problems


def check_arrays(dataset: Dataset) -> None:
    """Checks arrays that no loader of this package made.

    Raises:
        DataError: they do not fit each other, or hold what would silently make wrong numbers; all is listed.
    """
    values = _label_problems if isinstance(dataset, LabelledDataset) else _mask_problems
    # Values are looked at only where the shapes fit.
    problems = _shape_problems(dataset) or values(dataset) + _image_problems(dataset)
    if problems:
        raise DataError(f"{dataset.info.name}: the arrays do not fit\n{listing(problems)}")


class _Findings(list):
    """Problems of a dataset's fields."""

    def __init__(self, dataset: Dataset):
        super().__init__()
        self._name = dataset.info.name

    def report(self, bad: bool, field: str, what: str, fix: str) -> None:
        if bad:
            self.append(Problem(f"{self._name}.{field}", what, fix))


def _shape_problems(dataset: Dataset) -> list[Problem]:
    found, n = _Findings(dataset), len(dataset.group)
    if isinstance(dataset, LabelledDataset):
        one, images, rows = "picture", {"image": "C"}, ("label", "name", "part", "content")
    else:
        one, images, rows = "slice or volume", {"image": "C", "mask": "K"}, ("position",)
    for field in (*images, *rows):
        count = len(getattr(dataset, field))
        found.report(count != n, field, f"has {count} rows, group has {n}", f"give one row a {one}")
    for field, last in images.items():
        shape = getattr(dataset, field).shape
        wanted = f"[N H W {last}] or [N X Y Z {last}]"
        found.report(len(shape) not in (4, 5), field, f"has shape {shape}", f"make it {wanted}")
    return found


def _image_problems(dataset: Dataset) -> list[Problem]:
    """What any images must be: named channels, finite."""
    found, image = _Findings(dataset), dataset.image
    count = len(dataset.info.channels)
    what = f"has {_channels(image.shape[-1])}, info names {count}"
    found.report(image.shape[-1] != count, "image", what, "name each of them in info")
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        # A row at a time: of volumes, a flag for every voxel of all would take gigabytes.
        bad = np.array([not np.isfinite(row).all() for row in image], bool)
        rows = _listed(np.flatnonzero(bad)[:5].tolist())
        found.report(
            bad.any(), "image", f"{bad.sum()} rows are not finite: rows {rows}", "repair them"
        )
    return found


def _mask_problems(dataset: ArrayDataset) -> list[Problem]:
    found, image, mask, group = _Findings(dataset), dataset.image, dataset.mask, dataset.group
    grids = image.shape[1:-1], mask.shape[1:-1]
    what = f"differs in size: {grids[0]} and {grids[1]}"
    found.report(grids[0] != grids[1], "mask", what, "resample it")
    count = len(dataset.info.classes)
    what = f"has {_channels(mask.shape[-1])}, info names {count}"
    found.report(mask.shape[-1] != count, "mask", what, "name each of them in info")
    same = np.diff(group) == 0
    ordered = (np.diff(group) >= 0).all() and (np.diff(dataset.position)[same] > 0).all()
    found.report(not ordered, "group", "is not ordered by (group, position)", "sort all arrays so")
    what = "numbers a patient that groups does not name"
    found.report(not _named(group, dataset.groups), "group", what, "name all patients")
    bad = len(group) > 0 and mask.max() > 1
    found.report(bad, "mask", "holds values beyond 0 and 1", "threshold it")
    return found


def _label_problems(dataset: LabelledDataset) -> list[Problem]:
    found, group, classes = _Findings(dataset), dataset.group, dataset.info.classes
    what = f"holds numbers beyond the {len(classes)} classes that info names"
    found.report(not _named(dataset.label, classes), "label", what, "name each of them in info")
    order = list(zip(group.tolist(), dataset.name, strict=True))
    found.report(
        order != sorted(set(order)), "group", "is not ordered by (group, name)", "sort all so"
    )
    what = "numbers a group that groups does not name"
    found.report(not _named(group, dataset.groups), "group", what, "name all groups")
    return found


def _named(numbers: np.ndarray, names: Sequence[str]) -> bool:
    """Whether all of [N] integers have a name; floats have none."""
    whole = numbers.dtype.kind in "iu"
    return whole and (not len(numbers) or (numbers.min() >= 0 and numbers.max() < len(names)))


def shared_groups(parts: Mapping[str, Iterable[str]], kind: str = "patient") -> list[Problem]:
    """Patients, or groups of pictures that look alike, in more than one part of a split.

    Args:
        parts: their names by part, as in `{'train': [...], 'test': [...]}`; repeats are fine.
        kind: 'patient' or 'picture', for the message.
    """
    places = collections.defaultdict(list)
    for part, names in parts.items():
        for name in sorted(set(names)):
            places[name].append(part)
    whole = {"patient": "all its slices", "picture": "it and all copies of it"}[kind]
    return [
        Problem(name, f"{kind} is in {' and '.join(found)}", f"keep {whole} on one side")
        for name, found in sorted(places.items())
        if len(found) > 1
    ]


def _listed(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)


def _channels(count: int) -> str:
    return f"{count} channel" + ("s" if count != 1 else "")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
