"""One run of the pipeline at a time, for all sessions: a queue, a thread, and how far it is."""

import collections
import logging
import threading
import time
from collections.abc import Callable

from brainjax.app.sessions import Session
from brainjax.infer.analysis import Analysis
from brainjax.infer.scan import Scan
from brainjax.types import BrainjaxError

# (scan, progress=callable(stage, done 0 to 1)) -> Analysis
Pipeline = Callable[..., Analysis]
LOADING = "load the models"


class Cancelled(Exception):
    """Nobody wants the answer any more. No error of a scan's, which a stage might take for a failure of its own."""


class Job:
    """A run that was asked for.

    Attributes:
        scan: that it is about.
        status: 'queued', 'running', 'done', 'failed' or 'cancelled'.
        stages: name -> how far it is, 0 to 1, in the order in which they began.
        error: one line, where it failed.
    """

    def __init__(self, session: Session, scan: Scan) -> None:
        self.session, self.scan = session, scan
        self.status = "queued"
        self.stages: dict[str, float] = {}
        self.error = ""
        self._begun = self._ended = 0.0
        self._cancelled = threading.Event()

    @property
    def active(self) -> bool:
        """Whether something will still happen."""
        return self.status in ("queued", "running")

    @property
    def seconds(self) -> float:
        """For how long it runs, or ran."""
        return (self._ended or time.monotonic()) - self._begun if self._begun else 0.0

    def cancel(self) -> None:
        """Ends it: at once while it waits, else at the next sign of progress."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    def progress(self, stage: str, done: float) -> None:
        """What the pipeline calls.

        Raises:
            Cancelled: to end the run.
        """
        if self.cancelled:
            raise Cancelled("cancelled")
        for name in self.stages:
            if name != stage:
                self.stages[name] = 1.0  # stages come one after the other
        self.stages[stage] = min(max(float(done), 0.0), 1.0)

    def run(self, pipeline: Callable[[], Pipeline]) -> None:
        """Runs it, whatever happens."""
        self.status, self._begun = "running", time.monotonic()
        try:
            self.progress(LOADING, 0.0)
            loaded = pipeline()
            self.progress(LOADING, 1.0)
            analysis = loaded(self.scan, progress=self.progress)
            self.session.found(self.scan, analysis)
            outcome = "cancelled" if self.cancelled else "done"
        except Cancelled:
            outcome = "cancelled"
        except BrainjaxError as error:
            outcome, self.error = "failed", str(error)
        except (
            Exception
        ) as error:  # the page must hear of it, and the next in the queue get its turn
            logging.getLogger(__name__).exception("the pipeline failed")
            outcome = "failed"
            self.error = (
                f"the pipeline failed ({type(error).__name__}); the server's terminal says where"
            )
        self._ended = time.monotonic()
        self.status = outcome


class Jobs:
    """The queue and the thread that works it off."""

    def __init__(self, load: Callable[[], Pipeline]) -> None:
        """Starts the thread.

        Args:
            load: gives the pipeline; called once, by the first run.
        """
        self._load, self._pipeline = load, None
        self._waiting: collections.deque[Job] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._working = False
        threading.Thread(target=self._work, daemon=True, name="pipeline").start()

    def submit(self, session: Session) -> Job:
        """Queues a run for the session's scan; while one is on its way, that one is returned."""
        with self._changed:
            job, scan = session.job, session.scan
            if scan is None:
                raise BrainjaxError("no scan is open; open one first")
            if job is None or not job.active or job.cancelled:
                job = session.job = Job(session, scan)
                self._waiting.append(job)
                self._changed.notify()
        return job

    def ahead(self, job: Job) -> int:
        """How many runs come before a queued one, the running one included."""
        with self._changed:
            waiting = [other for other in self._waiting if not other.cancelled]
            return waiting.index(job) + self._working if job in waiting else 0

    def close(self) -> None:
        """Cancels everything; the thread ends."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.cancel()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._waiting.popleft()
                if job.cancelled:
                    job.status = "cancelled"
                    continue
                job.status = "running"
                self._working = True
            job.run(self._cached)
            del job  # which would keep its scan until the next
            self._working = False

    def _cached(self) -> Pipeline:
        if self._pipeline is None:
            self._pipeline = self._load()
        return self._pipeline
