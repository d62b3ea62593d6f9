"""SIGTERM and Ctrl-C end a run with a checkpoint and exit code 75.

75 is EX_TEMPFAIL of sysexits.h: try again, and the same command resumes. The checkpoint is of the step in hand where
that ends within `PATIENCE` seconds, else the last one before. A checkpoint whose writing has begun is finished.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from brainjax.types import BrainjaxError, ConfigError

EXIT_CODE = 75
# Of the environment: seconds that a step, an evaluation or a compile has to end after the signal.
PATIENCE = "BRAINJAX_STOP_SECONDS"
# Some schedulers send SIGKILL 10 s after SIGTERM; some of that is needed to write the checkpoint.
_PATIENCE_S = 8.0
_POLL_S = 0.5


class Interrupted(BrainjaxError):
    """The run was asked to stop, and saved its state."""

    exit_code = EXIT_CODE


class StopRequest:
    """Notes a request to stop while it is entered.

    Python runs signal handlers only between bytecodes of the main thread, which may sit in one long compile. So the
    handler's wake-up goes to a thread as well: if the block has not ended `PATIENCE` seconds after the signal, the
    process ends at its last checkpoint. Requests nest: the inner one hears the signal.

    Attributes:
        saving: asked before the process is ended so: while a checkpoint is being written, the end waits for it, and
            for as many seconds again after it.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        """With `at_once` the process ends where it stands; else the block looks at `asked`.

        It ends without unwinding: an exception out of a signal handler in the middle of a compile has crashed the
        interpreter. So the block must be one that can be repeated whatever it left behind.

        Raises:
            ConfigError: the environment's `PATIENCE` is no number of seconds.
        """
        self.saving: Callable[[], bool] = lambda: False
        self._at_once = at_once
        self._patience = _patience()
        self._asked = threading.Event()
        self._done = threading.Event()
        self._previous: dict[int, object] = {}
        self._old_fd = self._write = -1

    @property
    def asked(self) -> bool:
        """Whether the run should end now."""
        return self._asked.is_set()

    def __enter__(self) -> "StopRequest":
        """Takes over SIGTERM and SIGINT."""
        # Elsewhere Python takes no handlers: a run in another thread belongs to its program.
        if threading.current_thread() is threading.main_thread():
            read, self._write = os.pipe()
            if hasattr(os, "set_blocking"):  # Windows has it since Python 3.12, and does without
                os.set_blocking(self._write, False)
            threading.Thread(
                target=self._watch, args=(read,), daemon=True, name="stop-request"
            ).start()
            self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        self._done.set()
        if self._previous:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._old_fd)
            os.close(self._write)  # the thread reads the end of the pipe, and ends

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the checkpoint
        self._asked.set()
        if self._at_once:
            _end(f"stopped by {signal.Signals(number).name}")

    def _watch(self, read: int) -> None:
        while data := os.read(read, 1):
            if data[0] not in (signal.SIGTERM, signal.SIGINT):
                continue
            self._asked.set()
            while not self._done.wait(self._patience):
                if not self.saving():
                    _end("stopped while the device was busy: the last saved checkpoint stands")
                while self.saving() and not self._done.wait(_POLL_S):
                    pass
        os.close(read)


def _patience() -> float:
    text = os.environ.get(PATIENCE) or str(_PATIENCE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= threading.TIMEOUT_MAX:
        raise ConfigError(
            f"{PATIENCE}={text} is no number of seconds; set it to 60, say, or unset it"
        )
    return seconds


def _end(message: str) -> NoReturn:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(EXIT_CODE)
