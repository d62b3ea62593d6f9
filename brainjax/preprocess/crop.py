"""Crop to the head: the picture between its extreme points, padded to a square and resampled to one size.

Pictures gathered from many places show the head at any size, off-centre, in black, grey or white frames, with
captions. The idea is the extreme-points crop of the literature on classifying brain tumours (threshold, blur, largest
component, its outermost pixels); here the level of the background is measured instead of assumed, and frames are
taken off first.
"""

import numpy as np
from scipy import ndimage

from brainjax.preprocess.linear import weights
from brainjax.types import check_shape

Box = tuple[int, int, int, int]  # top, bottom, left, right in pixels, half open

WORKING = 128  # pixels of the longer side on which the head is looked for
MARGIN = 0.02  # of the head's longer side, on every side
CONTRAST = 0.12  # of the way from the background to the brightest (or darkest) pixels
LEAST = 10.0  # grey levels; below, a difference from the background is JPEG ringing
UNIFORM = 0.4  # share of the border's pixels that must have one level to call it the background
FRAME, FRAME_SPREAD = 24.0, 12.0  # grey levels: of a frame at least, and around its level
PAD = 4  # pixels, more than the filters below reach
SMALLEST = 0.04  # of the picture; what is smaller is no head


def as_input(grey: np.ndarray, *, size: int, channels: int = 1, crop: bool = True) -> np.ndarray:
    """What a classifier sees of a picture, in training and after.

    Args:
        grey: [H W] uint8.
        size: edge of the square grid in pixels.
        channels: 1, or more for networks that expect as many: the grey is repeated.
        crop: to the head; else the whole picture is taken.

    Returns:
        [size size channels] uint8.
    """
    square = to_square(grey, size, head_box(grey) if crop else None)
    return np.repeat(square[..., None], channels, axis=-1)


def head_box(grey: np.ndarray) -> Box:
    """The box of the head's extreme points, with a small margin.

    Args:
        grey: [H W] uint8.

    Returns:
        The box in pixels; the whole picture where nothing stands out from the background, as in a black one.
    """
    check_shape("grey", grey, (None, None))
    y, x = _inside_frame(grey)
    grey = grey[y, x]
    height, width = grey.shape
    step = max(1.0, max(height, width) / WORKING)
    shape = max(1, round(height / step)), max(1, round(width / step))
    head = _head(ndimage.gaussian_filter(resize(grey, shape), 1.0, mode="nearest"))
    if head is None:
        return y.start, y.stop, x.start, x.stop
    top, bottom, left, right = head
    margin = MARGIN * max(bottom - top, right - left)
    scale_y, scale_x = height / shape[0], width / shape[1]
    return (
        y.start + max(0, int(np.floor((top - margin) * scale_y))),
        y.start + min(height, int(np.ceil((bottom + margin) * scale_y))),
        x.start + max(0, int(np.floor((left - margin) * scale_x))),
        x.start + min(width, int(np.ceil((right + margin) * scale_x))),
    )


def to_square(grey: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """A picture of any shape, or a box of it, on a square grid with its proportions kept.

    Args:
        grey: [H W] uint8.
        size: edge of the grid in pixels.
        box: the part to take, as from `head_box`; None for all.

    Returns:
        [size size] uint8; what pads the shorter side has the level of the background.
    """
    check_shape("grey", grey, (None, None))
    if box is None:
        level = _background(grey)
    else:
        level = _background(grey[_inside_frame(grey)])
        grey = grey[box[0] : box[1], box[2] : box[3]]
    edge = max(grey.shape)
    pads = [((edge - n) // 2, edge - n - (edge - n) // 2) for n in grey.shape]
    square = np.pad(grey, pads, constant_values=round(level))
    return np.clip(np.rint(resize(square, (size, size))), 0, 255).astype(np.uint8)


def resize(grey: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Linear resampling, antialiased: when shrinking, the triangle is as wide as the new pixels.

    Args:
        grey: [H W], any number type.
        size: (h, w) wanted.

    Returns:
        [h w] float32, within the range of the input.
    """
    rows, columns = (
        weights(old, new, old / new, old / new / 2 - 0.5)
        for old, new in zip(grey.shape, size, strict=True)
    )
    return (columns @ (rows @ grey.astype(np.float32)).T).T


def _background(grey: np.ndarray) -> float:
    """The commonest level of the border, if it is common enough to be a background; else black."""
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    counts = np.bincount(np.clip(border, 0, 255).astype(np.uint8) // 8, minlength=32)
    near = border[np.abs(border.astype(np.float32) - (8 * counts.argmax() + 4)) <= 12]
    return float(np.median(near)) if len(near) >= UNIFORM * len(border) else 0.0


def _inside_frame(grey: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns within a frame: lines of one level from the outside in, unless they are dark.

    A dark margin is left for `_head`, which then knows the background by it.
    """
    y, x = [0, grey.shape[0]], [0, grey.shape[1]]

    def framed(line: np.ndarray) -> bool:
        level = np.median(line)
        near = np.abs(line.astype(np.int16) - level) <= FRAME_SPREAD
        return level > FRAME and near.mean() >= 0.95

    while min(y[1] - y[0], x[1] - x[0]) > max(grey.shape) // 4:
        lines = {
            (0, 1): grey[y[0], x[0] : x[1]],
            (1, -1): grey[y[1] - 1, x[0] : x[1]],
            (2, 1): grey[y[0] : y[1], x[0]],
            (3, -1): grey[y[0] : y[1], x[1] - 1],
        }
        found = [side for side, line in lines.items() if framed(line)]
        if not found:
            break
        for side, inwards in found:
            (y if side < 2 else x)[side % 2] += inwards
    else:
        return slice(0, grey.shape[0]), slice(0, grey.shape[1])  # nothing but frame
    return slice(*y), slice(*x)


def _head(small: np.ndarray) -> Box | None:
    """Box of the largest component that differs from the background."""
    away = np.abs(small - _background(small))
    threshold = max(LEAST, CONTRAST * np.percentile(away, 99))
    # Closing and filling make a skull, however thin, one with the brain in it; opening cuts the bridges to captions.
    # Padded, for a head that touches the border must lose nothing there.
    mask = np.pad(away > threshold, PAD, mode="edge")
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(mask, iterations=2))
    mask = ndimage.binary_opening(mask, iterations=3)[PAD:-PAD, PAD:-PAD]
    labels, count = ndimage.label(mask)
    if not count:
        return None
    areas = np.bincount(labels.ravel())[1:]
    largest = labels == 1 + areas.argmax()
    y, x = (np.flatnonzero(largest.any(axis=axis)) for axis in (1, 0))
    box = int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1
    big = (box[1] - box[0]) * (box[3] - box[2]) >= SMALLEST * small.size
    return box if big else None
