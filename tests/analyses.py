"""Made-up answers of the pipeline, small and quick to draw."""

import dataclasses

import numpy as np
from volumes import CENTRE, make_grid, world

from brainjax.infer.analysis import Analysis, Stage
from brainjax.infer.localize import measure
from brainjax.infer.scan import Scan
from brainjax.io import Volume

SIDE = 40.0  # mm
LESION = CENTRE + (-6, 4, 3)
FACTS = {
    "task": "segmentation",
    "dataset": "made_up",
    "licence": "CC0",
    "classes": ["WT", "TC", "ET"],
    "parameters": 12345,
    "metrics": {"dice_mean": 0.87654},
    "trained_on": ["patient_1"],
}


def ball(grid, centre, radius):
    return np.linalg.norm(world(grid) - centre, axis=-1) <= radius


def make(codes="LPI", kind="oblique", name="case_1", contrasts=("t1ce", "flair"), **changes):
    """A brain with a tumour of three parts in it, and everything else that an analysis can hold."""
    grid = make_grid(codes, kind, SIDE)
    rng = np.random.default_rng(0)
    brain = ball(grid, CENTRE, 16)
    labels = np.zeros(grid.shape, np.uint8)
    for label, radius in ((2, 7), (4, 5), (1, 2.5)):
        labels[ball(grid, LESION, radius)] = label

    def volume(data):
        return Volume(data, grid.affine)

    scans = {
        contrast: volume(100 * brain + 50 * (labels > 0) + rng.integers(0, 20, grid.shape))
        for contrast in contrasts
    }
    whole = (labels > 0).astype(np.float32)
    analysis = Analysis(
        Scan(name, scans, ("two affines differ",)),
        brain=volume(brain.astype(np.uint8)),
        tumour=volume(labels),
        probability=volume(0.9 * whole),
        uncertainty=volume(0.3 * whole),
        classes={
            "slices": {"glioma": 0.9, "healthy": 0.1},
            "volume": {"glioma": 0.7, "healthy": 0.3},
        },
        pictures={"Grad-CAM of glioma": rng.integers(0, 255, (16, 24, 3)).astype(np.uint8)},
        warnings=("t1 is missing",),
        stages=(
            Stage("strip", "done", "strip_unet", 1.25),
            Stage("segment", "done", "tumour_unet", 12.0, "without t1", FACTS),
            Stage("explain", "skipped", note="not asked for"),
        ),
        seconds=14.0,
    )
    analysis = dataclasses.replace(
        analysis, lesions=measure(analysis.regions, grid.affine, least_ml=0.01)
    )
    return dataclasses.replace(analysis, **changes)


def flat(size=(24, 20, 1), **changes):
    """A picture, not a volume, with nothing found in it."""
    data = np.random.default_rng(1).random(size).astype(np.float32)
    return Analysis(Scan("picture", {"unknown": Volume(data, np.eye(4))}), **changes)
