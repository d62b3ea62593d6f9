"""Datasets: frozen dataclasses whose fields are their configuration and whose `load()` reads them.

A new dataset is one file here, one line in `_HOME`, and its name in `__all__`.
"""

import importlib

from brainjax.lookup import lookup

__all__ = [
    "Brats",
    "Brats2013",
    "ImageFolder",
    "ImagePairs",
    "LGG",
    "LabelMaps",
    "NFBS",
    "Synthetic",
    "SyntheticHeads",
    "SyntheticTumors",
    "SyntheticVolumes",
    "TumorImages",
    "TumorImages7023",
    "YesNoImages",
]

# Imported on first use, so that reading files needs no JAX and generating images no Pillow.
_HOME = {
    "Brats": "brats",
    "Brats2013": "brats",
    "ImageFolder": "images",
    "ImagePairs": "image_pairs",
    "LGG": "lgg",
    "LabelMaps": "label_maps",
    "NFBS": "nfbs",
    "Synthetic": "synthetic",
    "SyntheticHeads": "synthetic_volumes",
    "SyntheticTumors": "synthetic_tumors",
    "SyntheticVolumes": "synthetic_volumes",
    "TumorImages": "images",
    "TumorImages7023": "images",
    "YesNoImages": "images",
}


def __getattr__(name: str) -> type:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(name: str) -> type:
    """The dataset class of that name.

    Raises:
        ConfigError: no such dataset; the message names the nearest and lists all.
    """
    return __getattr__(lookup(name, {n: n for n in __all__}, "dataset"))
