"""Both ways to start the viewer, and to stop it."""

import importlib.util
import signal
import subprocess
import sys
import urllib.request

import pytest
import viewing
from tiny import ROOT, clean_environment

from brainjax import cli
from brainjax.app import Options
from brainjax.types import ConfigError


@pytest.mark.parametrize("missing", ["dash", "plotly"])
def test_without_the_extra_one_line_names_it(monkeypatch, capsys, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name)
    )
    monkeypatch.setenv("BRAINJAX_COMPILATION_CACHE", "")
    assert cli.main(["view", "--no-browser"]) == 1
    said = capsys.readouterr().err
    assert said == f"error: the viewer needs {missing}: pip install 'brainjax[app]'\n"


@pytest.mark.parametrize(
    "wrong", [{"port": 70000}, {"upload_mib": 0}, {"idle_minutes": 1}, {"sessions": 0}]
)
def test_limits_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Options(**wrong)


def start(*command, scratch, how="-m"):
    pytest.importorskip("dash", reason="the viewer needs dash: pip install 'brainjax[app]'")
    return subprocess.Popen(
        [sys.executable, "-u", how, *command],
        cwd=ROOT,
        env=clean_environment() | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "command, code",
    [
        (("brainjax", "view", "--no-browser", "--port", "0"), 0),
        (("experiments.serve", "--port=0"), 75),
    ],
)
@pytest.mark.parametrize("how", [signal.SIGTERM])
def test_it_serves_until_asked_to_stop_and_leaves_nothing(tmp_path, command, code, how):
    scratch = tmp_path / "scratch"
    (tmp_path / "ann").mkdir()
    scratch.mkdir()
    viewing.files(tmp_path / "ann")
    process = start(*command, str(tmp_path / "ann"), scratch=scratch)
    try:
        said = process.stdout.readline()
        address = said.split(" at ")[1].split(" ")[0]
        assert address.startswith("http://127.0.0.1:") and "Research use only" in said
        with urllib.request.urlopen(f"{address}_dash-layout") as answer:
            assert b"Research use only" in answer.read()
        urllib.request.urlopen(f"{address}api/sessions", data=b"").close()
        assert list(scratch.iterdir())  # a session's folder
        process.send_signal(how)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in errors
    assert not list(scratch.glob("brainjax-*"))


STUCK = """
import pathlib, signal, sys
sys.path.insert(0, "tests")
import jax, viewing
from brainjax.app import Options, server, sessions

def load():
    loop = lambda x, n: jax.lax.fori_loop(0, n, lambda i, y: jax.numpy.tanh(y @ y), x)
    busy, x = jax.jit(loop), jax.numpy.ones((200, 200))
    busy(x, 1).block_until_ready()
    print("in the middle", flush=True)
    return lambda scan, progress: busy(x, 10**9).block_until_ready()

class Jobs(server.Jobs):
    def __init__(self, load):
        super().__init__(load)
        session = sessions.Session(pathlib.Path("nowhere"), 0.0)
        session.open(viewing.scan())
        self.submit(session)

server.Jobs = Jobs
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server.serve(Options(port=0), load, code=75)
"""


def test_a_run_that_does_not_end_is_no_crash_and_leaves_nothing(tmp_path):
    """Python's own end would unwind a thread in the middle of compiled code, which aborts the process."""
    process = start(STUCK, scratch=tmp_path, how="-c")
    try:
        said = [process.stdout.readline() for _ in range(2)]
        assert "in the middle\n" in said and list(tmp_path.glob("brainjax-*"))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 75 and "Traceback" not in errors
    assert not list(tmp_path.glob("brainjax-*"))


def test_what_is_no_scan_is_told_at_once(tmp_path):
    process = start(
        *("brainjax", "view", "--no-browser", "--port", "0", str(tmp_path / "none.nii")),
        scratch=tmp_path,
    )
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and not out
    assert errors.startswith("error: ") and "no such file" in errors and errors.count("\n") == 1
