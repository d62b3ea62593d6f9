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
_PATIENCE_S = 3.0  # with a run that shall end; less than those who stop a process have with it


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

    def __init__(
        self, session: Session, scan: Scan, withdraw: Callable[["Job"], None] = lambda job: None
    ) -> None:
        """Of a scan that is open in a session; `withdraw` takes it out of the queue, if it still waits there."""
        self.session, self.scan, self._withdraw = session, scan, withdraw
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
        """Ends it: at once while it waits, else when the pipeline next tells how far it is, which may take a while."""
        self._cancelled.set()
        self._withdraw(self)

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
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="pipeline")
        self._thread.start()

    def submit(self, session: Session) -> Job:
        """Queues a run for the session's scan; while one is on its way, that one is returned.

        Raises:
            BrainjaxError: no scan is open.
        """

        def queue(scan: Scan) -> Job:
            job = Job(session, scan, self._withdraw)
            self._waiting.append(job)
            self._changed.notify()
            return job

        with self._changed:  # before the session's lock, here and everywhere
            return session.running(queue)

    def ahead(self, job: Job) -> int:
        """How many runs come before a queued one, the running one included."""
        with self._changed:
            running = self._running is not None
            return self._waiting.index(job) + running if job in self._waiting else 0

    def close(self, patience_s: float = _PATIENCE_S) -> bool:
        """Cancels everything and waits for the thread to end.

        Args:
            patience_s: for no longer: a step of the pipeline, such as compiling, is not cut short.

        Returns:
            Whether it ended. Where it did not, Python's own end would abort the process: the thread is in the middle of
            compiled code.
        """
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *filter(None, [self._running])):
                job.cancel()
            self._changed.notify()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _withdraw(self, job: Job) -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                job.status = "cancelled"

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = self._running = self._waiting.popleft()
                job.status = "running"
            job.run(self._cached)
            with self._changed:
                job = self._running = None  # or its scan would be kept until the next

    def _cached(self) -> Pipeline:
        if self._pipeline is None:
            self._pipeline = self._load()
        return self._pipeline
