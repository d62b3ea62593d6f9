"""Masks drawn on a slice: thin contours, and a tint where truth and prediction disagree.

Truth is green and prediction magenta; where the two contours coincide they are yellow. The three stay
apart under every common colour blindness. Missed tumour is tinted green (truth alone), false alarm
magenta (prediction alone); agreement stays clear, so that the anatomy shows.
"""

import numpy as np
from matplotlib import colormaps

from brainjax.types import check_shape

TRUTH = (0, 224, 140)
PREDICTION = (255, 64, 208)
BOTH = (255, 232, 64)
# Of regions: apart under every common colour blindness, also where the second lies inside the first.
COLOURS = (
    (86, 180, 233),
    (240, 228, 66),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
)
BRAIN = (120, 214, 190)  # its outline, beside those of regions
TINT = 0.4  # opacity
HEAT = "inferno"  # matplotlib's map from dark to bright, of even steps to every eye
_HEAT_OPACITY = 0.7  # of a map where it is 1


def window(image: np.ndarray) -> tuple[float, float]:
    """The 0.5th and the 99.5th percentile of a slice or volume of any scale: black and white.

    Args:
        image: numbers; those not finite do not count.

    Returns:
        The two, equal only for an image that is constant; of one without finite numbers 0 and 0.
    """
    image = np.asarray(image, np.float32)
    values = image[np.isfinite(image)]
    if not len(values):
        return 0.0, 0.0
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:  # a few bright pixels on a constant ground
        low, high = values.min(), values.max()
    return float(low), float(high)


def grey(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """A slice of any scale as grey levels.

    Args:
        image: [H W] numbers; those not finite are black.
        limits: black and white; None for the slice's own `window`.

    Returns:
        [H W] uint8; a constant image is black.
    """
    image = np.asarray(image, np.float32)
    finite = np.isfinite(image)
    low, high = window(image) if limits is None else limits
    shade = np.where(finite, image - low, 0) / max(high - low, 1e-12)
    return (np.clip(shade, 0, 1) * 255).round().astype(np.uint8)


def contour(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that touch its outside, or the picture's edge: [H W] bool -> [H W] bool."""
    p = np.pad(mask, 1)
    inside = p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
    return mask & ~inside


def overlay(
    image: np.ndarray,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    *,
    scale: int = 1,
    tint: float = TINT,
) -> np.ndarray:
    """A slice with the contours of one or two masks.

    Args:
        image: [H W] numbers.
        truth: [H W] in {0, 1} (cut at 0.5), or None where there is none.
        prediction: likewise.
        scale: enlarges the slice by this whole number first, for contours thinner than its pixels.
        tint: opacity of the tint on pixels that only one of the two masks has.

    Returns:
        [H*scale W*scale 3] uint8.
    """
    shape = np.shape(image)
    check_shape("image", np.asarray(image), (None, None))
    masks = []
    for name, mask in (("truth", truth), ("prediction", prediction)):
        mask = np.zeros(shape, bool) if mask is None else np.asarray(mask) > 0.5
        check_shape(name, mask, shape)
        masks.append(enlarge(mask, scale))
    true, predicted = masks
    out = np.repeat(enlarge(grey(image), scale)[..., None], 3, axis=-1).astype(np.float32)
    if truth is not None and prediction is not None:
        for where, colour in ((true & ~predicted, TRUTH), (predicted & ~true, PREDICTION)):
            out[where] = (1 - tint) * out[where] + tint * np.asarray(colour, np.float32)
    lines = contour(true), contour(predicted)
    out[lines[0]], out[lines[1]], out[lines[0] & lines[1]] = TRUTH, PREDICTION, BOTH
    return out.round().astype(np.uint8)


def lit(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture under a map: clear where the map is 0, bright where it is 1.

    Args:
        picture: [H W 3] uint8.
        heat: [H W] in [0, 1].

    Returns:
        [H W 3] uint8.
    """
    opacity = _HEAT_OPACITY * heat[..., None]
    mixed = (1 - opacity) * picture + opacity * 255 * colormaps[HEAT](heat)[..., :3]
    return mixed.round().astype(np.uint8)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of [H W ...] repeated `scale` times along both axes."""
    return image if scale == 1 else image.repeat(scale, axis=0).repeat(scale, axis=1)
