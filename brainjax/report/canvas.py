"""Figures without a display or global state: matplotlib's objects, rendered by Agg to pixels, written as PNG."""

import os
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from brainjax.files import replacing
from brainjax.report.words import readable
from brainjax.types import DataError

DPI = 100
HEADING = 18  # pixels of a line above a figure
# Okabe & Ito, Color Universal Design (2008): told apart under every common colour blindness.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
DARK, LIGHT = "#101114", "#e8e8ea"


def figure(width: float, height: float, background: str = "white") -> Figure:
    """An empty figure of `width` x `height` pixels."""
    made = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=background)
    FigureCanvasAgg(made)
    return made


def pixels(drawn: Figure) -> np.ndarray:
    """The figure rendered: [H W 3] uint8."""
    drawn.canvas.draw()
    return np.array(drawn.canvas.buffer_rgba())[..., :3]


def write(path: str | os.PathLike | None, picture: np.ndarray) -> np.ndarray:
    """Writes a PNG whole or not at all, and returns the picture.

    Args:
        path: ends in `.png`, and its folder is made; None to write nothing.
        picture: [H W 3] uint8.

    Raises:
        DataError: the path is not a PNG's, or cannot be written.
    """
    if path is None:
        return picture
    path = pathlib.Path(path)
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: figures are PNG files; give it the ending .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot write the figure ({error.strerror or error})") from error
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)
    return picture


def literal(text: str) -> str:
    """A text for matplotlib to draw as it stands: dollar signs begin no formula, '?' is drawn for no character."""
    return readable(text).replace("$", r"\$")


def wrapped(width: int, *texts: tuple[str, str]) -> list[tuple[str, str]]:
    """(text, colour) pairs in lines of at most so many characters, each with the colour of its text."""
    return [(line, colour) for text, colour in texts for line in textwrap.wrap(text, width)]


def heading(drawn: Figure, lines: Sequence[tuple[str, str]], margin: float) -> None:
    """Bold (text, colour) lines of `HEADING` pixels each, from the upper left corner, so many pixels inside of it."""
    width, height = drawn.get_size_inches() * DPI
    for i, (line, colour) in enumerate(lines):
        place = margin / width, 1 - (margin + HEADING * i) / height
        style = {"fontsize": 10, "fontweight": "bold", "va": "top"}
        drawn.text(*place, literal(line), color=colour, **style)


def plain(axes: Axes, title: str, xlabel: str, ylabel: str = "") -> None:
    """The look of every chart: two spines, a light grid behind, small labels; the texts as they stand."""
    axes.set_title(literal(title), loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(literal(xlabel), fontsize=9)
    axes.set_ylabel(literal(ylabel), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


def spread(values: np.ndarray) -> np.ndarray:
    """Offsets in -0.3..0.3 that keep equal values from hiding each other; the same every time."""
    offset = np.zeros(len(values))
    order = np.argsort(values, kind="stable")
    # The golden ratio's multiples never fall close together, so neighbours in value part.
    offset[order] = (np.arange(len(values)) * 0.6180339887 % 1 - 0.5) * 0.6
    return offset
