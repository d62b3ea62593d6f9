"""DICOM folders: slices land where their tags say, and a series that is not whole is no volume."""

import builtins

import nibabel
import numpy as np
import pytest

from brainjax.io import read_volume, write_volume
from brainjax.io.dicom import read_dicom
from brainjax.types import ConfigError, DataError

pydicom = pytest.importorskip(
    "pydicom", reason="needs the extra dicom: pip install 'brainjax[dicom]'"
)

import dicoms  # noqa: E402
from dicoms import COLUMNS, PIXEL, ROWS, SERIES, SLICES, START, STEP, TURN, VOXELS  # noqa: E402


def _check_place(volume):
    """Voxel for voxel, by the standard's equation, in LPS."""
    assert volume.data.shape == (COLUMNS, ROWS, SLICES)
    for x, y, z in [(0, 0, 0), (4, 0, 0), (0, 5, 0), (2, 3, 3)]:
        lps = TURN @ [x * PIXEL[1], y * PIXEL[0], z * STEP] + START
        at = volume.affine @ [x, y, z, 1]
        np.testing.assert_allclose(at[:3] * [-1, -1, 1], lps, atol=1e-4)
    np.testing.assert_array_equal(volume.data, VOXELS.transpose(2, 1, 0))


def test_slices_land_where_their_tags_say(tmp_path):
    folder = dicoms.write(tmp_path / "series", dicoms.slices())
    (folder / "README").write_text("no DICOM")
    (folder / "within").mkdir()
    volume = read_volume(folder)
    assert volume.data.dtype == np.uint16
    _check_place(volume)
    write_volume(tmp_path / "a.nii.gz", volume)
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-5)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1


def test_numbers_are_rescaled_slice_by_slice(tmp_path):
    slices = dicoms.slices()
    for z, tags in enumerate(slices):
        tags.RescaleSlope, tags.RescaleIntercept = 0.5 * (z + 1), -7
    volume = read_dicom(dicoms.write(tmp_path / "series", slices))
    expected = VOXELS * 0.5 * np.arange(1, SLICES + 1)[:, None, None] - 7
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, expected.transpose(2, 1, 0))


@pytest.mark.parametrize("bits, signed", [(16, 0), (12, 0), (16, 1)])
def test_negatives_are_inverted(tmp_path, bits, signed):
    white = 2**bits - 1 if not signed else -1  # and so 0 becomes the darkest or the brightest
    kind = np.int16 if signed else np.uint16
    slices = dicoms.slices(BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed)
    for z, tags in enumerate(slices):
        tags.PhotometricInterpretation = "MONOCHROME1"
        tags.PixelData = (white - VOXELS[z].astype(np.int32)).astype(kind).tobytes()
    volume = read_dicom(dicoms.write(tmp_path / "series", slices))
    _check_place(volume)
    assert volume.data.dtype == kind and "4 slices are stored as negatives" in volume.notes[0]


def test_one_slice_takes_its_thickness(tmp_path):
    volume = read_dicom(dicoms.write(tmp_path / "series", dicoms.slices(SliceThickness=4.5)[:1]))
    assert volume.data.shape == (COLUMNS, ROWS, 1)
    np.testing.assert_allclose(volume.spacing, (0.5, 1.5, 4.5), atol=1e-5)


def test_a_tilted_gantry_shears_the_grid(tmp_path):
    slices = dicoms.slices()
    for z, tags in enumerate(slices):
        tags.ImagePositionPatient = (dicoms.place(z) + TURN[:, 1] * 0.8 * z).tolist()
    volume = read_dicom(dicoms.write(tmp_path / "series", slices))
    lps = (volume.affine @ [0, 0, 2, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(lps, dicoms.place(2) + TURN[:, 1] * 1.6, atol=1e-4)
    # A qform cannot say it: what is written has none, instead of one that lies.
    write_volume(tmp_path / "v.nii.gz", volume)
    again = read_volume(tmp_path / "v.nii.gz")
    assert again.header["qform_code"] == 0 and again.notes == ()
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-5)


def test_a_multi_frame_file_is_a_series(tmp_path):
    _check_place(read_dicom(dicoms.write(tmp_path / "series", [dicoms.multi_frame()])))


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path):
    other = dicoms.slices(
        SeriesInstanceUID=dicoms.generate_uid(), SeriesNumber=7, SeriesDescription="flair"
    )
    folder = dicoms.write(tmp_path / "series", [*dicoms.slices(), *other[:3]], "abcdefg")
    with pytest.raises(
        DataError,
        match=r"2 series: 3 't1' \(4 files\); 7 'flair' \(3 files\); put each in a folder",
    ):
        read_dicom(folder)
    for wanted in ("t1", "3", SERIES):
        _check_place(read_dicom(folder, series=wanted))
    assert read_dicom(folder, series="7").data.shape[2] == 3
    with pytest.raises(DataError, match="0 series are called 't2'"):
        read_dicom(folder, series="t2")


def _set(slices, z, **tags):
    for name, value in tags.items():
        setattr(slices[z], name, value)
    return slices


def _without(slices, name):
    for tags in slices:
        delattr(tags, name)
    return slices


def _shrunk(slices):
    slices[2] = dicoms.image(
        VOXELS[2, :3],
        **{
            k: slices[2][k].value
            for k in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
        },
    )
    return slices


BROKEN = {
    "one is missing": (lambda s: [s[0], s[1], s[3]], "missing or unevenly"),
    "uneven": (lambda s: _set(s, 2, ImagePositionPatient=dicoms.place(2.3)), "missing or unevenly"),
    "beside": (
        lambda s: _set(s, 1, ImagePositionPatient=(dicoms.place(1) + TURN[:, 0] * 2).tolist()),
        "missing or unevenly",
    ),
    "double": (
        lambda s: [*s, dicoms.image(VOXELS[0], **_copy(s[0]))],
        "1 slices lie where another",
    ),
    "localizer": (
        lambda s: _set(s, 1, ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        "another angle",
    ),
    "other pixels": (lambda s: _set(s, 1, PixelSpacing=[1, 1]), "other pixels"),
    "other rows": (_shrunk, "other pixels"),
    "no position": (lambda s: _without(s, "ImagePositionPatient"), "where its slices are"),
    "no spacing": (lambda s: _without(s, "PixelSpacing"), "where its slices are"),
    "no direction": (
        lambda s: [dicoms.image(VOXELS[0], **_copy(s[0], ImageOrientationPatient=[0] * 6))],
        "singular",
    ),
    "colours": (lambda s: _set(s, 0, SamplesPerPixel=3), "colour"),
    "palette": (lambda s: _set(s, 2, PhotometricInterpretation="PALETTE COLOR"), "palette"),
    "mosaic": (lambda s: _set(s, 0, ImageType=["ORIGINAL", "MOSAIC"]), "mosaic"),
    "frames": (lambda s: _set(s, 0, NumberOfFrames=2), "without positions"),
    "cut pixels": (lambda s: _set(s, 1, PixelData=bytes(10)), "cannot be decoded"),
    "signed": (lambda s: _set(s, 3, PixelRepresentation=1), "stores"),
    "mass": (lambda s: _set(s[:1], 0, Rows=60000, Columns=60000), "more than"),
}


def _copy(tags, **changes):
    names = ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
    return {name: tags[name].value for name in names} | changes


@pytest.mark.parametrize("case", BROKEN)
def test_a_series_that_is_not_whole_is_refused(tmp_path, case):
    change, match = BROKEN[case]
    folder = dicoms.write(tmp_path / "series", change(dicoms.slices()), "abcde")
    with pytest.raises(DataError, match=match) as caught:
        read_volume(folder)
    assert str(caught.value).startswith(str(folder)) and "\n" not in str(caught.value)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no DICOM images; give the folder of a series"):
        read_volume(tmp_path)
    dicoms.write(tmp_path / "series", dicoms.slices())
    with pytest.raises(DataError, match="give one of the folders within: series"):
        read_volume(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        read_dicom(tmp_path / "none")


def test_reports_among_the_images_are_passed_over(tmp_path):
    report = dicoms.slices()[0]
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    report.SOPClassUID = pydicom.uid.BasicTextSRStorage
    _check_place(read_dicom(dicoms.write(tmp_path / "series", [*dicoms.slices(), report], "abcde")))


@pytest.mark.filterwarnings("ignore")  # pydicom warns of what is then raised
def test_a_truncated_file_is_an_error(tmp_path):
    folder = dicoms.write(tmp_path / "series", dicoms.slices())
    path = (folder / "a").rename(folder / "a.dcm")
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="a.dcm"):
            read_dicom(folder)


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    def without(name, *args, **kwargs):
        if name == "pydicom":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    plain = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'brainjax\[dicom\]'"):
        read_dicom(tmp_path)
