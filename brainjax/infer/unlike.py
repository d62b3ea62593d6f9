"""How unlike its training data an input is: cheap measures that need no network, and how sure the network is.

A classifier gives every picture one of its classes, a photograph of a cat too. Here a picture, cropped and resized as
the classifier sees it, is measured in five numbers, and each is compared with the range that it has in the training
pictures of the released classifier (`RANGES`). It finds what is no scan of a head, or one shown in another window;
it does not find a head with another disease. A network that is sure proves nothing (Nguyen et al. 2015,
arXiv:1412.1897), one that is not says so itself: the largest probability is the baseline of Hendrycks & Gimpel 2017
(arXiv:1610.02136).
"""

import math
from collections.abc import Mapping

import numpy as np

from brainjax.io.images import to_grey
from brainjax.preprocess.crop import as_input
from brainjax.types import DataError

_SIZE = 128  # pixels of the square on which pictures are measured
_BINS = 32  # of the histogram
_BLACK, _WHITE = 16, 250  # grey levels
UNSURE = 0.5  # of the largest probability

# What 99.7 % of 909 of the pictures keep (every third of 2,727 of Bhuvaji et al., November 2026), widened by a tenth.
RANGES = {
    "filled": (0.43, math.inf),
    "smooth": (0.827, math.inf),
    "levels": (2.42, 4.60),
    "bright": (72.0, math.inf),
    "clipped": (0.0, 0.108),
}
_WORDS = {  # below the range, above it
    "filled": ("hardly anything is in it", ""),
    "smooth": ("its pixels differ from their neighbours as in noise", ""),
    "levels": ("it has few grey levels", "its grey levels are spread as in noise"),
    "bright": ("it is very dark: check the window", ""),
    "clipped": ("", "much of it is cut off at white: check the window"),
}


def measures(picture: np.ndarray) -> dict[str, float]:
    """Five numbers of a picture, all but one of it cropped to the head as a classifier sees it.

    Args:
        picture: [H W], or [H W 3] or with transparency, uint8.

    Returns:
        - filled: share of pixels that are not black.
        - smooth: correlation of neighbouring pixels of the whole picture, the smaller of both directions; 0 in a
          constant one.
        - levels: entropy of the histogram of 32 bins, in bits.
        - bright: 99th percentile of the grey levels.
        - clipped: share of white pixels.

    Raises:
        DataError: another shape or type.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or 0 in picture.shape:
        raise DataError(
            f"image has shape {picture.shape} and type {picture.dtype}; give [height, width] or [height, width, 3] uint8"
        )
    whole = to_grey(picture)
    grey = as_input(whole, size=_SIZE)[..., 0]
    # Never of what was enlarged: there noise is smooth.
    plain = as_input(whole, size=min(_SIZE, *whole.shape), crop=False)[..., 0].astype(np.float64)
    share = np.histogram(grey, _BINS, (0, 256))[0] / grey.size
    share = share[share > 0]
    return {
        "filled": float((grey >= _BLACK).mean()),
        "smooth": min(
            _correlation(plain[1:], plain[:-1]), _correlation(plain[:, 1:], plain[:, :-1])
        ),
        "levels": float(-(share * np.log2(share)).sum()),
        "bright": float(np.percentile(grey, 99)),
        "clipped": float((grey >= _WHITE).mean()),
    }


def unlike(picture: np.ndarray) -> tuple[str, ...]:
    """In what a picture is unlike the training pictures, in words; nothing where it is like them.

    Args:
        picture: as of `measures`.

    Raises:
        DataError: as `measures`.
    """
    found = []
    for name, value in measures(picture).items():
        low, high = RANGES[name]
        if not low <= value <= high:
            words = _WORDS[name][value > high]
            found.append(f"{words} ({name} {value:.3g})")
    return tuple(found)


def unsure(probabilities: Mapping[str, float]) -> tuple[str, ...]:
    """That no class is likelier than all others together, in words; nothing where one is."""
    name = max(probabilities, key=probabilities.get)
    if probabilities[name] >= UNSURE:
        return ()
    return (f"no class is likely: {name} has {probabilities[name]:.2f}",)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if not a.size:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0
