"""What a run writes while it goes: `metrics.jsonl`, TensorBoard events, a progress bar."""

import json
import math
import pathlib
from typing import Any

from tensorboardX import SummaryWriter

from brainjax.files import write_text


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
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, kind: str, values: dict[str, Any]) -> None:
        """Appends {"step", "kind", **values}; numbers that are not finite become null."""
        plain = {k: _plain(v) for k, v in values.items()}
        self._file.write(json.dumps({"step": step, "kind": kind, **plain}) + "\n")
        self._file.flush()
        for name, value in plain.items():
            if isinstance(value, int | float):
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, image: Any) -> None:
        """Adds an [H W 3] uint8 picture to the TensorBoard events."""
        self._events.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._events.close()


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
