"""What every entry point shares: flags, one-line errors, exit codes, the closing JSON line."""

import json
import logging
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from brainjax.types import BrainjaxError

_CACHE = flags.DEFINE_string(
    "compilation_cache",
    os.environ.get("BRAINJAX_COMPILATION_CACHE", ""),
    "Keep compiled programs here and reuse them in later runs; 'user' is ~/.cache/brainjax. "
    "Empty: off. The environment variable BRAINJAX_COMPILATION_CACHE sets the default.",
)
_VERBOSE = flags.DEFINE_bool("verbose", False, "Also print what orbax and jax log.")


def run(main: Callable[..., None], *, positional: bool = False) -> None:
    """Parses the flags and calls `main`; a BrainjaxError becomes one line and exit code 1.

    With `positional`, `main` is called with the list of arguments that are no flags.

    A run that was asked to stop and saved its state exits with 75 (see `brainjax.train.signals`).
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1 and not positional:
            raise app.UsageError(f"unexpected arguments {argv[1:]}; flags are written --name=value")
        _quiet()
        _enable_cache()
        try:
            main(*([argv[1:]] if positional else []))
        except BrainjaxError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(getattr(error, "exit_code", 1))
        except OSError as error:
            # A full disk, a folder without permission: what is already written stays.
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)

    app.run(guarded)


def finish(workdir: pathlib.Path | None, result: dict[str, Any]) -> None:
    """Writes `<workdir>/result.json`, whole or not at all, and prints it as the last line."""
    text = json.dumps(result, allow_nan=False)
    if workdir is not None:
        temporary = workdir / "result.json.tmp"
        temporary.write_text(text + "\n")
        os.replace(temporary, workdir / "result.json")
    sys.stderr.flush()
    print(text, flush=True)


def _quiet() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if not _VERBOSE.value:
        absl_logging.set_verbosity(absl_logging.WARNING)
        absl_logging.set_stderrthreshold("warning")


def _enable_cache() -> None:
    if not _CACHE.value:
        return
    import jax

    path = pathlib.Path("~/.cache/brainjax" if _CACHE.value == "user" else _CACHE.value)
    jax.config.update("jax_compilation_cache_dir", str(path.expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
