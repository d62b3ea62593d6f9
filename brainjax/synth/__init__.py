"""Synthetic head MRI in JAX: label map -> deformed head -> tumour -> contrasts -> artefacts.

`scanner(slices=16, size=128)(key)` is one patient; each stage is also usable alone, as `sample(key)` and `apply`.
"""

from brainjax.synth.anatomy import TISSUES, Anatomy, load_anatomy
from brainjax.synth.contrast import CHANNELS, CLASSES
from brainjax.synth.generate import Patient, Scan, apply, sample, scanner, tissues

__all__ = [
    "CHANNELS",
    "CLASSES",
    "TISSUES",
    "Anatomy",
    "Patient",
    "Scan",
    "apply",
    "load_anatomy",
    "sample",
    "scanner",
    "tissues",
]
