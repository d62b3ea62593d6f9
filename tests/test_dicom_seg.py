"""DICOM segmentations: every frame lies where the mask does, and says whose series it is of."""

import builtins

import numpy as np
import pytest

from brainjax.io.dicom import read_dicom
from brainjax.types import ConfigError, DataError

pydicom = pytest.importorskip(
    "pydicom", reason="needs the extra dicom: pip install 'brainjax[dicom]'"
)
pytest.importorskip("highdicom", reason="needs the extra dicom: pip install 'brainjax[dicom]'")

import dicoms  # noqa: E402

from brainjax.io.dicom_seg import Segment, write_segmentation  # noqa: E402

SHAPE = (dicoms.COLUMNS, dicoms.ROWS, dicoms.SLICES)


def _masks():
    brain = np.zeros(SHAPE, bool)
    brain[1:4, 0:5, 1:4] = True
    tumour = np.zeros(SHAPE, np.uint8)
    tumour[2, 3:5, 2] = 1  # inside the brain: segments overlap
    return [Segment("brain", "brain", brain, ""), Segment("whole tumour", "tumour", tumour, "b")]


def _series(tmp_path, kind):
    if kind == "files":
        return dicoms.write(tmp_path / "series", dicoms.slices(**dicoms.TAGS))
    return dicoms.write(
        tmp_path / "series",
        [dicoms.multi_frame(**dicoms.TAGS, SOPClassUID=pydicom.uid.EnhancedMRImageStorage)],
    )


@pytest.mark.parametrize("kind", ["files", "frames"])
def test_frames_lie_where_the_mask_does(tmp_path, kind):
    folder = _series(tmp_path, kind)
    masks = _masks()
    write_segmentation(tmp_path / "out.dcm", folder, masks)
    made = pydicom.dcmread(tmp_path / "out.dcm")
    assert (made.Modality, made.PatientID, made.StudyInstanceUID) == (
        *("SEG", "P1"),
        dicoms.TAGS["StudyInstanceUID"],
    )
    labels = [
        (s.SegmentLabel, s.SegmentedPropertyTypeCodeSequence[0].CodeValue)
        for s in made.SegmentSequence
    ]
    assert labels == [("brain", "12738006"), ("whole tumour", "108369006")]
    # A mask without a model was given by somebody.
    how = [(s.SegmentAlgorithmType, "SegmentAlgorithmName" in s) for s in made.SegmentSequence]
    assert how == [("MANUAL", False), ("AUTOMATIC", True)]
    grid = read_dicom(folder).grid
    found = [np.zeros(SHAPE, bool) for _ in masks]
    for pixels, group in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        lps = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        # Where this frame's first pixel is in the volume: by the affine, not by the order of files.
        x, y, z = np.linalg.solve(grid.affine, [*(lps * [-1, -1, 1]), 1])[:3]
        assert abs(x) < 1e-3 and abs(y) < 1e-3
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[segment - 1][..., round(z)] = pixels.T > 0
    for segment, mask in zip(masks, found, strict=True):
        np.testing.assert_array_equal(mask, segment.mask > 0)


def test_what_cannot_be_written_is_said(tmp_path):
    folder, (brain, tumour) = _series(tmp_path, "files"), _masks()
    with pytest.raises(DataError, match="whole tumour is empty"):
        write_segmentation(
            tmp_path / "a.dcm",
            folder,
            [brain, Segment("whole tumour", "tumour", 0 * tumour.mask, "b")],
        )
    with pytest.raises(ValueError, match="brain has shape"):
        write_segmentation(
            tmp_path / "a.dcm", folder, [Segment("brain", "brain", brain.mask[1:], "a")]
        )
    with pytest.raises(ConfigError, match="no kind of segment; there are brain, tumour"):
        write_segmentation(tmp_path / "a.dcm", folder, [Segment("skull", "skull", brain.mask, "a")])
    anonymous = dicoms.write(tmp_path / "anonymous", dicoms.slices())
    with pytest.raises(DataError, match="StudyInstanceUID.*export it again"):
        write_segmentation(tmp_path / "a.dcm", anonymous, [brain])
    assert not (tmp_path / "a.dcm").exists()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "highdicom":
            raise ImportError
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'brainjax\[dicom\]'"):
        write_segmentation(tmp_path / "a.dcm", tmp_path, _masks())
