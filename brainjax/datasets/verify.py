"""Every problem of a data set in one message, found before anything is compiled.

Loaders collect `Problem`s while they read, and hand them to `settle` once at the end: it raises one
`DataError` with the whole list, or, with `skip_bad`, lets the rest of the data through.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from brainjax.datasets.base import ArrayDataset
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
    """

    problems: tuple[Problem, ...] = ()
    missing_slices: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    missing_sequences: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report in words, one finding a line, for a log."""
        return [
            *(f"left out {problem}" for problem in self.problems),
            *(f"{g}: no slice {_listed(n)}" for g, n in self.missing_slices.items()),
            *(f"{g}: no {_listed(c)} sequence" for g, c in self.missing_sequences.items()),
        ]


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


def check_arrays(dataset: ArrayDataset) -> None:
    """Checks arrays that no loader of this package made.

    Raises:
        DataError: they do not fit each other, or hold what would silently make wrong numbers; all is listed.
    """
    name, problems = dataset.info.name, []

    def report(bad: bool, part: str, what: str, fix: str) -> None:
        if bad:
            problems.append(Problem(f"{name}.{part}", what, fix))

    image, mask, group = dataset.image, dataset.mask, dataset.group
    n = len(group)
    for part in ("image", "mask", "position"):
        found = len(getattr(dataset, part))
        report(found != n, part, f"has {found} rows, group has {n}", "give one row a slice")
    report(len(image.shape) != 4, "image", f"has shape {image.shape}", "make it [N H W C]")
    report(len(mask.shape) != 4, "mask", f"has shape {mask.shape}", "make it [N H W K]")
    if problems:
        raise DataError(f"{name}: the arrays do not fit\n{listing(problems)}")
    sizes = f"{image.shape[1:3]} and {mask.shape[1:3]}"
    report(image.shape[1:3] != mask.shape[1:3], "mask", f"differs in size: {sizes}", "resample it")
    channels, classes = len(dataset.info.channels), len(dataset.info.classes)
    for part, array, count in (("image", image, channels), ("mask", mask, classes)):
        what = f"has {_channels(array.shape[-1])}, info names {count}"
        report(array.shape[-1] != count, part, what, "name each of them in info")
    same = np.diff(group) == 0
    ordered = (np.diff(group) >= 0).all() and (np.diff(dataset.position)[same] > 0).all()
    report(not ordered, "group", "is not ordered by (group, position)", "sort all arrays so")
    known = n == 0 or (group.min() >= 0 and group.max() < len(dataset.groups))
    report(not known, "group", "numbers a patient that groups does not name", "name all patients")
    report(n > 0 and mask.max() > 1, "mask", "holds values beyond 0 and 1", "threshold it")
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":
        bad = ~np.isfinite(image).all(axis=(1, 2, 3))
        rows = _listed(np.flatnonzero(bad)[:5].tolist())
        report(bad.any(), "image", f"{bad.sum()} slices are not finite: rows {rows}", "repair them")
    if problems:
        raise DataError(f"{name}: the arrays do not fit\n{listing(problems)}")


def shared_groups(parts: Mapping[str, Iterable[str]]) -> list[Problem]:
    """Patients that appear in more than one part of a split.

    Args:
        parts: patient names by part, as in `{'train': [...], 'test': [...]}`; repeats are fine.
    """
    places = collections.defaultdict(list)
    for part, names in parts.items():
        for name in sorted(set(names)):
            places[name].append(part)
    return [
        Problem(name, f"patient is in {' and '.join(found)}", "keep all its slices on one side")
        for name, found in sorted(places.items())
        if len(found) > 1
    ]


def _listed(items: Iterable[object]) -> str:
    return ", ".join(str(item) for item in items)


def _channels(count: int) -> str:
    return f"{count} channel" + ("s" if count != 1 else "")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"
