"""Train, validation and test rows of single pictures with labels.

Who is on a picture is not known, so the closest to a split by patient is one by group: pictures that look alike
(`duplicates.py`) stay on one side. Groups are ranked by a hash of the seed and their name, as patients are in
`splits`, and dealt out class by class.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from brainjax.datasets.base import Dataset, LabelledDataset
from brainjax.datasets.folders import part_role
from brainjax.datasets.splits import PARTS, Split, check_disjoint, is_int, ranked
from brainjax.types import ConfigError

GROUP_PROTOCOL = (
    "grouped split, stratified by class: pictures that look alike on one side; patients are not known, so unlike "
    "slices of one head may be on both"
)
EXACT_PROTOCOL = (
    "grouped split, stratified by class: identical pictures on one side; those that merely look alike were not looked for "
    "(data.duplicates=exact), nor are patients known, so slices of one head may be on both"
)
UNGROUPED_PROTOCOL = (
    "split of single pictures, stratified by class: copies and those that look alike were not looked for "
    "(data.duplicates=none), nor are patients known, so slices of one head may be on both sides"
)
HEAD_PROTOCOL = "split by patient, one volume each, stratified by class"
RANDOM_PROTOCOL = "random split of pictures: copies and slices of one head on both sides, LEAKS; the reference systems' protocol"


def stratified(
    dataset: LabelledDataset, *, test: float = 0.15, val: float = 0.0, seed: int = 0
) -> Split:
    """Splits by group, with about the same share of every class on each side.

    Args:
        dataset: pictures with their groups.
        test: fraction of each class' pictures, as near as whole groups allow; not less than one group.
        val: likewise.
        seed: another seed is another ranking of the groups.

    Raises:
        ConfigError: an impossible fraction, a class with too few groups, or a dataset without labels.
    """
    _require_labels(dataset, "stratified")
    _check_fractions(test=test, val=val)
    sides = np.zeros(len(dataset.groups), int)
    for members in _by_class(dataset, seed):
        rest, tested = _take(dataset, members, test)
        kept, validated = _take(dataset, rest, val, of=members)
        if not len(kept) and len(members):
            name = dataset.info.classes[_majority(dataset)[members[0]]]
            raise ConfigError(
                f"test={test} and val={val} leave no group of {name} to train on: it has {len(members)}; "
                "choose smaller fractions"
            )
        sides[tested], sides[validated] = 2, 1
    name = f"stratified(test={test}, val={val}, seed={seed})"
    return _checked(dataset, _assemble(name, _protocol(dataset), sides[dataset.group]))


def stratified_k_fold(
    dataset: LabelledDataset, *, folds: int = 5, fold: int = 0, val: float = 0.0, seed: int = 0
) -> Split:
    """One of `folds` splits by group, stratified; over all folds every picture is tested exactly once.

    Args:
        dataset: pictures with their groups.
        folds: number of folds, at least 2.
        fold: which one, from 0.
        val: fraction of each class' pictures, of those not tested; 0 for none.
        seed: another seed is another ranking of the groups.

    Raises:
        ConfigError: an impossible fold or fraction, a class with too few groups, or a dataset without labels.
    """
    _require_labels(dataset, "stratified_k_fold")
    _check_fractions(val=val)
    by_class = [members for members in _by_class(dataset, seed) if len(members)]
    most = min(len(members) for members in by_class)
    if not is_int(folds) or not 2 <= folds <= most:
        raise ConfigError(
            f"folds={folds!r}, and the smallest class has {most} groups; choose 2 to {most} folds"
        )
    if not is_int(fold) or not 0 <= fold < folds:
        raise ConfigError(f"fold={fold!r} of {folds}; choose 0 to {folds - 1}")
    size = np.bincount(dataset.group, minlength=len(dataset.groups))
    sides, total = np.zeros(len(dataset.groups), int), np.zeros(folds, int)
    for members in by_class:
        home, here = np.empty(len(members), int), np.zeros(folds, int)
        for i, group in enumerate(members):
            # The emptiest fold of this class, then of all, so that small classes do not all start at fold 0.
            home[i] = min(range(folds), key=lambda f: (here[f], total[f], f))
            here[home[i]] += size[group]
            total[home[i]] += size[group]
        # Validation comes from the folds after this one, so that it changes from fold to fold too.
        order = np.argsort((home - fold - 1) % folds, kind="stable")
        rest = members[order[home[order] != fold]]
        kept, validated = _take(dataset, rest, val, of=members)
        if not len(kept):
            raise ConfigError(f"val={val} leaves nothing to train on; choose a smaller fraction")
        sides[members[home == fold]], sides[validated] = 2, 1
    name = f"stratified_k_fold(folds={folds}, fold={fold}, val={val}, seed={seed})"
    protocol = re.sub(r"\bsplit\b", "folds", _protocol(dataset), count=1)
    return _checked(dataset, _assemble(name, protocol, sides[dataset.group]))


def stratified_k_folds(
    dataset: LabelledDataset, *, folds: int = 5, val: float = 0.0, seed: int = 0
) -> Iterator[Split]:
    """All folds of `stratified_k_fold`, in order."""
    fold, total = 0, folds  # stratified_k_fold checks `folds` on the first round
    while fold < total:
        yield stratified_k_fold(dataset, folds=folds, fold=fold, val=val, seed=seed)
        fold += 1


def as_shipped(dataset: LabelledDataset, *, val: float = 0.0, seed: int = 0) -> Split:
    """Trains on the part that was shipped for training and tests on the one for testing, copies or not.

    Args:
        dataset: pictures with their parts.
        val: fraction of the training part's pictures of each class, by group.
        seed: another seed is another choice of these.

    Raises:
        ConfigError: no part is for training or testing, an impossible fraction, or a dataset without labels.
    """
    split, leaked = _shipped(dataset, f"as_shipped(val={val}, seed={seed})", val, seed)
    if not len(leaked):
        return split
    copy = "a copy, or nearly one," if dataset.duplicates == "near" else "a copy"
    of = f"{len(leaked)} of {len(split.test)} test pictures have {copy} in training"
    protocol = f"as shipped: {of}, LEAKS{_unsought(dataset)}"
    return dataclasses.replace(split, protocol=protocol, leaks=True)


def as_shipped_clean(dataset: LabelledDataset, *, val: float = 0.0, seed: int = 0) -> Split:
    """As `as_shipped`, without the test pictures that have a copy, or nearly one, in training."""
    split, leaked = _shipped(dataset, f"as_shipped_clean(val={val}, seed={seed})", val, seed)
    of = f"{len(leaked)} of {len(split.test)} test pictures left out for a copy in training"
    test = np.setdiff1d(split.test, leaked).astype(np.int32)
    # Where all test pictures of a class are copies, what is left says nothing about that class.
    lost = np.setdiff1d(dataset.label[split.test], dataset.label[test])
    gone = "".join(f"; none of {dataset.info.classes[k]} is left" for k in lost)
    protocol = f"as shipped, {of}{gone}{_unsought(dataset)}"
    clean = dataclasses.replace(split, protocol=protocol, test=test)
    return _checked(dataset, clean)


def random_images(
    dataset: LabelledDataset, *, test: float = 0.35, val: float = 0.0, seed: int = 0
) -> Split:
    """Splits pictures at random, which leaks: the same picture is on both sides. Only for comparing.

    Args:
        dataset: pictures with labels.
        test: fraction of all pictures.
        val: likewise.
        seed: another seed is another ranking of the pictures.

    Raises:
        ConfigError: an impossible fraction, or a dataset without labels.
    """
    _require_labels(dataset, "random_images")
    _check_fractions(test=test, val=val)
    place = {name: i for i, name in enumerate(ranked(dataset.name, seed))}
    rank = np.array([place[name] for name in dataset.name])
    n_test, n_val = round(test * len(dataset)), round(val * len(dataset))
    sides = np.where(rank < n_test, 2, np.where(rank < n_test + n_val, 1, 0))
    if not (sides == 0).any():
        raise ConfigError(f"test={test} and val={val} leave no picture to train on")
    name = f"random_images(test={test}, val={val}, seed={seed})"
    return dataclasses.replace(_assemble(name, RANDOM_PROTOCOL, sides), leaks=True)


def straddling(dataset: LabelledDataset, split: Split) -> np.ndarray:
    """Test rows of which a copy, or nearly one, is in training or validation: [n] int32, ascending."""
    seen = np.concatenate([split.train, split.val])
    contents = set(dataset.identity(seen))
    near = np.isin(dataset.group[split.test], dataset.group[seen])
    # By content too: the groups may have been loaded with duplicates='none'.
    same = np.array([dataset.content[row] in contents for row in split.test], bool)
    return split.test[near | same]


def _shipped(
    dataset: LabelledDataset, name: str, val: float, seed: int
) -> tuple[Split, np.ndarray]:
    """The split by parts, and its test rows that have a copy in training."""
    _require_labels(dataset, name.partition("(")[0])
    _check_fractions(val=val)
    roles = [part_role(part) for part in dataset.part]
    if not any(roles):
        raise ConfigError(
            f"{dataset.info.name} was not shipped in parts for training and testing; "
            "choose the split 'stratified'"
        )
    sides = np.array([PARTS.index(role or "train") for role in roles])
    if val:
        # A group that straddles goes to training, or a test picture's copy would select the weights.
        open_groups = np.setdiff1d(dataset.group[sides == 0], dataset.group[sides == 2])
        for members in _by_class(dataset, seed):
            of_class = members[np.isin(members, dataset.group[sides == 0])]
            _, validated = _take(dataset, members[np.isin(members, open_groups)], val, of=of_class)
            sides[np.isin(dataset.group, validated) & (sides == 0)] = 1
    protocol = f"as shipped: no test picture has a copy in training{_unsought(dataset)}"
    split = _assemble(name, protocol, sides)
    return split, straddling(dataset, split)


def _protocol(dataset: LabelledDataset) -> str:
    """Whose groups they are: of volumes they are patients, of pictures nobody knows."""
    if dataset.rank == 3:
        return HEAD_PROTOCOL
    others = {"exact": EXACT_PROTOCOL, "none": UNGROUPED_PROTOCOL}
    return others.get(dataset.duplicates, GROUP_PROTOCOL)


def _unsought(dataset: LabelledDataset) -> str:
    """What is to be added where near copies may be on two sides."""
    if dataset.duplicates == "near":
        return ""
    return f"; near copies were not looked for (data.duplicates={dataset.duplicates})"


def _by_class(dataset: LabelledDataset, seed: int) -> list[np.ndarray]:
    """For each class the groups that are mostly of it, ranked."""
    place = {name: i for i, name in enumerate(ranked(dataset.groups, seed))}
    rank = np.array([place[name] for name in dataset.groups])
    order, majority = np.argsort(rank), _majority(dataset)
    return [order[majority[order] == k] for k in range(len(dataset.info.classes))]


def _majority(dataset: LabelledDataset) -> np.ndarray:
    """[G] the commonest label of each group; copies do not always agree."""
    votes = np.zeros((len(dataset.groups), len(dataset.info.classes)), int)
    np.add.at(votes, (dataset.group, dataset.label), 1)
    return votes.argmax(axis=1)


def _take(
    dataset: LabelledDataset,
    groups: np.ndarray,
    fraction: float,
    *,
    of: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides ranked groups into the rest, and the first that hold about this fraction of the pictures in `of`."""
    if not fraction or not len(groups):
        return groups, groups[:0]
    size = np.bincount(dataset.group, minlength=len(dataset.groups))
    wanted = fraction * size[groups if of is None else of].sum()
    counted = np.cumsum(size[groups])
    # One more group where that comes nearer; at least one, for a fraction is never rounded to nothing.
    count = max(1, int((np.abs(np.append(0, counted) - wanted)).argmin()))
    return groups[count:], groups[:count]


def _assemble(name: str, protocol: str, sides: np.ndarray) -> Split:
    """A split from the place in `PARTS` of each row."""
    rows = {part: np.flatnonzero(sides == i).astype(np.int32) for i, part in enumerate(PARTS)}
    return Split(name, protocol, **rows)


def _checked(dataset: LabelledDataset, split: Split) -> Split:
    """The split, with `leaks` where pixels are the same on two sides although the groups differ."""
    check_disjoint(split, dataset)
    seen = [set(dataset.identity(getattr(split, part))) for part in PARTS]
    if not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2]):
        return split
    protocol = f"{split.protocol}; but copies were not looked for (data.duplicates), LEAKS"
    return dataclasses.replace(split, protocol=protocol, leaks=True)


def _check_fractions(**fractions: float) -> None:
    for name, value in fractions.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ConfigError(f"{name}={value!r}; choose a fraction from 0 to below 1")
    if sum(fractions.values()) >= 1:
        raise ConfigError(f"{' and '.join(fractions)} take everything; choose smaller fractions")


def _require_labels(dataset: Dataset, name: str) -> None:
    if not isinstance(dataset, LabelledDataset):
        raise ConfigError(
            f"the split {name!r} is for pictures with a label each; {dataset.info.name} has slices of patients: "
            "choose 'by_patient'"
        )
    if not len(dataset):
        raise ConfigError("there is nothing to split; check the dataset's folder")
