"""Names to objects, for every room: one lookup, one error that names the nearest and lists the rest."""

import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from brainjax.types import ConfigError


def nearest(name: str, choices: Iterable[str]) -> str:
    """'did you mean 'dice'? choose one of: bce, dice', for the end of an error message."""
    choices = sorted(choices)
    folded = {c.lower(): c for c in choices}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    return f"{hint}choose one of: {', '.join(choices)}"


def lookup(name: str, choices: Mapping[str, Any], kind: str) -> Any:
    """`choices[name]`.

    Raises:
        ConfigError: no such name; the message names the nearest and lists all.
    """
    if name not in choices:
        raise ConfigError(f"unknown {kind} {name!r}: {nearest(name, choices)}")
    return choices[name]


def split_variant(text: str) -> tuple[str, list[str]]:
    """'file.py' or 'file.py:variant' -> the file, and [] or [variant]. The colon of a drive, C:, is the file's."""
    drive, rest = os.path.splitdrive(text)
    file, *variant = rest.split(":", 1)
    return drive + file, variant
