"""Requests to stop: noted, acted on at once, and never stuck behind one long call."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tiny import ROOT, clean_environment

from brainjax.train.signals import EXIT_CODE, PATIENCE, Interrupted, StopRequest
from brainjax.types import BrainjaxError, ConfigError

PATIENCE_S = 20  # with a machine that does other things too


def handlers():
    return [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handlers_are_put_back(number):
    before, threads = handlers(), threading.active_count()
    with StopRequest() as stop:
        assert not stop.asked
        os.kill(os.getpid(), number)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
    assert handlers() == before
    deadline = time.monotonic() + PATIENCE_S
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == threads  # the watching thread ended


def test_a_second_interrupt_does_not_wait():
    with pytest.raises(KeyboardInterrupt), StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_the_inner_of_two_requests_hears_the_signal():
    with StopRequest() as outer:
        with StopRequest() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner.asked
        assert not outer.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.asked


def test_other_threads_are_left_alone():
    before = handlers()

    def work():
        with StopRequest() as stop:
            assert handlers() == before and not stop.asked

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts them in /proc")
def test_file_descriptors_are_given_back():
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(5):
        with StopRequest():
            pass
    deadline = time.monotonic() + PATIENCE_S
    while count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the threads close their ends
    assert count() <= before


def test_interrupted_is_an_error_with_an_exit_code():
    assert issubclass(Interrupted, BrainjaxError) and Interrupted("x").exit_code == 75


def end_of(code, ready="ready\n", **environment):
    """Exit code, output and seconds of a child that gets SIGTERM when it prints 'ready'."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == ready
    begun = time.monotonic()
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=120)
    return child.returncode, out + err, time.monotonic() - begun


def test_at_once_ends_where_it_stands():
    code, text, seconds = end_of(
        "import time\n"
        "from brainjax.train.signals import StopRequest\n"
        "with StopRequest(at_once=True):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "print('not reached')"
    )
    assert code == EXIT_CODE == 75 and seconds < PATIENCE_S
    assert text == "stopped by SIGTERM\n"


BUSY = """
import hashlib, threading
from brainjax.train import signals
with signals.StopRequest({mode}):
    # Said when the call is under way: a signal before it would be handled like any other.
    threading.Timer(1.0, lambda: print("ready", flush=True)).start()
    # One call of many minutes without a bytecode between, as a compile is.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)
print("not reached")
"""


@pytest.mark.parametrize("mode", ["", "at_once=True"])
def test_one_long_call_cannot_hold_up_the_end(mode):
    code, text, seconds = end_of(BUSY.format(mode=mode), **{PATIENCE: "1"})
    assert code == 75 and seconds < PATIENCE_S
    assert text == "stopped while the device was busy: the last saved checkpoint stands\n"


SAVING = """
import threading, time
from brainjax.train.signals import StopRequest
saved, asked = threading.Event(), threading.Event()
with StopRequest() as stop:
    stop.saving = lambda: asked.set() or not saved.is_set()
    print("ready", flush=True)
    asked.wait()  # as it is when patience is at its end
    time.sleep(1)
    print("saved", flush=True)
    saved.set()
    time.sleep(60)
print("not reached")
"""


def test_a_save_that_has_begun_is_finished_and_nothing_else_waited_for():
    code, text, seconds = end_of(SAVING, **{PATIENCE: "0.4"})
    assert code == 75 and seconds < PATIENCE_S
    assert text == "saved\nstopped while the device was busy: the last saved checkpoint stands\n"


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_patience_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(ConfigError, match=f"{PATIENCE}={text} is no number of seconds"):
        StopRequest()
