"""Splits: parts partition the rows, patients stay on one side, names alone decide."""

import dataclasses

import numpy as np
import pytest

from brainjax.datasets import splits
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.types import ConfigError, DataError


def _dataset(patients=10, slices=7):
    info = DatasetInfo("t", ("a",), ("b",), "-", "-")
    group = np.repeat(np.arange(patients, dtype=np.int32), slices)
    empty = np.zeros((len(group), 1, 1, 1), np.uint8)
    position = np.tile(np.arange(slices, dtype=np.int32), patients)
    names = tuple(f"p{i:02d}" for i in range(patients))
    return ArrayDataset(info, empty, empty, group, position, names)


def _patients(dataset, rows):
    return {dataset.groups[g] for g in dataset.group[rows]}


def _all_splits(dataset):
    yield splits.by_patient(dataset, test=3, val=2)
    yield splits.by_patient(dataset, test=0.3, val=0.1)
    yield splits.by_slice(dataset, test=0.2, val=0.1)
    yield from splits.k_folds(dataset, folds=3, val=2)


def test_parts_partition_the_rows():
    dataset = _dataset()
    for split in _all_splits(dataset):
        np.testing.assert_array_equal(split.rows("all"), np.arange(len(dataset)))
        for part in splits.PARTS:
            rows = split.rows(part)
            np.testing.assert_array_equal(rows, np.sort(rows))


def test_patients_are_counted_and_kept_together():
    dataset = _dataset()
    for split in (
        splits.by_patient(dataset, test=3, val=2),
        splits.by_patient(dataset, test=0.3, val=0.2),
    ):
        sides = [_patients(dataset, split.rows(part)) for part in splits.PARTS]
        assert [len(side) for side in sides] == [5, 2, 3]
        assert len(set.union(*sides)) == 10
        assert not split.leaks and "LEAKS" not in split.protocol


def test_a_small_fraction_is_never_rounded_to_nobody():
    assert len(splits.by_patient(_dataset(), test=0.01, val=0.01).test) == 7


def test_order_of_rows_and_other_data_do_not_matter():
    dataset = _dataset()
    names = np.array([dataset.groups[g] for g in dataset.group])
    shuffled = np.random.default_rng(0).permutation(names)
    one = splits.by_patient(dataset, test=3, val=2)
    other = splits.by_patient(shuffled, test=3, val=2)
    assert set(names[one.test]) == set(shuffled[other.test])
    assert set(names[one.val]) == set(shuffled[other.val])


def test_the_ranking_is_pinned():
    # A change here silently moves patients of published splits to another side.
    dataset = _dataset()
    assert _patients(dataset, splits.by_patient(dataset, test=3, val=2).test) == {
        "p00",
        "p02",
        "p03",
    }
    assert _patients(dataset, splits.by_patient(dataset, test=3, val=2, seed=1).test) != {
        "p00",
        "p02",
        "p03",
    }


def test_folds_test_everyone_once_and_rotate_validation():
    dataset = _dataset(patients=11)
    folds = list(splits.k_folds(dataset, folds=4, val=2))
    tested = np.concatenate([split.test for split in folds])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(dataset)))
    sizes = [len(_patients(dataset, split.test)) for split in folds]
    assert max(sizes) - min(sizes) <= 1
    assert len({frozenset(_patients(dataset, split.val)) for split in folds}) == 4


def test_slice_split_leaks_and_says_so():
    dataset = _dataset()
    split = splits.by_slice(dataset, test=0.2, val=0.1)
    assert split.leaks and "LEAKS" in split.protocol
    assert (len(split.test), len(split.val)) == (14, 7)
    with pytest.raises(DataError, match="p0") as error:
        splits.check_disjoint(split, dataset)
    assert "train and test" in str(error.value)


def test_slice_split_matches_the_reference_sizes():
    split = splits.by_slice(_dataset(patients=1, slices=3929))
    sizes = np.array([len(split.train), len(split.val), len(split.test)])
    assert np.abs(sizes - [3536, 197, 196]).max() <= 1


def test_check_disjoint_lists_every_patient_on_two_sides():
    dataset = _dataset()
    good = splits.by_patient(dataset, test=3, val=2)
    splits.check_disjoint(good, dataset)
    bad = dataclasses.replace(good, test=np.concatenate([good.test, good.train[[0, -1]]]))
    with pytest.raises(DataError) as error:
        splits.check_disjoint(bad, dataset)
    for name in _patients(dataset, good.train[[0, -1]]):
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda d: splits.by_patient(d, test=8, val=2), "choose smaller sizes"),
        (lambda d: splits.by_patient(d, test=-1), "choose a count"),
        (lambda d: splits.by_patient(d, test=1.5), "choose a count"),
        (lambda d: splits.by_patient(d, test=True), "choose a count"),
        (lambda d: splits.by_slice(d, test=0.5, val=0.5), "choose smaller sizes"),
        (lambda d: splits.k_fold(d, folds=11), "choose 2 to 10"),
        (lambda d: splits.k_fold(d, folds=1), "choose 2 to 10"),
        (lambda d: splits.k_fold(d, fold=5), "choose 0 to 4"),
        (lambda d: splits.k_fold(d, val=8), "choose smaller sizes"),
        (lambda d: splits.by_patient([]), "check the dataset"),
        (lambda d: splits.by_patient(d, test=2, val=0).rows("val"), "size above 0"),
        (lambda d: splits.by_patient(d, test=2, val=2).rows("tset"), "choose one of"),
    ],
)
def test_impossible_requests_name_the_fix(make, fix):
    with pytest.raises(ConfigError, match=fix):
        make(_dataset())


@pytest.mark.parametrize(("val", "test", "part"), [(1, 1, "test"), (1, 0, "val"), (0, 0, "none")])
def test_a_run_is_judged_on_test_or_for_want_of_it_on_validation(val, test, part):
    rows = np.arange(3, dtype=np.int32)
    assert splits.Split("", "", rows, rows[:val], rows[:test]).judged == part
