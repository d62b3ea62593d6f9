"""An analysis as a DICOM segmentation, for archives and viewers that take no NIfTI."""

import os
import pathlib

from brainjax.infer.analysis import Analysis
from brainjax.io.dicom_seg import Segment, write_segmentation
from brainjax.report.words import REGION_NAMES

FILE = "segmentation.dcm"


def write(path: str | os.PathLike, analysis: Analysis, series: str | os.PathLike) -> None:
    """Writes the brain and the regions of the tumour, each as a segment; no file where nothing was found.

    Args:
        path: of the file.
        analysis: of a scan whose first contrast is the series.
        series: its folder.

    Raises:
        ConfigError, DataError: see `brainjax.io.dicom_seg.write_segmentation`.
    """
    masks = [] if analysis.brain is None else [("brain", "brain", "strip", analysis.brain.data > 0)]
    masks += [(REGION_NAMES[n], "tumour", "segment", mask) for n, mask in analysis.regions.items()]
    segments = [
        Segment(label, kind, mask, _model(analysis, stage))
        for label, kind, stage, mask in masks
        if mask.any()
    ]
    if segments:
        write_segmentation(path, series, segments)


def _model(analysis: Analysis, stage: str) -> str:
    """The name of what found it, as long as the standard allows; '' of a mask that was given."""
    return pathlib.Path(analysis.stage(stage).model).name[:64]
