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
    "wrong", [{"port": 70000}, {"upload_mib": 0}, {"idle_minutes": -1}, {"sessions": 0}]
)
def test_limits_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Options(**wrong)


def start(*command, scratch):
    pytest.importorskip("dash", reason="the viewer needs dash: pip install 'brainjax[app]'")
    return subprocess.Popen(
        [sys.executable, "-u", "-m", *command],
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
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code and "Traceback" not in errors
    assert not list(scratch.glob("brainjax-*"))


def test_what_is_no_scan_is_told_at_once(tmp_path):
    process = start(
        *("brainjax", "view", "--no-browser", "--port", "0", str(tmp_path / "none.nii")),
        scratch=tmp_path,
    )
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and not out
    assert errors.startswith("error: ") and "no such file" in errors and errors.count("\n") == 1
