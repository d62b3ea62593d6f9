"""Where there is no native extension: why, and who is told."""

import json
import platform
import subprocess
import sys

import jax
import pytest
from tiny import ROOT, clean_environment

from brainjax import native
from brainjax.native import build
from brainjax.types import ConfigError


def test_an_unknown_wish_is_named(monkeypatch):
    monkeypatch.setenv("BRAINJAX_NATIVE", "yes")
    with pytest.raises(ConfigError, match="BRAINJAX_NATIVE=yes"):
        native.ready()


def test_without_a_compiler_the_reason_is_told(extension, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.Unavailable, match="install g\\+\\+"):
        build.compiled()


def test_without_the_library_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(build, "_RUNTIME", "no-such-package")
    with pytest.raises(build.Unavailable, match="brainjax\\[native\\]"):
        build.compiled()


def test_who_could_be_quicker_is_told_so_once(monkeypatch, caplog):
    monkeypatch.delenv("BRAINJAX_NATIVE", raising=False)
    monkeypatch.setattr(native, "_load", lambda: "no such luck")
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(native.sys, "platform", "linux")
    native._tell.cache_clear()
    caplog.set_level("INFO", logger="brainjax.native")

    assert not native.ready() and not caplog.records  # on several devices it would not be used
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(native.platform, "machine", lambda: "aarch64")
        assert not native.ready() and not caplog.records  # nobody can do anything about it
    with monkeypatch.context() as unwanted:
        unwanted.setenv("BRAINJAX_NATIVE", "0")
        assert not native.ready() and not caplog.records
    assert not native.ready() and not native.ready()
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == [
        "no such luck; BRAINJAX_NATIVE=0 keeps to it"
    ]


SPEAKS = {
    "entry": """
import json
from experiments import entry
def main():
    ready()
    entry.finish(None, {"metrics": {}})
entry.run(main)
""",
    "cli": """
import types
from brainjax import cli
def add(subparsers):
    subparsers.add_parser("net").set_defaults(run=lambda arguments: print("{}") or ready() or 0)
cli.COMMANDS = [types.SimpleNamespace(add=add)]
cli.main(["net"])
""",
}


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="where it could be of use"
)
@pytest.mark.parametrize("how", SPEAKS)
def test_the_reason_is_one_line_beside_the_result(how, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(
        "from brainjax import native\nfrom brainjax.native import build\n"
        "build._RUNTIME = 'no-such-package'\n"
        f"ready = lambda: native.ready() or native.ready()\n{SPEAKS[how]}"
    )
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "BRAINJAX_NATIVE": "auto"}
    done = subprocess.run(
        [sys.executable, file], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    (line,) = done.stderr.splitlines()
    assert "networks take the portable path" in line and "brainjax[native]" in line
    assert isinstance(json.loads(done.stdout.splitlines()[-1]), dict)


def test_a_source_that_does_not_compile_is_tried_once(extension, monkeypatch, tmp_path):
    broken = tmp_path / "conv.cc"
    broken.write_text("this is not C++\n")
    monkeypatch.setattr(build, "_FOLDER", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(build.Unavailable, match="does not compile"):
        build.compiled()
    (log,) = (tmp_path / ".cache/brainjax/native").glob("*.log")
    assert "error" in log.read_text()
    with pytest.raises(build.Unavailable, match="did not compile"):
        build.compiled()


def test_a_home_that_cannot_be_written_is_told(extension, monkeypatch, tmp_path):
    (tmp_path / ".cache").write_text("a file where a folder should be")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(build.Unavailable, match="cannot be written"):
        build.compiled()
