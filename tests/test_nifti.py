"""Files of volumes: what is written comes back in its place; whatever else a file holds is one clear error."""

import gzip
import os
import resource
import struct
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
from volumes import CODES, KINDS, make_grid, scan

from brainjax.io import Grid, Volume, read_grid, read_volume, write_volume
from brainjax.types import DataError

NAMES = ("a.nii", "a.nii.gz", "a.mgh", "a.mgz")


def _refused(path, match=None):
    """Reads what cannot be read; the error is one line that names the file."""
    with pytest.raises(DataError, match=match) as caught:
        read_volume(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def _bytes(data=None, kind=nibabel.Nifti1Image, **fields) -> bytes:
    """A NIfTI file with these fields of the header forced to these values."""
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4) if data is None else data
    image = kind(data, np.eye(4))
    raw = bytearray(image.to_bytes())
    header = image.header
    for name, value in fields.items():
        field, offset = header.template_dtype.fields[name]
        value = np.broadcast_to(np.asarray(value), field.shape).astype(field.base)
        raw[offset : offset + field.itemsize] = value.tobytes()
    return bytes(raw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("codes", CODES)
def test_the_affine_survives(tmp_path, codes, kind):
    volume = scan(make_grid(codes, kind, edge=6))
    write_volume(tmp_path / "a.nii", volume)
    read = read_volume(tmp_path / "a.nii")
    assert read.orientation == codes and read.notes == () and read.data.dtype == np.int16
    np.testing.assert_array_equal(read.data, volume.data)
    np.testing.assert_allclose(read.affine, volume.affine, atol=1e-5)
    np.testing.assert_allclose(
        nibabel.load(tmp_path / "a.nii").get_qform(), volume.affine, atol=1e-4
    )
    assert read_grid(tmp_path / "a.nii").matches(read.grid, 1e-9)


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize(
    "number", [bool, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64]
)
@pytest.mark.parametrize("name", NAMES)
def test_numbers_survive(tmp_path, name, number, channels):
    grid = make_grid("LIA", "oblique", edge=6)
    data = np.random.default_rng(0).normal(size=(*grid.shape, *channels)) * 50
    data = (data > 0 if number is bool else data).astype(number)
    write_volume(tmp_path / name, Volume(data, grid.affine))
    read = read_volume(tmp_path / name)
    np.testing.assert_allclose(read.data, data, rtol=1e-6)
    assert read.data.dtype == {bool: np.uint8, np.int64: np.int32, np.float64: np.float32}.get(
        number, number
    )
    np.testing.assert_allclose(read.affine, grid.affine, atol=1e-5)
    again = read.with_data(read.data)
    write_volume(tmp_path / f"b{name}", again)
    np.testing.assert_array_equal(read_volume(tmp_path / f"b{name}").data, read.data)


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_what_stands_behind_the_voxels_of_mgh_is_read(tmp_path, name):
    image = nibabel.MGHImage(np.ones((3, 4, 5), np.float32), np.eye(4))
    image.header["tr"], image.header["te"] = 2300.0, 2.98
    nibabel.save(image, tmp_path / name)
    header = read_volume(tmp_path / name).header
    np.testing.assert_allclose([header["tr"], header["te"]], [2300.0, 2.98])


def test_what_the_mgh_format_lacks_is_said(tmp_path):
    with pytest.raises(DataError, match="int8.*nii.gz"):
        write_volume(tmp_path / "a.mgz", Volume(np.zeros((2, 2, 2), np.int8), np.eye(4)))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_byte_order_scaling_and_version_are_read_as_nibabel_does(tmp_path, kind, order):
    data = np.random.default_rng(0).integers(-99, 99, (3, 4, 5)).astype(np.int16)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    image = kind(data, np.eye(4), header)
    image.header.set_slope_inter(0.25, -3)
    image.to_filename(tmp_path / "a.nii")
    read = read_volume(tmp_path / "a.nii")
    assert read.data.dtype == np.float32 and read.data.dtype.isnative
    np.testing.assert_allclose(read.data, nibabel.load(tmp_path / "a.nii").get_fdata(), atol=1e-5)
    write_volume(tmp_path / "b.nii", read)
    again = nibabel.load(tmp_path / "b.nii")
    assert isinstance(again, kind) and again.get_data_dtype() == f"{order}f4"
    np.testing.assert_array_equal(np.asarray(again.dataobj), read.data)


def test_a_large_intercept_costs_no_digits(tmp_path):
    raw = _bytes(
        np.arange(24, dtype=np.int32).reshape(2, 3, 4) - 2**30, scl_slope=1, scl_inter=2.0**30
    )
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data.ravel(), np.arange(24))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 4), (3, 4, 1)),
        ((3, 4, 1), (3, 4, 1)),
        ((3, 4, 5, 1), (3, 4, 5)),
        ((3, 4, 5, 2), (3, 4, 5, 2)),
        ((3, 4, 5, 1, 2), (3, 4, 5, 2)),
        ((1, 1, 1), (1, 1, 1)),
    ],
)
def test_axes(tmp_path, shape, expected):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.data, data.reshape(expected))
    write_volume(tmp_path / "b.nii.gz", volume.with_data(volume.data > 3))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").data, volume.data > 3)


def test_a_wrong_name_does_not_matter(tmp_path):
    (tmp_path / "a.nii").write_bytes(gzip.compress(_bytes()))
    (tmp_path / "b.nii.gz").write_bytes(_bytes())
    for name in ("a.nii", "b.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).data.ravel(), np.arange(24))


# What the header says of the world.


def _two_affines(tmp_path, sform, qform):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    image.set_sform(*sform)
    image.set_qform(*qform)
    image.to_filename(tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.affine, nibabel.load(tmp_path / "a.nii").affine)
    return volume


def test_sform_goes_before_qform_and_a_conflict_is_told(tmp_path):
    a, b = np.diag([2.0, 2, 2, 1]), np.diag([-2.0, 2, 2, 1])
    assert _two_affines(tmp_path, (a, 1), (a, 1)).notes == ()
    assert _two_affines(tmp_path, (a, 1), (b, 0)).notes == ()
    volume = _two_affines(tmp_path, (a, 2), (b, 1))
    assert volume.orientation == "RAS"
    assert (
        len(volume.notes) == 1 and "sform was taken" in volume.notes[0] and "LAS" in volume.notes[0]
    )
    volume = _two_affines(tmp_path, (a, 0), (b, 1))
    assert volume.orientation == "LAS" and volume.notes == ()
    (note,) = _two_affines(tmp_path, (a, 0), (b, 0)).notes
    assert "neither" in note


def test_a_damaged_qform_only_matters_where_it_is_needed(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(_bytes(qform_code=1, quatern_b=3.0))
    assert read_volume(path).notes == ("its qform is damaged: the sform was taken",)
    path.write_bytes(_bytes(qform_code=1, quatern_b=3.0, sform_code=0))
    _refused(path, "qform is no rotation")


def test_units_that_are_not_mm_are_told(tmp_path):
    (tmp_path / "a.nii").write_bytes(_bytes(xyzt_units=3))
    assert "micrometres" in read_volume(tmp_path / "a.nii").notes[0]


# What goes out.


def test_the_header_goes_out_as_it_came_in(tmp_path):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
    image.set_sform(np.diag([-1.0, 1.0, 2.0, 1]), 4)
    image.set_qform(np.diag([-1.0, 1.0, 2.0, 1]), 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"], image.header["aux_file"] = b"a scan", b"aux"
    image.header["cal_min"], image.header["cal_max"] = 3, 50
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    image.to_filename(tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")

    write_volume(tmp_path / "same.nii.gz", volume)
    same = nibabel.load(tmp_path / "same.nii.gz")
    assert same.header.binaryblock == nibabel.load(tmp_path / "a.nii.gz").header.binaryblock
    assert same.header.extensions[0].get_content() == b"kept"

    write_volume(tmp_path / "mask.nii.gz", volume.with_data(volume.data > 9))
    mask = nibabel.load(tmp_path / "mask.nii.gz").header
    for name in (
        "descrip",
        "aux_file",
        "sform_code",
        "qform_code",
        "srow_x",
        "quatern_b",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(mask[name], same.header[name])
    assert mask.get_data_dtype() == np.uint8 and (mask["cal_min"], mask["cal_max"]) == (0, 0)

    write_volume(
        tmp_path / "moved.nii.gz", Volume(volume.data[1:], np.diag([2.0, 2, 2, 1]), volume.header)
    )
    moved = nibabel.load(tmp_path / "moved.nii.gz")
    np.testing.assert_array_equal(moved.affine, np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(moved.get_qform(), np.diag([2.0, 2, 2, 1]))
    assert int(moved.header["sform_code"]) == 4 and not moved.header.extensions
    assert bytes(moved.header["descrip"]).startswith(b"a scan")


def test_sheared_axes_get_no_qform(tmp_path):
    affine = np.eye(4)
    affine[0, 2] = 0.4
    write_volume(tmp_path / "a.nii", Volume(np.zeros((4, 5, 6)), affine))
    image = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    assert int(image.header["qform_code"]) == 0


def test_long_axes_need_nifti_2(tmp_path):
    write_volume(tmp_path / "a.nii.gz", Volume(np.zeros((40000, 1, 1), np.uint8), np.eye(4)))
    assert isinstance(nibabel.load(tmp_path / "a.nii.gz"), nibabel.Nifti2Image)
    assert read_volume(tmp_path / "a.nii.gz").data.shape == (40000, 1, 1)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, scan(make_grid("RAS", "isotropic", edge=6)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_what_was_there(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    noise = np.random.default_rng(0).normal(size=(40, 40, 40))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            write_volume(path, Volume(noise, np.eye(4)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "match"), [("a.png", "change the ending"), ("b/a.nii", "cannot be written")]
)
def test_places_that_cannot_be_written_are_refused(tmp_path, name, match):
    with pytest.raises(DataError, match=match):
        write_volume(tmp_path / name, scan(make_grid("RAS", "isotropic", edge=4)))
    assert not os.listdir(tmp_path)


# What is no scan.


@pytest.mark.parametrize("number", [np.complex64, nibabel.nifti1.data_type_codes.dtype[128], None])
def test_colours_and_complex_numbers_are_refused(tmp_path, number):
    if number is None:
        raw, match = _bytes(datatype=1), "damaged"
    else:
        raw, match = _bytes(np.zeros((2, 3, 4), number)), "colours|complex"
    (tmp_path / "a.nii").write_bytes(raw)
    _refused(tmp_path / "a.nii", match)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "dim", [(3, 0, 3, 4), (3, 2, 3, -4), (0,), (1, 24), (5, 1, 2, 2, 2, 3), (4, 2, 3, 4, 0), (9,)]
)
def test_shapes_that_hold_no_volume_are_refused(tmp_path, dim, compress):
    (tmp_path / "a.nii").write_bytes(compress(_bytes(dim=[*dim, *[1] * (8 - len(dim))])))
    _refused(tmp_path / "a.nii", "shape|axes|truncated|damaged")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("kind", "dim"),
    [
        (nibabel.Nifti1Image, (3, 32767, 32767, 32767)),
        (nibabel.Nifti1Image, (4, 800, 800, 800, 30000)),
        (nibabel.Nifti1Image, (3, 500, 500, 500)),
        (nibabel.Nifti2Image, (3, 2**62, 2**62, 2**62)),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path, kind, dim, compress):
    path = tmp_path / "a.nii"
    path.write_bytes(compress(_bytes(kind=kind, dim=[*dim, *[1] * (8 - len(dim))])))
    tracemalloc.start()
    try:
        _refused(path, "claims|truncated")
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_read_as_far_as_its_header_says(tmp_path):
    with gzip.open(tmp_path / "a.nii.gz", "wb", 9) as file:
        file.write(_bytes())
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        assert read_volume(tmp_path / "a.nii.gz").data.shape == (2, 3, 4)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [-1, 0, 8, 2**30])
def test_damaged_extensions_are_left_out(tmp_path, size):
    raw = bytearray(_bytes(vox_offset=384))
    raw[348:] = b"\1\0\0\0" + struct.pack("<ii", size, 6) + bytes(24) + raw[352:]
    for compress in (bytes, gzip.compress):
        (tmp_path / "a.nii").write_bytes(compress(raw))
        volume = read_volume(tmp_path / "a.nii")
        np.testing.assert_array_equal(volume.data.ravel(), np.arange(24))


@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0, 1e30, np.nan, np.inf])
def test_voxels_that_begin_nowhere_are_refused(tmp_path, offset):
    (tmp_path / "a.nii").write_bytes(_bytes(vox_offset=offset))
    _refused(tmp_path / "a.nii")


@pytest.mark.parametrize("fields", [{"scl_slope": 1, "scl_inter": np.nan}, {"datatype": 999}])
def test_other_damaged_fields_are_refused(tmp_path, fields):
    (tmp_path / "a.nii").write_bytes(_bytes(**fields))
    _refused(tmp_path / "a.nii", "repair")


@pytest.mark.parametrize("row", [(np.nan, 0, 0, 0), (0, 0, 0, 0), (0, np.inf, 0, 0), (0, 1, 0, 0)])
def test_affines_that_lead_nowhere_are_refused(tmp_path, row):
    (tmp_path / "a.nii").write_bytes(_bytes(srow_x=row))
    _refused(tmp_path / "a.nii", "affine.*repair")


def test_voxels_that_are_not_finite_become_0(tmp_path):
    data = np.ones((3, 3, 3))
    data[0, 0] = np.nan, np.inf, 1e300
    for number, count in ((np.float64, 3), (">f4", 3), (np.float16, 3)):
        with np.errstate(over="ignore"):
            raw = _bytes(data.astype(number)) if number != np.float16 else _bytes(data.astype("f4"))
        (tmp_path / "a.nii").write_bytes(raw)
        volume = read_volume(tmp_path / "a.nii")
        assert volume.data.sum() == 24 and f"{count} values" in volume.notes[0]


@pytest.mark.parametrize("value", [0, np.nan])
def test_constant_and_empty_volumes_are_volumes(tmp_path, value):
    (tmp_path / "a.nii").write_bytes(_bytes(np.full((4, 4, 4), value, np.float32)))
    assert (read_volume(tmp_path / "a.nii").data == 0).all()


def test_what_is_not_there_or_no_volume_is_refused(tmp_path):
    _refused(tmp_path / "none.nii", "no such file")
    for content, match in (
        (b"", "empty"),
        (b"hello" * 100, "not a NIfTI"),
        (b"\x1f\x8b", "truncated or damaged"),
        (gzip.compress(b"", mtime=0), "not a NIfTI"),
        (_bytes()[:300], "truncated"),
        (_bytes(kind=nibabel.Nifti2Image)[:400], "truncated"),
        (b"\0\0\1\x5c" + bytes(400), "pair"),  # Analyze
        (_bytes(magic=b"ni1"), "pair"),
    ):
        (tmp_path / "a.nii.gz").write_bytes(content)
        _refused(tmp_path / "a.nii.gz", match)


def test_a_flipped_bit_in_compressed_voxels_is_noticed(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_volume(path, scan(make_grid("RAS", "isotropic", edge=12)))
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(200, len(whole) - 4, 40):
        raw = bytearray(whole)
        raw[at] ^= 4
        path.write_bytes(raw)
        _refused(path)


@pytest.mark.parametrize("name", NAMES)
def test_truncation_is_always_noticed(tmp_path, name):
    path = tmp_path / name
    write_volume(path, scan(make_grid("RAS", "isotropic", edge=12)))
    whole = path.read_bytes()
    footer = 20 if name.endswith("mgh") else 0  # which the format lets be absent
    lengths = [
        *range(0, 400, 37),
        *range(400, len(whole), len(whole) // 20),
        len(whole) - 1 - footer,
    ]
    for length in lengths:
        path.write_bytes(whole[:length])
        _refused(path, "truncated|empty|not a NIfTI")


@hypothesis.given(st.data())
@hypothesis.settings(deadline=None, max_examples=300)
def test_a_damaged_header_gives_a_volume_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged"
    base = data.draw(st.sampled_from(_WHOLE))
    raw = bytearray(base)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(raw), 560) - 1))
        raw[at] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 127, 128, 255]))
    path.write_bytes(data.draw(st.sampled_from([bytes, gzip.compress]))(raw))
    try:
        volume = read_volume(path)
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(volume.data).all() and np.isfinite(volume.affine).all()
    write_volume(path.with_name("again.nii"), volume)
    again = read_volume(path.with_name("again.nii"))
    np.testing.assert_array_equal(again.data, volume.data)
    assert Grid(volume.data.shape[:3], volume.affine).matches(again.grid)


_WHOLE = (
    _bytes(),
    _bytes(kind=nibabel.Nifti2Image),
    nibabel.MGHImage(np.zeros((2, 3, 4), np.float32), np.eye(4)).to_bytes(),
)
