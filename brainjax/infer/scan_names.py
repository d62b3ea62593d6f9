"""What names say of contrasts: of the files of one patient, and of the series of a scanner."""

import os
import re
from typing import NamedTuple

from brainjax.datasets import brats
from brainjax.io.files import stem

UNKNOWN = "unknown"  # the contrast of a lone scan whose name does not say

_KNOWN = {word: contrast for contrast in brats.INFO.channels for word in brats.WORDS[contrast]}
_KNOWN |= {"t1w": "t1", "t1+c": "t1ce", "t1post": "t1ce", "t1gad": "t1ce"}
# Words beside `t1` that say whether there was a contrast agent: t1_gd, T1-post, ce-gadolinium_T1w. `post` before it may as
# well mean an operation.
_BEFORE = {"gd", "gad", "gadolinium", "ce"}
_AFTER = _BEFORE | {"post", "c", "contrast", "km", "pre"}
_PLAIN_T1 = {"t1", "t1w", "t1n", "mprage", "bravo", "spgr"}  # also what scanners call such series
_AGENT = {"gd", "gad", "gadolinium", "post", "ce", "km", "+c", "c+"}


class Name(NamedTuple):
    """A file's name taken apart.

    Attributes:
        contrast: what its last or first word tells, else `UNKNOWN`.
        rest: the other words, in small letters; the same for all files of one scan.
        shown: the name without ending and contrast, as it is spelt; empty where there is nothing else.
    """

    contrast: str
    rest: tuple[str, ...]
    shown: str


def take_apart(name: str | os.PathLike) -> Name:
    """What the name of a volume's file, its folders left aside, says."""
    whole = stem(name)
    places = list(re.finditer(r"[^-_. ]+", whole))
    words = [place[0].lower() for place in places]
    at = len(words) - 1
    while at > 0 and words[at] in _AFTER:
        at -= 1
    if at >= 0 and words[at] not in _KNOWN:
        at = 0
    if at < 0 or words[at] not in _KNOWN:
        return Name(UNKNOWN, tuple(words), whole)
    start, stop, contrast = at, at + 1, _KNOWN[words[at]]
    if contrast == "t1":
        while start > 0 and words[start - 1] in _BEFORE:
            start -= 1
        while stop < len(words) and words[stop] in _AFTER:
            stop += 1
        if {*words[start:at], *words[at + 1 : stop]} - {"pre"}:
            contrast = "t1ce"
    elif contrast == "flair" and start > 0 and words[start - 1] in ("t2", "t2w"):
        start -= 1
    ahead = whole[: places[start].start()].rstrip("-_. ")
    behind = whole[places[stop - 1].end() :].lstrip("-_. ")
    shown = "_".join(filter(None, (ahead, behind)))
    return Name(contrast, (*words[:start], *words[stop:]), shown)


def contrast_of(name: str | os.PathLike) -> str:
    """The contrast that a file's name tells by its last or first word, else `UNKNOWN`."""
    return take_apart(name).contrast


def contrast_in(text: str) -> str:
    """The contrast that the name of a series tells anywhere, such as 'AX T1 MPRAGE POST', else `UNKNOWN`."""
    words = set(re.split(r"[^a-z0-9+]+", text.lower()))
    if any("flair" in word for word in words) or "t2f" in words:
        return "flair"
    found = {_KNOWN[word] for word in words if word in _KNOWN}
    if "t1ce" in found or (words & _PLAIN_T1 and words & _AGENT):
        return "t1ce"
    if words & _PLAIN_T1:
        return "t1"
    return "t2" if "t2" in found else UNKNOWN
