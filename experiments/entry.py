"""What every entry point shares: flags, one-line errors, exit codes, the closing JSON line."""

import json
import logging
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from brainjax.files import write_text
from brainjax.train.signals import StopRequest
from brainjax.types import BrainjaxError
from experiments.pages import large_pages

_CACHE = flags.DEFINE_string(
    "compilation_cache",
    os.environ.get("BRAINJAX_COMPILATION_CACHE", ""),
    "Keep compiled programs here and reuse them in later runs; 'user' is ~/.cache/brainjax. "
    "Empty: off. The environment variable BRAINJAX_COMPILATION_CACHE sets the default.",
)
_VERBOSE = flags.DEFINE_bool("verbose", False, "Also print what orbax and jax log.")


def run(main: Callable[..., None], *, positional: bool = False, changes: bool = False) -> None:
    """Parses the flags and calls `main`; a BrainjaxError becomes one line and exit code 1.

    Asked to stop by SIGTERM or Ctrl-C, an entry point exits with 75 (see `brainjax.train.signals`).

    Args:
        main: called without arguments, but for those that follow.
        positional: pass the list of arguments that are no flags.
        changes: pass a dict of the flags --config.FIELD=VALUE, FIELD -> VALUE as text.
    """
    large_pages()
    fields: dict[str, str] = {}

    def parse(argv: list[str]) -> list[str]:
        if changes:
            argv, found = split_changes(argv)
            fields.update(found)
        try:
            return flags.FLAGS(argv)
        except flags.Error as error:
            _fail(error)
        except SystemExit:  # absl has answered --help, and calls that a failure
            sys.exit(0)

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1 and not positional:
            _fail(f"unexpected arguments {argv[1:]}; flags are written --name=value")
        _quiet()
        _enable_cache()
        try:
            main(*([argv[1:]] if positional else []), *([fields] if changes else []))
        except BrainjaxError as error:
            _fail(error, getattr(error, "exit_code", 1))
        except OSError as error:
            # A full disk, a folder without permission: what is already written stays.
            _fail(error)

    try:
        stop = StopRequest(at_once=True)
    except BrainjaxError as error:
        _fail(error)
    with stop:
        app.run(guarded, flags_parser=parse)


def split_changes(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes the flags --config.FIELD=VALUE out of a command line.

    Also understood: --config.FIELD VALUE, and --config.FIELD or --noconfig.FIELD for a switch.
    """
    rest, changes, left = [], {}, list(argv)
    while left:
        arg = left.pop(0)
        found = re.fullmatch(r"--?(no)?config\.([^=]+)(?:=(.*))?", arg, re.DOTALL)
        if arg == "--" or not found:
            rest += [arg, *(left if arg == "--" else [])]
            left = [] if arg == "--" else left
            continue
        negated, field, value = found.groups()
        if value is None:
            follows = not negated and left and not left[0].startswith("--")
            value = left.pop(0) if follows else str(not negated)
        changes[field] = value
    return rest, changes


def _fail(error: object, code: int = 1) -> NoReturn:
    print(f"error: {error}" if code == 1 else error, file=sys.stderr, flush=True)
    sys.exit(code)


def claim(workdir: pathlib.Path) -> None:
    """Makes sure that results can be written to `workdir`, before hours go into them; it is created if need be.

    Raises:
        OSError: it cannot be created, or nothing can be written there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=workdir):
        pass


def finish(workdir: pathlib.Path | None, result: dict[str, Any]) -> None:
    """Writes `<workdir>/result.json` and prints it as the last line."""
    if workdir is not None:
        write(workdir, result)
    sys.stderr.flush()
    print(json.dumps(result, allow_nan=False), flush=True)


def write(workdir: pathlib.Path, result: dict[str, Any]) -> None:
    """Writes `<workdir>/result.json`, whole or not at all."""
    write_text(workdir / "result.json", json.dumps(result, allow_nan=False) + "\n")


def _quiet() -> None:
    # A handler of our own: absl's, at the root, is silenced with orbax's and jax's.
    logs, handler = logging.getLogger("brainjax"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logs.addHandler(handler)
    logs.setLevel(logging.WARNING)
    logs.propagate = False
    logging.getLogger("brainjax.native").setLevel(logging.INFO)
    if not _VERBOSE.value:
        # What fails is reported in one line of our own, not by the tracebacks of orbax's threads too.
        absl_logging.set_verbosity(absl_logging.FATAL)
        absl_logging.set_stderrthreshold("fatal")


def _enable_cache() -> None:
    if not _CACHE.value:
        return
    import jax

    path = pathlib.Path("~/.cache/brainjax" if _CACHE.value == "user" else _CACHE.value)
    jax.config.update("jax_compilation_cache_dir", str(path.expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
