"""Feeds: whichever is chosen, the batches are those of the order, bit for bit."""

import dataclasses
import itertools
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from brainjax.data import Order, Source, feeds
from brainjax.datasets.base import ArrayDataset, DatasetInfo
from brainjax.preprocess.normalize import dataset_stats
from brainjax.types import ConfigError, DataError

SIZES = (4, 1, 6)  # slices of each patient


def _dataset(dtype=np.uint8, channels=2):
    rng = np.random.default_rng(0)
    n = sum(SIZES)
    mask = np.zeros((n, 8, 6, 1), np.uint8)
    mask[[1, 2, 7, 8], 3:5, 2:4] = 1
    return ArrayDataset(
        DatasetInfo("t", tuple("ab"[:channels]), ("z",), "-", "-"),
        rng.integers(0, 256, (n, 8, 6, channels)).astype(dtype),
        mask,
        np.repeat(np.arange(3, dtype=np.int32), SIZES),
        np.concatenate([np.arange(s, dtype=np.int32) for s in SIZES]),
        ("p", "q", "r"),
    )


def _source(context=3, **options):
    return Source(_dataset(**options), context, "zscore")


def _order(source):
    rows = np.arange(len(source.dataset), dtype=np.int32)
    return Order(rows, source.foreground(rows), batch_size=4, fraction=0.5, seed=1)


def _feed(name):
    if name == "tfdata":
        pytest.importorskip("tensorflow")
        from brainjax.data import tfdata

        return tfdata.batches
    return getattr(feeds, name)


FEEDS = ("memory", "device", "tfdata")


def _assert_same(batch, expected):
    assert batch.keys() == expected.keys()
    for key, value in expected.items():
        got = np.asarray(batch[key])
        assert got.dtype == value.dtype and got.shape == value.shape, key
        assert got.tobytes() == value.tobytes(), key


def _feed_threads():
    return [t for t in threading.enumerate() if t.name.startswith("feed")]


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("options", [{}, {"dtype": np.float32, "context": 1}])
def test_every_feed_gives_the_batches_of_the_order(feed, options):
    source = _source(**options)
    order = _order(source)
    batches = list(_feed(feed)(source, order, 0, 9))
    assert len(batches) == 9
    for step, batch in enumerate(batches):
        _assert_same(batch, source.gather(order(step)))


@pytest.mark.parametrize("feed", FEEDS)
def test_starting_at_a_step_is_skipping_to_it(feed):
    source = _source()
    order = _order(source)
    skipped = itertools.islice(_feed(feed)(source, order, 0, 8), 5, None)
    started = list(_feed(feed)(source, order, 5, 8))
    assert len(started) == 3
    for batch, expected in zip(started, skipped, strict=True):
        _assert_same(batch, jax.tree.map(np.asarray, expected))


@pytest.mark.parametrize("feed", FEEDS)
def test_endless_and_empty_runs(feed):
    source = _source()
    order = _order(source)
    endless = _feed(feed)(source, order, 2**40, sys.maxsize)
    _assert_same(next(endless), source.gather(order(2**40)))
    endless.close()
    assert list(_feed(feed)(source, order, 7, 7)) == []


class _Disk(Source):
    """Counts its reads; a batch that has the `bad` rows cannot be read."""

    def __init__(self, bad=None):
        super().__init__(_dataset(), 1, "none")
        self.bad, self.calls = bad, 0

    def gather(self, rows):
        self.calls += 1
        if np.array_equal(rows, self.bad):
            raise OSError("slice 7 is unreadable")
        return super().gather(rows)


@pytest.mark.parametrize("feed", ["memory", "tfdata"])
def test_errors_reach_the_consumer_as_they_are_and_in_their_turn(feed):
    order = _order(_source())
    batches = _feed(feed)(_Disk(bad=order(3)), order, 1, 9)
    assert len([next(batches), next(batches)]) == 2
    with pytest.raises(OSError, match="slice 7"):
        next(batches)
    assert not _feed_threads()


@pytest.mark.parametrize(("feed", "bound"), [("memory", 3), ("tfdata", 5)])
def test_feeds_are_lazy_bounded_and_stop_when_closed(feed, bound):
    source = _Disk()
    batches = _feed(feed)(source, _order(source), 0, 1000)
    assert source.calls == 0 and not _feed_threads()
    taken = 4
    for _ in range(taken):
        next(batches)
    threading.Event().wait(0.3)  # as long as it likes: it must not run further ahead
    assert source.calls <= taken + bound
    batches.close()
    calls = source.calls
    assert not _feed_threads()
    threading.Event().wait(0.1)
    assert source.calls == calls


def test_memory_gathers_ahead_of_its_consumer():
    source = _Disk()
    batches = feeds.memory(source, _order(source), 0, 1000, depth=3)
    next(batches)
    for _ in range(1000):
        if source.calls >= 3:
            break
        threading.Event().wait(0.02)
    assert source.calls == 3
    batches.close()


def test_closing_memory_waits_for_one_batch_at_most():
    source = _Disk()
    gather, begun = source.gather, threading.Event()

    def slow(rows):
        if source.calls:
            begun.set()
            threading.Event().wait(0.05)
        return gather(rows)

    source.gather = slow
    batches = feeds.memory(source, _order(source), 0, 1000, depth=50)
    next(batches)
    begun.wait()
    calls = source.calls
    batches.close()
    assert source.calls <= calls + 1


def test_device_feed_keeps_bytes_on_the_device_and_compiles_once():
    source = _source()
    feeds._gather.clear_cache()
    for start in (0, 3):  # a resumed run too
        for batch in feeds.device(source, _order(source), start, 6):
            assert all(isinstance(x, jax.Array) for x in batch.values())
            assert batch["image"].dtype == np.uint8 and batch["mask"].dtype == np.uint8
    assert feeds._gather._cache_size() == 1


def test_neighbours_stay_within_the_volume():
    source = _source(context=5)
    data = source.dataset
    image = source.gather(np.arange(len(data)))["image"]
    assert image.flags.c_contiguous
    row = 0
    for size in SIZES:
        for position in range(size):
            for k in range(5):
                nearest = row - position + min(max(position + k - 2, 0), size - 1)
                np.testing.assert_array_equal(
                    image[row, ..., 2 * k : 2 * k + 2], data.image[nearest]
                )
            row += 1


def test_normalisation_is_that_of_the_slices_own_patient():
    source = _source(context=3)
    shift, scale = dataset_stats(source.dataset, "zscore")
    batch = source.gather(np.array([0, 4, 5, 10]))
    for b, patient in enumerate((0, 1, 2, 2)):
        np.testing.assert_array_equal(batch["shift"][b].reshape(3, 2), [shift[patient]] * 3)
        np.testing.assert_array_equal(batch["scale"][b].reshape(3, 2), [scale[patient]] * 3)


def test_padding_is_not_valid_and_changes_nothing_else():
    source = _source()
    padded, plain = source.gather(np.array([6, 2, -1, -1])), source.gather(np.array([6, 2]))
    assert padded["valid"].tolist() == [1, 1, 0, 0]
    assert all(np.isfinite(value).all() for value in padded.values())
    for key, value in plain.items():
        np.testing.assert_array_equal(padded[key][:2], value)


def test_gathered_arrays_are_copies():
    source = _source(context=1)
    before = source.dataset.image.copy()
    batch = source.gather(np.arange(4))
    batch["image"][:], batch["mask"][:] = 0, 9
    np.testing.assert_array_equal(source.dataset.image, before)
    assert source.dataset.mask.max() == 1


def test_foreground_rows_have_a_lesion():
    source = _source()
    assert source.foreground(np.arange(11)).tolist() == [1, 2, 7, 8]
    assert source.foreground(np.array([10, 8, 3, 1], np.int32)).tolist() == [8, 1]
    healthy = dataclasses.replace(source.dataset, mask=np.zeros_like(source.dataset.mask))
    assert not len(Source(healthy, 1, "none").foreground(np.arange(11)))


def test_foreground_rows_are_balanced_over_patients():
    source = _source()
    group = source.dataset.group
    rows = source.foreground(np.arange(11), balance=True)
    _, counts = np.unique(group[rows], return_counts=True)
    assert len(set(counts)) == 1 and set(rows) == {1, 2, 7, 8}
    one_less = source.foreground(np.array([1, 7, 8]), balance=True)
    assert sorted(group[one_less]) == sorted([group[1]] * 2 + [group[7]] * 2)
    assert not len(source.foreground(np.array([0]), balance=True))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: {"mask": d.mask[1:]}, "mask: has 10 rows, group has 11"),
        (lambda d: {"group": d.group[::-1].copy()}, "not ordered by"),
        (lambda d: {"position": np.zeros_like(d.position)}, "not ordered by"),
        (lambda d: {"groups": d.groups[:1]}, "numbers a patient that groups does not name"),
        (lambda d: {"mask": d.mask * 255}, "values beyond 0 and 1"),
        (lambda d: {"image": np.where(d.image > 0, np.nan, 0)}, "are not finite: rows 0, 1"),
        (lambda d: {"mask": d.mask[:, 1:]}, "differs in size"),
        (lambda d: {"image": d.image[..., :1]}, "has 1 channel, info names"),
        (lambda d: {"image": d.image[..., 0]}, "make it .N H W C."),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    dataset = _source().dataset
    with pytest.raises(DataError, match=message):
        Source(dataclasses.replace(dataset, **change(dataset)), 1, "none")


def test_feeds_are_chosen_by_name(monkeypatch):
    assert feeds.choose("memory") is feeds.memory and feeds.choose("device") is feeds.device
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # not installed
    assert feeds.choose("auto") is feeds.memory
    with pytest.raises(ConfigError, match="memory"):
        feeds.choose("memroy")


def test_auto_is_tfdata_where_tensorflow_is_installed():
    assert feeds.choose("auto") is _feed("tfdata") is feeds.choose("tfdata")


def test_training_path_imports_no_tensorflow():
    code = (
        "import sys, brainjax.data.feeds, brainjax.train.loop, brainjax.train.recipe;"
        "import brainjax.datasets.lgg;"
        "print(*[m for m in sys.modules if m.startswith('tensorflow')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""
