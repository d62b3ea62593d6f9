"""One run of the pipeline at a time."""

import gc
import threading
import time
import weakref

import pytest
import viewing

from brainjax.app.jobs import LOADING, Job, Jobs
from brainjax.app.sessions import Sessions
from brainjax.types import BrainjaxError, DataError

PATIENCE_S = 60  # with a machine that does other things too


@pytest.fixture
def sessions():
    made = Sessions(idle_s=100, most=9)
    yield made
    made.close()


def opened(sessions):
    session = sessions.create()
    session.open(viewing.scan())
    return session


def wait(job):
    until = time.monotonic() + PATIENCE_S
    while job.active:
        assert time.monotonic() < until, f"still {job.status}"
        time.sleep(0.005)


class Gate:
    """A pipeline that goes on when it is let."""

    def __init__(self):
        self.go, self.inside, self.most = threading.Event(), 0, 0

    def __call__(self, scan, progress):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            while not self.go.wait(0.005):
                progress("strip", 0.5)
        finally:
            self.inside -= 1
        return viewing.analysis(scan)


def test_a_run_ends_with_its_results_in_the_session(sessions):
    jobs, session = Jobs(viewing.MadeUp), opened(sessions)
    before = session.view.token
    job = jobs.submit(session)
    wait(job)
    assert job.status == "done" and session.analysis.scan is session.scan
    assert session.view.token != before
    assert job.stages == {LOADING: 1.0, "strip": 1.0, "segment": 1.0}
    assert job.seconds > 0
    jobs.close()


def test_runs_wait_for_each_other_and_know_their_place(sessions):
    gate = Gate()
    jobs = Jobs(lambda: gate)
    several = [opened(sessions) for _ in range(3)]
    first, second, third = [jobs.submit(session) for session in several]
    until = time.monotonic() + PATIENCE_S
    while first.status != "running" and time.monotonic() < until:
        time.sleep(0.005)
    assert [jobs.ahead(job) for job in (first, second, third)] == [0, 1, 2]
    assert jobs.submit(several[2]) is third  # a second click queues nothing
    second.cancel()
    assert jobs.ahead(third) == 1
    gate.go.set()
    for job in (first, second, third):
        wait(job)
    assert [job.status for job in (first, second, third)] == ["done", "cancelled", "done"]
    assert gate.most == 1 and several[1].analysis is None
    jobs.close()


def let_go(how, job, session):
    """Ends the wish for a run, one of the ways in which users do."""
    if how == "stop":
        job.cancel()
    elif how == "another scan":
        session.open(viewing.scan())
    else:
        session.clear()


def running(jobs, session):
    """A run that has begun."""
    job = jobs.submit(session)
    until = time.monotonic() + PATIENCE_S
    while "strip" not in job.stages:
        assert time.monotonic() < until
        time.sleep(0.005)
    return job


@pytest.mark.parametrize("how", ["stop", "another scan", "the page went away"])
def test_a_run_that_waits_ends_at_once_and_lets_its_scan_go(sessions, how):
    gate = Gate()
    jobs, session = Jobs(lambda: gate), opened(sessions)
    running(jobs, opened(sessions))
    job, scan = jobs.submit(session), weakref.ref(session.scan)
    let_go(how, job, session)
    assert job.status == "cancelled" and not jobs._waiting
    if how != "stop":  # which leaves the scan open
        del job
        gc.collect()
        assert scan() is None
    gate.go.set()
    jobs.close()


def test_stopping_is_seen_and_the_next_run_is_another(sessions):
    results = pytest.importorskip("brainjax.app.results", reason="the page needs dash")
    gate = Gate()
    jobs, session = Jobs(lambda: gate), opened(sessions)
    running(jobs, opened(sessions))
    first = jobs.submit(session)
    first.cancel()
    assert "Stopped" in str(results.progress(first, jobs.ahead(first)))
    second = jobs.submit(session)
    assert second is not first and jobs.ahead(second) == 1
    gate.go.set()
    wait(second)
    assert second.status == "done"
    jobs.close()


def test_closing_ends_what_runs_and_what_waits(sessions):
    jobs = Jobs(lambda: Gate())
    job, waiting = running(jobs, opened(sessions)), jobs.submit(opened(sessions))
    assert jobs.close()
    assert job.status == waiting.status == "cancelled"


def test_closing_waits_no_longer_than_told(sessions):
    go = threading.Event()
    jobs = Jobs(lambda: lambda scan, progress: (progress("strip", 0.5), go.wait(PATIENCE_S)))
    running(jobs, opened(sessions))
    begun = time.monotonic()
    assert not jobs.close(0.1) and time.monotonic() - begun < PATIENCE_S / 2
    go.set()
    assert jobs.close(PATIENCE_S)


@pytest.mark.parametrize("how", ["stop", "another scan", "the page went away"])
def test_a_run_that_nobody_wants_any_more_ends(sessions, how):
    gate = Gate()
    jobs, session = Jobs(lambda: gate), opened(sessions)
    job = jobs.submit(session)
    let_go(how, job, session)
    wait(job)
    assert job.status == "cancelled" and session.analysis is None
    jobs.close()


@pytest.mark.parametrize(
    "error, words",
    [(DataError("crop it"), "crop it"), (ZeroDivisionError("secret path"), "ZeroDivisionError")],
)
def test_a_failure_is_told_and_the_next_gets_its_turn(sessions, error, words):
    pipelines = iter([viewing.MadeUp(error=error), viewing.MadeUp()])
    jobs = Jobs(lambda: lambda scan, progress: next(pipelines)(scan, progress))
    failing, fine = opened(sessions), opened(sessions)
    job, after = jobs.submit(failing), jobs.submit(fine)
    wait(job)
    wait(after)
    assert job.status == "failed" and words in job.error and "secret" not in job.error
    assert after.status == "done"
    jobs.close()


def test_models_that_cannot_be_loaded_are_tried_again(sessions):
    def load():
        tried.append(1)
        if len(tried) == 1:
            raise DataError("no such model")
        return viewing.MadeUp()

    tried = []
    jobs, session = Jobs(load), opened(sessions)
    for status in ("failed", "done", "done"):
        job = jobs.submit(session)
        wait(job)
        assert job.status == status
    assert len(tried) == 2  # and once loaded they are kept
    jobs.close()


def test_without_a_scan_there_is_nothing_to_run(sessions):
    jobs = Jobs(viewing.MadeUp)
    with pytest.raises(BrainjaxError, match="open one"):
        jobs.submit(sessions.create())
    jobs.close()


def test_progress_never_leaves_its_bounds(sessions):
    job = Job(opened(sessions), viewing.scan())
    job.progress("strip", -3)
    assert job.stages == {"strip": 0.0}
    job.progress("segment", 7)
    assert job.stages == {"strip": 1.0, "segment": 1.0}
