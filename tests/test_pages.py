"""Large pages: a program that may ask for them starts again, once, with the same words."""

import os
import platform
import sys

import pytest

from experiments import pages
from experiments.benchmarks import rounds


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A system whose setting and C library can be chosen; what would be executed."""
    begun = []
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    monkeypatch.setattr(pages, "_SETTING", setting)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(os, "execve", lambda *words: begun.append(words))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.train", "--seed=1"])
    monkeypatch.delenv(pages.VARIABLE, raising=False)
    return setting, begun


def test_the_same_command_begins_anew_with_large_pages(linux, monkeypatch):
    _, begun = linux
    pages.large_pages()
    ((path, words, env),) = begun
    assert path == sys.executable and words[1:] == ["-m", "experiments.train", "--seed=1"]
    assert env == {**os.environ, pages.VARIABLE: pages.LARGE}
    monkeypatch.setenv(pages.VARIABLE, env[pages.VARIABLE])
    pages.large_pages()
    assert len(begun) == 1


@pytest.mark.parametrize("given", ["", "glibc.malloc.arena_max=1"])
def test_who_sets_the_variable_decides(linux, monkeypatch, given):
    monkeypatch.setenv(pages.VARIABLE, given)
    pages.large_pages()
    assert not linux[1]


@pytest.mark.parametrize("text", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_happens_where_asking_changes_nothing(linux, text):
    setting, begun = linux
    setting.write_text(text) if text else setting.unlink()
    pages.large_pages()
    assert not begun


@pytest.mark.parametrize("library", [("glibc", "2.31"), ("", ""), ("libc", "1.2")])
def test_nor_where_the_c_library_cannot_ask(linux, monkeypatch, library):
    monkeypatch.setattr(platform, "libc_ver", lambda: library)
    pages.large_pages()
    assert not linux[1]


def test_a_debugger_is_not_left_behind(linux):
    before = sys.gettrace()
    sys.settrace(lambda *event: None)
    try:
        pages.large_pages()
    finally:
        sys.settrace(before)
    assert not linux[1]


def test_a_program_that_cannot_begin_anew_goes_on(linux, monkeypatch):
    def refuse(*words):
        raise OSError

    monkeypatch.setattr(os, "execve", refuse)
    pages.large_pages()


def test_peers_run_in_the_pages_they_come_with(monkeypatch):
    monkeypatch.setenv(pages.VARIABLE, pages.LARGE)
    seen = {}

    def run(command, *, env, **options):
        seen["env"] = env
        raise OSError(1, "stop here")

    monkeypatch.setattr(rounds.subprocess, "Popen", run)
    for peer, expected in ((True, None), (False, pages.LARGE)):
        with pytest.raises(rounds.BrainjaxError):
            rounds.call(rounds.Contestant("a:b", peer=peer), rounds.Options())
        assert seen["env"].get(pages.VARIABLE) == expected
