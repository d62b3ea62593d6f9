"""The tf.data feed's own promises; that it gives the batches of the others is in test_feeds.py."""

import sys
import time

import numpy as np
import pytest

from brainjax.data import Order, Source, tfdata
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.types import ConfigError

ROWS = np.arange(6)
ORDER = Order(ROWS, ROWS[:0], batch_size=2, fraction=0.0, seed=0)


class _Uneven(Source):
    """A disk on which some batches take much longer than the next."""

    def __init__(self):
        image = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
        rows = np.zeros(6, np.int32), np.arange(6, dtype=np.int32)
        info = DatasetInfo("t", ("a",), ("z",), "-", "-")
        super().__init__(ArrayDataset(info, image, image % 2, *rows, ("p",)), 1, "none")
        self.running = self.most = self.calls = 0

    def gather(self, rows):
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.05 if self.calls % 3 == 1 else 0.0)
        self.running -= 1
        return super().gather(rows)


def test_without_tensorflow_the_error_names_the_feed_that_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ConfigError, match="--config.input.feed=memory"):
        tfdata.batches(_Uneven(), ORDER, 0, 1)  # at once, not at the first batch


def test_tensorflow_is_kept_off_the_gpus(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *args: hidden.append(args))
    tfdata.batches(_Uneven(), ORDER, 0, 1)
    assert hidden == [([], "GPU")]


def test_batches_stay_in_order_when_a_later_one_is_ready_first():
    pytest.importorskip("tensorflow")
    source = _Uneven()
    batches = list(tfdata.batches(source, ORDER, 0, 12, threads=3))
    assert 2 <= source.most <= 3  # it did read at once, in no more than its threads
    for step, batch in enumerate(batches):
        np.testing.assert_array_equal(batch["image"], source.dataset.image[ORDER(step)])


def test_batches_are_views_of_tensorflows_memory():
    pytest.importorskip("tensorflow")
    batch = next(tfdata.batches(_Uneven(), ORDER, 0, 1))
    for value in batch.values():
        assert type(value) is np.ndarray and not value.flags.owndata
