"""Splits of labelled pictures: groups stay together, classes are shared out, leaks are said."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from tiny import make_dataset

from brainjax.datasets import label_splits, splits
from brainjax.datasets.base import DatasetInfo, LabelledDataset
from brainjax.types import ConfigError, DataError

INFO = DatasetInfo("t", ("grey",), ("a", "b", "c"), "-", "-")


def _dataset(sizes, labels=None, parts=None, seed=0) -> LabelledDataset:
    """Groups of so many pictures; labels and parts are one a group, or one a picture."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    n = len(group)

    def each(values):
        values = np.asarray(values)
        return values if len(values) == n and n != len(sizes) else values[group]

    label = rng.integers(0, 3, len(sizes)) if labels is None else labels
    parts = [""] * len(sizes) if parts is None else parts
    names = tuple(f"{g:03d}_{i:04d}" for i, g in enumerate(group))
    first = np.searchsorted(group, np.arange(len(sizes)))
    return LabelledDataset(
        INFO,
        np.zeros((n, 1, 1, 1), np.uint8),
        each(label).astype(np.int32),
        group,
        tuple(names[i] for i in first),
        names,
        tuple(each(parts).tolist()),
        tuple(f"{i:x}" for i in range(n)),
    )


SIZES = st.lists(st.integers(1, 6), min_size=36, max_size=90)


def _parts(split):
    return [getattr(split, part) for part in splits.PARTS]


def _even(sizes):
    return _dataset(sizes, labels=np.arange(len(sizes)) % 3)


@hypothesis.given(SIZES, st.sampled_from([0.1, 0.2, 0.4]), st.sampled_from([0.0, 0.15]))
@hypothesis.settings(deadline=None, max_examples=40)
def test_stratified_keeps_groups_together_and_shares(sizes, test, val):
    dataset = _even(sizes)
    split = label_splits.stratified(dataset, test=test, val=val)
    np.testing.assert_array_equal(split.rows("all"), np.arange(len(dataset)))
    splits.check_disjoint(split, dataset)
    assert not split.leaks and "LEAKS" not in split.protocol
    for wanted, rows in ((test, split.test), (val, split.val)):
        for k in range(3):
            of_class = (dataset.label == k).sum()
            found = (dataset.label[rows] == k).sum()
            # To half a group, and never nothing unless nothing was asked for.
            assert abs(found - wanted * of_class) <= 3 or found <= 6
            assert bool(found) == bool(wanted)


@hypothesis.given(SIZES, st.integers(2, 6), st.sampled_from([0.0, 0.2]))
@hypothesis.settings(deadline=None, max_examples=30)
def test_folds_test_every_picture_once_and_are_even(sizes, folds, val):
    dataset = _even(sizes)
    found = list(label_splits.stratified_k_folds(dataset, folds=folds, val=val))
    assert len(found) == folds
    tested = np.sort(np.concatenate([split.test for split in found]))
    np.testing.assert_array_equal(tested, np.arange(len(dataset)))
    for split in found:
        np.testing.assert_array_equal(split.rows("all"), np.arange(len(dataset)))
        splits.check_disjoint(split, dataset)
        assert len(split.train) and bool(len(split.val)) == bool(val)
    for k in range(3):
        counts = [(dataset.label[split.test] == k).sum() for split in found]
        assert max(counts) - min(counts) <= 6  # the largest group


def test_a_split_depends_on_names_and_seed_alone():
    dataset = _even([3, 1, 2] * 12)
    split = label_splits.stratified(dataset, test=0.2, val=0.1)
    again = label_splits.stratified(
        dataclasses.replace(dataset, image=dataset.image + 1), test=0.2, val=0.1
    )
    for a, b in zip(_parts(split), _parts(again), strict=True):
        np.testing.assert_array_equal(a, b)
    other = label_splits.stratified(dataset, test=0.2, val=0.1, seed=1)
    assert not np.array_equal(split.test, other.test)
    assert splits.fingerprint(dataset, split) == splits.fingerprint(dataset, again)
    assert splits.fingerprint(dataset, split) != splits.fingerprint(dataset, other)


@pytest.mark.parametrize("field", ["label", "content", "name"])
def test_the_fingerprint_sees_labels_and_pictures(field):
    dataset = _even([2] * 12)
    split = label_splits.random_images(dataset)
    changed = list(getattr(dataset, field))
    changed[0], changed[-1] = changed[-1], changed[0]
    changed = np.array(changed, np.int32) if field == "label" else tuple(changed)
    other = dataclasses.replace(dataset, **{field: changed})
    assert splits.fingerprint(dataset, split) != splits.fingerprint(other, split)


def test_copies_that_disagree_go_with_the_majority():
    sizes = [3] + [1] * 12
    labels = [0, 1, 1] + [0] * 4 + [1] * 4 + [2] * 4
    dataset = _dataset(sizes, labels=labels)
    for split in label_splits.stratified_k_folds(dataset, folds=4):
        splits.check_disjoint(split, dataset)


SHIPPED = {
    "labels": [0, 0, 0, 1, 1, 1, 2, 2, 2] * 3,
    "parts": ["Training"] * 18 + ["Testing"] * 9,
}


def test_as_shipped_says_how_much_leaks():
    clean = _dataset([1] * 27, **SHIPPED)
    split = label_splits.as_shipped(clean)
    assert not split.leaks and len(split.train) == 18 and len(split.test) == 9
    # The first group now holds one picture of either part.
    group = np.array([0, 0, *range(1, 26)], np.int32)
    parts = ("Testing", "Training", *["Training"] * 17, *["Testing"] * 8)
    leaky = dataclasses.replace(clean, group=group, groups=clean.groups[1:], part=parts)
    split = label_splits.as_shipped(leaky)
    assert split.leaks and "1 of 9 test pictures" in split.protocol and "LEAKS" in split.protocol
    assert label_splits.straddling(leaky, split).tolist() == [0]
    without = label_splits.as_shipped_clean(leaky)
    assert not without.leaks and "1 of 9 test pictures left out" in without.protocol
    np.testing.assert_array_equal(without.test, split.test[1:])
    np.testing.assert_array_equal(without.train, split.train)


def test_a_class_whose_test_pictures_all_leak_is_named():
    dataset = _dataset(
        [2, 1, 1, 1],
        labels=[0, 1, 1, 2],
        parts=["Testing", "Training", "Training", "Testing", "Testing"],
    )
    split = label_splits.as_shipped_clean(dataset)
    assert split.test.tolist() == [3, 4]
    assert "none of a is left" in split.protocol and "none of b" not in split.protocol


def test_validation_comes_from_training_without_copies_of_the_test():
    rng = np.random.default_rng(0)
    sizes = [2] * 60
    parts = np.where(rng.random(120) < 0.7, "Training", "Testing")
    dataset = _dataset(sizes, labels=np.arange(60) % 3, parts=parts)
    for make in (label_splits.as_shipped, label_splits.as_shipped_clean):
        split = make(dataset, val=0.2)
        assert len(split.val) and {dataset.part[r] for r in split.val} == {"Training"}
        val = set(dataset.group[split.val])
        assert not val & set(dataset.group[split.train]) and not val & set(
            dataset.group[split.test]
        )
    assert not make(dataset, val=0.2).leaks


def test_one_part_alone_can_be_evaluated_or_trained_on():
    dataset = _dataset([1] * 6, labels=[0, 1, 2] * 2, parts=["test"] * 6)
    split = label_splits.as_shipped(dataset)
    assert len(split.test) == 6 and not len(split.train) and not split.leaks
    with pytest.raises(ConfigError, match="leaves train empty"):
        split.rows("train")


def test_a_shipped_validation_part_stays_one():
    dataset = _dataset(
        [1] * 6, labels=[0, 1, 2] * 2, parts=["train", "train", "Val", "valid", "test", "test"]
    )
    assert [rows.tolist() for rows in _parts(label_splits.as_shipped(dataset))] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]


def test_random_images_leaks_and_says_so():
    dataset = _even([4] * 30)
    split = label_splits.random_images(dataset, test=0.35, val=0.1)
    assert split.leaks and "LEAKS" in split.protocol
    assert (len(split.test), len(split.val)) == (42, 12)
    assert len(label_splits.straddling(dataset, split))
    with pytest.raises(DataError, match="picture is in"):
        splits.check_disjoint(split, dataset)


def test_copies_that_were_not_grouped_are_still_noticed():
    dataset = _even([1] * 60)
    copies = dataclasses.replace(dataset, content=tuple("same" for _ in dataset.content))
    assert not label_splits.stratified(dataset).leaks
    split = label_splits.stratified(copies)
    assert split.leaks and "data.duplicates" in split.protocol


@pytest.mark.parametrize("mode", ["exact", "none"])
def test_a_protocol_claims_no_more_than_was_looked_for(mode):
    shipped = ["Training"] * 20 + ["Testing"] * 10
    near = _dataset([1] * 30, labels=np.arange(30) % 3, parts=shipped)
    other = dataclasses.replace(near, duplicates=mode)
    for make in ("stratified", "stratified_k_fold", "as_shipped", "as_shipped_clean"):
        found, usual = (getattr(label_splits, make)(data).protocol for data in (other, near))
        assert f"not looked for (data.duplicates={mode})" in found.replace(
            "were looked", "not looked"
        )
        assert "not looked for" not in usual
        assert "look alike on one side" not in found
        assert ("folds" in found) == ("folds" in usual) == (make == "stratified_k_fold")


@pytest.mark.parametrize(
    "make, options, message",
    [
        ("stratified", {"test": 1.0}, "below 1"),
        ("stratified", {"test": 3}, "below 1"),
        ("stratified", {"test": True}, "below 1"),
        ("stratified", {"test": 0.6, "val": 0.5}, "take everything"),
        ("stratified", {"test": 0.5, "val": 0.49}, "leave no group of"),
        ("stratified_k_fold", {"folds": 1}, "choose 2 to"),
        ("stratified_k_fold", {"folds": 9}, "choose 2 to 4"),
        ("stratified_k_fold", {"fold": 2, "folds": 2}, "choose 0 to 1"),
        ("random_images", {"test": 0.9, "val": 0.05}, "no picture"),
        ("as_shipped", {}, "choose the split 'stratified'"),
        ("as_shipped_clean", {"val": -0.1}, "below 1"),
    ],
)
def test_impossible_requests_are_refused(make, options, message):
    count = 3 if make == "random_images" else 12
    dataset = _dataset([1] * count, labels=np.arange(count) % 3)
    with pytest.raises(ConfigError, match=message):
        getattr(label_splits, make)(dataset, **options)


@pytest.mark.parametrize(
    "make", ["stratified", "stratified_k_fold", "as_shipped", "as_shipped_clean", "random_images"]
)
def test_slices_with_masks_are_sent_to_the_other_splits(make):
    with pytest.raises(ConfigError, match="by_patient"):
        getattr(label_splits, make)(make_dataset())


def test_all_splits_are_found_in_one_module():
    for name in splits._OF_LABELS:
        assert getattr(splits, name) is getattr(label_splits, name)
    with pytest.raises(AttributeError, match="stratifed"):
        splits.stratifed  # noqa: B018


@pytest.mark.parametrize("make", [splits.by_patient, splits.k_fold, splits.by_slice])
def test_pictures_are_sent_to_these(make):
    with pytest.raises(ConfigError, match="stratified"):
        make(_even([1] * 30))
