"""HTML that cannot be broken into: every text is escaped, unless it was made here.

`tag("td", name)` escapes `name` whatever it is; only what `tag` itself returned goes in as it stands.
"""

import html
import re
from collections.abc import Iterable

from brainjax.report.words import readable

_VOID = frozenset({"br", "img", "input", "meta"})  # of HTML; they have no end
_EMPTY = frozenset({"image", "line", "path", "use"})  # of SVG; they close themselves
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")

Child = "str | int | float | None | Iterable[Child]"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """One element.

    Args:
        name: of the element.
        children: `Markup` as it stands, any other text or number escaped; lists of them; None is nothing.
        attributes: by name, with an underscore at the end where Python keeps the word (`class_`) and one for each
            hyphen (`aria_label`). True is an attribute without a value; False and None leave it out.

    Raises:
        ValueError: a name that is none, or children of an element that has none.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        # Names such as viewBox keep their case.
        key = key.removesuffix("_").replace("_", "-")
        words.append(_checked(key) if value is True else f'{_checked(key)}="{_escaped(value)}"')
    opening = f"<{_checked(name)}{''.join(f' {word}' for word in words[1:])}>"
    if name in _VOID or name in _EMPTY:
        if children:
            raise ValueError(f"<{name}> holds nothing")
        return Markup(opening if name in _VOID else f"{opening[:-1]}/>")
    return Markup(f"{opening}{join(children)}</{name}>")


def join(children: Iterable[Child], between: str = "") -> Markup:
    """One piece of HTML of several, escaped as in `tag`."""
    return Markup(_escaped(between).join(_one(child) for child in children if child is not None))


def _one(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return _escaped(child)
    return join(child)


def _escaped(value: object) -> str:
    # NUL is an error in HTML.
    return html.escape(readable(str(value).replace("\0", "\ufffd")), quote=True)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an element or attribute")
    return name
