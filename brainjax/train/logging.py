"""What a run writes while it goes: `metrics.jsonl`, TensorBoard events, a progress bar."""

import json
import logging
import math
import pathlib
import time
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from brainjax.files import write_text

_FLUSH_S = 30.0  # between the moments at which TensorBoard's events are put on disk


class MetricsLog:
    """`metrics.jsonl`, one JSON object a line, flushed as it is written, and TensorBoard events.

    Opened at step s, it drops the lines of later steps: a resumed run writes them again, identically but
    for timings. A half-written last line of a killed run is dropped too.
    """

    def __init__(self, workdir: pathlib.Path, step: int, *, redo: str = ""):
        """Goes on after `step`; lines of kind `redo` of that very step go too, to be written again."""
        self.path = workdir / "metrics.jsonl"
        kept = [
            line
            for line in read(self.path)
            if line["step"] < step or (line["step"] == step and line["kind"] != redo)
        ]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a")
        self._events = _Events(workdir / "tensorboard", step + 1)

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Appends {"step", "kind", **values}; numbers that are not finite become null.

        Raises:
            OSError: the line cannot be written, as where the disk is full. Of events that cannot, one warning tells.
        """
        plain = {k: _plain(v) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **plain}) + "\n")
        self._file.flush()
        for name, value in plain.items():
            if isinstance(value, int | float):
                self._events.add(step, summary=summary.scalar(f"{kind}/{name}", value))

    def picture(self, step: int, name: str, image: Any) -> None:
        """Adds an [H W 3] uint8 picture to the TensorBoard events."""
        self._events.add(step, summary=summary.image(name, image, dataformats="HWC"))

    def close(self) -> None:
        """Flushes and closes both."""
        try:
            self._file.close()
        finally:
            self._events.close()


class _Events:
    """A file of TensorBoard events, written here and now.

    tensorboardX's own SummaryWriter hands them to a thread, which dies where the disk is full; those who would add to
    its queue then wait forever.
    """

    def __init__(self, folder: pathlib.Path, step: int):
        """Begins a file that takes the place of all earlier events from `step` on."""
        self._file: EventsWriter | None = None
        self._flushed = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Its name has whole seconds alone, and what has that name would be lost.
            self._file = EventsWriter(str(folder / "events"), f".{time.time_ns() % 10**9:09d}")
        except OSError as error:
            self._stop(error)
        self.add(step, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, **content: Any) -> None:
        """Writes an event; the first that cannot be written is the last, and told."""
        if self._file is None:
            return
        try:
            self._file.write_event(Event(wall_time=time.time(), step=step, **content))
            if time.monotonic() - self._flushed > _FLUSH_S:
                self._file.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._stop(error)

    def close(self) -> None:
        """Puts what is left on disk."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self._stop(error)

    def _stop(self, error: OSError) -> None:
        self._file = None
        logging.getLogger(__name__).warning(
            "no more TensorBoard events are written (%s); metrics.jsonl has all numbers",
            error.strerror or error,
        )


class NoLog:
    """What a process keeps that is not the one to write: nothing."""

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Keeps nothing."""

    def close(self) -> None:
        """Has nothing to close."""


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; [] where there is none."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
