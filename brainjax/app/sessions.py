"""Who is looking at what: one session for each open page, deleted when its time is up."""

import pathlib
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from brainjax.app.view import View
from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import Scan
from brainjax.types import BrainjaxError, DataError

_BYTES = 24  # of an id: 192 bits are not guessed
LEAVING_S = 60.0  # a page that went away may only have been reloaded


class NoSession(BrainjaxError):
    """There is no such session, or no more."""


class Crowded(BrainjaxError):
    """There are as many sessions as the server allows."""


class Session:
    """One page.

    Attributes:
        id: unguessable; whoever has it has the session.
        folder: of its own, for files on their way in or out; deleted with the session.
        scan: that is open.
        analysis: of this scan.
        view: of both.
        offered: the number of this scan among those that the server offers; None of one that was uploaded.
        job: the last run of the pipeline that was asked for in this scan.
        ended: nothing may be added any more.
        receiving: held while a file comes in, so that they do one after the other.
    """

    def __init__(self, folder: pathlib.Path, now: float) -> None:
        self.id = secrets.token_urlsafe(_BYTES)
        self.folder = folder
        self.scan: Scan | None = None
        self.analysis: Analysis | None = None
        self.view: View | None = None
        self.offered: int | None = None
        self.job: Any = None
        self.ended = False
        self.receiving = threading.Lock()
        self.deadline = now
        self._batch: str | None = None
        self._waiting: list[tuple[str, pathlib.Path]] = []
        self._lock = threading.Lock()

    def open(self, scan: Scan, offered: int | None = None) -> View:
        """Puts a scan in the place of what was there, whose run is cancelled."""
        view = View.of(scan)
        with self._lock:
            self._alive()
            job, self.job = self.job, None
            self.scan, self.analysis, self.view, self.offered = scan, None, view, offered
        if job is not None:
            job.cancel()  # not under the lock: the queue has one of its own
        return view

    def running(self, make: Callable[[Scan], Any]) -> Any:
        """The run that is on its way for the scan that is open, or a new one.

        Args:
            make: makes and queues it.

        Raises:
            BrainjaxError: no scan is open.
        """
        with self._lock:
            if self.scan is None:
                raise BrainjaxError("no scan is open; open one first")
            if self.job is None or not self.job.active or self.job.cancelled:
                self.job = make(self.scan)
            return self.job

    def found(self, scan: Scan, analysis: Analysis) -> None:
        """Adds what was found in a scan, unless another is open by now.

        The analysis may hold another `Scan` of the same volumes, with the contrast that the pipeline took it for.
        """
        with self._lock:
            before = self.view if self.scan is scan else None
        if before is None:
            return
        view = View.of(scan, analysis, before.opened)
        with self._lock:
            if not self.ended and self.scan is scan:
                self.analysis, self.view = analysis, view

    def begin(self) -> tuple[str, list[tuple[str, pathlib.Path]]]:
        """Begins a batch of files that are uploaded together.

        Returns:
            The batch's name, which its files have to bear; and the files of the one before, which are the caller's to
            delete.
        """
        with self._lock:
            self._alive()
            left, self._waiting, self._batch = self._waiting, [], secrets.token_hex(8)
            return self._batch, left

    def check(self, batch: str) -> None:
        """Raises DataError where another batch has begun since, NoSession where the session has ended."""
        with self._lock:
            self._current(batch)

    def add(self, batch: str, name: str, path: pathlib.Path) -> int:
        """Keeps an uploaded file until its batch is taken.

        Args:
            batch: that it belongs to.
            name: that its user gave it.
            path: where it is.

        Returns:
            How many there are.

        Raises:
            DataError: another batch has begun since: it may be of another patient.
            NoSession: the session has ended. The file stays the caller's to delete, as above.
        """
        with self._lock:
            self._current(batch)
            self._waiting.append((name, path))
            return len(self._waiting)

    def take(self, batch: str) -> list[tuple[str, pathlib.Path]]:
        """The files of a batch, which are the caller's to delete; raises as `add`."""
        with self._lock:
            self._current(batch)
            taken, self._waiting = self._waiting, []
        return taken

    def clear(self) -> None:
        """Forgets everything, in memory and on disk; a run in the middle of a step keeps its scan until that ends."""
        with self._lock:
            self.ended = True
            job, self.job = self.job, None
            self.scan = self.analysis = self.view = None
            self._waiting = []
        if job is not None:
            job.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _current(self, batch: str) -> None:
        self._alive()
        if batch != self._batch:
            raise DataError("other files were chosen meanwhile; choose these again")

    def _alive(self) -> None:
        if self.ended:
            raise NoSession("this session has ended; reload the page")


class Sessions:
    """All of a server's sessions."""

    def __init__(
        self, *, idle_s: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes the folder that holds theirs.

        Args:
            idle_s: a session that nobody asked for in so long is deleted.
            most: at the same time.
            clock: seconds; tests set their own.
        """
        self._idle_s, self._most, self._clock = idle_s, most, clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._root = tempfile.TemporaryDirectory(prefix="brainjax-")  # for its owner alone

    def __len__(self) -> int:
        return len(self._open)

    def create(self) -> Session:
        """A new session.

        Raises:
            Crowded: there are too many.
        """
        self.sweep()
        with self._lock:
            if len(self._open) >= self._most:
                raise Crowded(
                    f"{self._most} pages are open, which is all this server allows; close one, or try again later"
                )
            folder = pathlib.Path(tempfile.mkdtemp(dir=self._root.name))
            session = Session(folder, self._clock() + self._idle_s)
            self._open[session.id] = session
        return session

    def get(self, name: str | None) -> Session:
        """The session of that id, whose time begins anew.

        Raises:
            NoSession: there is none.
        """
        self.sweep()
        with self._lock:
            session = self._open.get(name or "")
            if session is None:
                raise NoSession("this session has ended; reload the page")
            session.deadline = self._clock() + self._idle_s
        return session

    def leave(self, name: str) -> None:
        """Says that the page went away: unless it comes back its session ends soon."""
        session = self.get(name)
        session.deadline = self._clock() + min(LEAVING_S, self._idle_s)

    def sweep(self) -> None:
        """Deletes the sessions whose time is up."""
        now = self._clock()
        with self._lock:
            late = [s for s in self._open.values() if s.deadline <= now]
            for session in late:
                del self._open[session.id]
        for session in late:
            session.clear()

    def close(self) -> None:
        """Deletes all."""
        with self._lock:
            sessions, self._open = list(self._open.values()), {}
        for session in sessions:
            session.clear()
        self._root.cleanup()
