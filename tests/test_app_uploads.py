"""Files of strangers: limits, bombs, truncation, names."""

import gzip
import io
import pathlib
import re
import tracemalloc

import numpy as np
import pytest
import viewing
from hypothesis import given
from hypothesis import strategies as st

from brainjax.app import uploads
from brainjax.app.uploads import TooLarge
from brainjax.infer.scan import UNKNOWN
from brainjax.io import Volume, read_volume, write_volume
from brainjax.types import DataError

MIB = 2**20


def receive(data: bytes, folder, name="scan.nii.gz", upload=MIB, unpacked=MIB):
    return uploads.receive(io.BytesIO(data), folder, name, upload=upload, unpacked=unpacked)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    write_volume(path, viewing.volume())
    return path.read_bytes()


@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    zeros=st.integers(0, 20),
    chunk=st.integers(1, 64),
)
def test_what_is_stored_is_what_was_zipped(tmp_path_factory, parts, zeros, chunk):
    """In one or several pieces, with or without the zeros that some programs append, however it arrives."""
    data = b"".join(map(gzip.compress, parts)) + bytes(zeros)
    pieces = (data[i : i + chunk] for i in range(0, len(data), chunk))
    # The first piece tells what it is, so it has the two bytes that do.
    first = next(pieces) + b"".join(next(pieces, b"") for _ in range(2))
    assert b"".join(uploads._unpack([first, *pieces], "x")) == b"".join(parts)


def test_a_scan_comes_through(zipped, tmp_path):
    for data in (zipped, gzip.decompress(zipped)):
        path = receive(data, tmp_path)
        assert path.parent == tmp_path
        assert np.array_equal(read_volume(path).data, viewing.volume().data)


def test_a_bomb_is_unpacked_no_further_than_allowed(tmp_path):
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < 100_000
    with pytest.raises(TooLarge, match="bomb.nii.gz: it unpacks to more than 1 MiB"):
        receive(bomb, tmp_path, "bomb.nii.gz")
    assert not list(tmp_path.iterdir())


def test_a_bomb_costs_little_memory():
    """Also one that a single chunk would blow up."""
    data = gzip.compress(bytes(64 * MIB))
    assert max(map(len, uploads._unpack([data], "bomb"))) <= MIB


def test_a_file_too_large_is_refused_while_it_comes(tmp_path):
    with pytest.raises(TooLarge, match="larger than 1 MiB"):
        receive(bytes(2 * MIB), tmp_path, unpacked=8 * MIB)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [1, 10, 200, -1, -8])
def test_truncated_files_are_told_as_such(zipped, tmp_path, kept):
    name = "ann.nii.gz"
    if kept == 1:  # not even gzip's two bytes
        path = receive(zipped[:kept], tmp_path, name)
        with pytest.raises(DataError, match=re.escape(name)):
            uploads.read([(name, path)], unpacked=MIB)
        return
    with pytest.raises(DataError, match="ann.nii.gz: truncated"):
        receive(zipped[:kept], tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_what_is_packed_twice_is_refused(zipped, tmp_path):
    """Reading would unpack the second, and nobody would count it."""
    for once in (zipped, gzip.compress(bytes(64 * MIB))):
        with pytest.raises(DataError, match="a.nii.gz: it is packed more than once"):
            receive(gzip.compress(once), tmp_path, "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_bytes_that_come_one_by_one_are_unpacked_all_the_same(zipped, tmp_path):
    class Slow(io.BytesIO):
        def read(self, size):
            return super().read(1 if self.tell() < 3 else size)

    path = uploads.receive(Slow(zipped), tmp_path, "a", upload=MIB, unpacked=MIB)
    assert path.read_bytes() == gzip.decompress(zipped)


def test_damage_within_is_noticed(zipped, tmp_path):
    broken = bytearray(zipped)
    broken[len(broken) // 2] ^= 0xFF
    with pytest.raises(DataError, match="damaged"):
        receive(bytes(broken), tmp_path)


def test_an_empty_file_is_told_as_such(tmp_path):
    for data in (b"", gzip.compress(b"")):
        with pytest.raises(DataError, match="empty"):
            receive(data, tmp_path)


def test_a_truncated_file_that_is_not_zipped_is_told_in_the_users_words(zipped, tmp_path):
    path = receive(gzip.decompress(zipped)[:5000], tmp_path)
    with pytest.raises(DataError) as caught:
        uploads.read([("ann.nii", path)], unpacked=MIB)
    assert "ann.nii: truncated" in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_header_that_lies_is_refused_before_its_voxels_are_made(zipped, tmp_path):
    data = bytearray(gzip.decompress(zipped))
    data[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()
    path = receive(bytes(data), tmp_path)
    with pytest.raises(DataError, match="header"):
        uploads.read([("ann.nii", path)], unpacked=64 * MIB)


def test_a_scan_that_would_grow_in_memory_is_refused(tmp_path):
    """Bytes on disk become four times as many as floats."""
    flat = viewing.volume((64, 64, 64), dtype=np.uint8)
    write_volume(tmp_path / "a.nii", flat.with_data(flat.data % 2))
    path = receive((tmp_path / "a.nii").read_bytes(), tmp_path)
    with pytest.raises(TooLarge, match="claims more"):
        uploads.read([("a.nii", path)], unpacked=MIB // 2)


def test_several_volumes_in_a_file_are_refused_before_they_are_read(tmp_path):
    """Bytes on disk would become four times as many as floats, for nothing."""
    data = np.zeros((8, 8, 8, 512), np.uint8)
    write_volume(tmp_path / "a.nii", Volume(data, np.eye(4)))
    path = receive((tmp_path / "a.nii").read_bytes(), tmp_path)
    tracemalloc.start()
    with pytest.raises(DataError, match="a.nii: holds 512 volumes in one file"):
        uploads.read([("a.nii", path)], unpacked=MIB)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < data.size


def test_contrasts_are_told_by_the_users_names(tmp_path):
    files = [(path.name, receive(path.read_bytes(), tmp_path)) for path in viewing.files(tmp_path)]
    scan = uploads.read(files[::-1], unpacked=MIB)
    assert list(scan.volumes) == ["t1", "flair"] and scan.name == "patient"
    assert np.array_equal(scan.first.data, viewing.volume().data)


def test_a_lone_scan_needs_no_telling_name(zipped, tmp_path):
    path = receive(zipped, tmp_path)
    scan = uploads.read([("my scan (1).nii.gz", path)], unpacked=MIB)
    assert list(scan.volumes) == [UNKNOWN] and scan.name == "my_scan_1"


@pytest.mark.parametrize(
    "names, words",
    [(("a_t1.nii", "b.nii"), "which contrast"), (("a_t1.nii", "b_t1.nii"), "second")],
)
def test_files_that_are_no_one_patients_contrasts_are_refused(zipped, tmp_path, names, words):
    with pytest.raises(DataError, match=words):
        uploads.read([(name, receive(zipped, tmp_path)) for name in names], unpacked=MIB)


HOSTILE = [
    "../../etc/passwd",
    "..\\..\\windows\\system.ini",
    "/etc/cron.d/x.nii",
    "a\0b.nii",
    "\u202eiin.exe",
    "<img src=x onerror=alert(1)>.nii",
    "x" * 5000,
    "",
    "..",
    "con.nii\r\nSet-Cookie: a=b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_name_nothing(zipped, tmp_path, name):
    shown = uploads.clean(name)
    assert shown and len(shown) <= 80 and shown.isprintable()
    assert "/" not in shown and "\\" not in shown
    path = receive(zipped, tmp_path, shown)
    assert path.parent == tmp_path and re.fullmatch(r"tmp\w+\.nii", path.name)
    title = uploads.read([(shown, path)], unpacked=MIB).name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", title)
    assert pathlib.PurePath(title).name == title


@pytest.mark.parametrize(
    "names, title",
    [
        (("t1.nii.gz", "t2.nii.gz"), "scan"),  # no word in common
        (("ann_t1.nii.gz", "ann_t2.nii.gz"), "ann"),
        (("ann-1.t1.nii", "ann-1.t1ce.nii"), "ann-1"),
        (("scan.gz",), "scan"),
        (("head.MGZ",), "head"),
    ],
)
def test_a_title_is_what_the_names_have_in_common(names, title):
    assert uploads._title(list(names)) == title


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_whatever_the_names_the_title_is_fit_for_a_file(names):
    title = uploads._title([uploads.clean(name) for name in names])
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", title)
