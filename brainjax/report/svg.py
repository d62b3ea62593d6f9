"""A slice as an SVG figure: the picture in grey, and over it outlines that stay sharp at any size."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from brainjax.infer.localize import contours
from brainjax.report.hanging import Hanging, Segment
from brainjax.report.markup import Markup, tag

_QUALITY = 75  # of JPEG
_PIXELS = 224  # along the longer edge of a slice in a mosaic; finer ones are reduced


def data_uri(picture: np.ndarray, pixels: int | None = None) -> str:
    """[H W] or [H W 3] uint8 -> a JPEG to put in the page itself, with at most so many pixels along an edge."""
    out, image = io.BytesIO(), Image.fromarray(np.ascontiguousarray(picture))
    if pixels and max(image.size) > pixels:
        scale = pixels / max(image.size)
        image = image.resize([max(1, round(n * scale)) for n in image.size], Image.Resampling.BOX)
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def path(mask: np.ndarray) -> str:
    """The outlines of a mask [H W] as an SVG path, in half pixels: its corners have whole numbers there."""
    parts = []
    for line in contours(mask):
        # Pixel i is drawn from i to i + 1.
        at = np.rint(2 * (line + 0.5)).astype(int)[:, ::-1]
        steps = np.diff(at, axis=0)
        # Of steps in one direction only their sum is written.
        turns = np.flatnonzero(np.r_[True, (steps[1:] != steps[:-1]).any(1)])
        moves = np.add.reduceat(steps, turns)
        words = " ".join(f"{x} {y}" for x, y in moves)
        parts.append(f"M{at[0, 0]} {at[0, 1]}l{words}z")
    return "".join(parts)


def figure(
    hanging: Hanging,
    axis: int,
    index: int,
    caption: str,
    *,
    key: str,
    diameters: Sequence[Segment] = (),
    heat: np.ndarray | None = None,
    pixels: int = _PIXELS,
    regions: Mapping[str, np.ndarray] | None = None,
) -> Markup:
    """A slice with every contrast in it, of which the page shows one, and the outlines of brain and regions.

    Args:
        hanging: what to show.
        axis, index: the slice.
        caption: over its upper left corner.
        key: an id that no other figure of the page has.
        diameters: lines to draw.
        heat: [H W 3] uint8, shown instead of the contrasts.
        pixels: the most along the longer edge of a picture; outlines are as fine as the mask whatever it is.
        regions: name -> [x y z] bool; None for those of the analysis.
    """
    (rows, columns), (tall, wide) = hanging.size(axis), hanging.pixel(axis)
    height, width = rows * tall, columns * wide
    place = {"width": f"{width:.2f}", "height": f"{height:.2f}", "preserveAspectRatio": "none"}
    if heat is not None:
        pictures = [tag("image", href=data_uri(heat, pixels), **place)]
    else:
        pictures = [
            tag(
                "image",
                href=data_uri(hanging.picture(name, axis, index), pixels),
                class_=f"k{k}",
                **place,
            )
            for k, name in enumerate(hanging.images)
        ]
    masks = {} if hanging.brain is None else {"brain": hanging.brain}
    masks |= hanging.regions if regions is None else regions
    drawn = {name: path(hanging.slice(mask, axis, index)) for name, mask in masks.items()}
    drawn = {name: d for name, d in drawn.items() if d}
    shapes = [tag("path", id=f"{key}-{name}", d=d) for name, d in drawn.items()]
    # Filled shapes are solid and lie on each other, inner ones above, in a group that is translucent as a whole.
    fills, outlines = (
        [tag("use", href=f"#{key}-{name}", class_=f"{kind} {name_class(name)}") for name in names]
        for kind, names in (("f", [n for n in drawn if n != "brain"]), ("o", drawn))
    )
    scale = f"scale({wide / 2:.5f} {tall / 2:.5f})"
    lines = [
        tag(
            "line",
            x1=f"{2 * (c0 + 0.5):.2f}",
            y1=f"{2 * (r0 + 0.5):.2f}",
            x2=f"{2 * (c1 + 0.5):.2f}",
            y2=f"{2 * (r1 + 0.5):.2f}",
            class_="d",
        )
        for (r0, c0), (r1, c1) in diameters
    ]
    drawing = tag(
        "svg",
        pictures,
        tag("defs", shapes),
        tag("g", tag("g", fills, class_="fills"), outlines, lines, transform=scale),
        _bar(width, height),
        viewBox=f"0 0 {width:.2f} {height:.2f}",
        role="img",
        aria_label=f"slice, {caption}",
    )
    left = tag("span", "P" if axis == 0 else "R", class_="hung", aria_hidden="true")
    return tag("figure", drawing, left, tag("figcaption", caption), class_="slice", tabindex=0)


def name_class(name: str) -> str:
    """The CSS class of a region's outline: 'o-brain', 'o-wt', ..."""
    return f"o-{name.lower()}"


def _bar(width: float, height: float) -> Markup:
    """A bar of 2 cm in the lower right corner."""
    x, y = width - 5, height - 5
    return tag("path", d=f"M{x - 20:.1f} {y:.1f}h20", class_="bar2cm")
