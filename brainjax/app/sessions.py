"""Who is looking at what: one session for each open page, deleted when its time is up."""

import pathlib
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable

from brainjax.app.view import View
from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import Scan
from brainjax.types import BrainjaxError

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
        job: the last run of the pipeline that was asked for.
        ended: nothing may be added any more.
        receiving: held while a file comes in, so that they do one after the other.
    """

    def __init__(self, folder: pathlib.Path, now: float) -> None:
        self.id = secrets.token_urlsafe(_BYTES)
        self.folder = folder
        self.scan: Scan | None = None
        self.analysis: Analysis | None = None
        self.view: View | None = None
        self.job = None
        self.ended = False
        self.receiving = threading.Lock()
        self.deadline = now
        self._waiting: list[tuple[str, pathlib.Path]] = []
        self._lock = threading.Lock()

    def open(self, scan: Scan) -> View:
        """Puts a scan in the place of what was there."""
        view = View.of(scan)
        with self._lock:
            self._alive()
            if self.job is not None:
                self.job.cancel()
            self.scan, self.analysis, self.view, self.job = scan, None, view, None
        return view

    def found(self, scan: Scan, analysis: Analysis) -> None:
        """Adds what was found in a scan, unless another is open by now.

        The analysis may hold another `Scan` of the same volumes, with the contrast that the pipeline took it for.
        """
        view = View.of(scan, analysis)
        with self._lock:
            if not self.ended and self.scan is scan:
                self.analysis, self.view = analysis, view

    def add(self, name: str, path: pathlib.Path) -> int:
        """Keeps an uploaded file, under the name that its user gave it, until it is taken; returns how many there are."""
        with self._lock:
            self._alive()
            self._waiting.append((name, path))
            return len(self._waiting)

    def take(self) -> list[tuple[str, pathlib.Path]]:
        """The uploaded files, which are the caller's to delete."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken

    def clear(self) -> None:
        """Forgets everything, in memory and on disk."""
        with self._lock:
            self.ended = True
            if self.job is not None:
                self.job.cancel()
            self.scan = self.analysis = self.view = None
            self._waiting = []
        shutil.rmtree(self.folder, ignore_errors=True)

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
