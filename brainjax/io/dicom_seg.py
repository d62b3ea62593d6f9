"""Masks as a DICOM segmentation, beside the series they were found in. Needs the extra `dicom`.

Standard: DICOM PS3.3, A.51 (segmentation objects); the codes are SNOMED CT's, by highdicom (Bridge et al. 2022,
doi:10.1007/s10278-022-00683-y).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from brainjax import __version__
from brainjax.files import replacing
from brainjax.io.dicom import slices_of
from brainjax.types import ConfigError, DataError, check_shape

# What a segment is: SNOMED CT's category and type, by their names in pydicom's dictionary of codes.
KINDS = {
    "brain": ("AnatomicalStructure", "Brain"),
    "tumour": ("MorphologicallyAbnormalStructure", "Neoplasm"),
}
_SERIES = 900  # number of the new series: beyond those that scanners give


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """One mask of a segmentation.

    Attributes:
        label: for people, as 'tumour core'.
        kind: one of `KINDS`.
        mask: [X Y Z] bool or 0 and 1, on the grid that `read_dicom` gives of the series; not empty.
        model: what found it; '' of a mask that somebody gave, which counts as drawn by hand.
    """

    label: str
    kind: str
    mask: np.ndarray
    model: str


def require() -> None:
    """Raises ConfigError where segmentations cannot be written, before anything is computed for one."""
    _highdicom()


def write_segmentation(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    segments: Sequence[Segment],
    series: str | None = None,
) -> None:
    """Writes masks as one DICOM file that refers to the images of a series, patient and study included.

    Segments may overlap, as nested regions do. Slices without any of a segment are left out, as the standard allows.

    Args:
        path: of the file; whole or not at all.
        folder: of the series, as for `read_dicom`.
        segments: at least one.
        series: as for `read_dicom`.

    Raises:
        ConfigError: highdicom is not installed, or a segment is of an unknown kind.
        DataError: the series cannot be read or lacks a tag that a segmentation needs, a mask is empty, or the file
            cannot be written.
        ValueError: a mask is not on the grid of the series.
    """
    highdicom = _highdicom()
    images, place = _sources(folder, series)
    rows, columns = int(images[0].Rows), int(images[0].Columns)
    frames = np.zeros((len(place), rows, columns, len(segments)), bool)
    for k, segment in enumerate(segments):
        check_shape(segment.label, segment.mask, (columns, rows, len(place)))
        if not segment.mask.any():
            raise DataError(f"{segment.label} is empty; leave it out of the segmentation")
        for z, frame in enumerate(place):
            frames[frame, ..., k] = segment.mask[..., z].T
    try:
        made = highdicom.seg.Segmentation(
            images,
            frames,
            highdicom.seg.SegmentationTypeValues.BINARY,
            [_described(highdicom, k, s) for k, s in enumerate(segments, 1)],
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="brainjax",
            manufacturer_model_name="brainjax",
            software_versions=__version__,
            device_serial_number="0",
            series_description="brainjax, research use only",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder}: no segmentation can refer to this series ({error}); export it again with all its tags"
        ) from error
    with replacing(path) as temporary:
        made.save_as(temporary)


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise ConfigError(
            "DICOM segmentations need a package more: pip install 'brainjax[dicom]', or take the masks as .nii.gz"
        ) from error
    return highdicom


def _sources(folder: str | os.PathLike, series: str | None) -> tuple[list[Any], list[int]]:
    """The images' tags, a file a slice or one file of many; and for each slice the frame it is."""
    slices = slices_of(folder, series)
    images = list({id(tags): tags for tags, _ in slices}.values())
    if len(images) not in (1, len(slices)):
        raise DataError(
            f"{folder}: {len(images)} files share its {len(slices)} slices, which a segmentation cannot refer to"
        )
    several = len(images) > 1
    return images, [z if several else frame for z, (_, frame) in enumerate(slices)]


def _described(highdicom: Any, number: int, segment: Segment) -> Any:
    from pydicom.sr.codedict import codes

    if segment.kind not in KINDS:
        raise ConfigError(f"{segment.kind!r} is no kind of segment; there are {', '.join(KINDS)}")
    category, what = (getattr(codes.SCT, name) for name in KINDS[segment.kind])
    types = highdicom.seg.SegmentAlgorithmTypeValues
    made = [types.MANUAL]
    if segment.model:
        algorithm = highdicom.AlgorithmIdentificationSequence(
            segment.model, codes.DCM.ArtificialIntelligence, __version__
        )
        made = [types.AUTOMATIC, algorithm]
    return highdicom.seg.SegmentDescription(number, segment.label, category, what, *made)
