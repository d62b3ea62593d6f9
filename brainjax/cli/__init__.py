"""The console script `brainjax`: one file a sub-command, each with `add(subparsers)` and `run(arguments) -> exit code`."""

import argparse
import logging
import os
import pathlib
import sys
from collections.abc import Sequence

from brainjax import __version__
from brainjax.cli import analyze, strip, view
from brainjax.types import BrainjaxError

COMMANDS = (analyze, strip, view)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns its exit code: 0 fine, 1 something could not be done, 2 a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="brainjax", description="Brain MRI on your own machine. Research use only."
    )
    parser.add_argument("--version", action="version", version=f"brainjax {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(subparsers)
    arguments = parser.parse_args(argv)
    _print_any_name()
    _keep_compiled()
    _log()
    try:
        return arguments.run(arguments)
    except (BrainjaxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what is finished stays", file=sys.stderr)
        return 130


def _print_any_name() -> None:
    """Names of files need not be text: what the terminal cannot show is escaped, and ends nothing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _log() -> None:
    """Warnings go to stderr, a line each, and why networks are slower than they could be."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("brainjax.native").setLevel(logging.INFO)


def _keep_compiled() -> None:
    """Compiled programs are kept from one call to the next: compiling takes longer than a scan does.

    BRAINJAX_COMPILATION_CACHE names the folder; empty switches it off.
    """
    folder = os.environ.get("BRAINJAX_COMPILATION_CACHE", "~/.cache/brainjax")
    if folder:
        import jax

        path = pathlib.Path("~/.cache/brainjax" if folder == "user" else folder)
        jax.config.update("jax_compilation_cache_dir", str(path.expanduser()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
