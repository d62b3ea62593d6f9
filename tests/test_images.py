"""Image files: what is written comes back, and damaged files never come back as pictures."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from brainjax.io import images
from brainjax.types import DataError


def _picture(shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(12, 20), (12, 20, 3), (12, 20, 4)])
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_lossless_formats_round_trip(tmp_path, name, shape):
    pixels = _picture(shape)
    Image.fromarray(pixels).save(tmp_path / name)
    assert images.read_size(tmp_path / name) == shape[:2]
    read = images.read_image(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(("name", "options"), [("a.tif", {"compression": "jpeg"}), ("a.jpg", {})])
def test_jpeg_compressed_rgb_comes_back_close(tmp_path, name, options):
    smooth = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / name, quality=95, **options)
    error = images.read_image(tmp_path / name).astype(int) - smooth
    assert np.abs(error).mean() < 3


def test_bilevel_and_palette_files_become_uint8(tmp_path):
    stripes = np.zeros((8, 8), bool)
    stripes[::2] = True
    Image.fromarray(stripes).save(tmp_path / "bilevel.png")
    np.testing.assert_array_equal(images.read_image(tmp_path / "bilevel.png"), stripes * 255)
    Image.fromarray(_picture((8, 8, 3))).quantize(4).save(tmp_path / "palette.png")
    assert images.read_image(tmp_path / "palette.png").shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.tif", {}),
        ("a.tif", {"compression": "jpeg"}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.png", {}),
        ("a.jpg", {}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then raises
def test_truncation_is_always_noticed(tmp_path, name, options):
    path = tmp_path / name
    Image.fromarray(_picture((32, 32, 3))).save(path, **options)
    whole = path.read_bytes()
    for kept in (0, 5, len(whole) // 4, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError, match="copy or download it again") as error:
            images.read_image(path)
        assert str(path) in str(error.value)


def test_not_an_image_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    path.write_text("patient,slice\n" * 20)
    for read in (images.read_image, images.read_size):
        with pytest.raises(DataError, match="not a readable"):
            read(path)
        with pytest.raises(DataError, match="no such file"):
            read(tmp_path / "b.tif")


@pytest.mark.parametrize("side", [10_000, 2**31 - 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_absurd_sizes_are_refused_from_the_header(tmp_path, side):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b""))
    for read in (images.read_size, images.read_image):
        with pytest.raises(DataError, match="pixels"):
            read(path)


def test_deep_and_many_paged_files_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="8-bit"):
        images.read_image(tmp_path / "deep.png")
    page = Image.fromarray(_picture((8, 8)))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page, page])
    with pytest.raises(DataError, match="3 pages"):
        images.read_image(tmp_path / "pages.tif")
