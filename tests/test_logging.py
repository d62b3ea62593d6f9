"""metrics.jsonl: whole lines only, cut back to the step that a run resumes from."""

import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from brainjax.train.logging import MetricsLog, read


def lines(path):
    return [(x["step"], x["kind"]) for x in read(path / "metrics.jsonl")]


def test_numbers_of_any_kind_become_plain_json(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(1, "train", {"a": jnp.float32(0.5), "b": np.int64(3), "c": None, "d": "text"})
    log.write(2, "train", {"a": math.nan, "b": jnp.inf, "c": np.float32("-inf")})
    log.close()
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        **{"step": 1, "kind": "train"},
        **{"a": 0.5, "b": 3, "c": None, "d": "text"},
    }
    assert json.loads(second) == {"step": 2, "kind": "train", "a": None, "b": None, "c": None}


def test_a_line_is_on_disk_when_it_is_written(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(1, "train", {"loss": 1.0})
    assert lines(tmp_path) == [(1, "train")]  # a kill from here on cannot lose it
    log.close()


def filled(path):
    log = MetricsLog(path, 0)
    for step in range(1, 5):
        log.write(step, "train", {"loss": 1.0 / step})
        if step % 2 == 0:
            log.write(step, "val", {"dice": step / 10})
    log.close()
    return (path / "metrics.jsonl").read_text()


def test_resuming_drops_later_lines_and_leaves_the_others_as_they_are(tmp_path):
    text = filled(tmp_path)
    MetricsLog(tmp_path, 4).close()
    assert (tmp_path / "metrics.jsonl").read_text() == text
    MetricsLog(tmp_path, 2).close()
    assert lines(tmp_path) == [(1, "train"), (2, "train"), (2, "val")]
    assert text.startswith((tmp_path / "metrics.jsonl").read_text())
    MetricsLog(tmp_path, 2, redo="val").close()
    assert lines(tmp_path) == [(1, "train"), (2, "train")]
    MetricsLog(tmp_path, 0).close()
    assert lines(tmp_path) == []


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_half_written_last_line_is_dropped(tmp_path, cut):
    text = filled(tmp_path)
    last = text.splitlines()[-1]
    (tmp_path / "metrics.jsonl").write_text(
        text[: -len(last) - 1] + last[: min(cut, len(last) - 1)]
    )
    log = MetricsLog(tmp_path, 4)
    log.write(4, "val", {"dice": 0.4})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == text


def test_a_last_line_without_its_newline_is_kept_whole(tmp_path):
    text = filled(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(text[:-1])
    log = MetricsLog(tmp_path, 4)
    log.write(5, "train", {"loss": 0.2})
    log.close()
    assert lines(tmp_path)[-2:] == [(4, "val"), (5, "train")]


def test_reading_a_run_without_metrics_gives_none(tmp_path):
    assert read(tmp_path / "metrics.jsonl") == []


def events(path):
    """The events of every file, by the TFRecord framing: length, crc, data, crc."""
    found = []
    for file in sorted((path / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_tensorboard_gets_the_same_numbers_and_pictures(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write(3, "train", {"loss": 0.25, "note": "x", "bad": math.nan})
    log.picture(3, "batch", np.zeros((4, 6, 3), np.uint8))
    log.close()
    values = [(e.step, v) for e in events(tmp_path) for v in e.summary.value]
    assert [(s, v.tag, v.simple_value) for s, v in values if v.HasField("simple_value")] == [
        (3, "train/loss", 0.25)
    ]
    (picture,) = [v.image for _, v in values if v.HasField("image")]
    assert (picture.height, picture.width) == (4, 6)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="fills the disk by /dev/full")
def test_a_full_disk_ends_the_events_with_one_warning_and_holds_up_nothing(
    tmp_path, monkeypatch, caplog
):
    log = MetricsLog(tmp_path, 0)
    monkeypatch.setattr("brainjax.train.logging._FLUSH_S", 0.0)
    full = open("/dev/full", "wb")  # noqa: SIM115 - closed with the log
    monkeypatch.setattr(log._events._file._py_recordio_writer, "_writer", full)
    for step in range(1, 50):
        log.write(step, "train", {"loss": 0.5, "rate": 1.0})
    log.picture(50, "batch", np.zeros((4, 6, 3), np.uint8))
    log.close()
    assert len(lines(tmp_path)) == 49
    assert [r.getMessage() for r in caplog.records] == [
        "no more TensorBoard events are written (No space left on device); metrics.jsonl has all numbers"
    ]


def test_two_logs_of_one_second_keep_their_events(tmp_path):
    for step in (1, 2, 3):
        log = MetricsLog(tmp_path, step)
        log.picture(step, "batch", np.zeros((4, 6, 3), np.uint8))
        log.close()
    assert [e.step for e in events(tmp_path) if e.summary.value] == [1, 2, 3]


def test_tensorboard_forgets_the_steps_that_are_run_again(tmp_path):
    filled(tmp_path)
    MetricsLog(tmp_path, 2).close()
    started = [e for e in events(tmp_path) if e.HasField("session_log")]
    assert started[-1].step == 3
