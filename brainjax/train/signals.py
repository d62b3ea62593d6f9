"""SIGTERM and Ctrl-C end a run with a checkpoint and exit code 75, within ten seconds.

75 is EX_TEMPFAIL of sysexits.h: try again, and the same command resumes.
"""

import os
import signal
import sys
import threading
from types import FrameType

EXIT_CODE = 75
# Schedulers send SIGKILL about 10 s after SIGTERM; some of that is needed to write the checkpoint.
_PATIENCE_S = 8.0


class StopRequest:
    """Notes a request to stop, for the loop to see between two steps.

    Python runs signal handlers only between bytecodes of the main thread, which may sit in one long compile. So the
    handler's wake-up goes to a thread as well: if the loop has not ended `_PATIENCE_S` after the signal, the
    process ends at its last checkpoint.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._done = threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._previous: dict[int, object] = {}
        self._old_fd = -1

    @property
    def asked(self) -> bool:
        """Whether the run should end now."""
        return self._asked.is_set()

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
            self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, daemon=True, name="stop-request").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._previous:
            signal.set_wakeup_fd(self._old_fd)
            for number, handler in self._previous.items():
                signal.signal(number, handler)
        os.write(self._write, b"\0")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the checkpoint
        self._asked.set()

    def _watch(self) -> None:
        while not self._done.is_set():
            data = os.read(self._read, 1)
            if data[0] in (signal.SIGTERM, signal.SIGINT):
                self._asked.set()
                if not self._done.wait(_PATIENCE_S):
                    print(
                        "stopped while the device was busy: the last saved checkpoint stands",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(EXIT_CODE)
