"""Plain 2D image files (TIFF, PNG, JPEG) to uint8 arrays; damaged or absurd files are refused."""

import os

import numpy as np
from PIL import Image

from brainjax.types import DataError

FORMATS = ("TIFF", "PNG", "JPEG")
ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
MAX_PIXELS = 2**26  # 8192 x 8192; no scanner makes a larger slice, a forged header easily does
_DIRECT = ("L", "LA", "RGB", "RGBA")
_VIA = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Size of an image, from its header alone.

    Args:
        path: a TIFF, PNG or JPEG file.

    Returns:
        (H, W) in pixels.

    Raises:
        DataError: the file is missing, not an image, or its header claims an absurd size.
    """
    with _open(path) as image:
        return image.height, image.width


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Decodes one 8-bit image completely.

    Palette, bilevel and CMYK files become RGB or grey; nothing is rescaled.

    Args:
        path: a TIFF (JPEG-compressed ones included), PNG or JPEG file.

    Returns:
        [H W] uint8 for grey images, [H W C] uint8 otherwise.

    Raises:
        DataError: the file is missing, truncated, not an image, absurdly large, not 8-bit, or holds
            several pages.
    """
    with _open(path) as image:
        mode = image.mode if image.mode in _DIRECT else _VIA.get(image.mode)
        if mode is None:
            raise DataError(
                f"{path}: stores {image.mode!r} pixels, not 8-bit ones; convert it to 8 bits first"
            )
        try:
            pages = getattr(image, "n_frames", 1)
            if pages == 1:
                image.load()
                return np.array(image if mode == image.mode else image.convert(mode))
        except Exception as error:  # Pillow's decoders raise half a dozen types on damaged files
            raise DataError(
                f"{path}: truncated or damaged ({_first_line(error)}); copy or download it again"
            ) from error
        raise DataError(f"{path}: holds {pages} pages; save each slice as a file of its own")


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """Decodes one 8-bit image; colours become grey by their luminance (ITU-R BT.601), transparency black.

    Args:
        path: as for `read_image`.

    Returns:
        [H W] uint8.

    Raises:
        DataError: as `read_image`.
    """
    return to_grey(read_image(path))


def to_grey(pixels: np.ndarray) -> np.ndarray:
    """Colours to grey by their luminance (ITU-R BT.601), transparency to black.

    Args:
        pixels: [H W], or [H W C] with C = 1 (grey), 2 (grey, alpha), 3 (colours) or 4 (colours, alpha); uint8.

    Returns:
        [H W] uint8.
    """
    if pixels.ndim == 2:
        return pixels
    opaque = pixels[..., -1:] / 255 if pixels.shape[2] in (2, 4) else None
    if pixels.shape[2] >= 3:
        red, green, blue = np.moveaxis(pixels[..., :3].astype(np.uint32), -1, 0)
        grey = ((299 * red + 587 * green + 114 * blue + 500) // 1000)[..., None]
    else:
        grey = pixels[..., :1]
    return (grey if opaque is None else np.rint(grey * opaque))[..., 0].astype(np.uint8)


def _open(path: str | os.PathLike) -> Image.Image:
    """Opens a file lazily: only its header is read, and checked."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: no such file; check the path")
    if os.path.getsize(path) == 0:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    try:
        image = Image.open(path, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {_first_line(error)}; remove the file") from error
    except PermissionError as error:
        raise DataError(f"{path}: not readable; change its permissions") from error
    except Exception as error:  # damaged headers raise struct.error, KeyError, SyntaxError, ...
        raise DataError(
            f"{path}: not a readable {', '.join(FORMATS)} image ({type(error).__name__}); "
            "copy or download it again"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.height} x {image.width}"
        image.close()
        raise DataError(
            f"{path}: its header claims {size} pixels, more than {MAX_PIXELS}; remove the file"
        )
    return image


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
