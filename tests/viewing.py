"""Scans and a made-up pipeline for the tests of the viewer: quick, and right by construction."""

import dataclasses
import time

import numpy as np

from brainjax.infer import localize
from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.scan import Scan
from brainjax.io import Volume, write_volume

LIA = np.array([[-1.0, 0, 0, 20], [0, 0, 1.0, -16], [0, -1.0, 0, 24], [0, 0, 0, 1]])


def volume(shape=(40, 48, 32), affine=LIA, dtype=np.int16, seed=0) -> Volume:
    """A bright ellipsoid with noise; by default stored LIA, 1 mm."""
    rng = np.random.default_rng(seed)
    data = 600 * (radius(shape) < 0.9) + rng.integers(0, 200, shape)
    return Volume(data.astype(dtype), affine)


def radius(shape, middle=(0.5, 0.5, 0.5)) -> np.ndarray:
    """Distance from a point, 1 at the ends of the axes: [X Y Z]."""
    at = np.indices(shape).reshape(3, -1).T / np.array(shape) - middle
    return 2 * np.linalg.norm(at, axis=1).reshape(shape)


def scan(name="made_up", contrasts=("t1", "flair"), **options) -> Scan:
    """A scan of several contrasts."""
    return Scan(name, {c: volume(seed=i, **options) for i, c in enumerate(contrasts)})


def analysis(of: Scan, *, regional=True) -> Analysis:
    """A brain, and a tumour in three shells off its middle."""
    shape = of.grid.shape
    brain = radius(shape) < 0.8
    away = radius(shape, (0.6, 0.4, 0.55))
    tumour = 2 * (away < 0.35) + 2 * (away < 0.25) - 3 * (away < 0.15)  # 2, then 4, then 1
    if not regional:
        tumour = tumour > 0
    heat = np.clip(1 - away, 0, 1).astype(np.float32)
    made = Analysis(
        of,
        brain=of.first.with_data(brain.astype(np.uint8)),
        tumour=of.first.with_data(tumour.astype(np.uint8)),
        regional=regional,
        probability=of.first.with_data(heat),
        uncertainty=of.first.with_data(1 - heat),
        classes={"slices": {"glioma_tumor": 0.9, "no_tumor": 0.1}},
        warnings=("made up: believe nothing",),
        stages=(
            Stage("strip", "done", "made_up", 0.1),
            Stage("segment", "done", "", 0.2, "a note"),
        ),
        seconds=0.3,
    )
    return dataclasses.replace(made, lesions=localize.measure(made.regions, of.grid.affine))


class MadeUp:
    """A pipeline whose steps take so many seconds, and which may fail."""

    def __init__(self, pause=0.0, error: Exception | None = None):
        self.pause, self.error, self.ran = pause, error, 0

    def __call__(self, of, progress):
        self.ran += 1
        for stage in ("strip", "segment"):
            for done in (0.0, 0.5, 1.0):
                progress(stage, done)
                time.sleep(self.pause)
        if self.error is not None:
            raise self.error
        return analysis(of)


def files(folder, **options):
    """The contrasts of `scan` as files of one patient."""
    paths = []
    for contrast, one in scan(**options).volumes.items():
        paths.append(folder / f"patient_{contrast}.nii.gz")
        write_volume(paths[-1], one)
    return paths
