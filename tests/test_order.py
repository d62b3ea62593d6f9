"""Order: a pure function of (seed, step) that visits every row once an epoch."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from brainjax.data.order import Order
from brainjax.types import ConfigError

ROWS = np.arange(10, 41, dtype=np.int32)  # 31 rows: no batch size divides it
LESIONS = ROWS[[1, 4, 5, 9, 20, 21, 30]]


def _order(**changes):
    order = Order(ROWS, LESIONS, batch_size=6, fraction=0.5, seed=3)
    return dataclasses.replace(order, **changes)


def _sequence(order, steps):
    return np.concatenate([order(step) for step in range(steps)])


def test_order_is_the_same_in_any_sequence_of_calls_and_in_another_process():
    forward = [_order()(step) for step in range(40)]
    backward = [_order()(step) for step in reversed(range(40))][::-1]
    np.testing.assert_array_equal(forward, backward)
    code = (
        "import numpy as np; from brainjax.data.order import Order;"
        f"order = Order(np.arange(10, 41), np.array({LESIONS.tolist()}), 6, 0.5, 3);"
        "print(*order(17), *order(39))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert [int(row) for row in other.split()] == [*forward[17], *forward[39]]


def test_published_order_does_not_change():
    # Runs resume, and results are compared, across versions of this code and of numpy.
    assert _order()(0).tolist() == [30, 40, 11, 18, 34, 31]
    assert _order()(12345).tolist() == [40, 31, 30, 30, 15, 11]


@pytest.mark.parametrize("batch_size", [1, 6, 31, 70])
def test_every_row_once_an_epoch(batch_size):
    drawn = _sequence(_order(batch_size=batch_size, fraction=0.0), 31)
    epochs = drawn.reshape(batch_size, len(ROWS))
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), ROWS)
    assert all((a != b).any() for a, b in zip(epochs[:-1], epochs[1:], strict=True))


def test_streams_are_independent_and_each_visits_its_rows_once_an_epoch():
    batches = np.stack([_order()(step) for step in range(7 * 31)])
    lesions, others = batches[:, :3].ravel(), batches[:, 3:].ravel()
    for drawn, rows in ((lesions, LESIONS), (others, ROWS)):
        for epoch in drawn.reshape(-1, len(rows)):
            np.testing.assert_array_equal(np.sort(epoch), rows)
    same = _order(foreground=ROWS)(0)
    assert (same[:3] != same[3:]).any()


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.3, 2), (0.5, 3), (1.0, 6)])
def test_fraction_is_the_share_of_foreground_places(fraction, expected):
    order = _order(fraction=fraction)
    for step in range(20):
        assert len(order(step)) == 6
        assert np.isin(order(step)[:expected], LESIONS).all()
    # The other places visit rows without a lesion too: they are not drawn from the foreground.
    rest = np.concatenate([order(step)[expected:] for step in range(20)])
    assert np.isin(rest, LESIONS).all() == (expected == 6)


@pytest.mark.parametrize(("batch_size", "fraction"), [(1, 0.5), (1, 0.25), (3, 0.1)])
def test_a_share_of_less_than_a_place_is_one_place_now_and_then(batch_size, fraction):
    order = _order(batch_size=batch_size, fraction=fraction)
    places = [order._places(step) for step in range(280)]
    assert sum(count for _, count in places) == pytest.approx(280 * batch_size * fraction, abs=1)
    picked = [order(step)[:count] for step, (_, count) in enumerate(places)]
    epochs = np.concatenate(picked)[: 7 * (len(np.concatenate(picked)) // 7)].reshape(-1, 7)
    assert len(epochs) >= 10  # each visits every row of the foreground
    np.testing.assert_array_equal(np.sort(epochs), np.tile(LESIONS, (len(epochs), 1)))


def test_without_foreground_all_rows_fill_the_batch():
    empty = _order(foreground=LESIONS[:0])
    np.testing.assert_array_equal(_sequence(empty, 31), _sequence(_order(fraction=0.0), 31))


def test_seeds_differ():
    drawn = {tuple(_order(seed=seed)(0)) for seed in (0, 1, 2, -1, 2**63)}
    assert len(drawn) == 5


def test_a_caller_cannot_disturb_the_order():
    before = _order()(5)
    _order()(5)[:] = -1
    np.testing.assert_array_equal(_order()(5), before)


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"rows": ROWS[:0]}, "splits less"),
        ({"batch_size": 0}, "config.train.batch_size"),
        ({"fraction": 1.5}, "config.input.foreground"),
        ({"fraction": float("nan")}, "config.input.foreground"),
    ],
)
def test_impossible_orders_name_the_fix(changes, fix):
    with pytest.raises(ConfigError, match=fix):
        _order(**changes)
