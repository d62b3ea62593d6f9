"""What repeats itself in a set of labelled pictures, and which test pictures that spoils."""

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from brainjax.datasets import label_splits
from brainjax.datasets.base import LabelledDataset
from brainjax.types import ConfigError

PROTOCOLS = ("as_shipped", "random_images", "stratified")
COLUMNS = ("group", "file", "part", "class", "kind")


@dataclasses.dataclass(frozen=True)
class Leaks:
    """Findings on one data set; 'groups' are sets of two pictures or more.

    Attributes:
        counts: pictures of each class, by part.
        exact_within, exact_across: groups of the same pixels, in one part and in several.
        near_within, near_across: groups of pictures that look alike without all being the same pixels, likewise.
        conflicts: names of the groups whose pictures have different labels.
        affected: by protocol: test pictures that have a copy, or nearly one, in training; test pictures in all.
    """

    counts: dict[str, dict[str, int]]
    exact_within: int
    exact_across: int
    near_within: int
    near_across: int
    conflicts: tuple[str, ...]
    affected: dict[str, tuple[int, int]]

    def metrics(self) -> dict[str, int]:
        """The findings as flat numbers, for `result.json`."""
        groups = ("exact_within", "exact_across", "near_within", "near_across")
        spoiled = {f"affected_{name}": n for name, (n, _) in self.affected.items()}
        tested = {f"tested_{name}": n for name, (_, n) in self.affected.items()}
        return {
            "n_images": sum(sum(row.values()) for row in self.counts.values()),
            **{name: getattr(self, name) for name in groups},
            "conflicts": len(self.conflicts),
            **spoiled,
            **tested,
        }

    def lines(self) -> list[str]:
        """The findings in words."""
        classes = sorted({name for row in self.counts.values() for name in row})
        text = [
            f"{part or 'pictures'}: {sum(row.values())} ("
            + ", ".join(f"{name} {row.get(name, 0)}" for name in classes)
            + ")"
            for part, row in self.counts.items()
        ]
        text += [
            f"the same pixels: {self.exact_within} groups within a part, {self.exact_across} across parts",
            f"nearly the same: {self.near_within} groups within a part, {self.near_across} across parts",
            f"the same or nearly, with different labels: {len(self.conflicts)} groups",
        ]
        text += [f"  {name}" for name in self.conflicts]
        return text + [
            f"split {name}: {spoiled} of {tested} test pictures have a copy, or nearly one, in training"
            for name, (spoiled, tested) in self.affected.items()
        ]


def find(dataset: LabelledDataset) -> Leaks:
    """Looks for copies, near copies and labels that contradict each other.

    Args:
        dataset: loaded with duplicates='near'.
    """
    counts = collections.defaultdict(collections.Counter)
    for part, label in zip(dataset.part, dataset.label, strict=True):
        counts[part][dataset.info.classes[label]] += 1
    tally = collections.Counter()
    conflicts = []
    for rows in _repeated(dataset.content):
        tally["exact", _across(dataset, rows)] += 1
    for rows in groups(dataset):
        if len({dataset.content[row] for row in rows}) > 1:
            tally["near", _across(dataset, rows)] += 1
        if len(set(dataset.label[rows].tolist())) > 1:
            conflicts.append(dataset.groups[dataset.group[rows[0]]])
    affected = {}
    for name in PROTOCOLS:
        try:
            split = getattr(label_splits, name)(dataset)
        except ConfigError:
            continue  # no parts, or too few pictures to split so
        if len(split.test) and len(split.train):
            affected[name] = len(label_splits.straddling(dataset, split)), len(split.test)
    return Leaks(
        {part: dict(sorted(row.items())) for part, row in sorted(counts.items())},
        tally["exact", False],
        tally["exact", True],
        tally["near", False],
        tally["near", True],
        tuple(conflicts),
        affected,
    )


def groups(dataset: LabelledDataset) -> list[np.ndarray]:
    """Rows of each group of two pictures or more."""
    return _repeated(dataset.group.tolist())


def table(dataset: LabelledDataset) -> Iterator[tuple[str, str, str, str, str]]:
    """A row of `COLUMNS` for every picture that is not alone in its group.

    The kind is 'exact' where another picture has the same pixels, else 'near'.
    """
    same = collections.Counter(dataset.content)
    for rows in groups(dataset):
        for row in rows:
            kind = "exact" if same[dataset.content[row]] > 1 else "near"
            label = dataset.info.classes[dataset.label[row]]
            group = dataset.groups[dataset.group[row]]
            yield group, dataset.name[row], dataset.part[row], label, kind


def examples(dataset: LabelledDataset, limit: int = 12) -> list[tuple[int, int]]:
    """Pairs of rows that show the leaks best, one a group: contradicting labels, then across parts, then within.

    Near copies come before exact ones, which need no looking at.
    """
    ranked = []
    for rows in groups(dataset):
        first = rows[0]

        def differs(row: int, first: int = first) -> tuple[bool, bool, bool]:
            return (
                bool(dataset.label[row] != dataset.label[first]),
                dataset.part[row] != dataset.part[first],
                dataset.content[row] != dataset.content[first],
            )

        other = max(rows[1:], key=differs)
        ranked.append((tuple(not d for d in differs(other)), int(first), int(other)))
    return [(first, other) for _, first, other in sorted(ranked)[:limit]]


def _repeated(keys) -> list[np.ndarray]:
    """Rows of each key that occurs twice or more, in order of first appearance."""
    rows = collections.defaultdict(list)
    for row, key in enumerate(keys):
        rows[key].append(row)
    return [np.array(found) for found in rows.values() if len(found) > 1]


def _across(dataset: LabelledDataset, rows: np.ndarray) -> bool:
    return len({dataset.part[row] for row in rows}) > 1
