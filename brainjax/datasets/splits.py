"""Train, validation and test rows: by patient, k-fold by patient, and the leaky split by slice.

Pictures with labels, whose patients are not known, are split by `label_splits`, whose functions are found here too.

Patients are ranked by a hash of the seed and their name. A split therefore depends on nothing but
those: not on the order of files, the machine, or a random generator's version.
"""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from brainjax.datasets import verify
from brainjax.datasets.base import ArrayDataset, Dataset, LabelledDataset
from brainjax.types import ConfigError, DataError

PATIENT_PROTOCOL = "patient split: all slices of a patient on one side"
FOLD_PROTOCOL = "patient folds: all slices of a patient on one side, every patient tested once"
SLICE_PROTOCOL = (
    "slice split: slices of one patient on both sides, LEAKS; the reference systems' protocol"
)
PARTS = ("train", "val", "test")

# Of `label_splits`, which builds on this file: imported on first use.
_OF_LABELS = (
    *("stratified", "stratified_k_fold", "stratified_k_folds"),
    *("as_shipped", "as_shipped_clean", "random_images"),
)

Grouped = ArrayDataset | Sequence[str] | np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Rows of a dataset in three parts, each ascending.

    Attributes:
        name: the call that made it, for records.
        protocol: what may be concluded from scores on it, in words.
        train: [n_train] int32 rows.
        val: [n_val] int32 rows.
        test: [n_test] int32 rows.
        leaks: whether slices of one patient are on more than one side.
    """

    name: str
    protocol: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    leaks: bool = False

    @property
    def judged(self) -> str:
        """The part whose scores stand for the run: test, or for want of it val; 'none' where there is neither."""
        return "test" if len(self.test) else "val" if len(self.val) else "none"

    def rows(self, part: str) -> np.ndarray:
        """Rows of one part, or of 'all' three, ascending.

        Raises:
            ConfigError: no such part, or an empty one.
        """
        if part == "all":
            return np.sort(np.concatenate([self.train, self.val, self.test]))
        if part not in PARTS:
            raise ConfigError(f"no split {part!r}; choose one of {', '.join(PARTS)}, all")
        rows = getattr(self, part)
        if not len(rows):
            raise ConfigError(f"{self.name} leaves {part} empty; give it a size above 0")
        return rows


def __getattr__(name: str) -> Callable:
    if name in _OF_LABELS:
        return getattr(importlib.import_module("brainjax.datasets.label_splits"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def fingerprint(dataset: Dataset, split: Split) -> str:
    """A short hash of what a run depends on: each part's examples, their groups and order, and their truth.

    Slices themselves are left out: they may be large and lie on disk, and where the same slices of the same patients
    have the same masks, they are the same. Pictures stand in by the hashes of their files.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([list(dataset.groups), dataset.image.shape]).encode())
    if isinstance(dataset, ArrayDataset):
        arrays = (dataset.group, dataset.position, dataset.mask)
    else:
        digest.update(json.dumps([dataset.name, dataset.content]).encode())
        arrays = (dataset.group, dataset.truth)
    for array in (*arrays, *(getattr(split, part) for part in PARTS)):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def by_patient(
    dataset: Grouped, *, test: int | float = 12, val: int | float = 4, seed: int = 0
) -> Split:
    """Splits by patient: the protocol whose scores mean something.

    Args:
        dataset: a dataset, or the [N] patient name of each row.
        test: test patients: a count if int, a fraction of all patients if float. 0 for none.
        val: validation patients, likewise.
        seed: another seed is another ranking of the patients.

    Raises:
        ConfigError: an impossible size, or no patient left to train on.
    """
    names, _ = _rows(dataset)
    order = ranked(names, seed)
    n_test, n_val = _count("test", test, len(order)), _count("val", val, len(order))
    _require_rest(n_test + n_val, len(order), "patient")
    split = _assemble(
        f"by_patient(test={test}, val={val}, seed={seed})",
        PATIENT_PROTOCOL,
        names,
        test=order[:n_test],
        val=order[n_test : n_test + n_val],
    )
    check_disjoint(split, dataset)
    return split


def k_fold(
    dataset: Grouped, *, folds: int = 5, fold: int = 0, val: int | float = 4, seed: int = 0
) -> Split:
    """One of `folds` splits by patient; over all folds every patient is tested exactly once.

    Args:
        dataset: a dataset, or the [N] patient name of each row.
        folds: number of folds, at least 2.
        fold: which one, from 0.
        val: validation patients, not counting those tested: int count or float fraction of all.
        seed: another seed is another ranking of the patients.

    Raises:
        ConfigError: an impossible fold or size, or no patient left to train on.
    """
    names, _ = _rows(dataset)
    order = ranked(names, seed)
    if not is_int(folds) or not 2 <= folds <= len(order):
        raise ConfigError(
            f"folds={folds!r} with {_plural(len(order), 'patient')}; choose 2 to {len(order)} folds"
        )
    if not is_int(fold) or not 0 <= fold < folds:
        raise ConfigError(f"fold={fold!r} of {folds}; choose 0 to {folds - 1}")
    # Validation patients come from the next fold, so that they change from fold to fold too.
    parts = [order[(fold + i) % folds :: folds] for i in range(folds)]
    rest = [name for part in parts[1:] for name in part]
    n_val = _count("val", val, len(order))
    _require_rest(len(parts[0]) + n_val, len(order), "patient")
    split = _assemble(
        f"k_fold(folds={folds}, fold={fold}, val={val}, seed={seed})",
        FOLD_PROTOCOL,
        names,
        test=parts[0],
        val=rest[:n_val],
    )
    check_disjoint(split, dataset)
    return split


def k_folds(
    dataset: Grouped, *, folds: int = 5, val: int | float = 4, seed: int = 0
) -> Iterator[Split]:
    """All folds of `k_fold`, in order."""
    fold, total = 0, folds  # k_fold checks `folds` on the first round
    while fold < total:
        yield k_fold(dataset, folds=folds, fold=fold, val=val, seed=seed)
        fold += 1


def by_slice(
    dataset: Grouped, *, test: int | float = 0.05, val: int | float = 0.05, seed: int = 0
) -> Split:
    """Splits by slice, which leaks: neighbouring slices of one tumour are nearly the same picture.

    Only for comparing with systems that were scored this way; fractions of 0.05 give their
    3536 / 197 / 196 slices, up to one slice.

    Args:
        dataset: a dataset, or the [N] patient name of each row.
        test: test slices: a count if int, a fraction if float.
        val: validation slices, likewise.
        seed: another seed is another ranking of the slices.

    Raises:
        ConfigError: an impossible size, or no slice left to train on.
    """
    names, positions = _rows(dataset)
    keys = [f"{name}:{position}" for name, position in zip(names, positions, strict=True)]
    order = ranked(keys, seed)
    n_test, n_val = _count("test", test, len(order)), _count("val", val, len(order))
    _require_rest(n_test + n_val, len(order), "slice")
    split = _assemble(
        f"by_slice(test={test}, val={val}, seed={seed})",
        SLICE_PROTOCOL,
        keys,
        test=order[:n_test],
        val=order[n_test : n_test + n_val],
    )
    return dataclasses.replace(split, leaks=True)


def check_disjoint(split: Split, dataset: Grouped | LabelledDataset) -> None:
    """Makes sure that no patient, or no group of pictures that look alike, is in two parts.

    Raises:
        DataError: some are; the message lists them.
    """
    if isinstance(dataset, LabelledDataset):
        names, kind, way = [dataset.groups[g] for g in dataset.group], "picture", "group"
    else:
        names, kind, way = _rows(dataset)[0], "patient", "patient"
    names = np.asarray(names)
    problems = verify.shared_groups({part: names[getattr(split, part)] for part in PARTS}, kind)
    if problems:
        raise DataError(
            f"{split.name} puts {kind}s on two sides; split by {way} instead\n"
            + verify.listing(problems)
        )


def _rows(dataset: Grouped) -> tuple[list[str], list[int]]:
    """Patient name and slice position of each row."""
    if isinstance(dataset, LabelledDataset):
        raise ConfigError(
            f"{dataset.info.name} has pictures, whose patients are not known; choose the split 'stratified'"
        )
    if isinstance(dataset, ArrayDataset):
        return [dataset.groups[g] for g in dataset.group], dataset.position.tolist()
    names = [str(name) for name in dataset]
    seen: dict[str, int] = {}
    positions = []
    for name in names:
        positions.append(seen.setdefault(name, 0))
        seen[name] += 1
    return names, positions


def ranked(keys: Sequence[str], seed: int) -> list[str]:
    """The different keys in an order that depends on seed and key alone."""
    if not len(keys):
        raise ConfigError("there is nothing to split; check the dataset's folder")
    return sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())


def _count(part: str, size: int | float, total: int) -> int:
    """A size as a count: ints count, floats are fractions of `total`, never rounded to nothing."""
    if is_int(size) and size >= 0:
        return int(size)
    if isinstance(size, (float, np.floating)) and 0 <= size < 1:
        return max(1, round(size * total)) if size else 0
    raise ConfigError(f"{part}={size!r}; choose a count (int, 0 or more) or a fraction below 1.0")


def _require_rest(taken: int, total: int, kind: str) -> None:
    if taken >= total:
        raise ConfigError(
            f"test and val take {_plural(taken, kind)} of {total}, which leaves none to train on; "
            "choose smaller sizes"
        )


def _assemble(
    name: str, protocol: str, keys: Sequence[str], *, test: Sequence[str], val: Sequence[str]
) -> Split:
    side = dict.fromkeys(test, "test") | dict.fromkeys(val, "val")
    sides = np.array([side.get(key, "train") for key in keys])
    return Split(
        name, protocol, **{part: np.flatnonzero(sides == part).astype(np.int32) for part in PARTS}
    )


def is_int(value: object) -> bool:
    """Whether it is a whole number, Python's or NumPy's; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _plural(count: int, kind: str) -> str:
    return f"{count} {kind}" + ("s" if count != 1 else "")
