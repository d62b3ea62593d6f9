"""Datasets: frozen dataclasses whose fields are their configuration and whose `load()` reads them.

A new dataset is one file here, one line in `_HOME`, and its name in `__all__`.
"""

import difflib
import importlib

from brainjax.types import ConfigError

__all__ = ["LGG", "Synthetic"]

# Imported on first use, so that reading files needs no JAX and generating images no Pillow.
_HOME = {"LGG": "lgg", "Synthetic": "synthetic"}


def __getattr__(name: str) -> type:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(name: str) -> type:
    """Looks a dataset class up by its name in `__all__`, in any case.

    Raises:
        ConfigError: no such dataset; the message names the nearest and lists all.
    """
    known = {entry.lower(): entry for entry in __all__}
    if name.lower() in known:
        return __getattr__(known[name.lower()])
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
    hint = f"did you mean {known[near[0]]!r}? " if near else ""
    raise ConfigError(f"no dataset {name!r}; {hint}choose one of {', '.join(__all__)}")
