"""Lesion-wise scores against a plain reading of both rules, lesion by lesion, on sets of voxels."""

import itertools
import math

import numpy as np
import pytest

from brainjax.metrics.lesion import Dilated, OneToOne, lesion_scores
from brainjax.metrics.surface import WORST_MM, hd95, surface_distances
from brainjax.types import ConfigError

NEAR = [d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)]
NEAR_18 = [d for d in NEAR if sum(map(abs, d)) <= 2]


def neighbours(voxel, steps, shape):
    for step in steps:
        found = tuple(a + b for a, b in zip(voxel, step, strict=True))
        if all(0 <= a < n for a, n in zip(found, shape, strict=True)):
            yield found


def dilate(voxels, times, shape):
    for _ in range(times):
        voxels = voxels | {n for v in voxels for n in neighbours(v, NEAR_18, shape)}
    return voxels


def components(voxels, shape):
    """Sets of voxels, in scan order."""
    left, found = set(voxels), []
    while left:
        stack = [min(left)]
        left.discard(stack[0])
        own = set(stack)
        while stack:
            for near in neighbours(stack.pop(), NEAR, shape):
                if near in left:
                    left.discard(near)
                    own.add(near)
                    stack.append(near)
        found.append(own)
    return found


def paint(voxels, shape):
    out = np.zeros(shape, bool)
    for voxel in voxels:
        out[voxel] = True
    return out


def pair_scores(one, other, shape, spacing):
    distances = surface_distances(paint(one, shape), paint(other, shape), spacing)
    return 2 * len(one & other) / (len(one) + len(other)), hd95(distances)


def brute_dilated(pred, truth, shape, spacing, dilation, min_mm3):
    extents = components(dilate(truth, dilation, shape), shape)
    predicted = components(pred, shape)
    dices, distances, tp, fn, used = [], [], 0, 0, set()
    for lesion in (truth & extent for extent in extents):
        reach = dilate(lesion, dilation, shape)
        touching = [i for i, p in enumerate(predicted) if p & reach]
        used |= set(touching)
        if len(lesion) * math.prod(spacing) <= min_mm3:
            continue
        if touching:
            together = set().union(*(predicted[i] for i in touching))
            dice, distance = pair_scores(together, lesion, shape, spacing)
            tp += 1
        else:
            dice, distance = 0.0, WORST_MM
            fn += 1
        dices.append(dice)
        distances.append(distance)
    fp = len(predicted) - len(used)
    n = len(dices) + fp
    means = (sum(dices) / n, (sum(distances) + fp * WORST_MM) / n) if n else (1.0, 0.0)
    return *means, tp, fn, fp


def brute_one_to_one(pred, truth, shape, spacing, iou):
    lesions, predicted = components(truth, shape), components(pred, shape)
    pairs = sorted(
        (-len(a & b) / len(a | b), i, j)
        for i, a in enumerate(lesions)
        for j, b in enumerate(predicted)
        if a & b
    )
    partner = {}
    for score, i, j in pairs:
        if -score >= iou and i not in partner and j not in partner.values():
            partner[i] = j
    scores = [pair_scores(predicted[j], lesions[i], shape, spacing) for i, j in partner.items()]
    tp, fn, fp = len(partner), len(lesions) - len(partner), len(predicted) - len(partner)
    if tp:
        means = sum(s[0] for s in scores) / tp, sum(s[1] for s in scores) / tp
    else:
        means = (0.0, WORST_MM) if lesions or predicted else (1.0, 0.0)
    return *means, tp, fn, fp


def pair(seed):
    """Clumps and specks, their prediction with some of either changed; and a spacing."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 11, 3).tolist())
    truth = rng.random(shape) < rng.choice([0.01, 0.04, 0.1])
    for axis in range(3):
        truth |= np.roll(truth, 1, axis) & (rng.random(shape) < 0.7)
    pred = truth & (rng.random(shape) < 0.8) | (rng.random(shape) < rng.choice([0.003, 0.03]))
    if seed % 9 == 0:
        (pred, truth)[seed % 2][:] = False
    return pred, truth, tuple(rng.uniform(0.5, 2.0, 3).tolist())


def voxels(mask):
    return set(zip(*(i.tolist() for i in np.nonzero(mask)), strict=True))


def check(found, expected):
    dice, distance, tp, fn, fp = expected
    assert [found[f"lesion_{k}"] for k in ("tp", "fn", "fp")] == [tp, fn, fp]
    np.testing.assert_allclose(found["lesion_dice"], dice, atol=1e-9)
    np.testing.assert_allclose(found["lesion_hd95"], distance, atol=1e-6)
    nothing = 0.0 if tp + fn + fp else 1.0
    assert found["lesion_precision"] == (tp / (tp + fp) if tp else nothing)
    assert found["lesion_recall"] == (tp / (tp + fn) if tp else nothing)
    assert found["lesion_f1"] == pytest.approx(2 * tp / (2 * tp + fn + fp) if tp else nothing)


@pytest.mark.parametrize("block", range(4))
def test_200_random_masks_against_the_rules_read_plainly(block):
    several = 0
    for seed in range(50 * block, 50 * block + 50):
        pred, truth, spacing = pair(seed)
        sets = voxels(pred), voxels(truth), pred.shape, spacing
        dilation, min_mm3 = ((0, 0.0), (1, 2.0), (2, 5.0))[seed % 3]
        found = lesion_scores(pred, truth, spacing, rule=Dilated(dilation, min_mm3))
        check(found, brute_dilated(*sets, dilation, min_mm3))
        several += found["lesion_tp"] > 1
        iou = (0.5, 0.2)[seed % 2]
        found = lesion_scores(pred, truth, spacing, rule=OneToOne(iou))
        check(found, brute_one_to_one(*sets, iou))
    assert several > 1


def blocks(*corners, shape=(30, 8, 8)):
    """Cubes of 4^3 voxels, more than BraTS's 50 mm3, along the first axis."""
    mask = np.zeros(shape, bool)
    for x in corners:
        mask[x : x + 4, 2:6, 2:6] = True
    return mask


def test_the_two_rules_differ_where_a_lesion_is_found_in_pieces():
    truth, pred = blocks(3, 7), blocks(3)  # 8 voxels long, half of it found
    pred[9:11, 2:6, 2:6] = True
    brats = lesion_scores(pred, truth)
    assert (brats["lesion_tp"], brats["lesion_fp"], brats["lesion_dice"]) == (1, 0, 12 / 14)
    one = lesion_scores(pred, truth, rule=OneToOne())
    assert (one["lesion_tp"], one["lesion_fp"], one["lesion_dice"]) == (1, 1, 8 / 12)


def test_dilation_makes_neighbours_one_lesion_and_forgives_what_is_near():
    truth, pred = blocks(1, 9, 24), blocks(1, 9)  # 4 voxels between the first two
    found = lesion_scores(pred, truth)
    assert (found["lesion_tp"], found["lesion_fn"], found["lesion_dice"]) == (1, 1, 0.5)
    assert found["lesion_hd95"] == WORST_MM / 2
    found = lesion_scores(pred, truth, rule=Dilated(dilation=1))
    assert (found["lesion_tp"], found["lesion_fn"]) == (2, 1)
    beside = np.roll(blocks(9), 6, 0)  # 3 voxels off: within reach, though nothing is hit
    assert lesion_scores(beside, blocks(9))["lesion_recall"] == 1.0
    assert lesion_scores(beside, blocks(9))["lesion_dice"] == 0.0


def test_small_lesions_are_not_scored_nor_what_is_predicted_there():
    speck = np.zeros((30, 8, 8), bool)
    speck[3, 3, 3] = True
    truth = blocks(20)
    expected = lesion_scores(truth, truth)
    assert lesion_scores(truth | speck, truth | speck) == expected
    assert lesion_scores(truth, truth | speck) == expected
    assert lesion_scores(truth | speck, truth)["lesion_fp"] == 1  # a false alarm, however small
    assert lesion_scores(truth, truth | speck, (4, 4, 4))["lesion_fn"] == 1  # 64 mm3


@pytest.mark.parametrize("rule", [Dilated(), OneToOne()])
@pytest.mark.parametrize(
    ("empty", "value", "away"), [("one", 1, 0), ("zero", 0, 9), ("skip", None, None)]
)
def test_empty_masks(rule, empty, value, away):
    none, some = np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    names = ("lesion_dice", "lesion_precision", "lesion_recall", "lesion_f1")
    found = lesion_scores(none, none, rule=rule, empty=empty, worst=9.0)
    assert [found[n] for n in names] == [value] * 4 and found["lesion_hd95"] == away
    for pred, truth in ((none, some), (some, none)):
        found = lesion_scores(pred, truth, rule=rule, empty=empty, worst=9.0)
        assert [found[n] for n in names] == [0] * 4 and found["lesion_hd95"] == 9
        assert lesion_scores(pred, truth, rule=rule, worst=None)["lesion_hd95"] is None


def test_wrong_options():
    with pytest.raises(ConfigError, match="from 0 on"):
        Dilated(dilation=-1)
    with pytest.raises(ConfigError, match="above 0, up to 1"):
        OneToOne(iou=0.0)
    mask = np.ones((3, 3, 3), bool)
    with pytest.raises(ConfigError, match="6, 18 or 26"):
        lesion_scores(mask, mask, rule=OneToOne(connectivity=8))
    with pytest.raises(ConfigError, match="'one', 'zero', 'skip'"):
        lesion_scores(mask, mask, empty="nan")
    with pytest.raises(ValueError, match="on one grid"):
        lesion_scores(mask, mask[:2])
