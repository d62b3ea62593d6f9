"""Pictures of single images and what a classifier says of them, the mistakes first; and where it looked."""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from brainjax.report import canvas
from brainjax.report.overlay import grey, lit
from brainjax.report.pictures import montage
from brainjax.types import check_shape

SIDE = 256  # pixels of the square that an image is fitted into
WRONG = (213, 94, 0)  # `canvas.VERMILION`
_LINE = 16  # pixels of a line of text
_CHARACTER = 7.3  # pixels of a character, about
_FRAME = 4  # pixels around a mistake


def predictions(
    path: str | os.PathLike | None,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    names: Sequence[str] = (),
    limit: int = 20,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """Images with their predicted and true class: mistakes, the surest first, then the rest, the least sure first.

    Args:
        path: PNG to write, or None.
        images: [n H W C] of any scale; the mean of the channels is drawn.
        labels: [n], the true classes.
        probabilities: [n K].
        classes: K names.
        names: n texts, such as file names, or none.
        limit: most images shown; a quarter is kept for those that are right.
        title: the run, say.
        warning: printed in red, for a protocol that leaks (`tables.protocol`).

    Returns:
        [h w 3] uint8.
    """
    n, labels, p = len(images), np.asarray(labels), np.asarray(probabilities)
    check_shape("labels", labels, (n,))
    check_shape("probabilities", p, (n, len(classes)))
    if names and len(names) != n:
        raise ValueError(f"{n} images with {len(names)} names")
    said, sure = p.argmax(1), p.max(1)
    wrong = said != labels
    order = np.lexsort((np.where(wrong, -sure, sure), ~wrong))
    right = order[wrong.sum() :][: max(limit // 4, limit - wrong.sum())]
    order = np.concatenate([order[: wrong.sum()][: limit - len(right)], right])
    panels, texts = [], []
    for i in order:
        second = np.argsort(-p[i], kind="stable")[1]
        other = labels[i] if wrong[i] else second
        lines = [
            _scored("WRONG" if wrong[i] else "right", classes[said[i]], sure[i]),
            _scored("truth" if wrong[i] else "next", classes[other], p[i, other]),
        ]
        texts.append("\n".join(lines + [_cut(name, SIDE) for name in names[i : i + 1]]))
        panel = _under_strip(_fitted(_rgb(images[i])), 2 + bool(names))
        if wrong[i]:
            _frame(panel, 2 + bool(names))
        panels.append(panel)
    count = f"{wrong.sum()} of {n} wrong" + (f", {len(order)} shown" if len(order) < n else "")
    title = f"{title}: {count}" if title else count
    return _out(path, montage(panels, columns=min(5, len(panels)), labels=texts), title, warning)


def gradcam(
    path: str | os.PathLike | None,
    images: np.ndarray,
    maps: np.ndarray,
    titles: Sequence[str],
    *,
    title: str = "",
    warning: str = "",
) -> np.ndarray:
    """Images, each beside itself under its maps: clear where a map is 0, bright where it is 1.

    Args:
        path: PNG to write, or None.
        images: [n H W C] of any scale; the mean of the channels is drawn.
        maps: [n H W] in [0, 1], as of `brainjax.infer.explain.grad_cam`, or several, [m n H W].
        titles: n texts, of one or more lines.
        title: the run, say.
        warning: as in `predictions`.

    Returns:
        [h w 3] uint8.
    """
    images, maps = np.asarray(images), np.asarray(maps)
    maps = maps if maps.ndim == 4 else maps[None]
    check_shape("maps", maps, (len(maps), *images.shape[:3]))
    if len(titles) != len(images):
        raise ValueError(f"{len(images)} images with {len(titles)} titles")
    lines = max((text.count("\n") + 1 for text in titles), default=1)
    panels, texts = [], []
    for image, heats, text in zip(images, np.moveaxis(maps, 0, 1), titles, strict=True):
        plain = _rgb(image)
        both = np.hstack([_fitted(plain), *(_fitted(lit(plain, heat)) for heat in heats)])
        panels.append(_under_strip(both, lines))
        texts.append("\n".join(_cut(line, both.shape[1]) for line in text.split("\n")))
    title = title or "Where the evidence for the class lies (Grad-CAM)"
    return _out(path, montage(panels, columns=min(2, len(panels)), labels=texts), title, warning)


def _rgb(image: np.ndarray) -> np.ndarray:
    """[H W C] numbers -> [H W 3] uint8, grey."""
    return np.repeat(grey(np.asarray(image, np.float32).mean(-1))[..., None], 3, axis=-1)


def _fitted(picture: np.ndarray) -> np.ndarray:
    """[H W 3] -> [SIDE SIDE 3], its longer side enlarged or reduced to the square's, centred."""
    height, width = picture.shape[:2]
    h, w = (max(1, round(SIDE * s / max(height, width))) for s in (height, width))
    out = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    resized = Image.fromarray(picture).resize((w, h), Image.Resampling.BICUBIC)
    out[top : top + h, left : left + w] = np.asarray(resized)
    return out


def _under_strip(picture: np.ndarray, lines: int) -> np.ndarray:
    """The picture below a dark strip for so many lines of text."""
    return np.pad(picture, ((_LINE * lines + 8, 0), (0, 0), (0, 0)), constant_values=28)


def _frame(panel: np.ndarray, lines: int) -> None:
    """Colours the strip and the rim of a panel, in place."""
    panel[: _LINE * lines + 8] = WRONG
    panel[-_FRAME:], panel[:, :_FRAME], panel[:, -_FRAME:] = WRONG, WRONG, WRONG


def _scored(word: str, name: str, probability: float) -> str:
    """'WRONG: glioma tumor 0.93', the name cut so that the line fits over a square."""
    name = _cut(name.replace("_", " "), SIDE - _CHARACTER * (len(word) + 7))
    return f"{word}: {name} {probability:.2f}"


def _cut(text: str, width: float) -> str:
    """At most so many pixels of a text."""
    most = int((width - 10) / _CHARACTER)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _out(
    path: str | os.PathLike | None, picture: np.ndarray, title: str, warning: str
) -> np.ndarray:
    """The picture below its title and warning; written where there is a path."""
    width = picture.shape[1]
    lines = canvas.wrapped(width // 9, (title, canvas.LIGHT), (warning, canvas.VERMILION))
    banner = canvas.figure(width, canvas.HEADING * len(lines) + 10, canvas.DARK)
    canvas.heading(banner, lines, 8)
    return canvas.write(path, np.concatenate([canvas.pixels(banner), picture]))
